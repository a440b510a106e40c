import { spawnSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  mkdirSync,
} from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import t, { type Test } from 'tap';
import { DiskCache, openCachedBlockReader, sha256 } from '../../src/blocks/index.js';
import { BLOCK_MAX_BYTES, blockIdOf, type BlockId } from '../../src/core/index.js';
import { sampleBytes } from './sample-bytes.js';
import { sharedBlock, SHARED_BLOCK_BYTES, SHARED_BLOCKS } from './shared-blocks.js';

const MIB = 1024 * 1024;

/** Of readers and of caches that need not evict; large enough for all descriptors. */
const BUDGET_BYTES = 16 * 1024 * MIB;
const PROGRAM = join(import.meta.dirname, 'cache-process.js');

function blockOf(raw: Buffer): { id: BlockId; raw: Buffer } {
  return { id: blockIdOf(sha256(raw)), raw };
}

function pathOf(dir: string, id: BlockId): string {
  return join(dir, id.slice(0, 2), id);
}

function cachedFiles(dir: string): string[] {
  return readdirSync(dir)
    .filter((name) => name.length === 2)
    .flatMap((folder) => readdirSync(join(dir, folder)).map((name) => join(dir, folder, name)));
}

function cachedBytes(dir: string): number {
  return cachedFiles(dir).reduce((sum, path) => sum + Math.ceil(statSync(path).size / 4096) * 4096, 0);
}

t.test('a block filled is read back, whole and in part, whatever its length', async (t) => {
  const dir = t.testdir();
  const cache = await DiskCache.open(dir, BUDGET_BYTES);
  const reader = await openCachedBlockReader(dir, BUDGET_BYTES);
  for (const length of [1, 100, 65_535, 65_536, 65_537, 200_000, BLOCK_MAX_BYTES]) {
    const { id, raw } = blockOf(sampleBytes('whole', length));
    t.notOk(await cache.read(id), 'not there yet');
    t.notOk(reader.tryRead(id, 0, length, Buffer.alloc(length), 0), 'nor for the reader');
    t.ok(await cache.fill(id, raw));
    t.ok((await cache.read(id))?.equals(raw));
    const target = Buffer.alloc(length + 2);
    t.ok(reader.tryRead(id, 0, length, target, 1));
    t.ok(target.equals(Buffer.concat([Buffer.alloc(1), raw, Buffer.alloc(1)])), 'and not a byte beside it');
  }
  t.same(reader.counters, { hits: 7, misses: 7 });
  reader.close();
  await cache.close();
});

t.test('a reader finds every range of a block, first from the disk and then from memory', async (t) => {
  const dir = t.testdir();
  const cache = await DiskCache.open(dir, BUDGET_BYTES);
  const { id, raw } = blockOf(sampleBytes('ranges', 1_000_000));
  await cache.fill(id, raw);
  // 128 KiB: two segments, so that they come and go.
  for (const reader of [
    await openCachedBlockReader(dir, BUDGET_BYTES),
    await openCachedBlockReader(dir, BUDGET_BYTES, { memoryBytes: 131_072 }),
  ]) {
    const numbers = sampleBytes('offsets', 8 * 400);
    for (let at = 0; at < numbers.length; at += 8) {
      const offset = numbers.readUInt32LE(at) % raw.length;
      const length =
        numbers.readUInt32LE(at + 4) % Math.min(raw.length - offset, at % 16 === 0 ? 5000 : 400_000);
      const target = Buffer.alloc(length);
      t.ok(reader.tryRead(id, offset, length, target, 0));
      t.ok(target.equals(raw.subarray(offset, offset + length)));
    }
    t.notOk(reader.tryRead(id, raw.length - 1, 2, Buffer.alloc(2), 0), 'beyond the end there is nothing');
    t.throws(
      () => reader.tryRead(id, 0, 3, Buffer.alloc(2), 0),
      'a target too short is an error of the caller',
    );
    reader.close();
  }
  await cache.close();
});

t.test(
  'law 2: a byte changed anywhere in a cached file makes it a miss, and the file is removed',
  async (t) => {
    const dir = t.testdir();
    const cache = await DiskCache.open(dir, BUDGET_BYTES);
    const { id, raw } = blockOf(sampleBytes('damaged', 150_000));
    await cache.fill(id, raw);
    const sound = readFileSync(pathOf(dir, id));
    const tailStart = raw.length;
    const places = [0, 65_535, 65_536, 149_999];
    for (let place = tailStart; place < sound.length; place++) places.push(place);

    for (const place of places) {
      const damaged = Buffer.from(sound);
      damaged[place] = (damaged[place] ?? 0) ^ 0x10;
      writeFileSync(pathOf(dir, id), damaged);
      t.equal(await cache.read(id), undefined, `byte ${String(place)}, all of it read`);
      t.notOk(existsSync(pathOf(dir, id)));

      writeFileSync(pathOf(dir, id), damaged);
      const reader = await openCachedBlockReader(dir, BUDGET_BYTES);
      t.notOk(
        reader.tryRead(id, 0, raw.length, Buffer.alloc(raw.length), 0),
        `byte ${String(place)}, ranges read`,
      );
      t.notOk(existsSync(pathOf(dir, id)));
      reader.close();
    }
    t.ok(await cache.fill(id, raw));
    t.ok((await cache.read(id))?.equals(raw), 'and it can be filled again');
    await cache.close();
  },
);

t.test('law 2: damage to one segment is found by a read of that segment, small or whole', async (t) => {
  const dir = t.testdir();
  const cache = await DiskCache.open(dir, BUDGET_BYTES);
  const { id, raw } = blockOf(sampleBytes('one segment', 300_000));
  for (const [offset, length] of [
    [17_000, 10],
    [16_384, 16_384],
    [16_384, 65_536],
  ] as const) {
    await cache.fill(id, raw);
    const damaged = readFileSync(pathOf(dir, id));
    damaged[32_767] = (damaged[32_767] ?? 0) ^ 1;
    writeFileSync(pathOf(dir, id), damaged);
    const reader = await openCachedBlockReader(dir, BUDGET_BYTES);
    t.ok(reader.tryRead(id, 0, 10, Buffer.alloc(10), 0), 'another segment is sound');
    t.notOk(reader.tryRead(id, offset, length, Buffer.alloc(length), 0));
    t.notOk(existsSync(pathOf(dir, id)));
    t.notOk(reader.tryRead(id, 0, 10, Buffer.alloc(10), 0), 'the block is gone as a whole');
    reader.close();
  }
  await cache.close();
});

t.test('a torn file, an empty one, a larger one and one under a wrong name are misses', async (t) => {
  const dir = t.testdir();
  const cache = await DiskCache.open(dir, BUDGET_BYTES);
  const { id, raw } = blockOf(sampleBytes('torn', 150_000));
  const other = blockOf(sampleBytes('other', 150_000));
  await cache.fill(other.id, other.raw);
  const wrongs: [string, () => void][] = [
    [
      'torn',
      () => {
        truncateSync(pathOf(dir, id), 100_000);
      },
    ],
    [
      'extended with zeros, as after a power cut',
      () => {
        truncateSync(pathOf(dir, id), 0);
        truncateSync(pathOf(dir, id), 150_080);
      },
    ],
    [
      'empty',
      () => {
        truncateSync(pathOf(dir, id), 0);
      },
    ],
    [
      'larger than any block',
      () => {
        truncateSync(pathOf(dir, id), 1024 * MIB);
      },
    ],
    [
      'of another block',
      () => {
        writeFileSync(pathOf(dir, id), readFileSync(pathOf(dir, other.id)));
      },
    ],
  ];
  for (const [what, spoil] of wrongs) {
    await cache.fill(id, raw);
    spoil();
    const reader = await openCachedBlockReader(dir, BUDGET_BYTES);
    t.notOk(reader.tryRead(id, 0, 10, Buffer.alloc(10), 0), what);
    t.notOk(existsSync(pathOf(dir, id)), 'removed');
    reader.close();

    await cache.fill(id, raw);
    spoil();
    t.equal(await cache.read(id), undefined, what);
    t.notOk(existsSync(pathOf(dir, id)), 'removed');
  }
  await cache.close();
});

t.test('eviction keeps to the budget and takes what was used longest ago', async (t) => {
  const dir = t.testdir();
  const nowSec = Date.now() / 1000;
  const filler = await DiskCache.open(dir, BUDGET_BYTES);
  const ids: BlockId[] = [];
  for (let index = 0; index < 20; index++) {
    const { id, raw } = blockOf(sampleBytes(`aged ${String(index)}`, 100_000));
    await filler.fill(id, raw);
    const lastUseSec = nowSec - (20 - index) * 600;
    utimesSync(pathOf(dir, id), lastUseSec, lastUseSec);
    ids.push(id);
  }
  // Use is what counts, not the order of filling: the two oldest become the newest.
  const [first, second] = ids as [BlockId, BlockId];
  t.ok(await filler.read(first));
  const reader = await openCachedBlockReader(dir, BUDGET_BYTES);
  t.ok(reader.tryRead(second, 0, 10, Buffer.alloc(10), 0));
  reader.close();
  await filler.close();

  const budgetBytes = 10 * 102_400;
  const cache = await DiskCache.open(dir, budgetBytes);
  const newest = blockOf(sampleBytes('newest', 100_000));
  await cache.fill(newest.id, newest.raw);
  await cache.close();

  t.equal(cachedBytes(dir), 0.9 * budgetBytes, 'down to 90 %');
  const kept = ids.map((id) => existsSync(pathOf(dir, id)));
  t.same(kept, [true, true, ...Array<boolean>(12).fill(false), ...Array<boolean>(6).fill(true)]);
  t.ok(existsSync(pathOf(dir, newest.id)));
});

t.test('filling without end stays within the budget', async (t) => {
  const dir = t.testdir();
  const budgetBytes = 3 * MIB;
  const cache = await DiskCache.open(dir, budgetBytes);
  const blockBytes = 304 * 1024;
  for (let turn = 0; turn < SHARED_BLOCKS; turn++) {
    const { id, raw } = sharedBlock(turn);
    await cache.fill(id, raw);
    const bytes = cachedBytes(dir);
    if (bytes > budgetBytes + budgetBytes / 32 + 2 * blockBytes) t.fail(`${String(bytes)} bytes`);
  }
  await cache.close();
  t.ok(cachedBytes(dir) <= budgetBytes);
  t.ok(cachedBytes(dir) > budgetBytes / 2, 'and makes use of it');
});

t.test('a block evicted under a reader is a miss, or read from the descriptor it has', async (t) => {
  const dir = t.testdir();
  const cache = await DiskCache.open(dir, BUDGET_BYTES);
  const { id, raw } = sharedBlock(0);
  await cache.fill(id, raw);
  const early = await openCachedBlockReader(dir, BUDGET_BYTES);
  const target = Buffer.alloc(10);
  t.ok(early.tryRead(id, 0, 10, target, 0));
  const evictor = await DiskCache.open(dir, 0);
  await evictor.fill(sharedBlock(1).id, sharedBlock(1).raw);
  await evictor.close();
  t.notOk(existsSync(pathOf(dir, id)));
  t.ok(early.tryRead(id, 200_000, 10, target, 0));
  t.ok(target.equals(raw.subarray(200_000, 200_010)));
  const late = await openCachedBlockReader(dir, BUDGET_BYTES);
  t.notOk(late.tryRead(id, 0, 10, target, 0));
  early.close();
  late.close();
  await cache.close();
});

t.test('a reader keeps a bounded number of descriptors, and gives them all back', async (t) => {
  const dir = t.testdir();
  const descriptors = (): number => readdirSync('/proc/self/fd').length;
  const cache = await DiskCache.open(dir, BUDGET_BYTES);
  const before = descriptors();
  const reader = await openCachedBlockReader(dir, BUDGET_BYTES);
  const blocks = Array.from({ length: 1200 }, (_, index) =>
    blockOf(sampleBytes(`small ${String(index)}`, 1000)),
  );
  for (const { id, raw } of blocks) await cache.fill(id, raw);
  for (let round = 0; round < 2; round++) {
    for (const { id, raw } of blocks) {
      const target = Buffer.alloc(999);
      t.ok(reader.tryRead(id, 1, 999, target, 0));
      t.ok(target.equals(raw.subarray(1)));
    }
    t.ok(descriptors() - before <= 1024);
  }
  reader.close();
  await cache.close();
  t.equal(descriptors(), before);
});

t.test('temporary files of dead processes are removed, those of living ones are left', async (t) => {
  const dir = t.testdir();
  mkdirSync(join(dir, 'tmp'));
  const dead = spawnSync(process.execPath, ['-e', '']).pid;
  writeFileSync(join(dir, 'tmp', `${String(dead)}-half`), 'half a block');
  writeFileSync(join(dir, 'tmp', `${String(process.pid)}-half`), 'half a block');
  writeFileSync(join(dir, 'tmp', `${String(process.pid)}-old`), 'of an earlier process of that number');
  utimesSync(join(dir, 'tmp', `${String(process.pid)}-old`), 0, 0);
  const cache = await DiskCache.open(dir, MIB);
  t.same(readdirSync(join(dir, 'tmp')), [`${String(process.pid)}-half`]);
  await cache.close();
});

t.test('several processes fill, read and evict in one folder, and none is served wrong bytes', async (t) => {
  const dir = t.testdir();
  const budgetBytes = 5 * MIB;
  const processes = ['a', 'b', 'c', 'd'].map((seed) =>
    spawn(process.execPath, [PROGRAM, 'mixed', dir, String(budgetBytes), seed], {
      stdio: ['ignore', 'pipe', 'inherit'],
    }),
  );
  const codes = await Promise.all(processes.map(async (child) => (await once(child, 'close'))[0] as number));
  t.same(codes, [0, 0, 0, 0]);
  const slackBytes = processes.length * (budgetBytes / 32 + 2 * SHARED_BLOCK_BYTES);
  t.ok(cachedBytes(dir) <= budgetBytes + slackBytes, `${String(cachedBytes(dir))} bytes`);
  t.same(readdirSync(join(dir, 'tmp')), []);
  await verifyAll(t, dir);
});

t.test('a process killed while it fills leaves nothing that is served, and nothing for good', async (t) => {
  const dir = t.testdir();
  for (let killed = 0; killed < 6; killed++) {
    const child = spawn(process.execPath, [PROGRAM, 'endless', dir, String(BUDGET_BYTES), 'seed'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const closed = once(child, 'close');
    let lines = 0;
    for await (const line of createInterface(child.stdout)) {
      if (line === 'filled' && ++lines > killed * 3) child.kill('SIGKILL');
    }
    await closed;
    // So that the next one has something to fill.
    for (const path of cachedFiles(dir).slice(0, SHARED_BLOCKS / 2)) truncateSync(path, 1);
  }
  const cache = await DiskCache.open(dir, BUDGET_BYTES);
  t.same(readdirSync(join(dir, 'tmp')), []);
  await cache.close();
  await verifyAll(t, dir);
});

t.test('a full disk is a cache that misses', async (t) => {
  const dir = t.testdir();
  const mounted =
    process.getuid?.() === 0 &&
    spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', dir]).status === 0;
  if (!mounted) {
    t.pass('not done: only root can mount a small file system', { skip: true });
    return;
  }
  try {
    const cache = await DiskCache.open(dir, BUDGET_BYTES);
    const outcomes = new Set<boolean>();
    for (let turn = 0; turn < SHARED_BLOCKS; turn++) {
      const { id, raw } = sharedBlock(turn);
      const kept = await cache.fill(id, raw);
      outcomes.add(kept);
      const cached = await cache.read(id);
      t.equal(cached?.equals(raw), kept ? true : undefined);
    }
    t.same(outcomes, new Set([true, false]), 'some could not be kept, and made room for later ones');
    t.same(readdirSync(join(dir, 'tmp')), []);

    spawnSync('dd', ['if=/dev/zero', `of=${join(dir, 'of somebody else')}`, 'bs=64k']);
    for (let turn = 0; turn < 20; turn++) {
      const { id, raw } = sharedBlock(turn);
      await cache.fill(id, raw);
      const cached = await cache.read(id);
      t.ok(cached === undefined || cached.equals(raw));
    }
    await cache.close();
  } finally {
    spawnSync('umount', [dir]);
  }
});

t.test(
  'a folder that cannot be written is a cache that misses; one that cannot be made is an error',
  async (t) => {
    const dir = t.testdir({ file: 'not a folder' });
    await t.rejects(DiskCache.open(join(dir, 'file'), MIB), { code: 'failed' });

    const cache = await DiskCache.open(join(dir, 'cache'), MIB);
    const { id, raw } = sharedBlock(0);
    // In the way of the subfolder, for root and everybody.
    writeFileSync(join(dir, 'cache', id.slice(0, 2)), '');
    t.equal(await cache.fill(id, raw), false);
    t.equal(await cache.read(id), undefined);
    t.same(readdirSync(join(dir, 'cache', 'tmp')), []);
    await cache.close();
  },
);

/** Whatever is in the folder under a block's name is that block or nothing. */
async function verifyAll(t: Test, dir: string): Promise<void> {
  const cache = await DiskCache.open(dir, BUDGET_BYTES);
  for (let index = 0; index < SHARED_BLOCKS; index++) {
    const { id, raw } = sharedBlock(index);
    const cached = await cache.read(id);
    t.ok(cached === undefined || cached.equals(raw));
  }
  await cache.close();
}
