import fc from 'fast-check';
import t from 'tap';
import {
  CHUNK_MAX_BYTES,
  CHUNK_MIN_BYTES,
  CHUNK_NORMAL_BYTES,
  ChunkListHasher,
  chunkListContentId,
  isAllZeros,
  nextChunkLength,
  sha256,
  zeroBlockId,
} from '../../src/blocks/index.js';
import { blockIdOf } from '../../src/core/index.js';
import { sampleBytes, sampleText } from './sample-bytes.js';

const MIB = 1024 * 1024;

function chunksOf(bytes: Buffer): Buffer[] {
  const chunks: Buffer[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = nextChunkLength(bytes, at, bytes.length);
    chunks.push(bytes.subarray(at, at + length));
    at += length;
  }
  return chunks;
}

/** Rules C-3 and C-4 read aloud, byte by byte, with nothing done for speed. */
function chunkLengthByTheRules(bytes: Buffer): number {
  const gear = Array.from({ length: 256 }, (_, i) =>
    sha256(Buffer.from(`cairn-gear-${String(i)}`)).readUInt32LE(0),
  );
  let hash = 0;
  for (let index = 262_144; index < Math.min(bytes.length, 4_194_304); index++) {
    hash = (hash * 2 + (gear[bytes[index] ?? 0] ?? 0)) % 2 ** 32;
    const mask = index < 1_048_576 ? 0xffff_fc00 : 0xffff_c000;
    if ((hash & mask) === 0) return index + 1;
  }
  return Math.min(bytes.length, 4_194_304);
}

t.test('C-3, C-4: the cut is where the rules put it', async (t) => {
  for (let seed = 0; seed < 12; seed++) {
    const make = seed % 2 === 0 ? sampleBytes : sampleText;
    const bytes = make(`rules ${String(seed)}`, 4 * MIB + seed);
    t.equal(nextChunkLength(bytes, 0, bytes.length), chunkLengthByTheRules(bytes));
  }
});

t.test('C-3: the cuts of a known file never move', async (t) => {
  const lengths = chunksOf(sampleBytes('golden', 12 * MIB)).map((chunk) => chunk.length);
  t.same(
    lengths,
    [511403, 1118798, 1247776, 1222228, 1127195, 1225147, 1135205, 1296808, 1454875, 1129910, 1113567],
  );
});

t.test('C-3: chunks are within the bounds and make up the file', async (t) => {
  fc.assert(
    fc.property(fc.string(), fc.nat(12 * MIB), fc.boolean(), (seed, length, text) => {
      const chunks = chunksOf((text ? sampleText : sampleBytes)(seed, length));
      t.equal(
        chunks.reduce((sum, chunk) => sum + chunk.length, 0),
        length,
      );
      for (const chunk of chunks) t.ok(chunk.length > 0 && chunk.length <= CHUNK_MAX_BYTES);
      for (const chunk of chunks.slice(0, -1)) t.ok(chunk.length > CHUNK_MIN_BYTES);
    }),
    { numRuns: 12 },
  );
});

t.test('C-3: chunks are about the normal length on the whole', async (t) => {
  const mean = (64 * MIB) / chunksOf(sampleBytes('mean', 64 * MIB)).length;
  t.ok(mean > 0.75 * CHUNK_NORMAL_BYTES && mean < 1.75 * CHUNK_NORMAL_BYTES, `${String(mean)} bytes`);
});

t.test(
  "C-3: the cut depends on the chunk's own bytes, not on where it is or on what follows it",
  async (t) => {
    const bytes = sampleBytes('place', 5 * MIB);
    const length = nextChunkLength(bytes, 0, bytes.length);
    fc.assert(
      fc.property(fc.nat(MIB), fc.string(), (before, seed) => {
        const elsewhere = Buffer.concat([
          sampleBytes(seed, before),
          bytes.subarray(0, length),
          sampleBytes(seed, 5 * MIB),
        ]);
        t.equal(nextChunkLength(elsewhere, before, elsewhere.length), length);
      }),
      { numRuns: 10 },
    );
  },
);

t.test('C-3: after bytes put in or taken out the cuts fall where they fell before', async (t) => {
  const bytes = sampleBytes('edited', 32 * MIB);
  const before = new Set(chunksOf(bytes).map((chunk) => sha256(chunk).toString('hex')));
  fc.assert(
    fc.property(fc.nat(2 * MIB), fc.nat(100_000), fc.nat(100_000), (at, removed, inserted) => {
      const edited = Buffer.concat([
        bytes.subarray(0, at),
        sampleBytes('new', inserted),
        bytes.subarray(at + removed),
      ]);
      const chunks = chunksOf(edited);
      const shared = chunks.filter((chunk) => before.has(sha256(chunk).toString('hex')));
      const sharedBytes = shared.reduce((sum, chunk) => sum + chunk.length, 0);
      t.ok(sharedBytes > edited.length / 2, `${String(sharedBytes)} bytes shared`);
      t.ok(shared.includes(chunks.at(-1) ?? Buffer.alloc(0)), 'the last chunk among them');
    }),
    { numRuns: 8 },
  );
});

t.test('C-3: zeros are cut at the maximum only', async (t) => {
  t.same(
    chunksOf(Buffer.alloc(10 * MIB)).map((chunk) => chunk.length),
    [4 * MIB, 4 * MIB, 2 * MIB],
  );
});

t.test(
  'C-2: the content id of a list of chunks is the hash of the prefix, the lengths and the ids',
  async (t) => {
    const chunks = [sampleBytes('first', 300_000), Buffer.alloc(CHUNK_MAX_BYTES), sampleBytes('last', 1)].map(
      (bytes) => ({
        length: bytes.length,
        id: blockIdOf(sha256(bytes)),
        digest: sha256(bytes),
      }),
    );
    const lengthBytes = (length: number): Buffer => Buffer.from(Uint32Array.of(length).buffer);
    const listed = Buffer.concat([
      Buffer.from('cairn-chunks-1\n'),
      ...chunks.flatMap(({ length, digest }) => [lengthBytes(length), digest]),
    ]);
    t.equal(chunkListContentId(chunks), sha256(listed).toString('hex'));

    const hasher = new ChunkListHasher();
    for (const { length, id } of chunks) hasher.add(length, id);
    t.equal(hasher.digest(), sha256(listed).toString('hex'), 'also when they come one by one');
  },
);

t.test('C-2: a chunk of zeros has the id its bytes would have', async (t) => {
  for (const length of [1, 4096, CHUNK_MAX_BYTES, CHUNK_MAX_BYTES]) {
    t.equal(zeroBlockId(length), sha256(Buffer.alloc(length)).toString('hex'));
  }
});

t.test('C-5: one byte that is not zero is found wherever it is', async (t) => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 300_000 }),
      fc.nat(),
      fc.nat(1000),
      fc.nat(1000),
      (length, position, before, after) => {
        const start = before;
        const bytes = Buffer.alloc(before + length + after);
        bytes.fill(1, 0, start).fill(1, start + length);
        t.ok(isAllZeros(bytes, start, start + length));
        t.equal(isAllZeros(bytes), before + after === 0);
        bytes[start + (position % length)] = 1;
        t.notOk(isAllZeros(bytes, start, start + length));
      },
    ),
  );
  t.ok(isAllZeros(Buffer.alloc(0)));
});
