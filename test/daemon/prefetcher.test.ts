import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import { blockKey, encodeBlock, openBlockStore, type BlockStore } from '../../src/blocks/index.js';
import { ROOT_INO, S_IFDIR, S_IFREG, type BlockId, type ContentId, type Ino } from '../../src/core/index.js';
import { Prefetcher } from '../../src/daemon/prefetcher.js';
import { createManifest } from '../../src/manifest/index.js';
import { openObjectStore, type ObjectStore } from '../../src/objects/index.js';
import { patternedBytes } from '../fixtures/patterned-bytes.js';
import { scratchFolder } from '../fixtures/scratch-folder.js';

const BLOCK_BYTES = 20_000;
const BUDGET_BYTES = 1024 * 1024 * 1024;

interface Setup {
  blocks: BlockStore;
  objects: ObjectStore;
  prefetcher: Prefetcher;
  /** In directory order. */
  ids: BlockId[];
  objectPath: (id: BlockId) => string;
  removeCache: () => void;
  /** Reads a block as a mount does: at hand, or handed over. Returns whether it was at hand. */
  read: (id: BlockId) => Promise<boolean>;
}

/** A store of so many files, each a block, and a prefetcher of their version, with an empty cache. */
async function setUp(t: Test, files: number): Promise<Setup> {
  const dir = scratchFolder(t);
  const objects = await openObjectStore(pathToFileURL(join(dir, 'store')).href);
  const blocks = await openBlockStore({
    objects,
    cacheDir: join(dir, 'cache'),
    cacheBudgetBytes: BUDGET_BYTES,
    threads: 1,
  });
  const manifestPath = join(dir, 'manifest');
  const builder = createManifest(manifestPath);
  const inode = (ino: Ino, mode: number, size: number, nlink: number): void => {
    const times = { mtimeSec: 1, mtimeNsec: 0, ctimeSec: 1, ctimeNsec: 0, btimeSec: 1, btimeNsec: 0 };
    builder.putInode({ ino, mode, uid: 0, gid: 0, size, nlink, rdev: 0, ...times });
  };
  inode(ROOT_INO, S_IFDIR | 0o755, 0, 2);
  const ids: BlockId[] = [];
  for (let index = 0; index < files; index++) {
    const block = encodeBlock(patternedBytes(index, BLOCK_BYTES));
    await blocks.putEncoded(block);
    ids.push(block.id);
    const ino = ROOT_INO + 1 + index;
    inode(ino, S_IFREG | 0o644, BLOCK_BYTES, 1);
    builder.putDentry(ROOT_INO, 3 + index, Buffer.from(`file-${String(index)}`), ino);
    const id = block.id as string as ContentId;
    const extents = [{ offset: 0, length: BLOCK_BYTES, block: block.id, blockOffset: 0 }];
    builder.setContent(ino, { id, extents });
  }
  builder.setNext(ROOT_INO + 1 + files, 3 + files);
  builder.finish();

  const log = pino({ level: 'silent' });
  const prefetcher = new Prefetcher({ blocks, manifestPath, cacheBudgetBytes: BUDGET_BYTES, log });
  t.teardown(async () => {
    await prefetcher.close();
    await blocks.close();
    await objects.close();
  });
  const read = async (id: BlockId): Promise<boolean> => {
    const { misses } = blocks.counters;
    const found = blocks.get(id);
    prefetcher.missed(id);
    await found;
    return blocks.counters.misses === misses;
  };
  return {
    blocks,
    objects,
    prefetcher,
    ids,
    objectPath: (id) => join(dir, 'store', blockKey(id)),
    removeCache: () => {
      rmSync(join(dir, 'cache'), { recursive: true });
    },
    read,
  };
}

/** Reads all of them in this order; returns how many were fetched on demand. */
async function readAll({ read }: Setup, ids: readonly BlockId[]): Promise<number> {
  let missed = 0;
  for (const id of ids) if (!(await read(id))) missed++;
  return missed;
}

t.test(
  'who reads a tree from one end to the other waits for few blocks, and each is fetched once',
  async (t) => {
    for (const direction of ['forwards', 'backwards'] as const) {
      const setup = await setUp(t, 300);
      const ids = direction === 'forwards' ? setup.ids : [...setup.ids].reverse();
      const missed = await readAll(setup, ids);
      // The order is read while the first ones are fetched.
      t.ok(missed < 50, `${direction}: ${String(missed)} of 300 were fetched on demand`);
      t.equal(missed + setup.blocks.prefetched, 300);
      t.equal(setup.objects.counters.requests.get, 300);
    }
  },
);

t.test('a single read fetches nothing but its block', async (t) => {
  const setup = await setUp(t, 100);
  await readAll(
    setup,
    [setup.ids[50]].flatMap((id) => id ?? []),
  );
  await setup.prefetcher.close();
  t.equal(setup.objects.counters.requests.get, 1);
});

t.test('a block that cannot be fetched ahead fails for nobody but those who read it', async (t) => {
  const setup = await setUp(t, 200);
  const lost = setup.ids.slice(60, 70);
  for (const id of lost) rmSync(setup.objectPath(id));
  for (const id of setup.ids) {
    if (lost.includes(id)) await t.rejects(setup.read(id), { code: 'not-found' });
    else await setup.read(id);
  }
  t.ok(setup.blocks.prefetched > 50);
});

t.test('without a cache that keeps them, little is fetched ahead', async (t) => {
  const setup = await setUp(t, 300);
  setup.removeCache();
  await readAll(setup, setup.ids);
  const { get } = setup.objects.counters.requests;
  t.ok(get < 500, `${String(get)} requests for 300 blocks`);
});

t.test('a block of another version, or a manifest that is not there, is no hindrance', async (t) => {
  const setup = await setUp(t, 10);
  const { id } = await setup.blocks.put(patternedBytes(1000, BLOCK_BYTES));
  await setup.read(id);
  setup.prefetcher.used(id);

  const log = pino({ level: 'silent' });
  const manifestPath = '/nonexistent/manifest';
  const blind = new Prefetcher({ blocks: setup.blocks, manifestPath, cacheBudgetBytes: BUDGET_BYTES, log });
  for (const known of setup.ids) blind.missed(known);
  await blind.close();
  for (const known of setup.ids) blind.missed(known);
});

t.test('closing ends what is under way', async (t) => {
  const setup = await setUp(t, 300);
  await readAll(setup, setup.ids.slice(0, 40));
  await setup.prefetcher.close();
  const { get } = setup.objects.counters.requests;
  setup.prefetcher.used(setup.ids[41] as BlockId);
  setup.prefetcher.missed(setup.ids[42] as BlockId);
  await setup.prefetcher.close();
  t.equal(setup.objects.counters.requests.get, get);
});
