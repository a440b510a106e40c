import { mkdirSync, writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { patternedBytes } from '../fixtures/patterned-bytes.js';
import { whyNoMounts } from './ordinary-user.js';
import { differences, isRoot, kill, run, runDone, Site, until, type Home, type Ran } from './site.js';
import { empty, fill, mountSmallDisk, type DiskOptions } from './small-disk.js';

const ONE_LINE = /^cairn: [^\n]+: [^\n]+\n$/;
const NO_SPACE = /No space left on device/;
const MIB = 1024 * 1024;
const FILES = 12;

if (whyNoMounts !== undefined) {
  t.plan(0, whyNoMounts);
} else if (!isRoot) {
  t.plan(0, 'only root can make a small disk');
} else {
  t.test('the cache gives way to edits, and what is read goes on without it', cacheGivesWay);
  t.test('a disk that others fill to the last byte', async (t) => {
    await filledByOthers(t, { mib: 64 });
  });
  t.test('a disk whose inodes others use up', async (t) => {
    await filledByOthers(t, { mib: 64, inodes: 512 });
  });
  t.test(
    'names alone fill the disk: the one that is too many is refused, and all can be removed',
    namesAlone,
  );
  t.test('a store that is full: the snapshot waits, and is published when there is room', fullStore);
}

interface SmallSite {
  site: Site;
  home: Home;
  /** What the mount must show. */
  tree: string;
}

/** A workspace `work` of `FILES` files of a MiB, and a home on a disk of its own. Undefined, and the test skipped, where there can be none. */
async function smallSite(t: Test, options: DiskOptions): Promise<SmallSite | undefined> {
  const site = await Site.start(t);
  const tree = site.folder('tree');
  mkdirSync(`${tree}/version`);
  for (let index = 0; index < FILES; index++)
    writeFileSync(`${tree}/version/${String(index)}`, patternedBytes(index, MIB));
  await site.home('publisher').import(tree, 'work');
  const home = site.home();
  const why = await mountSmallDisk(home.dir, options);
  if (why === undefined) return { site, home, tree };
  t.pass('skipped', { skip: why });
  return undefined;
}

/** Runs a script with the mountpoint as `$1`. */
async function on(mountpoint: string, script: string): Promise<Ran> {
  return await run(['sh', '-c', script, 'sh', mountpoint], { limit_s: 60 });
}

async function isWhole(t: Test, { tree }: SmallSite, mountpoint: string, title: string): Promise<void> {
  // Past the kernel's pages, where everything looks whole.
  await run(['sh', '-c', 'echo 1 > /proc/sys/vm/drop_caches']);
  t.same(await differences(tree, mountpoint, { times: false }), [], title);
}

async function cacheGivesWay(t: Test): Promise<void> {
  const small = await smallSite(t, { mib: 48 });
  if (small === undefined) return;
  const { home, tree } = small;
  const { mountpoint, daemonPid } = await home.mount('work', 'mnt');
  await isWhole(t, small, mountpoint, 'all is read, and cached');
  t.ok((await home.stats(mountpoint)).cache.bytes > FILES * MIB);

  const write = 'head -c 20M /dev/zero | tr "\\0" x > "$1/edit" && sync "$1/edit"';
  t.match(await on(mountpoint, write), { code: 0, stderr: '' });
  await on(tree, write);
  t.ok((await home.stats(mountpoint)).cache.bytes < FILES * MIB, 'the cache has become smaller');
  t.match(await on(mountpoint, 'head -c 40M /dev/zero > "$1/too-large"'), { code: 1, stderr: NO_SPACE });
  t.match(await on(mountpoint, 'rm "$1/too-large"'), { code: 0, stderr: '' });
  await isWhole(t, small, mountpoint, 'what was read before is read again');
  t.match(await home.stats(mountpoint), { daemon: { pid: daemonPid } }, 'by the same daemon');
}

/** Until the mount takes nothing more, and nothing it gives back is left to take. */
async function fillWithMount(home: Home, mountpoint: string): Promise<void> {
  for (let round = 0; round < 20; round++) {
    await fill(home.dir);
    const made = await on(mountpoint, 'echo x > "$1/made" && rm "$1/made"');
    if (made.code !== 0) return;
  }
  throw new Error('the disk does not get full');
}

const MSYNC = `
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
view = mmap.mmap(fd, 1 << 20)
view[0:1 << 20] = b"y" * (1 << 20)
try:
    view.flush()
except OSError as error:
    print(error.strerror, flush=True)
os._exit(0)
`;

async function filledByOthers(t: Test, options: DiskOptions): Promise<void> {
  const small = await smallSite(t, options);
  if (small === undefined) return;
  const { home, tree, site } = small;
  const { mountpoint, daemonPid } = await home.mount('work', 'mnt');
  const edit =
    'mkdir "$1/edits"; for i in $(seq 200); do echo $i > "$1/edits/$i"; done; echo edited > "$1/version/3"';
  for (const place of [mountpoint, tree]) t.match(await on(place, edit), { code: 0, stderr: '' });
  await fillWithMount(home, mountpoint);
  const done = async (script: string, title: string): Promise<void> => {
    t.match(await on(mountpoint, script), { code: 0, stderr: '' }, title);
    await on(tree, script);
  };

  await isWhole(t, small, mountpoint, 'all can be read');
  for (const refused of ['echo x > "$1/new"', 'mkdir "$1/new"', 'head -c 9000 /dev/zero >> "$1/edits/1"'])
    t.match(await on(mountpoint, refused), { stderr: NO_SPACE }, `refused: ${refused}`);
  if (options.inodes === undefined)
    t.match(
      await run(['python3', '-c', MSYNC, `${mountpoint}/version/4`]),
      { stdout: /No space left/ },
      'msync says so too',
    );
  await isWhole(t, small, mountpoint, 'what was refused changed nothing');
  t.match(await home.status(mountpoint), { seq: 1 }, 'status answers');
  await done(
    'rm "$1/edits/2" "$1/version/5" && rmdir "$1/edits/none" 2>/dev/null; test ! -e "$1/edits/2"',
    'rm',
  );
  t.match(await home.stats(mountpoint), { daemon: { pid: daemonPid } }, 'all by the same daemon');

  await fill(home.dir);
  kill(daemonPid);
  await done('rm "$1/edits/7"', 'the next daemon starts on the full disk, and removes');
  await isWhole(t, small, mountpoint, 'with all that was written');
  const ran = await home.cairn(['snapshot', mountpoint, '-m', 'full']);
  t.ok([0, 1].includes(ran.code ?? -1), `a snapshot: ${ran.stdout}${ran.stderr}`);
  if (ran.code === 1) t.match(ran.stderr, ONE_LINE);
  await isWhole(t, small, mountpoint, 'nothing is lost by it');

  await fill(home.dir);
  await done('rm "$1/edits/10"', 'and the edits go on');
  await home.unmount(mountpoint);
  await fill(home.dir);
  t.match(await home.mount('work', 'mnt'), { mountpoint }, 'mounted again on the full disk');
  await isWhole(t, small, mountpoint, 'the edits are there');
  await done('rm "$1/edits/8"', 'and files can be removed');

  const { daemon } = await home.stats(mountpoint);
  await empty(home.dir);
  await done(
    'echo y > "$1/new" && head -c 100000 /dev/zero > "$1/edits/9"',
    'with space it takes edits again',
  );
  t.match(await home.stats(mountpoint), { daemon: { pid: daemon.pid } }, 'without another daemon');
  const { seq } = await home.snapshot(mountpoint);
  const version = await site.home('other').mount(`work@${String(seq)}`, 'version', '--read-only');
  t.same(
    await differences(tree, version.mountpoint, { times: false }),
    [],
    'the version is what was written',
  );
}

async function namesAlone(t: Test): Promise<void> {
  const small = await smallSite(t, { mib: 32 });
  if (small === undefined) return;
  const { home } = small;
  const { mountpoint, daemonPid } = await home.mount('work', 'mnt');
  const touch = `import os, sys
os.mkdir(sys.argv[1])
for number in range(20000):
    os.symlink("x" * 4000, f"{sys.argv[1]}/{number}")
`;
  const ran = await run(['python3', '-c', touch, `${mountpoint}/names`]);
  t.match(ran, { code: 1, stderr: NO_SPACE });
  const made = Number((await on(mountpoint, 'ls "$1/names" | wc -l')).stdout);
  t.ok(made > 500, `${String(made)} were made`);
  t.match(await home.status(mountpoint), { seq: 1 });
  t.match(await on(mountpoint, 'rm -r "$1/names" && echo x > "$1/new"'), { code: 0, stderr: '' });
  await on(small.tree, 'echo x > "$1/new"');
  await isWhole(t, small, mountpoint, 'all is as it was');
  t.match(await home.stats(mountpoint), { daemon: { pid: daemonPid } });
}

async function fullStore(t: Test): Promise<void> {
  const small = await smallSite(t, { mib: 64 });
  if (small === undefined) return;
  // The disk is the store's here.
  const { home, site } = small;
  const folder = home.dir;
  site.store.url = `file://${folder}/store`;
  const elsewhere = { env: { CAIRN_CATALOG: `sqlite://${site.base}/elsewhere.sqlite` } };
  const editor = site.home('editor');
  t.match(await editor.cairn(['import', small.tree, '--workspace', 'work'], elsewhere), { code: 0 });
  const mountpoint = site.folder('mnt');
  t.match(await editor.cairn(['mount', 'work', mountpoint], elsewhere), { code: 0 });
  await runDone(['sh', '-c', 'head -c 3000000 /dev/urandom > "$1/new"', 'sh', mountpoint]);
  await fill(folder);
  const ran = await editor.cairn(['snapshot', mountpoint], elsewhere);
  t.match(ran, { code: 1, stdout: '', stderr: ONE_LINE });
  t.match(ran.stderr, /no space.*make room.*sealed and kept/i);
  t.match(await editor.status(mountpoint), {
    sealedLayers: 1,
    publishing: { failure: { nextAttemptMs: Number } },
  });
  await empty(folder);
  await until('it is published', async () => (await editor.status(mountpoint)).sealedLayers === 0);
  const cat = await editor.cairn(['restore', 'work@2:new', `${site.base}/restored`], elsewhere);
  t.match(cat, { code: 0 });
  t.match(await run(['cmp', `${site.base}/restored`, `${mountpoint}/new`]), { code: 0 });
}
