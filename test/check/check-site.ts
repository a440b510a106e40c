/** A home with a store and a catalog of its own: some versions of a small tree of every kind, and edits of a mount that ended. */
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  closeSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join, relative } from 'node:path';
import type { Test } from 'tap';
import { checkAll, type CheckOptions, type CheckSummary, type Finding } from '../../src/check/index.js';
import type { Version } from '../../src/catalog/index.js';
import { isRegular, ROOT_INO, S_IFREG } from '../../src/core/index.js';
import { walk } from '../../src/manifest/index.js';
import { setXattr } from '../../src/posix/index.js';
import { readContent } from '../../src/snapshot/index.js';
import { layerDir, LayerSet, UpperLayer, type LayerInode } from '../../src/upper/index.js';
import { randomBytesOf } from '../fixtures/oddities.js';
import { scratchFolder } from '../fixtures/scratch-folder.js';
import { openStores, type Stores } from '../snapshot/stores.js';

const MIB = 1024 * 1024;

export interface CheckSite {
  dir: string;
  home: string;
  /** The folder of the mount that ended. */
  mount: string;
  /** demo@1 to demo@3. */
  versions: Version[];
}

/** Embedded, packed, chunked, sparse, hard and symbolic links, xattrs. */
function buildTree(dir: string): void {
  mkdirSync(join(dir, 'folder'), { recursive: true });
  writeFileSync(join(dir, 'embedded'), 'a few bytes\n');
  writeFileSync(join(dir, 'folder', 'packed'), 'packed with its neighbours\n'.repeat(40));
  writeFileSync(join(dir, 'folder', 'neighbour'), randomBytesOf(1, 3000));
  linkSync(join(dir, 'folder', 'packed'), join(dir, 'hard-link'));
  symlinkSync('folder/packed', join(dir, 'symbolic-link'));
  writeFileSync(join(dir, 'chunked'), randomBytesOf(2, 3 * MIB));
  setXattr(Buffer.from(join(dir, 'chunked')), Buffer.from('user.note'), Buffer.from('of some use'));
  const sparse = openSync(join(dir, 'sparse'), 'w');
  ftruncateSync(sparse, 20 * MIB);
  writeSync(sparse, randomBytesOf(3, 5000), 0, 5000, 9 * MIB);
  closeSync(sparse);
}

export async function startSite(t: Test, catalogUrl?: string): Promise<CheckSite> {
  const dir = scratchFolder(t);
  const [home, tree] = [join(dir, 'home'), join(dir, 'tree')];
  buildTree(tree);
  const stores = await openStores(home, { catalog: catalogUrl });
  const versions: Version[] = [];
  const publish = async (): Promise<void> => {
    versions.push((await stores.import(tree)).version);
  };
  await publish();
  appendFileSync(join(tree, 'folder', 'packed'), 'and one line more\n');
  await publish();
  rmSync(join(tree, 'embedded'));
  writeFileSync(join(tree, 'new'), randomBytesOf(4, 500));
  await publish();
  const mount = join(home, 'mounts', 'demo-0');
  await leaveEdits(stores, mount, versions[2]);
  await readTree(stores, versions);
  await stores.close();
  return { dir, home, mount, versions };
}

/** A mount folder with a sealed layer and an active one whose last changes are in its journal only, as a daemon that was killed leaves them. */
async function leaveEdits(stores: Stores, mount: string, base: Version | undefined): Promise<void> {
  if (base === undefined) throw new Error('there is a version');
  const manifest = await stores.open(base);
  const next = { ino: manifest.nextIno, cookie: manifest.nextCookie };
  manifest.close();
  mkdirSync(mount, { recursive: true });
  const set = LayerSet.create(
    mount,
    { workspace: base.workspace, seq: base.seq, root: base.root },
    { ...next, end: 1_000_000 },
  );
  const first = UpperLayer.open(layerDir(mount, set.state.activeId), true);
  writeNew(first, 'sealed', randomBytesOf(5, 2000));
  const second = set.seal(first, { publishId: 'p', message: '', author: 'tester', sealedAtMs: 1 });
  first.close();
  for (let index = 0; index < 8; index++)
    writeNew(second, `active-${String(index)}`, randomBytesOf(10 + index, 700));
  writeNew(second, 'large', randomBytesOf(6, 300_000));
  // Closing would fold the journal: it is read before, and put back after.
  const files = readdirSync(second.dir).filter((name) => /^(journal-|upper)/.test(name));
  const kept = files.map((name) => [join(second.dir, name), readFileSync(join(second.dir, name))] as const);
  second.close();
  for (const name of readdirSync(second.dir))
    if (/^(journal-|upper)/.test(name)) rmSync(join(second.dir, name));
  for (const [path, bytes] of kept) if (!path.endsWith('-shm')) writeFileSync(path, bytes);
}

function writeNew(layer: UpperLayer, name: string, bytes: Buffer): void {
  const inode: LayerInode = {
    ino: layer.allocateIno(),
    mode: S_IFREG | 0o644,
    uid: 0,
    gid: 0,
    size: 0,
    nlink: 1,
    rdev: 0,
    mtimeSec: 1,
    mtimeNsec: 0,
    ctimeSec: 1,
    ctimeNsec: 0,
    btimeSec: 1,
    btimeNsec: 0,
    atimeSec: 1,
    atimeNsec: 0,
    created: 1,
    contentChanged: 1,
    belowLimit: 0,
    ownFile: 0,
    ownsXattrs: 1,
  };
  layer.writeData(inode, 0, bytes);
  layer.putInode({ ...inode, size: bytes.length });
  layer.putDentry(ROOT_INO, Buffer.from(name), layer.allocateCookie(), inode.ino);
  layer.commit(name, Buffer.alloc(0));
}

/** Every path and byte of the versions, as one digest each; reads through catalog, manifests, cache and store. */
export async function readTree(stores: Stores, versions: readonly Version[]): Promise<string[]> {
  const digests: string[] = [];
  for (const { workspace, seq } of versions) {
    const reader = await stores.open(await stores.catalog.version(workspace, seq));
    try {
      const hash = createHash('sha256');
      for (const { path, inode } of walk(reader, ROOT_INO)) {
        hash.update(
          `${path.toString('latin1')} ${String(inode.mode)} ${String(inode.size)} ${String(inode.ino)}\n`,
        );
        for (const { name, value } of reader.xattrs(inode.ino)) hash.update(name).update(value);
        hash.update(reader.symlink(inode.ino) ?? '');
        if (!isRegular(inode.mode)) continue;
        for await (const bytes of readContent(reader, stores.blocks, inode.ino)) hash.update(bytes);
      }
      digests.push(hash.digest('hex'));
    } finally {
      reader.close();
    }
  }
  return digests;
}

export interface Checked {
  summary: CheckSummary;
  findings: Finding[];
}

export async function check(home: string, options: Partial<CheckOptions> = {}): Promise<Checked> {
  const findings: Finding[] = [];
  const summary = await checkAll({
    home,
    store: `file://${home}/store`,
    catalog: `sqlite://${home}/catalog.sqlite`,
    only: undefined,
    readData: true,
    repair: false,
    isInUse: () => Promise.resolve(false),
    onFinding: (finding) => {
      findings.push(finding);
      return Promise.resolve();
    },
    ...options,
  });
  return { summary, findings };
}

/** Every file below a folder, relative to it. */
export function filesBelow(dir: string): string[] {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(dir, join(entry.parentPath, entry.name)))
    .sort();
}

/** Whatever `stat` and reading can tell of a folder, access times left out. */
export function stateOf(dir: string): string[] {
  const entries = readdirSync(dir, { recursive: true, encoding: 'utf8' }).sort();
  return ['', ...entries].map((name) => {
    const { mode, size, mtimeNs, ctimeNs, ino } = lstatSync(join(dir, name), { bigint: true });
    const isFile = isRegular(Number(mode));
    const bytes = isFile
      ? createHash('sha256')
          .update(readFileSync(join(dir, name)))
          .digest('hex')
      : '';
    return [name, mode, isFile ? size : 0, mtimeNs, ctimeNs, ino, bytes].join(' ');
  });
}
