import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import t, { type Test } from 'tap';
import {
  blockKey,
  encodeBlock,
  openBlockStore,
  openCachedBlockReader,
  sha256,
  type BlockStore,
} from '../../src/blocks/index.js';
import { blockIdOf, type BlockId } from '../../src/core/index.js';
import { openObjectStore, type ObjectStore } from '../../src/objects/index.js';
import { InterceptedStore, type Interception } from '../fixtures/intercepted-store.js';
import { sampleBytes, sampleText } from './sample-bytes.js';

const BUDGET_BYTES = 64 * 1024 * 1024;

interface Setup {
  blocks: BlockStore;
  objects: ObjectStore;
  cacheDir: string;
  objectPath: (id: BlockId) => string;
}

/** Blocks in a directory, through an empty cache. */
async function setUp(t: Test, interception: Interception = {}): Promise<Setup> {
  const dir = t.testdir({ store: {} });
  const objects = new InterceptedStore(
    await openObjectStore(pathToFileURL(join(dir, 'store')).href),
    interception,
  );
  const cacheDir = join(dir, 'cache');
  const blocks = await openBlockStore({ objects, cacheDir, cacheBudgetBytes: BUDGET_BYTES });
  t.teardown(async () => {
    await blocks.close();
    await objects.close();
  });
  return { blocks, objects, cacheDir, objectPath: (id) => join(dir, 'store', blockKey(id)) };
}

/** A promise of the test's own making. */
function gate(): { opened: Promise<void>; open: () => void } {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return {
    opened,
    open: () => {
      open();
    },
  };
}

function emptyCache(cacheDir: string): void {
  for (const name of readdirSync(cacheDir)) {
    if (name !== 'tmp') rmSync(join(cacheDir, name), { recursive: true });
  }
}

t.test(
  'O-1: a block put is stored under its key, and comes back from the store and from the cache',
  async (t) => {
    const { blocks, objects, cacheDir, objectPath } = await setUp(t);
    const raw = sampleText('round trip', 700_000);
    const { id } = await blocks.put(raw);
    t.equal(id, sha256(raw).toString('hex'));
    t.equal(blockKey(id), `blocks/${id.slice(0, 2)}/${id}`);
    t.ok(existsSync(objectPath(id)));

    t.ok((await blocks.get(id)).equals(raw));
    t.equal(objects.counters.requests.get, 0, 'a copy was kept');
    t.same(blocks.counters, { hits: 1, misses: 0 });

    emptyCache(cacheDir);
    t.ok((await blocks.get(id)).equals(raw));
    t.same(blocks.counters, { hits: 1, misses: 1 });

    const reader = await openCachedBlockReader(cacheDir, BUDGET_BYTES);
    const target = Buffer.alloc(1000);
    t.ok(reader.tryRead(id, 5000, 1000, target, 0), 'what was fetched is there for the session thread');
    t.ok(target.equals(raw.subarray(5000, 6000)));
    reader.close();
  },
);

t.test('O-2: a block that is already there is not written again', async (t) => {
  const { blocks, objects, objectPath } = await setUp(t);
  const block = encodeBlock(sampleText('twice', 10_000));
  await blocks.putEncoded(block);
  const bytesOut = objects.counters.bytesOut;
  await blocks.putEncoded(block);
  t.equal(objects.counters.bytesOut, bytesOut);
  t.ok(readFileSync(objectPath(block.id)).equals(block.object));
});

t.test('an encoded block is stored without a copy in the cache', async (t) => {
  const { blocks, objects } = await setUp(t);
  const raw = sampleBytes('encoded elsewhere', 10_000);
  const block = encodeBlock(raw);
  await blocks.putEncoded(block);
  t.ok((await blocks.get(block.id)).equals(raw));
  t.equal(objects.counters.requests.get, 1);
});

t.test('any number of gets of one block at once make one request', async (t) => {
  const { blocks, objects } = await setUp(t);
  const raw = sampleBytes('single flight', 500_000);
  const block = encodeBlock(raw);
  await blocks.putEncoded(block);
  const found = await Promise.all(Array.from({ length: 50 }, () => blocks.get(block.id)));
  t.ok(found.every((bytes) => bytes.equals(raw)));
  t.equal(objects.counters.requests.get, 1);
  t.same(blocks.counters, { hits: 0, misses: 1 });
});

t.test('law 2: what does not verify is fetched once more', async (t) => {
  const raw = sampleBytes('damaged once', 50_000);
  const block = encodeBlock(raw);
  let gets = 0;
  const setup = await setUp(t, {
    before: (operation) => {
      if (operation === 'get' && ++gets === 2) writeFileSync(setup.objectPath(block.id), block.object);
    },
  });
  await setup.blocks.putEncoded(block);
  const damaged = Buffer.from(block.object);
  damaged[1000] = (damaged[1000] ?? 0) ^ 1;
  rmSync(setup.objectPath(block.id));
  writeFileSync(setup.objectPath(block.id), damaged);

  t.ok((await setup.blocks.get(block.id)).equals(raw));
  t.equal(gets, 2);
});

t.test('law 2: what does not verify twice is refused, and not cached', async (t) => {
  const { blocks, objects, cacheDir, objectPath } = await setUp(t);
  const block = encodeBlock(sampleText('damaged', 50_000));
  await blocks.putEncoded(block);
  for (const spoilt of [
    Buffer.from(block.object).fill(0, 100, 200),
    Buffer.from(block.object).subarray(0, 1000),
    Buffer.alloc(0),
    Buffer.alloc(5 * 1024 * 1024),
    Buffer.from(encodeBlock(Buffer.from('another block')).object),
  ]) {
    rmSync(objectPath(block.id));
    writeFileSync(objectPath(block.id), spoilt);
    const requests = objects.counters.requests.get;
    await t.rejects(blocks.get(block.id), { code: 'corrupt' });
    t.equal(objects.counters.requests.get - requests, 2);
  }
  const reader = await openCachedBlockReader(cacheDir, BUDGET_BYTES);
  t.notOk(reader.tryRead(block.id, 0, 10, Buffer.alloc(10), 0));
  reader.close();
});

t.test('law 2: a copy damaged in the cache is fetched anew', async (t) => {
  const { blocks, objects, cacheDir } = await setUp(t);
  const raw = sampleBytes('damaged copy', 50_000);
  const { id } = await blocks.put(raw);
  writeFileSync(join(cacheDir, id.slice(0, 2), id), 'nonsense');
  t.ok((await blocks.get(id)).equals(raw));
  t.equal(objects.counters.requests.get, 1);
  t.ok((await blocks.get(id)).equals(raw));
  t.equal(objects.counters.requests.get, 1, 'and kept again');
});

t.test('a block that is nowhere is not found', async (t) => {
  const { blocks, objects } = await setUp(t);
  await t.rejects(blocks.get(blockIdOf(sha256(Buffer.from('never put')))), { code: 'not-found' });
  t.ok(objects.counters.requests.get > 1, 'in case it comes late it is asked for again');
});

t.test('a failing cache fails neither get nor put', async (t) => {
  const { blocks, cacheDir } = await setUp(t);
  const raw = sampleBytes('uncached', 50_000);
  // A file in the way of the subfolder, for root and everybody.
  writeFileSync(join(cacheDir, sha256(raw).toString('hex').slice(0, 2)), '');
  const { id } = await blocks.put(raw);
  t.ok((await blocks.get(id)).equals(raw));
  t.ok((await blocks.get(id)).equals(raw));
  t.same(blocks.counters, { hits: 0, misses: 2 });
});

t.test('one who gives up does not take the block from the others', async (t) => {
  const answer = gate();
  const reached = gate();
  const { blocks } = await setUp(t, {
    before: async (operation) => {
      if (operation !== 'get') return;
      reached.open();
      await answer.opened;
    },
  });
  const raw = sampleBytes('given up', 50_000);
  const block = encodeBlock(raw);
  await blocks.putEncoded(block);

  const impatience = new AbortController();
  const impatient = blocks.get(block.id, { signal: impatience.signal });
  const patient = blocks.get(block.id, { signal: new AbortController().signal });
  await reached.opened;
  impatience.abort(new Error('enough'));
  await t.rejects(impatient, { message: 'enough' });
  await t.rejects(
    blocks.get(block.id, { signal: impatience.signal }),
    { message: 'enough' },
    'nor begins anew',
  );
  answer.open();
  t.ok((await patient).equals(raw));
});

t.test('when all have given up the fetch is given up too, and a later get makes its own', async (t) => {
  const answer = gate();
  const reached = gate();
  let gets = 0;
  const { blocks, objects } = await setUp(t, {
    before: async (operation) => {
      if (operation !== 'get' || ++gets > 1) return;
      reached.open();
      await answer.opened;
    },
  });
  const raw = sampleBytes('abandoned', 50_000);
  const block = encodeBlock(raw);
  await blocks.putEncoded(block);

  const impatience = new AbortController();
  const impatient = blocks.get(block.id, { signal: impatience.signal });
  await reached.opened;
  impatience.abort(new Error('enough'));
  await t.rejects(impatient, { message: 'enough' });
  t.ok((await blocks.get(block.id)).equals(raw));
  answer.open();
  t.equal(gets, 2);
  await blocks.close();
  t.ok(objects.counters.requests.get <= 2);
});
