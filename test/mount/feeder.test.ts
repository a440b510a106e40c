/**
 * The feeder on real mounts: a scan finds its files in the page cache, a listing brings none there, and nothing anybody writes is lost.
 */
import t from 'tap';
import { whyNoMounts } from '../fuse/mounted-session.js';
import {
  differences,
  isRoot,
  pause,
  programPath,
  runDone,
  Site,
  until,
  type Home,
  type Mounted,
} from './site.js';

const skip = whyNoMounts() ?? false;
const RUNS = Number(process.env['CAIRN_TEST_RUNS'] ?? 1);

const DIRECTORIES = 60;
const FILES_IN_EACH = 40;
const FILES = DIRECTORIES * FILES_IN_EACH;
const STRESS_S = 6 * RUNS;
const SNAPSHOT_EVERY_MS = 1500;

async function stress(...args: string[]): Promise<string> {
  return await runDone(['python3', programPath('feeder-stress.py'), ...args], { limit_s: 60 + STRESS_S });
}

async function makeTree(site: Site): Promise<string> {
  const tree = site.folder('tree');
  await stress('make', tree, String(DIRECTORIES), String(FILES_IN_EACH));
  return tree;
}

/** READs since the mount began, and files that were pushed. */
async function counts(home: Home, { mountpoint }: Mounted): Promise<{ reads: number; pushed: number }> {
  const { fuse } = await home.stats(mountpoint);
  return { reads: fuse.requests['READ'] ?? 0, pushed: fuse.pushedFiles };
}

t.test('a scan asks for few of its files; what it reads is what was imported', { skip }, async (t) => {
  const site = await Site.start(t);
  const home = site.home();
  const tree = await makeTree(site);
  await home.import(tree, 'w');
  const mounted = await home.mount('w', 'mnt');
  // The blocks are brought into the cache by this; what is pushed comes from there.
  await runDone(['tar', 'cf', '/dev/null', '--use-compress-program=cat', mounted.mountpoint]);
  await home.unmount(mounted.mountpoint);

  const listed = await home.mount('w', 'mnt');
  await runDone(['find', listed.mountpoint, '-type', 'f', '-size', '+1']);
  t.same(await counts(home, listed), { reads: 0, pushed: 0 }, 'a find brings nothing into memory');
  // Who reads first wakes the feeder, which takes its time to start.
  let woken = 0;
  await until('the feeder pushes', async () => {
    const directory = `${listed.mountpoint}/d${String(woken++).padStart(3, '0')}`;
    await runDone(['sh', '-c', `cat ${directory}/* >/dev/null`]);
    return (await counts(home, listed)).pushed > 0;
  });
  const before = await counts(home, listed);
  t.same(await differences(tree, listed.mountpoint), []);
  const after = await counts(home, listed);
  const files = FILES - woken * FILES_IN_EACH;
  const [reads, pushed] = [after.reads - before.reads, after.pushed - before.pushed];
  t.comment(`${String(reads)} READs, ${String(pushed)} pushed of ${String(files)} files`);
  t.ok(pushed > files / 2, 'most files were pushed');
  t.ok(reads < files / 2, 'and few asked for');
  await home.unmount(listed.mountpoint);
});

t.test(
  'laws 1, 3 and 10: nothing written is lost, and nothing stale read, while the feeder is at work',
  { skip },
  async (t) => {
    const site = await Site.start(t);
    const home = site.home();
    await home.import(await makeTree(site), 'w');
    const { mountpoint } = await home.mount('w', 'mnt');
    const result = site.folder('result');
    const running = { value: true };
    const snapshots = (async () => {
      // After each the files that were changed are the version's again, and may be pushed.
      while (running.value) {
        await pause(SNAPSHOT_EVERY_MS);
        await home.snapshot(mountpoint);
      }
    })();
    const found = JSON.parse(await stress('run', mountpoint, result, String(STRESS_S), '1')) as string[];
    running.value = false;
    await snapshots;
    t.same(found, []);
    t.same(JSON.parse(await stress('check', mountpoint, result)), []);
    const { fuse } = await home.stats(mountpoint);
    t.ok(
      fuse.pushedFiles > 0 || !isRoot,
      `${String(fuse.pushedFiles)} pushed, ${String(fuse.requests['READ'])} READs`,
    );
    await home.snapshot(mountpoint);
    await home.unmount(mountpoint);
    const again = await home.mount('w', 'again');
    t.same(JSON.parse(await stress('check', again.mountpoint, result)), [], 'and all of it is published');
    await home.unmount(again.mountpoint);
  },
);
