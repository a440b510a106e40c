/**
 * What programs hold on to, or look at from two sides: locks, mappings, watches, positions in a listing, sparse files, hard links. Every
 * operation of `locks-and-maps.py` passes on the local disk first.
 */
import { copyFileSync, linkSync, mkdirSync, writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { whyNoMounts } from './ordinary-user.js';
import { isRoot, programPath, run, runDone, Site, type Home, type Ran } from './site.js';

const OPERATIONS: Readonly<Record<string, string>> = {
  maps_between_processes: 'shared and private mappings of two processes agree with read, write and truncate',
  flocks:
    'flock excludes another process, until the last copy of the descriptor is closed, or its process killed',
  record_locks: 'POSIX locks are of a process and a range, and end with any close of the file',
  open_file_locks: 'open file description locks are of a descriptor and its copies',
  xattr_limits: 'extended attributes have their limits, and say which',
  listing_while_changed: 'a listing has all lasting entries once, while others come and go',
  positions: 'telldir and seekdir lead to the same entries, whatever has come and gone',
};

const LIMIT_S = 100;
const MANY = 50_000;
type DataRanges = Record<string, [size: number, ranges: [from: number, to: number][]]>;

/** A version keeps holes between chunks, not within them. */
const PUBLISHED_RANGE_MAX_BYTES = 9 * 1024 * 1024;
/** Of 1.5 GB, of which 2 MiB are data. */
const SPARSE_TAKES_BYTES = 100_000_000;

if (whyNoMounts !== undefined) {
  t.plan(0, whyNoMounts);
} else {
  const { plain, mountpoint } = await mountedSite(t);
  for (const [name, what] of Object.entries(OPERATIONS)) {
    t.test(what, async (t) => {
      for (const folder of [`${plain}/${name}`, `${mountpoint}/${name}`]) {
        await runDone(['mkdir', folder]);
        t.match(await operation(name, folder), { code: 0, stdout: '', stderr: '' }, folder);
      }
    });
  }
  t.test('inotify tells of every change what it tells on the local disk', watches);
  t.test('a birth time stays, through renames, edits, a snapshot and another mount', births);
  t.test('a sparse file stays sparse, through a snapshot, another mount and restore', sparse);
  t.test('the names of a file that is changed stay one file, in the version too', hardLinks);
  t.test(`${String(MANY)} imported entries are listed and removed`, manyRemoved);
  t.test('statfs is that of the disk the edits are on', freeSpace);
  t.test('overlayfs stands on a read-only mount, and above a writable one', overlay);
}

async function operation(name: string, ...args: string[]): Promise<Ran> {
  return await run(['python3', programPath('locks-and-maps.py'), name, ...args], { limit_s: LIMIT_S });
}

async function answer(name: string, ...args: string[]): Promise<unknown> {
  return JSON.parse(
    await runDone(['python3', programPath('locks-and-maps.py'), name, ...args], { limit_s: LIMIT_S }),
  );
}

interface Mounted {
  site: Site;
  home: Home;
  plain: string;
  mountpoint: string;
}

/** The same tree twice: on the local disk, and imported and mounted. `fill` makes what is in its folder `work`. */
async function mountedSite(
  t: Test,
  fill: (work: string) => void | Promise<void> = () => undefined,
): Promise<Mounted> {
  const site = await Site.start(t);
  const home = site.home();
  const plain = site.folder('plain');
  mkdirSync(`${plain}/work`);
  await fill(`${plain}/work`);
  await home.import(plain, 'tree');
  const { mountpoint } = await home.mount('tree', 'mnt');
  return { site, home, plain, mountpoint };
}

/** Takes a snapshot, and mounts it on another machine and, after an unmount, on this. */
async function publishedAndMounted({ site, home, mountpoint }: Mounted): Promise<string[]> {
  const { seq } = await home.snapshot(mountpoint);
  const version = await site.home('other').mount(`tree@${String(seq)}`, 'version', '--read-only');
  await home.unmount(mountpoint);
  await home.mount('tree', 'mnt');
  return [mountpoint, version.mountpoint];
}

async function watches(t: Test): Promise<void> {
  const { plain, mountpoint } = await mountedSite(t);
  const expected = await answer('watches', `${plain}/work`);
  t.ok(Array.isArray(expected) && expected.length > 30);
  t.same(await answer('watches', `${mountpoint}/work`), expected);
}

async function births(t: Test): Promise<void> {
  const mounted = await mountedSite(t, (work) => {
    writeFileSync(`${work}/imported`, Buffer.alloc(500_000, 'imported'));
  });
  const { plain, mountpoint } = mounted;
  const imported = (await answer('birth_times', `${plain}/work`)) as Record<string, number>;
  t.same(await answer('birth_times', `${mountpoint}/work`), imported, 'that of the import is kept');
  const born = (await answer('births', `${mountpoint}/work`)) as Record<string, number>;
  t.equal(born['imported'], imported['imported']);
  t.match(await operation('births', `${plain}/work`), { code: 0 });
  for (const folder of await publishedAndMounted(mounted)) {
    t.same(await answer('birth_times', `${folder}/work`), born, folder);
  }
}

async function sparse(t: Test): Promise<void> {
  const mounted = await mountedSite(t);
  const { site, home, plain, mountpoint } = mounted;
  for (const folder of [plain, mountpoint]) {
    t.match(await operation('make_sparse', `${folder}/work`), { code: 0, stderr: '' });
  }
  const expected = (await answer('data_ranges', `${plain}/work`)) as DataRanges;
  t.same(await answer('data_ranges', `${mountpoint}/work`), expected, 'on the mount');
  const published = await publishedAndMounted(mounted);
  await home.json(['restore', 'tree:work', `${site.base}/restored`]);
  for (const work of [...published.map((folder) => `${folder}/work`), `${site.base}/restored`]) {
    const found = (await answer('data_ranges', work)) as DataRanges;
    for (const [name, [size, ranges]] of Object.entries(expected)) {
      const [foundSize, foundRanges] = found[name] ?? [0, []];
      t.equal(foundSize, size, `${work}/${name}`);
      const covered = ranges.filter(([from, to]) => foundRanges.some(([a, b]) => a <= from && to <= b));
      t.same(covered, ranges);
      const bytes = foundRanges.reduce((sum, [from, to]) => sum + to - from, 0);
      t.ok(bytes <= ranges.length * PUBLISHED_RANGE_MAX_BYTES, `${String(bytes)} bytes of data`);
    }
  }
  t.match(await run(['diff', '-r', `${plain}/work/`, `${site.base}/restored/`]), { code: 0 });
  // Of the site, its mounts left out: layers, store, cache, and what was restored.
  const [bytes = ''] = (await runDone(['du', '-sxB1', site.base])).split('\t');
  t.ok(Number(bytes) < SPARSE_TAKES_BYTES, `${bytes} bytes of the disk are taken`);
}

async function hardLinks(t: Test): Promise<void> {
  const mounted = await mountedSite(t, (work) => {
    mkdirSync(`${work}/within`);
    writeFileSync(`${work}/one`, 'content of the version');
    for (const name of ['two', 'three', 'within/four']) linkSync(`${work}/one`, `${work}/${name}`);
  });
  const { mountpoint } = mounted;
  const [ino, ...before] = (await answer('linked', `${mountpoint}/work`)) as unknown[];
  t.same(before, [4, '0o100644', 'content of the version']);
  const changed = [ino, 3, '0o100640', 'changed of the version and more'];
  t.same(await answer('write_linked', `${mountpoint}/work`), changed);
  for (const folder of await publishedAndMounted(mounted)) {
    t.same(await answer('linked', `${folder}/work`), changed, folder);
  }
}

async function manyRemoved(t: Test): Promise<void> {
  const { home, mountpoint } = await mountedSite(t, async (work) => {
    await runDone(['sh', '-c', `cd ${work} && seq ${String(MANY)} | xargs touch`]);
  });
  t.match(await operation('positions', `${mountpoint}/work`), { code: 0, stderr: '' });
  t.match(await operation('listing_while_changed', `${mountpoint}/work`, '5'), { code: 0, stderr: '' });
  t.match(await run(['rm', '-rf', `${mountpoint}/work`], { limit_s: LIMIT_S }), { code: 0, stderr: '' });
  t.match(await run(['ls', '-A', mountpoint]), { code: 0, stdout: '' });
  await home.snapshot(mountpoint);
  t.match(await home.cairn(['ls', 'tree:']), { code: 0, stdout: '' });
}

async function freeSpace(t: Test): Promise<void> {
  const { home, mountpoint } = await mountedSite(t);
  t.match(await operation('free_space', mountpoint, home.dir), { code: 0, stderr: '' });
}

async function overlay(t: Test): Promise<void> {
  if (!isRoot || (await run(['unshare', '-m', 'true'])).code !== 0) {
    t.pass('only root may mount an overlay', { skip: 'only root may mount an overlay' });
    return;
  }
  const { site, home, plain, mountpoint } = await mountedSite(t, (work) => {
    for (const name of ['kept', 'changed', 'removed', 'moved']) writeFileSync(`${work}/${name}`, `${name}\n`);
    mkdirSync(`${work}/folder`);
    copyFileSync(`${work}/kept`, `${work}/folder/within`);
  });
  const lower = (await home.mount('tree', 'lower', '--read-only')).mountpoint;
  const merged = site.folder('merged');
  const mount = `mkdir -p $2/upper $2/work && mount -t overlay overlay -o lowerdir=$1,upperdir=$2/upper,workdir=$2/work ${merged}`;
  const change = 'echo more >> changed && rm removed && mv moved renamed && rm -r folder && mkdir folder';
  const show = 'for name in $(find . | sort); do echo $name; test -d $name || cat $name; done';
  const script = `${mount} && cd ${merged}/work && ${change} && ${show}`;
  // Its upper layer is in memory: the disk of a container may be an overlay itself, which no overlay can write to.
  const upper = site.folder('upper');
  const inMemory = `mount -t tmpfs tmpfs ${upper} && ${script}`;
  const shown = await run(['unshare', '-m', 'sh', '-c', inMemory, 'sh', lower, upper]);
  const expected = await runDone(['sh', '-c', `cd ${plain}/work && ${change} && ${show}`]);
  t.match(shown, { code: 0, stderr: '', stdout: expected });
  t.match(await run(['ls', `${lower}/work`]), { stdout: 'changed\nfolder\nkept\nmoved\nremoved\n' });

  const above = await run(['unshare', '-m', 'sh', '-c', script, 'sh', lower, mountpoint]);
  t.match(above, { code: 0, stderr: '', stdout: expected }, 'its upper layer is on a mount too');
  t.match(await run(['ls', `${mountpoint}/upper/work`]), {
    stdout: 'changed\nfolder\nmoved\nremoved\nrenamed\n',
  });
}
