/** Daemons that hang, take too much memory, or do not stay alive, and mounts that nobody answers for. */
import { execFileSync } from 'node:child_process';
import { readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t, { type Test } from 'tap';
import { whyNoMounts } from './ordinary-user.js';
import { isRoot, kill, run, runDone, Site, until, type Home, type Mounted } from './site.js';

/** Long enough for a daemon to start on a machine that is busy. */
const SILENCE_LIMIT_MS = '6000';
const CALL_LIMIT_S = 60;
const IN_PARALLEL = { buffered: true };

if (whyNoMounts !== undefined) {
  t.plan(0, whyNoMounts);
} else {
  // They mostly wait.
  t.jobs = 3;
  t.test('a daemon that is stopped is killed, and the next one goes on', IN_PARALLEL, stopped);
  t.test(
    'a daemon whose session thread waits for ever is killed, and the next one answers',
    IN_PARALLEL,
    sessionWedged,
  );
  t.test(
    'a daemon that is idle, or aborts as one without memory does, costs no call',
    IN_PARALLEL,
    idleAndAborted,
  );
  t.test('a daemon that takes too much memory is replaced', IN_PARALLEL, tooLarge);
  t.test(
    'when no daemon stays alive the mount gives errors, says why, and can be unmounted',
    IN_PARALLEL,
    refusing,
  );
  t.test('a dead mount is cleared by the next mount, with programs standing in it', IN_PARALLEL, deadMount);
}

interface Stand {
  site: Site;
  home: Home;
  mounted: Mounted;
  mountpoint: string;
}

/** A mount of a version with one file, with an edit. */
async function stand(t: Test, env: Record<string, string>): Promise<Stand> {
  const site = await Site.start(t);
  const home = site.home();
  const tree = site.folder('tree');
  writeFileSync(`${tree}/imported`, Buffer.alloc(3_000_000, 'imported '));
  await home.import(tree, 'work');
  const mounted = (await home.json(['mount', 'work', site.folder('mnt')], { env })) as Mounted;
  const { mountpoint } = mounted;
  await runDone(['sh', '-c', 'echo edited >"$1/edit"', 'sh', mountpoint]);
  return { site, home, mounted, mountpoint };
}

/** A change whose reply must come from a daemon. */
async function changes(t: Test, { mountpoint }: Stand, name: string): Promise<void> {
  const script = 'mkdir "$1/$2" && echo "$2" >"$1/$2/file" && cat "$1/$2/file" "$1/edit"';
  t.equal(
    await runDone(['sh', '-c', script, 'sh', mountpoint, name], { limit_s: CALL_LIMIT_S }),
    `${name}\nedited\n`,
  );
}

async function stopped(t: Test): Promise<void> {
  const at = await stand(t, { CAIRN_SILENCE_LIMIT_MS: SILENCE_LIMIT_MS });
  process.kill(at.mounted.daemonPid, 'SIGSTOP');
  await changes(t, at, 'made');
  const { supervisor, daemon } = await at.home.stats(at.mountpoint);
  t.equal(supervisor.restarts, 1);
  t.not(daemon.pid, at.mounted.daemonPid);
  t.match(at.home.log(), /the daemon died: it did not get on/);
}

/** An open(2) of a fifo that nobody writes to: nothing else of the daemon stands still. */
async function sessionWedged(t: Test): Promise<void> {
  const at = await stand(t, { CAIRN_SILENCE_LIMIT_MS: SILENCE_LIMIT_MS });
  const cache = path.join(at.home.dir, 'cache');
  const read = (): Promise<unknown> =>
    run(['cmp', `${at.mountpoint}/imported`, `${at.site.base}/tree/imported`], { limit_s: CALL_LIMIT_S });
  t.match(await read(), { code: 0 });
  const kept = (): string[] =>
    readdirSync(cache, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && /^[0-9a-f]{64}$/.test(entry.name))
      .map((entry) => path.join(entry.parentPath, entry.name));
  // Who reads does not wait for the cache.
  await until('a block is in the cache', () => Promise.resolve(kept().length > 0));
  const blocks = kept();
  // The next daemon has none of them open.
  kill(at.mounted.daemonPid);
  await changes(t, at, 'between');
  const { daemon } = await at.home.stats(at.mountpoint);
  for (const block of blocks) {
    renameSync(block, `${block}.away`);
    execFileSync('mkfifo', [block]);
  }
  await runDone([
    'sh',
    '-c',
    `exec 3<"$1"; python3 -c 'import os; os.posix_fadvise(3, 0, 0, os.POSIX_FADV_DONTNEED)'`,
    'sh',
    `${at.mountpoint}/imported`,
  ]);
  const reading = read();
  await until('the daemon is replaced', () => {
    return Promise.resolve(at.home.log().includes('the daemon died: it did not get on'));
  });
  for (const block of blocks) renameSync(`${block}.away`, block);
  t.match(await reading, { code: 0, stderr: '' }, 'who waited gets the right bytes');
  await changes(t, at, 'after');
  t.not((await at.home.stats(at.mountpoint)).daemon.pid, daemon.pid);
  t.match(at.home.log(), /the thread that answers requests does not get on/);
}

async function idleAndAborted(t: Test): Promise<void> {
  const at = await stand(t, { CAIRN_SILENCE_LIMIT_MS: SILENCE_LIMIT_MS });
  const beganAt_ms = performance.now();
  await until('it was idle for longer than the limit', () =>
    Promise.resolve(performance.now() - beganAt_ms > 1.5 * Number(SILENCE_LIMIT_MS)),
  );
  const { supervisor, daemon } = await at.home.stats(at.mountpoint);
  t.match({ restarts: supervisor.restarts, pid: daemon.pid }, { restarts: 0, pid: at.mounted.daemonPid });
  process.kill(daemon.pid, 'SIGABRT');
  await changes(t, at, 'after-abort');
  t.equal((await at.home.stats(at.mountpoint)).supervisor.restarts, 1);
  t.match(at.home.log(), /the daemon died: it got SIGABRT/);
}

async function tooLarge(t: Test): Promise<void> {
  // Any daemon is larger; the first look comes when it has long started.
  const at = await stand(t, { CAIRN_SILENCE_LIMIT_MS: '150000', CAIRN_MEMORY_LIMIT_MIB: '1' });
  await until('the daemon is replaced', async () => {
    return (await at.home.stats(at.mountpoint)).supervisor.restarts > 0;
  });
  await changes(t, at, 'after');
  t.match(at.home.log(), /the daemon died: it took \d+ MiB of memory/);
}

/** No daemon can start without the manifest, and nowhere to fetch it from. */
function breakDaemons({ site, home }: Stand): { repair: () => void } {
  const needed = [path.join(home.dir, 'manifests'), path.join(site.base, 'store')];
  for (const folder of needed) renameSync(folder, `${folder}.away`);
  return {
    repair: () => {
      for (const folder of needed) {
        rmSync(folder, { recursive: true, force: true });
        renameSync(`${folder}.away`, folder);
      }
    },
  };
}

async function refusing(t: Test): Promise<void> {
  const at = await stand(t, {});
  const { home, mountpoint, mounted } = at;
  const broken = breakDaemons(at);
  kill(mounted.daemonPid);
  t.match(
    await run(['mkdir', `${mountpoint}/made`], { limit_s: CALL_LIMIT_S }),
    { code: 1, stderr: /Input\/output error/ },
    'the call that waited for a daemon fails',
  );
  t.match(await run(['cat', `${mountpoint}/not-seen`]), { code: 1, stderr: /Input\/output error/ });
  t.match(await run(['stat', mountpoint]), { code: 0 }, 'the mountpoint can be looked at');
  for (const command of ['status', 'stats', 'snapshot']) {
    t.match(
      await home.cairn([command, mountpoint]),
      { code: 1, stderr: /only gives errors: its daemon died 11 times.*see .*\.log; cairn unmount/ },
      `${command} says why`,
    );
  }
  t.match((await home.cairn(['doctor'])).stdout, /fail.*mounts.*only gives errors/, 'so does doctor');
  t.match(home.log(), /only gives errors: its daemon died 11 times/, 'so does the log');
  broken.repair();
  await home.unmount(mountpoint);
  t.match(await home.mount('work', 'mnt'), { resumedEdits: true });
  await changes(t, at, 'later');

  if (process.env['CAIRN_TEST_LARGE'] !== '1') return;
  const again = breakDaemons(at);
  kill((await home.stats(mountpoint)).daemon.pid);
  t.match(await run(['mkdir', `${mountpoint}/made`], { limit_s: CALL_LIMIT_S }), { code: 1 });
  t.match(await run(isRoot ? ['umount', mountpoint] : ['fusermount3', '-u', mountpoint]), { code: 0 });
  again.repair();
  t.match(await home.mount('work', 'mnt'), { resumedEdits: true }, 'umount alone does it as well');
  t.equal(await runDone(['cat', `${mountpoint}/later/file`]), 'later\n', 'the edits are there');
}

async function deadMount(t: Test): Promise<void> {
  const at = await stand(t, {});
  const { home, mountpoint, mounted } = at;
  const leave = `${at.site.base}/leave`;
  const script = 'cd "$1" && exec 3<imported && until test -e "$2"; do sleep 0.1; done';
  const holder = run(['sh', '-c', script, 'sh', mountpoint, leave]);
  await changes(t, at, 'made');
  kill(mounted.supervisorPid);
  kill(mounted.daemonPid);
  t.match(await run(['stat', `${mountpoint}/x`], { limit_s: 20 }), { code: 1 }, 'calls fail, none hangs');
  t.match(
    await home.cairn(['mount', 'work', mountpoint, '--home', at.site.folder('other-home')]),
    { code: 4, stderr: /^cairn: .*dead mount of another home.*\n$/ },
    'not by a stranger',
  );
  t.match(await home.json(['mount', 'work', mountpoint]), { resumedEdits: true, seq: 1 });
  await changes(t, at, 'after');
  t.equal(await runDone(['cat', `${mountpoint}/made/file`]), 'made\n', 'with the edits');
  await home.unmount(mountpoint);
  writeFileSync(leave, '');
  t.match(await holder, { code: 0, stderr: '' });
}
