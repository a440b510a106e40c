import { join } from 'node:path';
import t, { type Test } from 'tap';
import {
  chunkListContentId,
  openBlockStore,
  sha256,
  zeroBlockId,
  type BlockStore,
} from '../../src/blocks/index.js';
import type { Catalog } from '../../src/catalog/index.js';
import {
  BLOCK_MAX_BYTES,
  CairnError,
  contentIdOf,
  isRegular,
  ROOT_INO,
  S_IFREG,
  WHOLE_HASH_MAX_BYTES,
  type ContentId,
  type Extent,
  type Ino,
} from '../../src/core/index.js';
import { checkManifest, fetchManifest, openManifest, type ManifestReader } from '../../src/manifest/index.js';
import type { FileSystem } from '../../src/vfs/index.js';
import { InterceptedStore, type StoreOperation } from '../fixtures/intercepted-store.js';
import { MemoryFileSystem } from '../fixtures/memory-file-system.js';
import { patternedBytes } from '../fixtures/patterned-bytes.js';
import { EMBED_BELOW_BYTES, OverlayMount } from '../vfs/overlay-mount.js';
import { readBytes, StoppedClock } from '../vfs/trees.js';
import { openStores, publishTree, storeChunks, WORKSPACE, type Stores } from '../vfs/workspace.js';

const MIB = 1024 * 1024;
const CALLER = { uid: 0, gid: 0, pid: 1 };
const BIG = Buffer.from('big');

/** Bytes that are cut in many places. */
function randomBytes(seed: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  let state = seed;
  for (let at = 0; at + 4 <= length; at += 4) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    bytes.writeInt32LE(state ^ (state >>> 15), at);
  }
  return bytes;
}

function change<Result>(fileSystem: FileSystem, action: () => Result): Result {
  const result = action();
  fileSystem.commit(2n, Buffer.alloc(0));
  return result;
}

interface Setup {
  stores: Stores;
  mount: OverlayMount;
  fileSystem: FileSystem;
  /** The inode of `big`. */
  big: Ino;
}

/** A version with one large file, mounted. */
async function setUp(t: Test, content: Buffer): Promise<Setup> {
  const stores = await openStores(t.testdir());
  const clock = new StoppedClock();
  const model = new MemoryFileSystem({ clock });
  const { ino } = model.mknod(ROOT_INO, BIG, S_IFREG | 0o644, 0, CALLER);
  model.write(ino, 0, content, false);
  const base = await publishTree(model, stores, EMBED_BELOW_BYTES);
  const mount = OverlayMount.create({ dir: join(stores.dir, 'mount'), stores, clock, tookOver: false }, base);
  t.teardown(async () => {
    mount.close();
    await stores.close();
  });
  return { stores, mount, fileSystem: mount.fileSystem, big: mount.fileSystem.lookup(ROOT_INO, BIG).ino };
}

/** What an import of the bytes would record: cut from the first byte on, stored nowhere. */
async function importedContent(bytes: Buffer): Promise<{ id: ContentId; extents: Extent[] }> {
  const put = async (raw: Uint8Array): ReturnType<BlockStore['put']> => {
    return { id: sha256(raw).toString('hex') as Extent['block'], rawBytes: raw.length, storedBytes: 0 };
  };
  const extents = await storeChunks(bytes, { put });
  if (bytes.length <= WHOLE_HASH_MAX_BYTES) return { id: contentIdOf(sha256(bytes)), extents };
  const chunks: { length: number; id: Extent['block'] }[] = [];
  const zerosUpTo = (end: number, from: number): void => {
    for (let at = from; at < end; at += BLOCK_MAX_BYTES) {
      const length = Math.min(BLOCK_MAX_BYTES, end - at);
      chunks.push({ length, id: zeroBlockId(length) });
    }
  };
  let position = 0;
  for (const { offset, length, block } of extents) {
    zerosUpTo(offset, position);
    chunks.push({ length, id: block });
    position = offset + length;
  }
  zerosUpTo(bytes.length, position);
  return { id: chunkListContentId(chunks), extents };
}

function openVersion(stores: Stores, root: string): ManifestReader {
  return openManifest(join(stores.manifestDir, `${root}.sqlite`));
}

/** Everything the catalog's head refers to, fetched with nothing but the store. Law 1. */
async function readEverything(t: Test, stores: Stores, name: string): Promise<Map<string, Buffer>> {
  const { root } = await stores.catalog.version(WORKSPACE);
  const dir = join(stores.dir, name);
  const { objects } = stores;
  const blocks = await openBlockStore({ objects, cacheDir: join(dir, 'cache'), cacheBudgetBytes: 64 * MIB });
  try {
    const manifest = openManifest(await fetchManifest({ root, dir, blocks, objects }));
    t.same([...checkManifest(manifest)], []);
    const files = new Map<string, Buffer>();
    for (const inode of manifest.inodes()) {
      if (!isRegular(inode.mode)) continue;
      const bytes = Buffer.from(manifest.embedded(inode.ino) ?? Buffer.alloc(inode.size));
      for (const extent of manifest.extents(inode.ino, 0, inode.size)) {
        const raw = await blocks.get(extent.block);
        raw.copy(bytes, extent.offset, extent.blockOffset, extent.blockOffset + extent.length);
      }
      files.set(manifest.namesOf(inode.ino)[0]!.name.toString(), bytes);
    }
    manifest.close();
    return files;
  } finally {
    await blocks.close();
  }
}

interface Edit {
  what: string;
  /** Blocks of the file's content stored at most. */
  blocks: number;
  make: (fileSystem: FileSystem, ino: Ino) => void;
}

const EDITS: readonly Edit[] = [
  {
    what: 'a byte written',
    blocks: 3,
    make: (fs, ino) => fs.write(ino, 2 * MIB + 5, Buffer.from('x'), false),
  },
  {
    what: 'bytes appended',
    blocks: 2,
    make: (fs, ino) => fs.write(ino, fs.inode(ino).size, randomBytes(7, 50_001), false),
  },
  {
    what: 'cut short',
    blocks: 1,
    make: (fs, ino) => void fs.setAttributes(ino, { size: fs.inode(ino).size - 700_001 }),
  },
  {
    what: 'grown by a hole',
    blocks: 2,
    make: (fs, ino) => void fs.setAttributes(ino, { size: fs.inode(ino).size + 9 * MIB }),
  },
  { what: 'a hole punched', blocks: 4, make: (fs, ino) => fs.fallocate(ino, 3, MIB + 3, 1_200_000, false) },
  {
    what: 'its first bytes replaced',
    blocks: 2,
    make: (fs, ino) => fs.write(ino, 0, randomBytes(8, 1000), false),
  },
  {
    what: 'rewritten in two places',
    blocks: 6,
    make: (fs, ino) => {
      fs.write(ino, 100_000, randomBytes(9, 200_000), false);
      fs.write(ino, fs.inode(ino).size - 10, Buffer.alloc(10), false);
    },
  },
  { what: 'emptied', blocks: 0, make: (fs, ino) => void fs.setAttributes(ino, { size: 0 }) },
];

// Shrinking a failure, and a longer run, take as long as they take.
t.setTimeout(0);

for (const sizeBytes of [5 * MIB + 77, 18 * MIB + 1]) {
  t.test(
    `C-1, C-2, C-3: a file of ${sizeBytes} bytes, edited, is what a fresh import would make of it`,
    async (t) => {
      for (const { what, blocks, make } of EDITS) {
        await t.test(what, async (t) => {
          const { stores, mount, fileSystem, big } = await setUp(t, randomBytes(sizeBytes, sizeBytes));
          change(fileSystem, () => make(fileSystem, big));
          const bytes = await readBytes(fileSystem, stores.blocks, big, 0, fileSystem.inode(big).size);
          const parent = openVersion(stores, mount.layers.state.base.root);
          const before = new Set(parent.extents(big, 0, sizeBytes).map((extent) => extent.block));
          parent.close();
          mount.seal('one');
          const { version } = await mount.publish();
          const manifest = openVersion(stores, version.root);
          const wanted = await importedContent(bytes);
          t.equal(manifest.content(big), wanted.id);
          const extents = manifest.extents(big, 0, bytes.length);
          t.same(extents, wanted.extents);
          const changed = extents.filter((extent) => !before.has(extent.block));
          t.ok(changed.length <= blocks, `${changed.length} chunks changed, of ${extents.length}`);
          const known = await stores.catalog.knownBlocks(
            WORKSPACE,
            extents.map((extent) => extent.block),
          );
          t.same([...known].sort(), changed.map((extent) => extent.block).sort(), 'only those were stored');
          manifest.close();
        });
      }
    },
  );
}

t.test('equal content is stored once, whether large or small', async (t) => {
  const content = randomBytes(3, 3 * MIB);
  const { stores, mount, fileSystem } = await setUp(t, randomBytes(4, MIB));
  const create = (name: string, bytes: Buffer): Ino =>
    change(fileSystem, () => {
      const { ino } = fileSystem.mknod(ROOT_INO, Buffer.from(name), S_IFREG | 0o644, 0, CALLER);
      fileSystem.write(ino, 0, bytes, false);
      return ino;
    });
  const large = [create('a', content), create('b', content)];
  const small = [create('c', patternedBytes('small', 5000)), create('d', patternedBytes('small', 5000))];
  mount.seal('one');
  const first = await mount.publish();
  mount.adopt(first);
  const again = [create('e', content), create('f', patternedBytes('small', 5000))];
  mount.seal('two');
  const second = await mount.publish();
  const manifest = openVersion(stores, second.version.root);
  t.teardown(() => manifest.close());
  for (const [one, ...others] of [
    [...large, again[0]!],
    [...small, again[1]!],
  ]) {
    for (const other of others)
      t.same(manifest.extents(other, 0, 3 * MIB), manifest.extents(one!, 0, 3 * MIB));
  }
  t.ok(second.storedBytes < 100_000, `${second.storedBytes} bytes: the manifest's`);
});

/** An edit of each kind, sealed. What the files hold then. */
async function sealEdits({ stores, mount, fileSystem, big }: Setup): Promise<Map<string, Buffer>> {
  change(fileSystem, () => fileSystem.write(big, MIB, randomBytes(5, 300_000), false));
  for (const [name, length] of [
    ['small', 9000],
    ['embedded', 20],
  ] as const) {
    change(fileSystem, () => {
      const { ino } = fileSystem.mknod(ROOT_INO, Buffer.from(name), S_IFREG | 0o600, 0, CALLER);
      fileSystem.write(ino, 0, patternedBytes(name, length), false);
    });
  }
  const bytes = await readBytes(fileSystem, stores.blocks, big, 0, fileSystem.inode(big).size);
  mount.seal('edits');
  return new Map([
    ['big', bytes],
    ['small', patternedBytes('small', 9000)],
    ['embedded', patternedBytes('embedded', 20)],
  ]);
}

const lost = (): CairnError => new CairnError('unreachable', 'the line is cut');

/** A catalog whose `publish` fails, before or after it was done. */
function failingCatalog(catalog: Catalog, when: 'before' | 'after'): Catalog {
  return new Proxy(catalog, {
    get(target, property): unknown {
      if (property === 'publish') {
        return async (publication: Parameters<Catalog['publish']>[0]) => {
          if (when === 'after') await target.publish(publication);
          throw lost();
        };
      }
      const value: unknown = Reflect.get(target, property);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}

t.test(
  'law 1: a publication interrupted at any step, tried again, is one version and loses nothing',
  async (t) => {
    const interrupted = async (t: Test, step: number, when: 'before' | 'after'): Promise<boolean> => {
      const setup = await setUp(t, randomBytes(6, 3 * MIB));
      const { stores, mount } = setup;
      const wanted = await sealEdits(setup);
      let puts = 0;
      const fail = (operation: StoreOperation): void => {
        if (operation === 'put' && puts++ === step) throw lost();
      };
      const objects = new InterceptedStore(stores.objects, { [when]: fail });
      const blocks = await openBlockStore({
        objects,
        cacheDir: join(stores.dir, 'cache'),
        cacheBudgetBytes: 64 * MIB,
      });
      const failed = await mount.publish({ objects, blocks }).then(
        () => false,
        (error: unknown) => error instanceof CairnError && error.code === 'unreachable',
      );
      await blocks.close();
      t.equal((await stores.catalog.version(WORKSPACE)).seq, failed ? 1 : 2);
      await readEverything(t, stores, 'between');
      await publishAgain(t, setup, wanted);
      return failed;
    };
    let steps = 0;
    for (const when of ['before', 'after'] as const) {
      // Until there are no more objects to store than the step.
      const outcomes: boolean[] = [];
      while (outcomes.at(-1) !== false) {
        await t.test(`${when} object ${outcomes.length}`, async (t) => {
          outcomes.push(await interrupted(t, outcomes.length, when));
        });
      }
      steps += outcomes.length - 1;
    }
    t.ok(steps >= 8, `${steps} places to fail`);

    for (const when of ['before', 'after'] as const) {
      await t.test(`${when} the catalog took the version`, async (t) => {
        const setup = await setUp(t, randomBytes(6, 3 * MIB));
        const wanted = await sealEdits(setup);
        const catalog = failingCatalog(setup.stores.catalog, when);
        await t.rejects(setup.mount.publish({ catalog }), { code: 'unreachable' });
        t.equal((await setup.stores.catalog.version(WORKSPACE)).seq, when === 'before' ? 1 : 2);
        await readEverything(t, setup.stores, 'between');
        await publishAgain(t, setup, wanted);
      });
    }
  },
);

async function publishAgain(t: Test, { stores, mount }: Setup, wanted: Map<string, Buffer>): Promise<void> {
  const first = await mount.publish();
  const again = await mount.publish();
  t.equal(first.version.seq, 2);
  t.same(again.version, first.version, 'the same publishId twice makes one version');
  t.equal((await stores.catalog.versions(WORKSPACE)).length, 2);
  const found = await readEverything(t, stores, 'after');
  t.same([...found.keys()].sort(), [...wanted.keys()].sort());
  for (const [name, bytes] of wanted) t.ok(found.get(name)?.equals(bytes), name);
  mount.adopt(first);
  t.equal(mount.layers.state.sealed.length, 0);
  const big = await readBytes(
    mount.fileSystem,
    stores.blocks,
    mount.fileSystem.lookup(ROOT_INO, BIG).ino,
    0,
    4 * MIB,
  );
  t.ok(wanted.get('big')?.equals(big), 'and the mount shows it');
}

t.test('law 7: when the head has moved, publishing is refused and both sides keep their work', async (t) => {
  const setup = await setUp(t, randomBytes(6, 3 * MIB));
  const { stores, mount } = setup;
  const wanted = await sealEdits(setup);
  const { base } = mount.layers.state;
  const theirs = {
    author: 'other',
    message: 'first',
    publishId: 'theirs',
    createdAtMs: 2,
    files: 1,
    bytes: 1,
  };
  const rows = { blocks: [], contents: [], removed: [], added: [] };
  await stores.catalog.publish({ workspace: WORKSPACE, parentSeq: 1, root: base.root, ...theirs, ...rows });
  await t.rejects(mount.publish(), { code: 'conflict' });
  t.equal((await stores.catalog.version(WORKSPACE)).publishId, 'theirs');
  t.equal(mount.layers.state.sealed.length, 1, 'the layer is still sealed');
  const { ino } = mount.fileSystem.lookup(ROOT_INO, Buffer.from('small'));
  const bytes = await readBytes(mount.fileSystem, stores.blocks, ino, 0, 9000);
  t.ok(wanted.get('small')?.equals(bytes));
  await t.rejects(mount.publish(), { code: 'conflict' }, 'and again');
});
