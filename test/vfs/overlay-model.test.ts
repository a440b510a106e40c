import fc from 'fast-check';
import { cpSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import t from 'tap';
import {
  errnoName,
  FsError,
  isDirectory,
  isRegular,
  ROOT_INO,
  S_IFCHR,
  S_IFIFO,
  S_IFREG,
  WHOLE_HASH_MAX_BYTES,
  type Ino,
  type InodeAttributes,
} from '../../src/core/index.js';
import { checkManifest, openManifest, walk } from '../../src/manifest/index.js';
import type { PublishedLayer } from '../../src/snapshot/index.js';
import type { BaseVersion } from '../../src/upper/index.js';
import { MergedView } from '../../src/upper/index.js';
import { OverlayFileSystem, type FileSystem } from '../../src/vfs/index.js';
import { MemoryFileSystem } from '../fixtures/memory-file-system.js';
import { patternedBytes } from '../fixtures/patterned-bytes.js';
import { EMBED_BELOW_BYTES, OverlayMount } from './overlay-mount.js';
import { attributesOf, entryOf, listing, readBytes, StoppedClock, treeOf, type TreeEntry } from './trees.js';
import { openStores, publishTree, WORKSPACE, type Stores } from './workspace.js';

const RUNS = 25 * Number(process.env['CAIRN_TEST_RUNS'] ?? 1);
const CALLER = { uid: 1000, gid: 100, pid: 1 };
const KIB = 1024;

// Numbers that choose among what there is at the time, modulo how much there is: so a sequence stays one when it is shrunk.
const choice = fc.nat({ max: 999 });
const name = fc.oneof(
  { weight: 3, arbitrary: fc.record({ existing: choice }) },
  { weight: 3, arbitrary: fc.record({ fresh: fc.nat({ max: 5 }) }) },
);
const anyName = fc.oneof(
  { weight: 20, arbitrary: name },
  {
    weight: 1,
    arbitrary: fc.record({ raw: fc.constantFrom('', '.', '..', 'a/b', 'a\0b', 'n'.repeat(256)) }),
  },
);
/** As the kernel writes pages back: neighbours that touch, and the same pages again. */
const pages = fc.integer({ min: 0, max: 4 }).map((count) => count * 4 * KIB);
const offset = fc.oneof(
  pages,
  { weight: 4, arbitrary: fc.nat({ max: 600 }) },
  { weight: 3, arbitrary: fc.nat({ max: 140 * KIB }) },
  { weight: 1, arbitrary: fc.nat({ max: 1600 * KIB }) },
);
const length = fc.oneof(
  pages.filter((bytes) => bytes > 0),
  { weight: 4, arbitrary: fc.integer({ min: 1, max: 300 }) },
  { weight: 2, arbitrary: fc.integer({ min: 1, max: 10_000 }) },
  { weight: 1, arbitrary: fc.integer({ min: 1, max: 300 * KIB }) },
);
const xattr = fc.constantFrom('user.a', 'user.kind', 'user.long-name');

const operation = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      op: fc.constant('mknod' as const),
      dir: choice,
      name: anyName,
      type: fc.constantFrom(S_IFREG, S_IFREG, S_IFREG, S_IFIFO, S_IFCHR),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      op: fc.constant('mkdir' as const),
      dir: choice,
      name: anyName,
      mode: fc.constantFrom(0o755, 0o2775),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constant('symlink' as const),
      dir: choice,
      name: anyName,
      length: fc.constantFrom(1, 20, 4095, 4096),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ op: fc.constant('link' as const), file: choice, dir: choice, name: anyName }),
  },
  { weight: 5, arbitrary: fc.record({ op: fc.constant('unlink' as const), dir: choice, name }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('rmdir' as const), dir: choice, name }) },
  {
    weight: 6,
    arbitrary: fc.record({
      op: fc.constant('rename' as const),
      dir: choice,
      name,
      newDir: choice,
      newName: name,
      flags: fc.constantFrom(0, 0, 0, 1, 2, 2, 4),
    }),
  },
  {
    weight: 10,
    arbitrary: fc.record({
      op: fc.constant('write' as const),
      file: choice,
      offset,
      length,
      seed: fc.nat({ max: 9 }),
      killSetId: fc.boolean(),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      op: fc.constant('truncate' as const),
      file: choice,
      size: fc.oneof(offset, fc.constant(0), fc.constant(9 * 1024 * KIB)),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      op: fc.constant('fallocate' as const),
      file: choice,
      mode: fc.constantFrom(0, 1, 3, 16, 17, 64),
      offset,
      length,
      killSetId: fc.boolean(),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      op: fc.constant('setAttributes' as const),
      any: choice,
      what: fc.constantFrom(
        'mode' as const,
        'owner' as const,
        'mtime' as const,
        'now' as const,
        'setid' as const,
      ),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      op: fc.constant('setXattr' as const),
      any: choice,
      xattr,
      length: fc.constantFrom(0, 5, 3000),
      flags: fc.constantFrom(0, 0, 1, 2),
    }),
  },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('removeXattr' as const), any: choice, xattr }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('tmpfile' as const), dir: choice }) },
  {
    weight: 2,
    arbitrary: fc.record({ op: fc.constant('linkUnnamed' as const), file: choice, dir: choice, name }),
  },
  { weight: 4, arbitrary: fc.record({ op: fc.constant('forget' as const), any: choice }) },
  {
    weight: 3,
    arbitrary: fc.record({
      op: fc.constant('list' as const),
      dir: choice,
      page: fc.integer({ min: 1, max: 4 }),
      removing: fc.boolean(),
    }),
  },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('read' as const), file: choice, offset, length }) },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constant('seek' as const),
      file: choice,
      offset,
      whence: fc.constantFrom('data' as const, 'hole' as const),
    }),
  },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('seal' as const) }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('publish' as const) }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('adopt' as const) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('crash' as const), inTheMiddle: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('remount' as const) }) },
);
type Operation = typeof operation extends fc.Arbitrary<infer Value> ? Value : never;
type Name = { existing: number } | { fresh: number } | { raw: string };

/** What both file systems answer: the errno's name, or the result. */
function outcome<Result>(action: () => Result): { errno: string } | { result: Result } {
  try {
    return { result: action() };
  } catch (error) {
    if (error instanceof FsError) return { errno: errnoName(error.errno) };
    throw error;
  }
}

function same(what: string, found: unknown, wanted: unknown): void {
  if (isDeepStrictEqual(found, wanted)) return;
  const text = (value: unknown): string =>
    ((JSON.stringify(value) as string | undefined) ?? 'undefined').slice(0, 600);
  throw new Error(`${what}:\n  found  ${text(found)}\n  wanted ${text(wanted)}`);
}

function sameTree(what: string, found: Map<string, TreeEntry>, wanted: Map<string, TreeEntry>): void {
  same(`${what}: paths`, [...found.keys()], [...wanted.keys()]);
  for (const [path, entry] of found) same(`${what}: ${path}`, entry, wanted.get(path));
}

/** The two file systems, and what the kernel knows of them. */
class Comparison {
  readonly #clock: StoppedClock;
  readonly #model: MemoryFileSystem;
  readonly #stores: Stores;
  #dir: string;
  #crashes = 0;
  #mount: OverlayMount;
  /** The kernel's lookup counts. */
  #known = new Map<Ino, number>();
  /** Made by O_TMPFILE and never named. */
  readonly #unnamed = new Set<Ino>();
  #sealedTrees: Map<string, TreeEntry>[] = [];
  #lastSealed: Map<string, TreeEntry> | undefined;
  #published: PublishedLayer | undefined;
  #seals = 0;
  #unique = 2n;

  constructor(options: { model: MemoryFileSystem; clock: StoppedClock; stores: Stores; base: BaseVersion }) {
    this.#model = options.model;
    this.#clock = options.clock;
    this.#stores = options.stores;
    this.#dir = join(options.stores.dir, 'mount');
    mkdirSync(this.#dir);
    this.#mount = OverlayMount.create(this.#mountOptions(false), options.base);
  }

  async run(operations: readonly Operation[]): Promise<void> {
    this.#discover();
    this.#lastSealed = await treeOf(this.#model, this.#stores.blocks);
    await this.#compareAll('at first');
    for (const operation of operations) await this.#apply(operation);
    await this.#compareAll('at the end');
    for (;;) {
      if (this.#published !== undefined) await this.#adopt();
      if (this.#mount.layers.state.sealed.length === 0) break;
      await this.#publish();
    }
    await this.#compareAll('after everything was adopted');
  }

  close(): void {
    this.#mount.close();
  }

  get #overlay(): OverlayFileSystem {
    return this.#mount.fileSystem;
  }

  #mountOptions(tookOver: boolean): ConstructorParameters<typeof OverlayMount>[0] {
    return { dir: this.#dir, stores: this.#stores, clock: this.#clock, tookOver };
  }

  async #apply(one: Operation): Promise<void> {
    this.#clock.advance();
    switch (one.op) {
      case 'mknod': {
        const { parent, name } = this.#place(one.dir, one.name);
        const rdev = one.type === S_IFCHR ? 0x0103 : 0;
        this.#create(one, (fileSystem) => fileSystem.mknod(parent, name, one.type | 0o4750, rdev, CALLER));
        return;
      }
      case 'mkdir': {
        const { parent, name } = this.#place(one.dir, one.name);
        this.#create(one, (fileSystem) => fileSystem.mkdir(parent, name, one.mode, CALLER));
        return;
      }
      case 'symlink': {
        const { parent, name } = this.#place(one.dir, one.name);
        const target = Buffer.alloc(one.length, 'x');
        // The kernel's own limit, which the model does not have.
        if (target.length > 4095) {
          same(
            'a long target',
            outcome(() => this.#overlay.symlink(parent, name, target, CALLER)),
            { errno: 'ENAMETOOLONG' },
          );
          this.#overlay.rollback();
          return;
        }
        this.#create(one, (fileSystem) => fileSystem.symlink(parent, name, target, CALLER));
        return;
      }
      case 'link': {
        const { parent, name } = this.#place(one.dir, one.name);
        const ino = this.#pick(one.file, (inode) => !isDirectory(inode.mode) && inode.nlink > 0);
        if (ino !== undefined) this.#create(one, (fileSystem) => fileSystem.link(ino, parent, name));
        return;
      }
      case 'linkUnnamed': {
        const { parent, name } = this.#place(one.dir, one.name);
        const ino = this.#pick(one.file, (inode) => this.#unnamed.has(inode.ino));
        if (ino === undefined) return;
        if (this.#create(one, (fileSystem) => fileSystem.link(ino, parent, name))) this.#unnamed.delete(ino);
        return;
      }
      case 'tmpfile': {
        const parent = this.#pickDirectory(one.dir);
        const made = this.#create(one, (fileSystem) => fileSystem.tmpfile(parent, 0o600, CALLER));
        if (made) this.#unnamed.add([...this.#known.keys()].at(-1) ?? 0);
        return;
      }
      case 'unlink': {
        const { parent, name } = this.#place(one.dir, one.name);
        this.#lookup(parent, name);
        this.#change(one, (fileSystem) => fileSystem.unlink(parent, name));
        return;
      }
      case 'rmdir': {
        const { parent, name } = this.#place(one.dir, one.name);
        this.#lookup(parent, name);
        this.#change(one, (fileSystem) => fileSystem.rmdir(parent, name));
        return;
      }
      case 'rename':
        this.#rename(one);
        return;
      case 'write': {
        const ino = this.#pickFile(one.file);
        if (ino === undefined) return;
        const data = patternedBytes(one.seed, one.length);
        this.#change(one, (fileSystem) => fileSystem.write(ino, one.offset, data, one.killSetId));
        this.#sameInode(one, ino);
        await this.#sameBytes(one, ino, Math.max(0, one.offset - 50), one.length + 100);
        return;
      }
      case 'truncate': {
        const ino = this.#pickFile(one.file);
        if (ino !== undefined)
          this.#changeInode(one, (fileSystem) => fileSystem.setAttributes(ino, { size: one.size }));
        return;
      }
      case 'fallocate': {
        const ino = this.#pickFile(one.file);
        if (ino === undefined) return;
        this.#change(one, (fileSystem) => {
          fileSystem.fallocate(ino, one.mode, one.offset, one.length, one.killSetId);
        });
        this.#sameInode(one, ino);
        await this.#sameBytes(one, ino, Math.max(0, one.offset - 50), one.length + 100);
        return;
      }
      case 'setAttributes': {
        const ino = this.#pick(one.any, (inode) => one.what !== 'setid' || !isDirectory(inode.mode));
        if (ino === undefined) return;
        const changes = {
          mode: { mode: 0o6711 },
          owner: { uid: 7, gid: 8 },
          mtime: { mtime: { sec: -5, nsec: 3 }, ctime: { sec: 9, nsec: 4 } },
          now: { mtime: 'now' as const },
          setid: { uid: 9, killSetId: true },
        }[one.what];
        this.#changeInode(one, (fileSystem) => fileSystem.setAttributes(ino, changes));
        return;
      }
      case 'setXattr': {
        const ino = this.#pick(one.any, () => true) ?? ROOT_INO;
        const value = Buffer.alloc(one.length, one.xattr);
        this.#change(one, (fileSystem) => fileSystem.setXattr(ino, Buffer.from(one.xattr), value, one.flags));
        this.#sameInode(one, ino);
        return;
      }
      case 'removeXattr': {
        const ino = this.#pick(one.any, () => true) ?? ROOT_INO;
        this.#change(one, (fileSystem) => fileSystem.removeXattr(ino, Buffer.from(one.xattr)));
        this.#sameInode(one, ino);
        return;
      }
      case 'forget': {
        const ino = this.#pick(one.any, (inode) => inode.ino !== ROOT_INO);
        if (ino !== undefined) this.#forget(ino);
        return;
      }
      case 'list':
        this.#list(one);
        return;
      case 'read': {
        const ino = this.#pickFile(one.file);
        if (ino !== undefined) await this.#sameBytes(one, ino, one.offset, one.length);
        return;
      }
      case 'seek':
        await this.#seek(one);
        return;
      case 'seal':
        await this.#seal();
        return;
      case 'publish':
        if (this.#published === undefined && this.#mount.layers.state.sealed.length > 0)
          await this.#publish();
        return;
      case 'adopt':
        if (this.#published !== undefined) await this.#adopt();
        return;
      case 'crash':
        await this.#crash(one.inTheMiddle);
        return;
      case 'remount':
        await this.#remount();
        return;
    }
  }

  // What the kernel would ask for.

  #pick(index: number, wanted: (inode: InodeAttributes) => boolean): Ino | undefined {
    const found = [ROOT_INO, ...this.#known.keys()].filter((ino) => wanted(this.#model.inode(ino)));
    return found[index % found.length];
  }

  #pickFile(index: number): Ino | undefined {
    return this.#pick(index, (inode) => isRegular(inode.mode));
  }

  #pickDirectory(index: number): Ino {
    return this.#pick(index, (inode) => isDirectory(inode.mode)) ?? ROOT_INO;
  }

  #place(dir: number, name: Name): { parent: Ino; name: Buffer } {
    const parent = this.#pickDirectory(dir);
    if ('raw' in name) return { parent, name: Buffer.from(name.raw, 'latin1') };
    if ('existing' in name) {
      const entries = listing(this.#model, parent);
      const entry = entries[name.existing % Math.max(1, entries.length)];
      if (entry !== undefined) return { parent, name: Buffer.from(entry.name, 'latin1') };
    }
    const text = 'fresh' in name ? `\xff${String(name.fresh)}` : 'other';
    return { parent, name: Buffer.from(text, 'latin1') };
  }

  #lookup(parent: Ino, name: Buffer): Ino | undefined {
    const [found, wanted] = [this.#overlay, this.#model].map((fileSystem) =>
      outcome(() => attributesOf(fileSystem.lookup(parent, name))),
    );
    same(`lookup of ${name.toString('latin1')}`, found, wanted);
    if (found === undefined || !('result' in found)) return undefined;
    this.#learn(found.result.ino);
    return found.result.ino;
  }

  #learn(ino: Ino): void {
    if (ino !== ROOT_INO) this.#known.set(ino, (this.#known.get(ino) ?? 0) + 1);
  }

  #forget(ino: Ino): void {
    const count = this.#known.get(ino) ?? 0;
    this.#known.delete(ino);
    this.#unnamed.delete(ino);
    this.#overlay.forget(ino, count);
    this.#model.forget(ino, count);
  }

  /** Looks everything up that has a name. */
  #discover(directory = ROOT_INO): void {
    for (const entry of listing(this.#model, directory)) {
      const ino = this.#lookup(directory, Buffer.from(entry.name, 'latin1'));
      if (ino !== undefined && isDirectory(this.#model.inode(ino).mode)) this.#discover(ino);
    }
  }

  // Both at once.

  /** One change; true when it was made. */
  #change(what: Operation, action: (fileSystem: FileSystem) => unknown): boolean {
    this.#unique += 2n;
    const [found, wanted] = [this.#overlay, this.#model].map((fileSystem) => {
      const answer = outcome(() => action(fileSystem));
      if ('errno' in answer) fileSystem.rollback();
      else fileSystem.commit(this.#unique, Buffer.from(`reply ${String(this.#unique)}`));
      return answer;
    });
    same(JSON.stringify(what), found, wanted);
    if (found === undefined || 'errno' in found) return false;
    same(
      'the stored reply',
      this.#overlay.storedReply(this.#unique)?.toString(),
      `reply ${String(this.#unique)}`,
    );
    return true;
  }

  #changeInode(what: Operation, action: (fileSystem: FileSystem) => InodeAttributes): void {
    this.#change(what, (fileSystem) => attributesOf(action(fileSystem)));
  }

  /** A change that gives the kernel an inode. */
  #create(what: Operation, action: (fileSystem: FileSystem) => InodeAttributes): boolean {
    let made = 0;
    const done = this.#change(what, (fileSystem) => {
      const inode = attributesOf(action(fileSystem));
      made = inode.ino;
      return inode;
    });
    if (done) this.#learn(made);
    return done;
  }

  #sameInode(what: Operation, ino: Ino): void {
    const [found, wanted] = [this.#overlay, this.#model].map((fileSystem) =>
      attributesOf(fileSystem.inode(ino)),
    );
    same(`attributes after ${JSON.stringify(what)}`, found, wanted);
  }

  async #sameBytes(what: Operation, ino: Ino, from: number, bytes: number): Promise<void> {
    const found = await readBytes(this.#overlay, this.#stores.blocks, ino, from, bytes);
    const wanted = await readBytes(this.#model, this.#stores.blocks, ino, from, bytes);
    if (!found.equals(wanted)) throw new Error(`the bytes differ after ${JSON.stringify(what)}`);
  }

  #rename(one: Extract<Operation, { op: 'rename' }>): void {
    const { parent, name } = this.#place(one.dir, one.name);
    const { parent: newParent, name: newName } = this.#place(one.newDir, one.newName);
    const source = this.#lookup(parent, name);
    const target = this.#lookup(newParent, newName);
    // The kernel itself refuses to put a directory below itself (rename(2), EINVAL).
    if (source !== undefined && this.#isWithin(newParent, source)) return;
    if (one.flags === 2 && target !== undefined && this.#isWithin(parent, target)) return;
    this.#change(one, (fileSystem) => fileSystem.rename(parent, name, newParent, newName, one.flags, CALLER));
  }

  #isWithin(ino: Ino, directory: Ino): boolean {
    for (let at = ino; ; at = this.#model.parentOf(at)) {
      if (at === directory) return true;
      if (at === ROOT_INO) return false;
    }
  }

  #list(one: Extract<Operation, { op: 'list' }>): void {
    const ino = this.#pickDirectory(one.dir);
    const expected = listing(this.#model, ino);
    const found: { cookie: number; name: string; ino: Ino }[] = [];
    for (let after = 0, more = true; more;) {
      more = false;
      let taken = 0;
      this.#overlay.listPlus(ino, after, (cookie, name, entryIno, inode) => {
        more = taken === one.page;
        if (more) return false;
        taken += 1;
        same('attributes in a listing', attributesOf(inode), attributesOf(this.#model.inode(entryIno)));
        found.push({ cookie, name: name.toString('latin1'), ino: entryIno });
        after = cookie;
        return true;
      });
      for (const entry of found.slice(found.length - taken)) {
        this.#model.lookup(ino, Buffer.from(entry.name, 'latin1'));
        this.#learn(entry.ino);
        // What was listed may go while the rest is listed: nothing of the rest is left out for it.
        if (!one.removing || isDirectory(this.#model.inode(entry.ino).mode)) continue;
        this.#change(one, (fileSystem) => fileSystem.unlink(ino, Buffer.from(entry.name, 'latin1')));
      }
    }
    const plain = (entries: typeof found): string[] =>
      entries.map((entry) => `${entry.name} ${entry.ino}`).sort();
    same('a listing in pages', plain(found), plain(expected));
    same(
      'cookies in order',
      found.map((entry) => entry.cookie),
      found.map((entry) => entry.cookie).sort((a, b) => a - b),
    );
  }

  async #seek(one: Extract<Operation, { op: 'seek' }>): Promise<void> {
    const ino = this.#pickFile(one.file);
    if (ino === undefined) return;
    const { size } = this.#model.inode(ino);
    const answer = outcome(() => this.#overlay.seek(ino, one.offset, one.whence));
    if (one.offset >= size) {
      same('seek beyond the end', answer, { errno: 'ENXIO' });
      return;
    }
    // Data may be said to be where zeros are, never a hole where data is.
    const found = 'result' in answer ? answer.result : size;
    if (one.whence === 'hole') {
      if (found === size || found >= one.offset) return;
      throw new Error(`a hole at ${found} before ${one.offset}`);
    }
    const skipped = await readBytes(this.#model, this.#stores.blocks, ino, one.offset, found - one.offset);
    if (skipped.some((byte) => byte !== 0)) throw new Error(`SEEK_DATA from ${one.offset} passed over data`);
  }

  // What the daemon does.

  async #seal(): Promise<void> {
    const tree = await treeOf(this.#model, this.#stores.blocks);
    if (!this.#mount.hasChanges) {
      sameTree(
        'a layer without changes',
        withoutDirectoryTimes(tree),
        withoutDirectoryTimes(this.#lastSealed ?? tree),
      );
      return;
    }
    const cookies = this.#cookies();
    this.#mount.seal(`seal-${String(++this.#seals)}`);
    this.#sealedTrees.push(tree);
    this.#lastSealed = tree;
    same('cookies after a seal', this.#cookies(), cookies);
    await this.#compareAll('after a seal');
  }

  async #publish(): Promise<void> {
    const published = await this.#mount.publish();
    this.#published = published;
    const { version } = published;
    const manifest = openManifest(join(this.#stores.manifestDir, `${version.root}.sqlite`));
    try {
      same('violations', [...checkManifest(manifest)], []);
      const fileSystem = new OverlayFileSystem({
        view: new MergedView([], manifest),
        readOnly: true,
        tookOver: false,
        retained: [],
        numbersEnd: undefined,
        clock: this.#clock,
        diskPath: this.#dir,
      });
      const tree = this.#sealedTrees[0] ?? new Map<string, TreeEntry>();
      sameTree('the version and the tree at the seal', await treeOf(fileSystem, this.#stores.blocks), tree);
      const rows = await this.#stores.catalog.files(WORKSPACE, version.seq);
      const text = (path: Buffer, hash: string | undefined, size: number, mode: number): string =>
        `${path.toString('latin1')} ${hash ?? '-'} ${size} ${mode}`;
      const walked = [...walk(manifest, ROOT_INO)].map(({ path, inode }) => {
        const hash = manifest.content(inode.ino);
        const sha256 = tree.get(`/${path.toString('latin1')}`)?.content;
        if (inode.size <= WHOLE_HASH_MAX_BYTES) same('C-1: the content id', hash, sha256);
        return text(path, hash, inode.size, inode.mode);
      });
      same(
        'catalog rows',
        rows.map((row) => text(row.path, row.hash, row.size, row.mode)).sort(),
        walked.sort(),
      );
    } finally {
      manifest.close();
    }
  }

  async #adopt(): Promise<void> {
    const published = this.#published;
    if (published === undefined) return;
    const cookies = this.#cookies();
    this.#mount.adopt(published);
    this.#published = undefined;
    this.#sealedTrees.shift();
    same('cookies after an adoption', this.#cookies(), cookies);
    await this.#compareAll('after an adoption');
  }

  async #crash(inTheMiddle: boolean): Promise<void> {
    if (inTheMiddle) this.#overlay.mkdir(ROOT_INO, Buffer.from('never answered'), 0o700, CALLER);
    // What a process that is gone leaves behind is what can be copied while it is there.
    const left = this.#dir;
    this.#dir = join(this.#stores.dir, `mount-after-${String(this.#unique)}-${String(++this.#crashes)}`);
    cpSync(left, this.#dir, { recursive: true });
    if (inTheMiddle) this.#overlay.rollback();
    this.#mount.close();
    rmSync(left, { recursive: true });
    this.#mount = new OverlayMount(this.#mountOptions(true));
    this.#published = undefined;
    const last = this.#overlay.storedReply(this.#unique);
    if (last !== undefined) same('the reply after a crash', last.toString(), `reply ${String(this.#unique)}`);
    await this.#compareAll('after a crash');
  }

  async #remount(): Promise<void> {
    for (const [ino, count] of this.#known) this.#model.forget(ino, count);
    this.#known.clear();
    this.#unnamed.clear();
    this.#mount.close();
    this.#mount = new OverlayMount(this.#mountOptions(false));
    this.#published = undefined;
    this.#discover();
    await this.#compareAll('after a remount');
  }

  #cookies(): string[] {
    const cookies: string[] = [];
    const visit = (ino: Ino): void => {
      for (const entry of listing(this.#overlay, ino)) {
        cookies.push(`${ino} ${entry.cookie} ${entry.name}`);
        if (isDirectory(this.#overlay.inode(entry.ino).mode)) visit(entry.ino);
      }
    };
    visit(ROOT_INO);
    return cookies;
  }

  /** Everything with a name, and everything without one that is still open. */
  async #compareAll(when: string): Promise<void> {
    const { blocks } = this.#stores;
    sameTree(when, await treeOf(this.#overlay, blocks), await treeOf(this.#model, blocks));
    for (const ino of this.#known.keys()) {
      const { nlink, mode } = this.#model.inode(ino);
      if (nlink > 0) {
        if (isDirectory(mode))
          same(`${when}: parent`, this.#overlay.parentOf(ino), this.#model.parentOf(ino));
        continue;
      }
      const [found, wanted] = [
        await entryOf(this.#overlay, blocks, ino),
        await entryOf(this.#model, blocks, ino),
      ];
      same(`${when}: inode ${ino}, which has no name`, found, wanted);
    }
  }
}

function withoutDirectoryTimes(tree: Map<string, TreeEntry>): Map<string, TreeEntry> {
  const still = { mtimeSec: 0, mtimeNsec: 0, ctimeSec: 0, ctimeNsec: 0 };
  return new Map(
    [...tree].map(([path, entry]) => {
      if (!isDirectory(entry.attributes.mode)) return [path, entry];
      return [path, { ...entry, attributes: { ...entry.attributes, ...still } }];
    }),
  );
}

/** A tree with everything a manifest can hold. The same every time. */
function plantedModel(clock: StoppedClock): MemoryFileSystem {
  const model = new MemoryFileSystem({ clock, owner: { uid: 1, gid: 2 } });
  const dir = (parent: Ino, name: string, mode = 0o755): Ino =>
    model.mkdir(parent, Buffer.from(name), mode, CALLER).ino;
  const file = (parent: Ino, name: string, ...pieces: [number, Buffer][]): Ino => {
    const { ino } = model.mknod(parent, Buffer.from(name), S_IFREG | 0o644, 0, CALLER);
    for (const [offset, data] of pieces) model.write(ino, offset, data, false);
    return ino;
  };
  const src = dir(ROOT_INO, 'src');
  const deep = dir(dir(src, 'deep'), 'deeper', 0o2775);
  const packed = file(src, 'packed', [0, patternedBytes('packed', 5000)]);
  file(src, 'embedded', [0, Buffer.from('a few bytes')]);
  file(src, 'empty');
  file(deep, 'also packed', [0, patternedBytes('also', 70_000)]);
  file(deep, 'large', [0, largeBytes()]);
  const holes = file(deep, 'holes', [0, Buffer.from('start')], [5 * 1024 * KIB, patternedBytes('end', 9000)]);
  model.setAttributes(file(deep, 'all hole'), { size: 300 * KIB });
  model.link(packed, ROOT_INO, Buffer.from('packed too'));
  model.symlink(ROOT_INO, Buffer.from('link'), Buffer.from('src/packed'), CALLER);
  model.mknod(src, Buffer.from('fifo'), S_IFIFO | 0o600, 0, CALLER);
  model.setXattr(packed, Buffer.from('user.kind'), Buffer.from('packed'), 0);
  model.setXattr(src, Buffer.from('user.a'), Buffer.alloc(2000, 7), 0);
  model.setXattr(holes, Buffer.from('user.a'), Buffer.alloc(0), 0);
  const inos = [ROOT_INO];
  for (const ino of inos) {
    if (isDirectory(model.inode(ino).mode)) inos.push(...listing(model, ino).map((entry) => entry.ino));
    // The kernel knows nothing yet.
    if (ino !== ROOT_INO) model.forget(ino, 1000);
  }
  return model;
}

/** Bytes that are cut in several places. */
function largeBytes(): Buffer {
  const bytes = Buffer.alloc(1700 * KIB);
  let state = 12345;
  for (let at = 0; at + 4 <= bytes.length; at += 4) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    bytes.writeInt32LE(state ^ (state >>> 15), at);
  }
  return bytes;
}

// Shrinking a failure, and a longer run, take as long as they take.
t.setTimeout(0);

t.test(
  'an overlay is what a plain file system would be, across seal, publication, adoption, crash and remount',
  async (t) => {
    const dir = t.testdir();
    const template = join(dir, 'template');
    const stores = await openStores(template);
    const base = await publishTree(plantedModel(new StoppedClock()), stores, EMBED_BELOW_BYTES);
    await stores.close();
    let run = 0;

    const property = fc.asyncProperty(
      fc.array(operation, { minLength: 5, maxLength: 60, size: 'max' }),
      async (operations) => {
        const runDir = join(dir, String(++run));
        cpSync(template, runDir, { recursive: true });
        const stores = await openStores(runDir);
        const clock = new StoppedClock();
        const comparison = new Comparison({ model: plantedModel(clock), clock, stores, base });
        try {
          await comparison.run(operations);
        } finally {
          comparison.close();
          await stores.close();
          rmSync(runDir, { recursive: true });
        }
      },
    );
    const replay = process.env['CAIRN_TEST_SEED'];
    await fc.assert(property, {
      numRuns: RUNS,
      includeErrorInReport: true,
      ...(replay === undefined ? {} : { seed: Number(replay) }),
    });
    t.pass(`${RUNS} sequences`);
  },
);

t.test('a file without a name cannot be given one again after it was removed', async (t) => {
  const stores = await openStores(t.testdir());
  const clock = new StoppedClock();
  const base = await publishTree(plantedModel(clock), stores, EMBED_BELOW_BYTES);
  const mount = OverlayMount.create({ dir: join(stores.dir, 'mount'), stores, clock, tookOver: false }, base);
  t.teardown(async () => {
    mount.close();
    await stores.close();
  });
  const { fileSystem } = mount;
  const { ino } = fileSystem.lookup(ROOT_INO, Buffer.from('link'));
  fileSystem.unlink(ROOT_INO, Buffer.from('link'));
  fileSystem.commit(2n, Buffer.alloc(0));
  t.match(
    outcome(() => fileSystem.link(ino, ROOT_INO, Buffer.from('again'))),
    { errno: 'ENOENT' },
  );
  fileSystem.rollback();
});
