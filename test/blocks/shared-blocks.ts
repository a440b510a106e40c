import { sha256 } from '../../src/blocks/index.js';
import { blockIdOf, type BlockId } from '../../src/core/index.js';
import { sampleBytes } from './sample-bytes.js';

/** So many blocks do the processes of a test have in common. */
export const SHARED_BLOCKS = 48;

export const SHARED_BLOCK_BYTES = 300_000;

/** Block `index` of them, the same in every process. Counting goes round. */
export function sharedBlock(index: number): { id: BlockId; raw: Buffer } {
  const raw = sampleBytes(`shared ${String(index % SHARED_BLOCKS)}`, SHARED_BLOCK_BYTES);
  return { id: blockIdOf(sha256(raw)), raw };
}
