import { createHash } from 'node:crypto';
import { closeSync, fstatSync } from 'node:fs';
import { ChunkListHasher, isAllZeros, nextChunkLength, sha256, zeroBlockId } from '../../blocks/index.js';
import {
  BLOCK_MAX_BYTES,
  blockIdOf,
  contentIdOf,
  WHOLE_HASH_MAX_BYTES,
  type BlockId,
  type ContentId,
} from '../../core/index.js';
import { seek } from '../../posix/index.js';
import { fileStat, sameStamp, type FileStat } from './file-stat.js';
import type { CutWindow } from './hash-protocol.js';
import { unreadable } from './source-error.js';
import { packXattrs, readXattrsIfThere } from './source-xattrs.js';
import { openSource, readFully, settledStat } from './stable-reader.js';

/** Two of the longest chunks: whatever is left over from a window, the next chunk fits with it. */
const WINDOW_BYTES = 2 * BLOCK_MAX_BYTES;

const ZEROS = Buffer.alloc(BLOCK_MAX_BYTES);

/** A content id in the making (FORMAT.md C-1, C-2): of all chunks in order, zeros included. */
interface ContentHasher {
  add(length: number, id: BlockId, bytes: Uint8Array): void;
  digest(): ContentId;
}

class WholeHasher implements ContentHasher {
  readonly #hash = createHash('sha256');

  add(_length: number, _id: BlockId, bytes: Uint8Array): void {
    this.#hash.update(bytes);
  }

  digest(): ContentId {
    return contentIdOf(this.#hash.digest());
  }
}

let longestZeroCut: number | undefined;

/** How long the chunk is that begins where only zeros follow, `remaining` bytes of them. */
function zeroCut(remaining: number): number {
  if (remaining < BLOCK_MAX_BYTES) return nextChunkLength(ZEROS, 0, remaining);
  longestZeroCut ??= nextChunkLength(ZEROS, 0, BLOCK_MAX_BYTES);
  return longestZeroCut;
}

/**
 * Cuts one large file into chunks, a window at a time (FORMAT.md C-1 to C-5). Holes are not read, and cost no more than counting
 * their chunks. Synchronous; holds one window.
 */
export class FileCutter {
  readonly #path: Buffer;
  readonly #fd: number;
  readonly #stat: FileStat;
  readonly #sparse: boolean;
  readonly #hash: ContentHasher;
  /** Where the next chunk begins, in the file. */
  #position = 0;
  /** What was read beyond the last chunk of the last window; it begins at `#position`. */
  #carry: Buffer = Buffer.alloc(0);
  /** From the first of these to the second there is no data. */
  #holeStart = 0;
  #holeEnd = 0;

  /** Undefined when the file is gone. */
  static open(path: Buffer): FileCutter | undefined {
    const fd = openSource(path);
    if (fd === undefined) return undefined;
    try {
      return new FileCutter(path, fd, settledStat(fd, path));
    } catch (error) {
      closeSync(fd);
      throw unreadable(path, error);
    }
  }

  private constructor(path: Buffer, fd: number, stat: FileStat) {
    this.#path = path;
    this.#fd = fd;
    this.#stat = stat;
    this.#sparse = stat.allocatedBytes < stat.size;
    this.#hash = stat.size <= WHOLE_HASH_MAX_BYTES ? new WholeHasher() : new ChunkListHasher();
  }

  /** The next chunks that hold data. With `end` it is the last window. */
  next(): CutWindow {
    try {
      return this.#next();
    } catch (error) {
      throw unreadable(this.#path, error);
    }
  }

  close(): void {
    closeSync(this.#fd);
  }

  #next(): CutWindow {
    const { size } = this.#stat;
    while (this.#position < size && this.#zerosAhead() >= this.#lookahead()) {
      this.#addZeros(zeroCut(size - this.#position));
    }
    // Memory of its own, because the window goes to another thread.
    const window = Buffer.allocUnsafeSlow(Math.min(WINDOW_BYTES, size - this.#position));
    let filled = this.#carry.copy(window);
    let start = 0;
    const chunks: CutWindow['chunks'] = [];
    while (this.#position < size) {
      const end = start + this.#lookahead();
      if (end > window.length || (start > 0 && this.#zerosAhead() >= end - start)) break;
      while (filled < end) {
        const count = this.#fill(window, filled, end - filled, this.#position + filled - start);
        if (count === 0) return { bytes: new Uint8Array(), chunks: [], end: { content: undefined } };
        filled += count;
      }
      const length = nextChunkLength(window, start, end);
      if (isAllZeros(window, start, start + length)) {
        this.#addZeros(length);
      } else {
        const bytes = window.subarray(start, start + length);
        const id = blockIdOf(sha256(bytes));
        chunks.push({ fileOffset: this.#position, id, start, length });
        this.#hash.add(length, id, bytes);
        this.#position += length;
      }
      start += length;
    }
    if (this.#position === size) return { bytes: window, chunks, end: { content: this.#finish() } };
    this.#carry = Buffer.from(window.subarray(start, filled));
    return { bytes: window, chunks };
  }

  /** Bytes from the next chunk's start that decide where it ends. */
  #lookahead(): number {
    return Math.min(this.#stat.size - this.#position, BLOCK_MAX_BYTES);
  }

  #addZeros(length: number): void {
    this.#hash.add(length, zeroBlockId(length), ZEROS.subarray(0, length));
    this.#position += length;
    this.#carry = this.#carry.subarray(Math.min(length, this.#carry.length));
  }

  /** Reads or, in a hole, zeroes up to `length` bytes of the window from `at`; 0 where the file ends too early. */
  #fill(window: Buffer, at: number, length: number, position: number): number {
    if (!this.#sparse) return readFully(this.#fd, window, at, length, position);
    const holeBytes = Math.min(this.#dataAfter(position) - position, length);
    if (holeBytes > 0) {
      window.fill(0, at, at + holeBytes);
      return holeBytes;
    }
    const dataBytes = (seek(this.#fd, position, 'hole') ?? this.#stat.size) - position;
    return readFully(this.#fd, window, at, Math.min(dataBytes, length), position);
  }

  /** Bytes from the next chunk's start that are in a hole, without looking at data. */
  #zerosAhead(): number {
    return this.#sparse ? this.#dataAfter(this.#position) - this.#position : 0;
  }

  /** The first position from `position` on that has data, or the file's end. */
  #dataAfter(position: number): number {
    if (position < this.#holeStart || position >= this.#holeEnd) {
      this.#holeStart = position;
      this.#holeEnd = Math.min(seek(this.#fd, position, 'data') ?? this.#stat.size, this.#stat.size);
    }
    return this.#holeEnd;
  }

  #finish(): { id: ContentId; stat: FileStat; xattrs: Uint8Array } | undefined {
    const xattrs = packXattrs(readXattrsIfThere(this.#path));
    const after = fileStat(fstatSync(this.#fd, { bigint: true }));
    if (!sameStamp(this.#stat, after)) return undefined;
    return { id: this.#hash.digest(), stat: after, xattrs };
  }
}
