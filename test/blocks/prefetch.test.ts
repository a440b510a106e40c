/** Blocks that threads unpack and cache, and blocks that are fetched before they are asked for. */
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import t, { type Test } from 'tap';
import {
  blockKey,
  encodeBlock,
  openBlockStore,
  openCachedBlockReader,
  type BlockStore,
  type EncodedBlock,
} from '../../src/blocks/index.js';
import type { BlockId } from '../../src/core/index.js';
import { openObjectStore, type ObjectStore } from '../../src/objects/index.js';
import { InterceptedStore, type Interception } from '../fixtures/intercepted-store.js';
import { scratchFolder } from '../fixtures/scratch-folder.js';
import { sampleBytes, sampleText } from './sample-bytes.js';

const MIB = 1024 * 1024;
const BUDGET_BYTES = 64 * MIB;

interface Setup {
  blocks: BlockStore;
  objects: ObjectStore;
  cacheDir: string;
  objectPath: (id: BlockId) => string;
}

async function setUp(t: Test, interception: Interception = {}, budgetBytes = BUDGET_BYTES): Promise<Setup> {
  const dir = scratchFolder(t);
  const objects = new InterceptedStore(
    await openObjectStore(pathToFileURL(join(dir, 'store')).href),
    interception,
  );
  const cacheDir = join(dir, 'cache');
  const blocks = await openBlockStore({ objects, cacheDir, cacheBudgetBytes: budgetBytes, threads: 2 });
  t.teardown(async () => {
    await blocks.close();
    await objects.close();
  });
  return { blocks, objects, cacheDir, objectPath: (id) => join(dir, 'store', blockKey(id)) };
}

/** Holds the first `get` back until it is let go. */
function heldGet(): Interception & { reached: Promise<void>; letGo: () => void } {
  let letGo = (): void => undefined;
  let reach = (): void => undefined;
  const released = new Promise<void>((resolve) => (letGo = resolve));
  const reached = new Promise<void>((resolve) => (reach = resolve));
  return {
    reached,
    letGo: () => {
      letGo();
    },
    before: async (operation) => {
      if (operation !== 'get') return;
      reach();
      await released;
    },
  };
}

async function stored(blocks: BlockStore, raw: Uint8Array): Promise<EncodedBlock> {
  const block = encodeBlock(raw);
  await blocks.putEncoded(block);
  return block;
}

async function inCache({ cacheDir }: Setup, id: BlockId, raw: Uint8Array): Promise<boolean> {
  const reader = await openCachedBlockReader(cacheDir, BUDGET_BYTES);
  const target = Buffer.alloc(raw.length);
  const found = reader.tryRead(id, 0, raw.length, target, 0);
  reader.close();
  return found && target.equals(raw);
}

t.test('a thread unpacks what is fetched, whatever it holds', async (t) => {
  const { blocks, objects } = await setUp(t);
  const samples = [
    Buffer.from('x'),
    sampleText('packed', 1_000_000),
    sampleBytes('as it is', 3 * MIB),
    sampleText('large', 4 * MIB),
    Buffer.alloc(4 * MIB),
  ];
  const ids = await Promise.all(samples.map(async (raw) => (await stored(blocks, raw)).id));
  const found = await Promise.all(ids.map(async (id) => await blocks.get(id)));
  for (const [index, raw] of samples.entries()) t.ok(found[index]?.equals(raw), `sample ${String(index)}`);
  t.equal(objects.counters.requests.get, samples.length);
  t.same(blocks.counters, { hits: 0, misses: samples.length });
  t.equal(blocks.prefetched, 0);
});

t.test('what was prefetched is in the cache, and no get asks for it again', async (t) => {
  const setup = await setUp(t);
  const { blocks, objects } = setup;
  const raw = sampleText('ahead', 900_000);
  const { id, object } = await stored(blocks, raw);
  t.equal(await blocks.prefetch(id), object.length);
  t.ok(await inCache(setup, id, raw));
  t.ok((await blocks.get(id)).equals(raw));
  t.equal(await blocks.prefetch(id), 0, 'nor does another prefetch');
  t.equal(objects.counters.requests.get, 1);
  t.equal(blocks.prefetched, 1);
  t.same(blocks.counters, { hits: 1, misses: 0 });
});

t.test('who asks for a block that is being prefetched gets it from the same request', async (t) => {
  const held = heldGet();
  const setup = await setUp(t, held);
  const { blocks, objects } = setup;
  const raw = sampleText('joined', 300_000);
  const { id } = await stored(blocks, raw);
  const prefetched = blocks.prefetch(id);
  await held.reached;
  const got = [blocks.get(id), blocks.get(id), blocks.get(id)];
  held.letGo();
  for (const bytes of await Promise.all(got)) t.ok(bytes.equals(raw));
  t.ok((await prefetched) > 0);
  t.ok(await inCache(setup, id, raw));
  t.equal(objects.counters.requests.get, 1);
});

t.test('who gives up a read leaves the prefetch alone, and the other way round', async (t) => {
  for (const leaves of ['get', 'prefetch'] as const) {
    const held = heldGet();
    const setup = await setUp(t, held);
    const raw = sampleText(`left by ${leaves}`, 100_000);
    const { id } = await stored(setup.blocks, raw);
    const impatience = new AbortController();
    const options = (which: 'get' | 'prefetch'): { signal?: AbortSignal } =>
      which === leaves ? { signal: impatience.signal } : {};
    const prefetched = setup.blocks.prefetch(id, options('prefetch'));
    await held.reached;
    const got = setup.blocks.get(id, options('get'));
    impatience.abort(new Error('enough'));
    const given: Promise<unknown> = leaves === 'get' ? got : prefetched;
    await t.rejects(given, { message: 'enough' }, 'at once');
    held.letGo();
    if (leaves === 'get') t.ok((await prefetched) > 0);
    else t.ok((await got).equals(raw));
    t.equal(setup.objects.counters.requests.get, 1);
  }
});

t.test('law 2: what does not verify is fetched once more, then refused; it is never cached', async (t) => {
  for (const how of ['get', 'prefetch'] as const) {
    const setup = await setUp(t);
    const { blocks, objects, cacheDir, objectPath } = setup;
    const raw = sampleText(`damaged for ${how}`, 200_000);
    const { id, object } = await stored(blocks, raw);
    rmSync(objectPath(id));
    writeFileSync(objectPath(id), Buffer.from(object).fill(0, 500, 600));
    const refused: Promise<unknown> = blocks[how](id);
    await t.rejects(refused, { code: 'corrupt' }, how);
    t.equal(objects.counters.requests.get, 2);
    t.notOk(existsSync(join(cacheDir, id.slice(0, 2), id)));

    rmSync(objectPath(id));
    writeFileSync(objectPath(id), object);
    t.ok((await blocks.get(id)).equals(raw), 'the thread goes on');
  }
});

t.test('a cache that cannot keep a block fails no get; a prefetch says so', async (t) => {
  const { blocks, cacheDir } = await setUp(t);
  const raw = sampleText('uncached', 50_000);
  const { id } = await stored(blocks, raw);
  // A file in the way of the subfolder, for root and everybody.
  writeFileSync(join(cacheDir, id.slice(0, 2)), '');
  await t.rejects(blocks.prefetch(id), { code: 'failed' });
  t.ok((await blocks.get(id)).equals(raw));
  t.ok((await blocks.get(id)).equals(raw));
  t.equal(blocks.prefetched, 1);
  t.equal(blocks.counters.hits, 0);
});

t.test('law 9: prefetching evicts, and stays within the budget', async (t) => {
  const budgetBytes = 16 * MIB;
  const { blocks } = await setUp(t, {}, budgetBytes);
  for (let number = 0; number < 40; number++) {
    const { id } = await stored(blocks, sampleBytes(`one of many ${String(number)}`, MIB));
    await blocks.prefetch(id);
  }
  await blocks.close();
  t.ok((await blocks.cachedBytes()) <= budgetBytes);
});

t.test('a store that is closed gives up what is under way', async (t) => {
  const held = heldGet();
  const { blocks } = await setUp(t, held);
  const { id } = await stored(blocks, sampleText('never there', 100_000));
  const other = await stored(blocks, sampleText('nor this one', 100_000));
  const prefetched = t.rejects(blocks.prefetch(id));
  const got = t.rejects(blocks.get(other.id));
  await held.reached;
  const closed = blocks.close();
  held.letGo();
  await Promise.all([closed, prefetched, got]);
});

t.test('a reader of the cache says which blocks it comes to', async (t) => {
  const { blocks, cacheDir } = await setUp(t);
  const first = await blocks.put(sampleText('first', 100_000));
  const second = await blocks.put(sampleText('second', 100_000));
  const missing = encodeBlock(Buffer.from('not there'));
  const opened: BlockId[] = [];
  const reader = await openCachedBlockReader(cacheDir, 1024 * MIB, { onOpened: (id) => opened.push(id) });
  const target = Buffer.alloc(100);
  for (const offset of [0, 5000, 90_000]) t.ok(reader.tryRead(first.id, offset, 100, target, 0));
  t.notOk(reader.tryRead(missing.id, 0, 1, target, 0));
  t.ok(reader.tryRead(second.id, 0, 100, target, 0));
  t.ok(reader.tryRead(first.id, 0, 100, target, 0));
  t.same(opened, [first.id, second.id]);
  reader.close();
});
