import { join } from 'node:path';
import hashWasm from 'hash-wasm';
import { BLOCK_MAX_BYTES, bytesOfId, type BlockId } from '../core/index.js';

/** What is verified at once: small enough for a random read, large enough for a sequential one. */
export const SEGMENT_BYTES = 16 * 1024;

const MAGIC = 0x434e5243; // 'CRNC', little-endian
const LAYOUT_VERSION = 2;
const HASH_BYTES = 8;
const FOOTER_BYTES = 56;
export const SEGMENTS_MAX = BLOCK_MAX_BYTES / SEGMENT_BYTES;

/** Trailer and footer of the largest block. */
export const TAIL_MAX_BYTES = SEGMENTS_MAX * HASH_BYTES + FOOTER_BYTES;

/** The largest file of the cache. */
export const CACHE_FILE_MAX_BYTES = BLOCK_MAX_BYTES + TAIL_MAX_BYTES;

/** What the tail of a cache file says about the bytes before it. */
export interface CacheFileTail {
  rawLength: number;
  /** 8 bytes of xxHash64 for each segment. */
  segmentHashes: Buffer;
}

/** Where a cache folder keeps a block. */
export function cacheFilePath(dir: string, id: BlockId): string {
  return join(dir, id.slice(0, 2), id);
}

/**
 * The layout of a cached block, private to a machine and not part of FORMAT.md:
 *
 *     raw bytes
 *     trailer   xxHash64 of each 16 KiB of them
 *     footer    magic CRNC, version 2, raw length, 0 (u32 each), block id (32 bytes), xxHash64 of trailer and footer so far
 *
 * The raw bytes hashed to the id when they were written (law 2). What the cheap hashes guard against from then on is what
 * happens to files: torn by a crash, for they are not synced, or damaged on the disk. They are no guard against somebody
 * who can write to the folder, which is the user's own.
 *
 * Holds hashing state: one for each thread, and nothing is awaited between its calls.
 */
export class CacheFileLayout {
  readonly #hasher: hashWasm.IHasher;

  private constructor(hasher: hashWasm.IHasher) {
    this.#hasher = hasher;
  }

  static async create(): Promise<CacheFileLayout> {
    return new CacheFileLayout(await hashWasm.createXXHash64());
  }

  /** What follows the raw bytes of a block in its file. */
  tailFor(id: BlockId, raw: Uint8Array): Buffer {
    const segments = Math.ceil(raw.length / SEGMENT_BYTES);
    const tail = Buffer.alloc(segments * HASH_BYTES + FOOTER_BYTES);
    for (let index = 0; index < segments; index++) {
      const start = index * SEGMENT_BYTES;
      tail.set(this.#hash(raw.subarray(start, start + SEGMENT_BYTES)), index * HASH_BYTES);
    }
    const footer = tail.subarray(segments * HASH_BYTES);
    footer.writeUInt32LE(MAGIC, 0);
    footer.writeUInt32LE(LAYOUT_VERSION, 4);
    footer.writeUInt32LE(raw.length, 8);
    bytesOfId(id).copy(footer, 16);
    footer.set(this.#hash(tail.subarray(0, -HASH_BYTES)), FOOTER_BYTES - HASH_BYTES);
    return tail;
  }

  /**
   * Reads the tail of a file of `fileBytes` that should hold block `id`. `end` is the last TAIL_MAX_BYTES of the file, or
   * all of a shorter one. Undefined when it is not what `tailFor` wrote.
   */
  parseTail(id: BlockId, fileBytes: number, end: Buffer): CacheFileTail | undefined {
    if (end.length < FOOTER_BYTES) return undefined;
    const footer = end.subarray(-FOOTER_BYTES);
    if (footer.readUInt32LE(0) !== MAGIC || footer.readUInt32LE(4) !== LAYOUT_VERSION) return undefined;
    const rawLength = footer.readUInt32LE(8);
    if (rawLength === 0 || rawLength > BLOCK_MAX_BYTES) return undefined;
    const tailBytes = Math.ceil(rawLength / SEGMENT_BYTES) * HASH_BYTES + FOOTER_BYTES;
    if (fileBytes !== rawLength + tailBytes) return undefined;
    if (!bytesOfId(id).equals(footer.subarray(16, 48))) return undefined;
    const tail = end.subarray(-tailBytes);
    if (
      footer.compare(this.#hash(tail.subarray(0, -HASH_BYTES)), 0, HASH_BYTES, FOOTER_BYTES - HASH_BYTES) !==
      0
    ) {
      return undefined;
    }
    return { rawLength, segmentHashes: tail.subarray(0, -FOOTER_BYTES) };
  }

  /** Whether `bytes` are segment `index` of the block. */
  verifies(tail: CacheFileTail, index: number, bytes: Uint8Array): boolean {
    const at = index * HASH_BYTES;
    return tail.segmentHashes.compare(this.#hash(bytes), 0, HASH_BYTES, at, at + HASH_BYTES) === 0;
  }

  /** The block's bytes, all of them verified, in a whole file's. Undefined when one is not as it was written. */
  rawBytes(id: BlockId, file: Buffer): Buffer | undefined {
    const tail = this.parseTail(id, file.length, file.subarray(-TAIL_MAX_BYTES));
    if (tail === undefined) return undefined;
    const raw = file.subarray(0, tail.rawLength);
    for (let index = 0, at = 0; at < raw.length; index++, at += SEGMENT_BYTES) {
      if (!this.verifies(tail, index, raw.subarray(at, at + SEGMENT_BYTES))) return undefined;
    }
    return raw;
  }

  #hash(bytes: Uint8Array): Uint8Array {
    return this.#hasher.init().update(bytes).digest('binary');
  }
}
