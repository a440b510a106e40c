import type { BlockId } from './ids.js';

/** `length` bytes of a file at `offset` are those of `block` from `blockOffset`. What no extent covers reads as zeros. */
export interface Extent {
  offset: number;
  length: number;
  block: BlockId;
  blockOffset: number;
}
