import { BLOCK_MAX_BYTES } from '../core/index.js';
import { sha256 } from './digest.js';

/** A chunk is longer than this, unless the file ends before. */
export const CHUNK_MIN_BYTES = 256 * 1024;

/** Up to this length the strict mask decides where to cut, beyond it the loose one. */
export const CHUNK_NORMAL_BYTES = 1024 * 1024;

/** A chunk is one block, so it is cut here at the latest. */
export const CHUNK_MAX_BYTES = BLOCK_MAX_BYTES;

/**
 * The normal length has 20 bits; normalisation level 2 asks for two more before it and two fewer after it. The mask bits
 * are the highest, which the most bytes have gone into: 32 for the top one, 11 for the lowest of the strict mask.
 */
const STRICT_MASK = 0xffff_fc00 | 0;
const LOOSE_MASK = 0xffff_c000 | 0;

const GEAR = gearTable();

/**
 * Length of the chunk that begins at `start`, looking no further than `end` (FORMAT.md C-3). `end` is at least
 * CHUNK_MAX_BYTES beyond `start` or the end of the file: else the cut would depend on how much of the file is at hand.
 *
 * FastCDC with normalised chunking and minimum skipping (Xia et al., USENIX ATC 2016, algorithm 1), on a 32-bit hash,
 * which JavaScript engines keep in a register. Four bytes a turn: three times as fast as one.
 */
export function nextChunkLength(buffer: Uint8Array, start: number, end: number): number {
  const remaining = end - start;
  if (remaining <= CHUNK_MIN_BYTES) return remaining;
  const maxEnd = start + Math.min(remaining, CHUNK_MAX_BYTES);
  const normalEnd = Math.min(start + CHUNK_NORMAL_BYTES, maxEnd);
  const gear = GEAR;

  let hash = 0;
  let at = start + CHUNK_MIN_BYTES;
  for (let phase = 0; phase < 2; phase++) {
    const mask = phase === 0 ? STRICT_MASK : LOOSE_MASK;
    const phaseEnd = phase === 0 ? normalEnd : maxEnd;
    for (; at + 4 <= phaseEnd; at += 4) {
      const first = ((hash << 1) + (gear[buffer[at] as number] as number)) | 0;
      const second = ((first << 1) + (gear[buffer[at + 1] as number] as number)) | 0;
      const third = ((second << 1) + (gear[buffer[at + 2] as number] as number)) | 0;
      hash = ((third << 1) + (gear[buffer[at + 3] as number] as number)) | 0;
      if ((first & mask) === 0) return at + 1 - start;
      if ((second & mask) === 0) return at + 2 - start;
      if ((third & mask) === 0) return at + 3 - start;
      if ((hash & mask) === 0) return at + 4 - start;
    }
    for (; at < phaseEnd; at++) {
      hash = ((hash << 1) + (gear[buffer[at] as number] as number)) | 0;
      if ((hash & mask) === 0) return at + 1 - start;
    }
  }
  return maxEnd - start;
}

/** FORMAT.md C-4. */
function gearTable(): Int32Array {
  return Int32Array.from({ length: 256 }, (_, index) =>
    sha256(Buffer.from(`cairn-gear-${String(index)}`)).readInt32LE(0),
  );
}
