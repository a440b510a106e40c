import { BLOCK_MAX_BYTES, blockIdOf, type BlockId } from '../core/index.js';
import { sha256 } from './digest.js';

const ZEROS = Buffer.alloc(64 * 1024);

/** Whether `buffer` holds nothing but zeros from `start` to `end`; true of nothing at all. */
export function isAllZeros(buffer: Uint8Array, start = 0, end = buffer.length): boolean {
  for (let at = start; at < end; at += ZEROS.length) {
    // Data seldom begins with a zero; this spares it the call into memcmp.
    if (buffer[at] !== 0) return false;
    const length = Math.min(ZEROS.length, end - at);
    if (Buffer.compare(buffer.subarray(at, at + length), ZEROS.subarray(0, length)) !== 0) return false;
  }
  return true;
}

let largestZeroBlockId: BlockId | undefined;

/** The id that a chunk of `length` zeros counts with, stored or not (FORMAT.md C-2). The largest is hashed only once. */
export function zeroBlockId(length: number): BlockId {
  if (length !== BLOCK_MAX_BYTES) return blockIdOf(sha256(Buffer.alloc(length)));
  largestZeroBlockId ??= blockIdOf(sha256(Buffer.alloc(length)));
  return largestZeroBlockId;
}
