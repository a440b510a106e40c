import { LRUCache } from 'lru-cache';
import { BLOCK_MAX_BYTES, type BlockId } from '../../core/index.js';
import type { BlockSource } from './read-content.js';

/** Held in memory: the blocks that a tree's small files share with their neighbours. */
const HELD_BYTES = 64 * 1024 * 1024;

/**
 * The blocks asked for last, so that a block shared by many small files is fetched, and verified, once for all of them.
 * A block that is still under way counts as the largest.
 */
export class RecentBlocks implements BlockSource {
  readonly #source: BlockSource;
  readonly #held = new LRUCache<BlockId, Promise<Buffer>>({ maxSize: HELD_BYTES });

  constructor(source: BlockSource) {
    this.#source = source;
  }

  get(id: BlockId): Promise<Buffer> {
    const held = this.#held.get(id);
    if (held !== undefined) return held;
    const block = this.#source.get(id);
    this.#held.set(id, block, { size: BLOCK_MAX_BYTES });
    block.then(
      ({ length }) => {
        if (this.#held.peek(id) !== block) return;
        // Setting the value that is there already would leave its size as it is.
        this.#held.delete(id);
        this.#held.set(id, block, { size: length });
      },
      () => this.#held.delete(id),
    );
    return block;
  }
}
