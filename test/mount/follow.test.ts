import { writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { whyNoMounts } from './ordinary-user.js';
import { differences, kill, run, runDone, Site, until, type Home } from './site.js';

if (whyNoMounts !== undefined) {
  t.plan(0, whyNoMounts);
} else {
  t.test('a mount that follows shows what another publishes, exactly, and keeps its edits', follows);
  t.test('edits in the way of a new version hold it up, status says so, and a rebase ends that', heldUp);
  t.test('a daemon killed while it follows goes on from where it was', killed);
  t.test(
    'a read-only mount follows exactly, killed or taken over, and its open files stay what they were',
    readOnly,
  );
}

const FILES = { kept: 'base', changed: 'base', removed: 'base', 'dir/inner': 'base', 'dir/other': 'base' };

interface Pair {
  site: Site;
  writer: { home: Home; mountpoint: string };
  reader: { home: Home; mountpoint: string };
}

/** Two machines with one workspace; one of them follows. */
async function pair(t: Test, ...how: string[]): Promise<Pair> {
  const site = await Site.start(t);
  const tree = site.folder('tree');
  site.folder('tree/dir');
  for (const [name, text] of Object.entries(FILES)) writeFileSync(`${tree}/${name}`, text);
  const [one, other] = [site.home('one'), site.home('other')];
  await one.import(tree, 'work');
  const writer = { home: one, mountpoint: (await one.mount('work', 'writer')).mountpoint };
  const reader = {
    home: other,
    mountpoint: (await other.mount('work', 'reader', '--follow', ...how)).mountpoint,
  };
  return { site, writer, reader };
}

async function sh(cwd: string, script: string): Promise<string> {
  return await runDone(['sh', '-ec', script], { cwd });
}

async function isAt({ home, mountpoint }: Pair['reader'], seq: number): Promise<void> {
  await until(`the mount is at ${String(seq)}`, async () => (await home.status(mountpoint)).seq === seq);
}

async function follows(t: Test): Promise<void> {
  const { writer, reader } = await pair(t);
  t.match(await reader.home.status(reader.mountpoint), { seq: 1, following: {} });
  // All of it is in the kernel's caches, absences too, when it changes elsewhere.
  const look = 'cat kept changed; cat removed dir/moved 2>/dev/null || true; ls -A . dir; stat -c %Y changed';
  await sh(reader.mountpoint, look);
  await sh(reader.mountpoint, 'mkdir mine; echo mine > mine/file');
  await sh(reader.mountpoint, 'exec 4< removed; sleep 1000 <&4 >/dev/null 2>&1 & echo $! > mine/pid');
  await sh(
    writer.mountpoint,
    'echo theirs > changed; rm removed; mv dir/inner dir/moved; chmod 600 kept; echo new > dir/new',
  );
  await sh(writer.mountpoint, 'rm -r dir/other; mkdir -p dir/deep/er; ln kept dir/linked');
  t.match(await writer.home.snapshot(writer.mountpoint), { seq: 2 });
  // The root directory differs on both sides: ours has `mine`.
  await sh(reader.mountpoint, 'kill $(cat mine/pid); rm -r mine');
  await isAt(reader, 2);
  t.same(
    await differences(reader.mountpoint, writer.mountpoint),
    [],
    'the same tree, seen through the kernel',
  );

  await sh(reader.mountpoint, 'echo mine >> kept');
  await sh(writer.mountpoint, 'echo more > dir/new');
  t.match(await writer.home.snapshot(writer.mountpoint), { seq: 3 });
  await isAt(reader, 3);
  t.equal(await sh(reader.mountpoint, 'cat dir/new kept'), 'more\nbasemine\n');
  const status = await reader.home.status(reader.mountpoint);
  t.match(status, { seq: 3, headSeq: 3, sealedLayers: 0 });
  t.ok(status.entries.some(({ path }) => path === 'kept'));
  t.match(
    await reader.home.snapshot(reader.mountpoint),
    { created: true, seq: 4 },
    'on what it has followed to',
  );
}

async function heldUp(t: Test): Promise<void> {
  const { writer, reader } = await pair(t);
  await sh(reader.mountpoint, 'echo mine > changed');
  await sh(writer.mountpoint, 'echo theirs > changed; echo theirs > dir/other');
  t.match(await writer.home.snapshot(writer.mountpoint), { seq: 2 });
  await until('it is held up', async () => {
    const { following } = await reader.home.status(reader.mountpoint);
    return following?.heldUp?.headSeq === 2;
  });
  const said = await reader.home.cairn(['status', reader.mountpoint]);
  t.match(said.stdout, /edits here are in the way of @2 since .*: cairn snapshot --rebase merges them/);
  t.equal(await sh(reader.mountpoint, 'cat changed dir/other'), 'mine\nbase', 'nothing has happened');

  const rebased = await reader.home.json(['snapshot', reader.mountpoint, '--rebase']);
  t.match(rebased, { created: true, seq: 3, rebased: { moved: true } });
  const { following, seq } = await reader.home.status(reader.mountpoint);
  t.same({ following, seq }, { following: {}, seq: 3 });
  t.equal(await sh(reader.mountpoint, 'cat changed dir/other'), 'mine\ntheirs\n');

  await sh(reader.mountpoint, 'echo again > changed');
  await sh(writer.mountpoint, 'echo x > kept');
  await writer.home.json(['snapshot', writer.mountpoint, '--rebase']);
  await isAt(reader, 4);
  await sh(writer.mountpoint, 'echo theirs > changed');
  t.match(await writer.home.snapshot(writer.mountpoint), { seq: 5 });
  await until('it is held up again', async () => {
    const now = await reader.home.status(reader.mountpoint);
    return now.following?.heldUp?.headSeq === 5;
  });
  t.match((await reader.home.cairn(['snapshot', reader.mountpoint])).code, 4, 'as without --follow');
  await reader.home.json(['snapshot', reader.mountpoint, '--rebase']);
  await isAt(reader, 6);
}

async function killed(t: Test): Promise<void> {
  const { writer, reader } = await pair(t);
  for (let seq = 2; seq < 8; seq += 1) {
    await sh(reader.mountpoint, 'cat changed; ls -la dir');
    await sh(
      writer.mountpoint,
      `echo ${String(seq)} > changed; echo > dir/${String(seq)}; rm -f dir/${String(seq - 1)}`,
    );
    const { daemon } = await reader.home.stats(reader.mountpoint);
    await writer.home.snapshot(writer.mountpoint);
    // At another moment of its move each time: not yet, in the middle, or done.
    await new Promise((resolve) => setTimeout(resolve, (seq - 2) * 60));
    kill(daemon.pid);
    await isAt(reader, seq);
    await until('the kernel is told', async () => {
      return (await differences(reader.mountpoint, writer.mountpoint)).length === 0;
    });
  }
  t.same(await differences(reader.mountpoint, writer.mountpoint), []);
}

/** Bytes that nothing has read so far: what the kernel has would say nothing of the daemon. */
function unread(file: string, mib: number): string {
  return `tail -c +${String(mib * 1024 * 1024 + 1)} ${file} | head -c 1000 | sha256sum`;
}

async function readOnly(t: Test): Promise<void> {
  const { writer, reader } = await pair(t, '--read-only');
  t.match(await reader.home.status(reader.mountpoint), { seq: 1, readOnly: true, following: {} });
  // All of it is in the kernel's caches, absences too.
  await sh(reader.mountpoint, 'cat kept changed dir/inner; cat absent big 2>/dev/null || true; ls -lA . dir');
  await sh(writer.mountpoint, 'for i in 1 2; do head -c 6291456 /dev/urandom > big$i; done');
  await writer.home.snapshot(writer.mountpoint);
  await isAt(reader, 2);
  const held = async (name: string): Promise<string> => {
    const holder = Number(await sh(reader.mountpoint, `sleep 1000 <${name} >/dev/null 2>&1 & echo $!`));
    t.teardown(() => kill(holder));
    return `/proc/${String(holder)}/fd/0`;
  };
  const [first, second] = [await held('big1'), await held('big2')];
  const whole: string[] = [];
  for (const mib of [0, 2, 4])
    whole.push(await sh(writer.mountpoint, `${unread('big1', mib)}; ${unread('big2', mib)}`));

  await sh(
    writer.mountpoint,
    'echo theirs > changed; rm big1 removed; mv dir/inner dir/moved; chmod 600 kept; echo new > absent; rm -r dir/other; ln kept dir/linked',
  );
  t.match(await writer.home.snapshot(writer.mountpoint), { seq: 3 });
  await isAt(reader, 3);
  t.same(
    await differences(reader.mountpoint, writer.mountpoint),
    [],
    'the same tree, seen through the kernel',
  );
  t.equal(await sh('/', `${unread(first, 0)}; ${unread(second, 0)}`), whole[0], 'what is open and gone');
  t.equal(await sh('/', `stat -L -c %h ${first} ${second}`), '0\n1\n');
  t.match(await run(['sh', '-c', `echo x > ${reader.mountpoint}/changed`]), { stderr: /Read-only/ });

  const { daemon } = await reader.home.stats(reader.mountpoint);
  kill(daemon.pid);
  await until('the next daemon answers', async () => {
    return (await reader.home.stats(reader.mountpoint)).daemon.pid !== daemon.pid;
  });
  await sh(writer.mountpoint, 'rm big2; echo after > changed');
  await writer.home.snapshot(writer.mountpoint);
  // Before its move, in the middle, or after it.
  kill((await reader.home.stats(reader.mountpoint)).daemon.pid);
  await isAt(reader, 4);
  await until('the kernel is told', async () => {
    return (await differences(reader.mountpoint, writer.mountpoint)).length === 0;
  });
  t.equal(await sh('/', `${unread(first, 2)}; ${unread(second, 2)}`), whole[1], 'a daemon later');
  await reader.home.json(['mount', '--takeover', reader.mountpoint]);
  t.equal(
    await sh('/', `${unread(first, 4)}; ${unread(second, 4)}`),
    whole[2],
    'and for those who took over',
  );
  await sh(writer.mountpoint, 'echo last > changed');
  await writer.home.snapshot(writer.mountpoint);
  await isAt(reader, 5);
  t.equal(await sh(reader.mountpoint, 'cat changed'), 'last\n');
}
