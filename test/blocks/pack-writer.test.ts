import t from 'tap';
import { PackWriter } from '../../src/blocks/index.js';
import { BLOCK_MAX_BYTES, PACK_TARGET_BYTES, PACKED_FILE_MAX_BYTES } from '../../src/core/index.js';
import { sampleBytes } from './sample-bytes.js';

t.test('C-6: every small file is found in its pack at the offset it was given', async (t) => {
  const pack = new PackWriter();
  const blocks: Buffer[] = [];
  const files = Array.from({ length: 60 }, (_, index) =>
    sampleBytes(String(index), 1 + ((index * 7919) % PACKED_FILE_MAX_BYTES)),
  );
  const places = files.map((bytes) => {
    const place = { block: blocks.length, offset: pack.append(bytes) };
    if (pack.full) blocks.push(pack.take());
    return place;
  });
  if (pack.length > 0) blocks.push(pack.take());

  t.ok(blocks.length > 1);
  for (const [index, bytes] of files.entries()) {
    const place = places[index];
    if (place === undefined) throw new Error('a file without a place');
    t.ok(blocks[place.block]?.subarray(place.offset, place.offset + bytes.length).equals(bytes));
  }
  for (const block of blocks.slice(0, -1)) {
    t.ok(block.length >= PACK_TARGET_BYTES && block.length <= BLOCK_MAX_BYTES, 'B-2: a full pack is a block');
  }
});

t.test('a pack refuses nothing at all, what is too large, and more when it is full', async (t) => {
  const pack = new PackWriter();
  t.throws(() => pack.take());
  t.throws(() => pack.append(Buffer.alloc(0)));
  t.throws(() => pack.append(Buffer.alloc(PACKED_FILE_MAX_BYTES + 1)));
  while (!pack.full) pack.append(Buffer.alloc(PACKED_FILE_MAX_BYTES));
  t.throws(() => pack.append(Buffer.alloc(1)));
});
