/**
 * blocks: immutable bytes by the SHA-256 of their raw form: cut (FastCDC) or packed, hashed, compressed, stored as
 * objects, fetched, verified, and cached on the disk.
 *
 * Owns the layout of a block's object and of a cache folder, and the rule where a chunk ends (FORMAT.md B-*, C-*).
 *
 * Invariants: no byte leaves here that did not hash to its block's id when it came over the wire (law 2), nor one from the
 * cache that was not checked after it was read. A reader's memory is bounded before anything is unpacked. The cache is only ever
 * a copy: it may be lost, damaged, full or shared, and no `get` fails for it.
 *
 * Never deletes an object; never knows which file a block is part of.
 */
export { BLOCK_OBJECT_MAX_BYTES, decodeBlock, encodeBlock } from './block-codec.js';
export type {
  BlockCounters,
  BlockStore,
  CachedBlockReader,
  EncodedBlock,
  StoredBlock,
} from './block-store.js';
export { auditCache, readCached } from './cache-audit.js';
export { blockKey, openBlockStore } from './caching-block-store.js';
export { ChunkListHasher, chunkListContentId } from './chunk-list.js';
export { CHUNK_MAX_BYTES, CHUNK_MIN_BYTES, CHUNK_NORMAL_BYTES, nextChunkLength } from './chunker.js';
export { sha256 } from './digest.js';
export { openCachedBlockReader } from './disk-block-reader.js';
export { DiskCache } from './disk-cache.js';
export { makeRoomSync } from './make-room.js';
export { PackWriter } from './pack-writer.js';
export { isAllZeros, zeroBlockId } from './zeros.js';
