import { closeSync, fstatSync, futimesSync, openSync, readSync, rmSync } from 'node:fs';
import { LRUCache } from 'lru-cache';
import { BLOCK_MAX_BYTES, systemCode, type BlockId } from '../core/index.js';
import type { BlockCounters, CachedBlockReader } from './block-store.js';
import {
  CACHE_FILE_MAX_BYTES,
  CacheFileLayout,
  cacheFilePath,
  SEGMENT_BYTES,
  SEGMENTS_MAX,
  TAIL_MAX_BYTES,
  type CacheFileTail,
} from './cache-file.js';
import { LAST_USE_RESOLUTION_MS } from './disk-cache.js';

/** Descriptors kept open at most, by each thread that reads: to open a block costs two reads of its own. The blocks of 1 GiB in one file. */
const OPEN_FILES_MAX = 1024;

/** An evicted block stays on the disk while a descriptor is open to it: at most this share of the budget may do so. */
const HELD_OPEN_SHARE = 1 / 16;

const SEGMENT_MEMORY_DEFAULT_BYTES = 8 * 1024 * 1024;

/** A block's segments have the keys `serial * SEGMENTS_MAX + index`; numbers, as strings would be made anew for each read. */

interface OpenFile extends CacheFileTail {
  id: BlockId;
  fd: number;
  serial: number;
  lastUseMs: number;
}

/**
 * Opens the cache folder for one thread's synchronous reads. Nothing is written to it but the times of last use; blocks
 * that do not verify are removed. `memoryBytes` bounds what is held of verified segments, so that neighbours in a pack are
 * read and hashed once. `onOpened` is told of a block that is read for the first time, or for the first time in a while.
 */
export async function openCachedBlockReader(
  dir: string,
  budgetBytes: number,
  options: { memoryBytes?: number; onOpened?: (id: BlockId) => void } = {},
): Promise<CachedBlockReader> {
  const max = {
    openBytes: Math.max(BLOCK_MAX_BYTES, Math.floor(budgetBytes * HELD_OPEN_SHARE)),
    segments: Math.max(1, Math.floor((options.memoryBytes ?? SEGMENT_MEMORY_DEFAULT_BYTES) / SEGMENT_BYTES)),
  };
  return new DiskBlockReader(dir, await CacheFileLayout.create(), max, options.onOpened);
}

/** On the hot path of every read: no promises, no closures, buffers used again, descriptors kept. */
class DiskBlockReader implements CachedBlockReader {
  readonly counters: BlockCounters = { hits: 0, misses: 0 };
  readonly #dir: string;
  readonly #layout: CacheFileLayout;
  readonly #tailBuffer = Buffer.allocUnsafeSlow(TAIL_MAX_BYTES);
  readonly #files: LRUCache<BlockId, OpenFile>;
  readonly #segments: LRUCache<number, Buffer>;
  /** Segment buffers not in use; with those in `#segments` never more than its maximum and one. */
  readonly #spares: Buffer[] = [];
  readonly #onOpened: ((id: BlockId) => void) | undefined;
  #nextSerial = 0;

  constructor(
    dir: string,
    layout: CacheFileLayout,
    max: { openBytes: number; segments: number },
    onOpened: ((id: BlockId) => void) | undefined,
  ) {
    this.#dir = dir;
    this.#layout = layout;
    this.#onOpened = onOpened;
    this.#files = new LRUCache({
      max: OPEN_FILES_MAX,
      maxSize: max.openBytes,
      sizeCalculation: (file) => file.rawLength,
      dispose: (file) => {
        this.#release(file);
      },
    });
    this.#segments = new LRUCache({
      max: max.segments,
      dispose: (buffer) => {
        this.#spares.push(buffer);
      },
    });
  }

  tryRead(id: BlockId, blockOffset: number, length: number, target: Buffer, targetOffset: number): boolean {
    if (targetOffset + length > target.length) throw new Error('the target is too short for the read');
    const found = this.#read(id, blockOffset, length, target, targetOffset);
    if (found) this.counters.hits++;
    else this.counters.misses++;
    return found;
  }

  letGo(): void {
    this.#files.clear();
  }

  close(): void {
    this.letGo();
  }

  #read(id: BlockId, blockOffset: number, length: number, target: Buffer, targetOffset: number): boolean {
    const file = this.#files.get(id) ?? this.#open(id);
    if (file === undefined || blockOffset + length > file.rawLength || !this.#noteUse(file)) return false;

    const end = blockOffset + length;
    for (let at = blockOffset; at < end;) {
      const index = Math.floor(at / SEGMENT_BYTES);
      const segmentStart = index * SEGMENT_BYTES;
      const segmentLength = Math.min(SEGMENT_BYTES, file.rawLength - segmentStart);
      const pieceLength = Math.min(end, segmentStart + segmentLength) - at;
      const targetAt = targetOffset + (at - blockOffset);

      const known = this.#segments.get(file.serial * SEGMENTS_MAX + index);
      if (known === undefined && pieceLength === segmentLength) {
        // All of it is wanted, and of those that follow: straight to where they go, and not kept, as a sequential reader will not come back.
        const wholeEnd = end === file.rawLength ? end : end - (end % SEGMENT_BYTES);
        if (!this.#readSegments(file, index, target, targetAt, wholeEnd - at)) return this.#discard(file);
        at = wholeEnd;
      } else {
        const segment = known ?? this.#loadSegment(file, index, segmentLength);
        if (segment === undefined) return this.#discard(file);
        segment.copy(target, targetAt, at - segmentStart, at - segmentStart + pieceLength);
        at += pieceLength;
      }
    }
    return true;
  }

  /** Reads and verifies a segment into memory that is kept. */
  #loadSegment(file: OpenFile, index: number, length: number): Buffer | undefined {
    const buffer = this.#spares.pop() ?? Buffer.allocUnsafeSlow(SEGMENT_BYTES);
    if (!this.#readSegments(file, index, buffer, 0, length)) {
      this.#spares.push(buffer);
      return undefined;
    }
    this.#segments.set(file.serial * SEGMENTS_MAX + index, buffer);
    return buffer;
  }

  /** `length` bytes from the start of segment `first`: whole segments, the last of which may be the block's shorter one. */
  #readSegments(
    file: OpenFile,
    first: number,
    target: Buffer,
    targetOffset: number,
    length: number,
  ): boolean {
    try {
      if (readSync(file.fd, target, targetOffset, length, first * SEGMENT_BYTES) !== length) return false;
    } catch {
      return false;
    }
    const end = targetOffset + length;
    for (let index = first, at = targetOffset; at < end; index++, at += SEGMENT_BYTES) {
      if (!this.#layout.verifies(file, index, target.subarray(at, Math.min(at + SEGMENT_BYTES, end))))
        return false;
    }
    return true;
  }

  #open(id: BlockId): OpenFile | undefined {
    const fd = this.#openFile(id);
    if (fd === undefined) return undefined;
    const file = this.#parse(id, fd);
    if (file === undefined) {
      closeSync(fd);
      this.#removeFile(id);
      return undefined;
    }
    this.#files.set(id, file);
    this.#onOpened?.(id);
    return file;
  }

  #openFile(id: BlockId): number | undefined {
    try {
      return openSync(cacheFilePath(this.#dir, id), 'r');
    } catch (error) {
      // The process has no descriptor left, which whoever fetches the block would meet too.
      if (systemCode(error) === 'EMFILE') this.letGo();
      return undefined;
    }
  }

  #parse(id: BlockId, fd: number): OpenFile | undefined {
    try {
      const { size, mtimeMs } = fstatSync(fd);
      if (size > CACHE_FILE_MAX_BYTES) return undefined;
      const length = Math.min(size, TAIL_MAX_BYTES);
      if (readSync(fd, this.#tailBuffer, 0, length, size - length) !== length) return undefined;
      const tail = this.#layout.parseTail(id, size, this.#tailBuffer.subarray(0, length));
      if (tail === undefined) return undefined;
      return {
        id,
        fd,
        serial: this.#nextSerial++,
        lastUseMs: mtimeMs,
        rawLength: tail.rawLength,
        segmentHashes: Buffer.from(tail.segmentHashes),
      };
    } catch {
      return undefined;
    }
  }

  /** Now and then tells the other processes that the block is in use. False when one has evicted it: it is let go. */
  #noteUse(file: OpenFile): boolean {
    const now = Date.now();
    if (now - file.lastUseMs < LAST_USE_RESOLUTION_MS) return true;
    file.lastUseMs = now;
    try {
      if (fstatSync(file.fd).nlink === 0) {
        this.#files.delete(file.id);
        return false;
      }
      futimesSync(file.fd, now / 1000, now / 1000);
    } catch {
      // A read-only folder only loses its sense of age.
    }
    return true;
  }

  /** What does not verify is removed, so that it is fetched again. Always false, the answer of the read that found it. */
  #discard(file: OpenFile): false {
    this.#files.delete(file.id);
    this.#removeFile(file.id);
    return false;
  }

  #removeFile(id: BlockId): void {
    try {
      rmSync(cacheFilePath(this.#dir, id), { force: true });
    } catch {
      // A read-only folder keeps it; it never verifies.
    }
  }

  #release(file: OpenFile): void {
    closeSync(file.fd);
    for (let start = 0, index = 0; start < file.rawLength; start += SEGMENT_BYTES, index++) {
      this.#segments.delete(file.serial * SEGMENTS_MAX + index);
    }
  }
}
