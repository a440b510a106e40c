import type { BlockId } from '../core/index.js';

/** A block ready to be stored: header and payload as FORMAT.md B-* lays them out. */
export interface EncodedBlock {
  id: BlockId;
  rawLength: number;
  /** The object's bytes. */
  object: Uint8Array;
}

/** A block that is durable in the object store, and what it takes there. */
export interface StoredBlock {
  id: BlockId;
  rawBytes: number;
  storedBytes: number;
}

export interface BlockCounters {
  /** Reads of a block found in the disk cache, and of one that was not there. */
  hits: number;
  misses: number;
}

/**
 * Blocks by id, whatever they carry, through the disk cache.
 *
 * - What `get` resolves with hashes to `id` (law 2); what does not verify is fetched once more, then refused as `corrupt`.
 * - Concurrent `get`s and `prefetch`es of one block make one request. A full or failing cache never fails a `get`, and where threads
 *   fill it, no `get` waits for them.
 * - `put` resolves when the block is durable in the object store; a block that is already there is not sent again.
 */
export interface BlockStore {
  readonly counters: BlockCounters;

  /** Blocks that `prefetch` has fetched. */
  readonly prefetched: number;

  /** The raw bytes. Not to be modified: the buffer may be shared. */
  get(id: BlockId, options?: { signal?: AbortSignal }): Promise<Buffer>;

  /**
   * Brings a block into the cache, behind what `get` asks for wherever the two compete. Resolves when readers of the cache can see
   * it, with the bytes that were fetched for it: 0 for one that was there. Rejects as `get` does, and as `failed` when the cache
   * cannot keep it. How many run at once is the caller's to bound.
   */
  prefetch(id: BlockId, options?: { signal?: AbortSignal }): Promise<number>;

  /** Hashes, compresses and stores raw bytes, at most BLOCK_MAX_BYTES, and keeps a copy in the cache. */
  put(raw: Uint8Array): Promise<StoredBlock>;

  /** Stores what a hash-pool thread has already encoded. Does not fill the cache. */
  putEncoded(block: EncodedBlock): Promise<void>;

  /** Stores what somebody else has encoded, if it verifies, and keeps a copy in the cache. Throws `corrupt`; then nothing is stored. */
  putVerified(id: BlockId, object: Buffer): Promise<void>;

  /** What the disk cache holds, in bytes on the disk; looks at every file of it. */
  cachedBytes(): Promise<number>;

  close(): Promise<void>;
}

/**
 * The session thread's way in: cached blocks only, synchronously. A thread opens its own on the same folder.
 */
export interface CachedBlockReader {
  /**
   * Copies `length` bytes from `blockOffset` of the block to `target` at `targetOffset`, verified. False when the block is not
   * in the cache, or what is there does not verify (it is then removed); `target` may have been written to.
   */
  tryRead(id: BlockId, blockOffset: number, length: number, target: Buffer, targetOffset: number): boolean;

  readonly counters: BlockCounters;

  /** Closes the files it keeps open: a block that was removed takes space until then. Those that are read again are opened again. */
  letGo(): void;

  close(): void;
}
