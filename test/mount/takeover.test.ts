/** `cairn mount --takeover`: other processes for a mount that programs use. */
import { cpSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { whyNoMounts } from './ordinary-user.js';
import { differences, kill, run, runDone, scriptPath, Site, until, type Home, type Mounted } from './site.js';

const TAKEOVERS = 2;
const PACKAGE = fileURLToPath(new URL('../../..', import.meta.url));

if (whyNoMounts !== undefined) {
  t.plan(0, whyNoMounts);
} else {
  t.test(`a mount is taken over ${String(TAKEOVERS)} times while a program works on it`, whileWorking);
  t.test('a takeover that fails leaves the mount as it was', failing);
  t.test('a daemon without a supervisor gets one by a takeover', adopting);
  t.test('a read-only mount stays at its version', readOnly);
}

async function mountedSite(t: Test): Promise<{ site: Site; home: Home; mounted: Mounted }> {
  const site = await Site.start(t);
  const home = site.home();
  const tree = site.folder('tree');
  writeFileSync(`${tree}/imported`, Buffer.alloc(3_000_000, 'imported '));
  await home.import(tree, 'work');
  return { site, home, mounted: await home.mount('work', 'mnt') };
}

async function takeOver(home: Home, mountpoint: string): Promise<Mounted> {
  return (await home.json(['mount', '--takeover', mountpoint])) as Mounted;
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

async function whileWorking(t: Test): Promise<void> {
  const { site, home, mounted } = await mountedSite(t);
  const { mountpoint } = mounted;
  const stopFile = `${site.base}/stop`;
  const script = 'mkdir "$1/work" && exec "$2" "$3" "$1/work" 7 - "$4"';
  const args = [mountpoint, process.execPath, scriptPath('workload.js'), stopFile];
  const work = run(['sh', '-c', script, 'sh', ...args]);
  let last = mounted;
  for (let count = 1; count <= TAKEOVERS; count++) {
    await until('the work goes on', async () => {
      return (await run(['test', '-e', `${mountpoint}/work/c`])).code === 0;
    });
    const next = await takeOver(home, mountpoint);
    t.match(next, { workspace: 'work', seq: 1, mountpoint, readOnly: false, resumedEdits: false });
    await until('the old processes end', () =>
      Promise.resolve(!isRunning(last.supervisorPid) && !isRunning(last.daemonPid)),
    );
    const { supervisor, daemon } = await home.stats(mountpoint);
    t.match(supervisor, { pid: next.supervisorPid, restarts: 0 });
    t.equal(daemon.pid, next.daemonPid);
    last = next;
  }
  kill(last.daemonPid);
  await until('the new supervisor starts daemons', async () => {
    return (await home.stats(mountpoint)).supervisor.restarts === 1;
  });
  writeFileSync(stopFile, '');
  const worked = await work;
  t.match(worked, { code: 0, stderr: '' }, 'no call failed, nothing written was lost');
  const plain = site.folder('plain');
  await runDone(['cp', '-a', `${site.base}/tree/.`, plain]);
  site.folder('plain/work');
  await runDone([process.execPath, scriptPath('workload.js'), `${plain}/work`, '7', worked.stdout]);
  t.same(await differences(plain, mountpoint, { times: false }), [], 'the tree is what the same work made');
  await home.snapshot(mountpoint);
  await home.unmount(mountpoint);
  await until('its processes end', () => Promise.resolve(!isRunning(last.supervisorPid)));
}

/** Another release, whose daemon breaks. */
function brokenRelease(site: Site, breakIt: (folder: string) => void): string {
  const folder = site.folder('release');
  for (const name of ['bin', 'package.json', 'dist/cairn', 'dist/src'])
    cpSync(path.join(PACKAGE, name), path.join(folder, name), { recursive: true });
  breakIt(folder);
  return path.join(folder, 'bin/cairn');
}

async function failing(t: Test): Promise<void> {
  const { site, home, mounted } = await mountedSite(t);
  const { mountpoint } = mounted;
  await runDone(['sh', '-c', 'echo edited >"$1/edit"', 'sh', mountpoint]);
  const modules = `${PACKAGE}/node_modules`;
  const takeOverBy = async (program: string): Promise<unknown> => {
    await runDone(['ln', '-sfn', modules, `${path.dirname(path.dirname(program))}/node_modules`]);
    return await run([process.execPath, program, 'mount', '--takeover', mountpoint], {
      env: home.environment(),
    });
  };
  const notLoading = brokenRelease(site, (folder) => {
    writeFileSync(`${folder}/dist/cairn/daemon-main.js`, "throw new Error('this release is broken');\n");
  });
  t.match(await takeOverBy(notLoading), { code: 1, stderr: /^cairn: .*did not start.*\n$/ });
  const { daemon } = await home.stats(mountpoint);
  t.equal(daemon.pid, mounted.daemonPid, 'a release that does not even load costs nothing');

  const notServing = brokenRelease(site, (folder) => {
    cpSync(`${PACKAGE}/dist/cairn/daemon-main.js`, `${folder}/dist/cairn/daemon-main.js`);
    writeFileSync(
      `${folder}/dist/cairn/session-thread.js`,
      "import { parentPort } from 'node:worker_threads';\nparentPort.once('message', () => { throw new Error('it cannot serve'); });\n",
    );
  });
  t.match(await takeOverBy(notServing), { code: 1, stderr: /^cairn: .*it cannot serve.*\n$/ });
  const after = await home.stats(mountpoint);
  t.equal(after.supervisor.pid, mounted.supervisorPid, 'the old supervisor goes on');
  t.not(after.daemon.pid, mounted.daemonPid, 'with a new daemon of the old release');
  t.equal(await runDone(['cat', `${mountpoint}/edit`]), 'edited\n');
  t.match(await home.cairn(['mount', '--takeover', site.folder('elsewhere')]), { code: 3 });
  t.match(await home.cairn(['mount', '--takeover', mountpoint, 'more']), { code: 2 });
}

async function adopting(t: Test): Promise<void> {
  const { home, mounted } = await mountedSite(t);
  const { mountpoint } = mounted;
  kill(mounted.supervisorPid);
  await runDone(['sh', '-c', 'echo edited >"$1/edit"', 'sh', mountpoint]);
  const next = await takeOver(home, mountpoint);
  t.not(next.supervisorPid, mounted.supervisorPid);
  kill(next.daemonPid);
  t.equal(await runDone(['cat', `${mountpoint}/edit`]), 'edited\n');
  t.equal((await home.stats(mountpoint)).supervisor.restarts, 1, 'its daemon is started again');
}

async function readOnly(t: Test): Promise<void> {
  const { site, home } = await mountedSite(t);
  const { mountpoint } = await home.mount('work', 'version', '--read-only');
  writeFileSync(`${site.base}/tree/later`, '');
  await home.import(`${site.base}/tree`, 'work');
  t.match(await takeOver(home, mountpoint), { seq: 1, readOnly: true });
  t.equal(await runDone(['ls', mountpoint]), 'imported\n');
}
