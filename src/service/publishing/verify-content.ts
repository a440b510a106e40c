import { createHash } from 'node:crypto';
import { ChunkListHasher, CHUNK_MAX_BYTES, zeroBlockId, type BlockStore } from '../../blocks/index.js';
import type { ContentRow } from '../../catalog/index.js';
import { contentIdOf, WHOLE_HASH_MAX_BYTES, type ContentId } from '../../core/index.js';

/**
 * Whether a content is what its id says (FORMAT.md C-1, C-2): who stores an equal file later, in whatever workspace, may be told to refer to these
 * extents. Reads every block it names.
 */
export async function verifyContent(
  { id, size, extents }: ContentRow,
  blocks: Pick<BlockStore, 'get'>,
): Promise<boolean> {
  let end = 0;
  for (const { offset, length } of extents) {
    if (offset < end) return false;
    end = offset + length;
  }
  if (end > size) return false;
  return (
    id === (await (size <= WHOLE_HASH_MAX_BYTES ? wholeHash : chunkListHash)({ id, size, extents }, blocks))
  );
}

async function wholeHash(
  { size, extents }: ContentRow,
  blocks: Pick<BlockStore, 'get'>,
): Promise<ContentId | undefined> {
  const hash = createHash('sha256');
  let position = 0;
  for (const { offset, length, block, blockOffset } of extents) {
    hash.update(Buffer.alloc(offset - position));
    const raw = await blocks.get(block);
    if (blockOffset + length > raw.length) return undefined;
    hash.update(raw.subarray(blockOffset, blockOffset + length));
    position = offset + length;
  }
  hash.update(Buffer.alloc(size - position));
  return contentIdOf(hash.digest());
}

/** Every chunk is a block of its own; what no extent covers are chunks of zeros, which are cut at their maximum alone. */
async function chunkListHash(
  { size, extents }: ContentRow,
  blocks: Pick<BlockStore, 'get'>,
): Promise<ContentId | undefined> {
  const hasher = new ChunkListHasher();
  let position = 0;
  const addZeros = (end: number): void => {
    while (position < end) {
      const length = Math.min(CHUNK_MAX_BYTES, end - position);
      hasher.add(length, zeroBlockId(length));
      position += length;
    }
  };
  for (const { offset, length, block, blockOffset } of extents) {
    addZeros(offset);
    if (blockOffset !== 0 || (await blocks.get(block)).length !== length) return undefined;
    hasher.add(length, block);
    position += length;
  }
  addZeros(size);
  return hasher.digest();
}
