import fc from 'fast-check';
import t from 'tap';
import binding from 'zstd-napi/binding.js';
import { decodeBlock, encodeBlock, sha256 } from '../../src/blocks/index.js';
import { BLOCK_MAX_BYTES, blockIdOf, type BlockId } from '../../src/core/index.js';
import { sampleBytes, sampleText } from './sample-bytes.js';

const HEADER_BYTES = 16;

/** An object as B-3 lays it out, of whatever a hostile writer likes. */
function objectOf(options: {
  codec: number;
  rawLength: number;
  payload: Uint8Array;
  payloadLength?: number;
}): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.write('CRNB', 0, 'latin1');
  header.writeUInt8(1, 4);
  header.writeUInt8(options.codec, 5);
  header.writeUInt32LE(options.rawLength, 8);
  header.writeUInt32LE(options.payloadLength ?? options.payload.length, 12);
  return Buffer.concat([header, options.payload]);
}

function zstdFrame(raw: Uint8Array): Buffer {
  const packed = Buffer.alloc(binding.compressBound(raw.length));
  return packed.subarray(0, new binding.CCtx().compress(packed, raw, 3));
}

/** The bytes a reader gets, or 'corrupt'. Any other failure is one of the test. */
function tryDecode(id: BlockId, object: Uint8Array): Buffer | 'corrupt' {
  try {
    return decodeBlock(id, object);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'corrupt') return 'corrupt';
    throw error;
  }
}

t.test('B-1: a block comes back as it was, under the SHA-256 of its raw bytes', async (t) => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 20_000 }),
      fc.integer({ min: 1, max: 40 }),
      (piece, times) => {
        const raw = Buffer.concat(Array.from({ length: times }, () => piece));
        const block = encodeBlock(raw);
        t.equal(block.id, blockIdOf(sha256(raw)));
        t.equal(block.rawLength, raw.length);
        t.ok(decodeBlock(block.id, block.object).equals(raw));
      },
    ),
    { numRuns: 50 },
  );
});

t.test('B-2: a block of 1 byte and one of 4 MiB are stored, none and more are refused', async (t) => {
  for (const raw of [
    Buffer.alloc(1),
    sampleBytes('largest', BLOCK_MAX_BYTES),
    sampleText('text', BLOCK_MAX_BYTES),
  ]) {
    const block = encodeBlock(raw);
    t.ok(decodeBlock(block.id, block.object).equals(raw));
  }
  t.throws(() => encodeBlock(Buffer.alloc(0)));
  t.throws(() => encodeBlock(Buffer.alloc(BLOCK_MAX_BYTES + 1)));
});

t.test('B-3: an object begins with the header, field by field', async (t) => {
  const raw = Buffer.alloc(1000, 'cairn');
  const object = Buffer.from(encodeBlock(raw).object);
  t.equal(object.toString('latin1', 0, 4), 'CRNB');
  t.same([...object.subarray(4, 8)], [1, 1, 0, 0], 'version 1, zstd, not encrypted, reserved 0');
  t.equal(object.readUInt32LE(8), 1000);
  t.equal(object.readUInt32LE(12), object.length - HEADER_BYTES);
});

t.test('B-5: bytes that zstd does not make smaller are stored as they are', async (t) => {
  const raw = sampleBytes('incompressible', 100_000);
  const { object } = encodeBlock(raw);
  t.equal(object[5], 0);
  t.ok(Buffer.from(object).subarray(HEADER_BYTES).equals(raw));
});

t.test('an encoded block has a memory of its own, to be transferred to another thread', async (t) => {
  const { object } = encodeBlock(Buffer.from('a few bytes'));
  t.equal(object.buffer.byteLength, object.length);
});

t.test('B-4: an object cut short or made longer is refused, wherever it is cut', async (t) => {
  for (const raw of [sampleBytes('as is', 200), sampleText('packed', 2000)]) {
    const { id, object } = encodeBlock(raw);
    for (let length = 0; length < object.length; length++) {
      t.equal(tryDecode(id, object.subarray(0, length)), 'corrupt', `cut to ${String(length)}`);
    }
    t.equal(tryDecode(id, Buffer.concat([object, Buffer.alloc(1)])), 'corrupt');
  }
});

t.test('B-4: a changed header is refused, whichever of its bits is changed', async (t) => {
  for (const raw of [sampleBytes('as is', 200), sampleText('packed', 2000)]) {
    const { id, object } = encodeBlock(raw);
    for (let bit = 0; bit < HEADER_BYTES * 8; bit++) {
      const changed = Buffer.from(object);
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      t.equal(tryDecode(id, changed), 'corrupt', `bit ${String(bit)}`);
    }
  }
});

t.test('B-4: a changed payload is refused, or unpacks to the same bytes: never to others', async (t) => {
  const asIs = sampleBytes('as is', 500);
  const packed = sampleText('packed', 3000);
  for (const raw of [asIs, packed]) {
    const { id, object } = encodeBlock(raw);
    let unharmed = 0;
    for (let bit = HEADER_BYTES * 8; bit < object.length * 8; bit++) {
      const changed = Buffer.from(object);
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      const decoded = tryDecode(id, changed);
      if (decoded === 'corrupt') continue;
      unharmed++;
      if (!decoded.equals(raw)) t.fail(`bit ${String(bit)} made other bytes`);
    }
    // A zstd frame has a few bits that mean nothing (RFC 8878: unused bit, padding); stored as it is every bit counts.
    if (raw === asIs) t.equal(unharmed, 0);
    else t.ok(unharmed < 50, `${String(unharmed)} bits without a meaning`);
  }
});

t.test("B-4: another block's object is refused", async (t) => {
  t.equal(tryDecode(encodeBlock(Buffer.from('one')).id, encodeBlock(Buffer.from('two')).object), 'corrupt');
});

t.test('B-4: lengths out of bounds are refused', async (t) => {
  const raw = sampleBytes('lengths', 100);
  const id = blockIdOf(sha256(raw));
  t.ok(
    decodeBlock(id, objectOf({ codec: 0, rawLength: 100, payload: raw })).equals(raw),
    'the object itself is sound',
  );
  for (const length of [0, 99, 101, BLOCK_MAX_BYTES, BLOCK_MAX_BYTES + 1, 0xffff_ffff]) {
    t.equal(tryDecode(id, objectOf({ codec: 0, rawLength: length, payload: raw })), 'corrupt');
    t.equal(tryDecode(id, objectOf({ codec: 1, rawLength: length, payload: zstdFrame(raw) })), 'corrupt');
    t.equal(
      tryDecode(id, objectOf({ codec: 0, rawLength: 100, payload: raw, payloadLength: length })),
      'corrupt',
    );
  }
});

t.test('B-4: what would unpack to more than the raw length is refused within bounded memory', async (t) => {
  const bomb = zstdFrame(Buffer.alloc(256 * 1024 * 1024));
  const half = zstdFrame(Buffer.alloc(BLOCK_MAX_BYTES));
  const id = blockIdOf(sha256(Buffer.alloc(BLOCK_MAX_BYTES)));
  const before = process.memoryUsage();
  for (const payload of [bomb, Buffer.concat([half, half]), Buffer.concat([half, bomb])]) {
    for (const rawLength of [payload.length + 1, BLOCK_MAX_BYTES]) {
      t.equal(tryDecode(id, objectOf({ codec: 1, rawLength, payload })), 'corrupt');
    }
  }
  const after = process.memoryUsage();
  t.ok(
    after.arrayBuffers - before.arrayBuffers < 8 * BLOCK_MAX_BYTES,
    'no buffers beyond those of the raw length',
  );
  t.ok(after.rss - before.rss < 64 * 1024 * 1024, 'nor memory behind them');
});

t.test('B-4: arbitrary bytes are refused', async (t) => {
  const id = encodeBlock(Buffer.from('some block')).id;
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 300 }),
      fc.integer({ min: 0, max: 1 }),
      fc.nat(400),
      (payload, codec, rawLength) => {
        t.equal(tryDecode(id, payload), 'corrupt');
        t.equal(tryDecode(id, objectOf({ codec, rawLength, payload })), 'corrupt');
      },
    ),
  );
});
