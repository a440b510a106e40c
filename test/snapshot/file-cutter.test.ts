import { createHash } from 'node:crypto';
import { mkdirSync, utimesSync, writeFileSync } from 'node:fs';
import t from 'tap';
import {
  chunkListContentId,
  isAllZeros,
  nextChunkLength,
  sha256,
  zeroBlockId,
} from '../../src/blocks/index.js';
import { BLOCK_MAX_BYTES, blockIdOf, WHOLE_HASH_MAX_BYTES, type BlockId } from '../../src/core/index.js';
import { FileCutter } from '../../src/snapshot/import/file-cutter.js';
import { readStable } from '../../src/snapshot/import/stable-reader.js';
import { buildOddities, randomBytesOf } from '../fixtures/oddities.js';
import { scratchFolder } from '../fixtures/scratch-folder.js';
import { readFileSync } from 'node:fs';

const MIB = 1024 * 1024;

/** The chunks of whole bytes, by the rules and nothing else. */
function chunksOf(bytes: Buffer): { offset: number; length: number; id: BlockId; zeros: boolean }[] {
  const chunks = [];
  for (let offset = 0; offset < bytes.length;) {
    const length = nextChunkLength(bytes, offset, Math.min(bytes.length, offset + BLOCK_MAX_BYTES));
    const chunk = bytes.subarray(offset, offset + length);
    const zeros = isAllZeros(chunk);
    chunks.push({ offset, length, id: zeros ? zeroBlockId(length) : blockIdOf(sha256(chunk)), zeros });
    offset += length;
  }
  return chunks;
}

await t.test('C-1, C-2, C-3, C-5: windows and holes change neither the chunks nor the content id', (t) => {
  const dir = scratchFolder(t);
  mkdirSync(`${dir}/tree`);
  buildOddities(`${dir}/tree`, { largeBytes: 30 * MIB, sparseBytes: 50 * MIB });
  writeFileSync(
    `${dir}/tree/zeros-in-data`,
    Buffer.concat([randomBytesOf(3, MIB), Buffer.alloc(9 * MIB), randomBytesOf(4, MIB)]),
  );
  for (const name of [
    'large/random',
    'sizes/131073',
    'sizes/5242880',
    'sizes/zeros-large',
    'sparse/huge',
    'sparse/only-hole',
    'sparse/data-first',
    'sparse/data-last',
    'zeros-in-data',
  ]) {
    const bytes = readFileSync(`${dir}/tree/${name}`);
    const expected = chunksOf(bytes);
    const id =
      bytes.length <= WHOLE_HASH_MAX_BYTES
        ? createHash('sha256').update(bytes).digest('hex')
        : chunkListContentId(expected);
    const cutter = FileCutter.open(Buffer.from(`${dir}/tree/${name}`));
    if (cutter === undefined) throw new Error('gone');
    const found: unknown[] = [];
    for (;;) {
      const window = cutter.next();
      for (const { fileOffset, length, id, start } of window.chunks) {
        const chunk = window.bytes.subarray(start, start + length);
        found.push({ offset: fileOffset, length, id, zeros: false });
        if (blockIdOf(sha256(chunk)) !== id) t.fail(`${name}: the window does not hold the chunk`);
      }
      if (window.end === undefined) continue;
      t.equal(window.end.content?.id, id, `${name}: content id`);
      break;
    }
    cutter.close();
    t.same(
      found,
      expected.filter(({ zeros }) => !zeros),
      `${name}: chunks`,
    );
  }
  t.end();
});

await t.test('a file that changes while it is cut has no content', (t) => {
  const path = `${scratchFolder(t)}/file`;
  writeFileSync(path, randomBytesOf(5, 20 * MIB));
  for (const change of [
    () => {
      utimesSync(path, 1, 1);
    },
    () => {
      writeFileSync(path, 'short');
    },
  ]) {
    const cutter = FileCutter.open(Buffer.from(path));
    if (cutter === undefined) throw new Error('gone');
    let window = cutter.next();
    change();
    while (window.end === undefined) window = cutter.next();
    t.same(window.end, { content: undefined });
    cutter.close();
  }
  t.end();
});

await t.test('a small file is read with the attributes it had when it was read', (t) => {
  const dir = scratchFolder(t);
  const path = Buffer.from(`${dir}/file`);
  writeFileSync(path, 'twelve bytes');
  const stale = { size: 3, mtimeSec: 0, mtimeNsec: 0, ctimeSec: 0, ctimeNsec: 0 };
  const read = readStable(path, stale, 100, Buffer.alloc(3), 0);
  t.match(read, { kind: 'read', stat: { size: 12 } });
  if (read.kind === 'read') t.equal(Buffer.from(read.bytes).toString(), 'twelve bytes');
  t.match(readStable(path, stale, 5, Buffer.alloc(3), 0), { kind: 'grown', stat: { size: 12 } });
  t.same(readStable(Buffer.from(`${dir}/none`), stale, 5, Buffer.alloc(3), 0), { kind: 'gone' });
  t.end();
});
