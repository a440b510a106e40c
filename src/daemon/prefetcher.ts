import { setMaxListeners } from 'node:events';
import type { BlockStore } from '../blocks/index.js';
import { messageOf, type BlockId } from '../core/index.js';
import { BlockOrder } from '../manifest/index.js';
import type { Logger } from './daemon-log.js';
import { AHEAD_MAX, ReadPredictor } from './read-predictor.js';

/** Requests under way: 1 Gbit/s at 30 ms are 25 of the usual size. Fewer of large blocks, for all are in memory. */
const IN_FLIGHT_MAX = 32;
const IN_FLIGHT_BYTES = 24 * 1024 * 1024;

const RECENT_MAX = 2 * AHEAD_MAX;

/** How much one block counts for in the mean size of those fetched. */
const MEAN_WEIGHT = 1 / 8;

/** What is fetched ahead takes at most this share of the cache: else it would be evicted before it is read. */
const CACHE_SHARE = 1 / 8;
const USUAL_BLOCK_BYTES = 1024 * 1024;

export interface PrefetcherOptions {
  blocks: BlockStore;
  /** Of a version whose order the blocks are fetched in: a hint, where later ones have been adopted. */
  manifestPath: string;
  cacheBudgetBytes: number;
  log: Logger;
}

/**
 * Brings blocks into the cache before they are asked for, as ReadPredictor says. Does nothing before the first miss, and stops when
 * the store fails until the next one; what it could not fetch is fetched when somebody waits for it.
 */
export class Prefetcher {
  readonly #options: PrefetcherOptions;
  readonly #abort = new AbortController();
  #opening: Promise<void> | undefined;
  #order: BlockOrder | undefined;
  #predictor: ReadPredictor | undefined;
  /** While the order is not there yet. */
  #missedLast: BlockId | undefined;
  /** By rank. */
  readonly #inFlight = new Map<number, Promise<void>>();
  /** Ranks of those asked for last, here or on demand: reads that missed them may still be on their way. */
  readonly #recent = new Set<number>();
  #meanBytes = IN_FLIGHT_BYTES / IN_FLIGHT_MAX;

  constructor(options: PrefetcherOptions) {
    setMaxListeners(IN_FLIGHT_MAX + 1, this.#abort.signal);
    this.#options = options;
  }

  /** A read waits for this block. */
  missed(id: BlockId): void {
    this.#missedLast = id;
    this.#opening ??= this.#open();
    this.#read(id, true);
  }

  /** This block was read for the first time in a while, and was there. */
  used(id: BlockId): void {
    this.#read(id, false);
  }

  /** Resolves when nothing is under way. */
  async close(): Promise<void> {
    this.#abort.abort();
    await this.#opening;
    await Promise.all(this.#inFlight.values());
    this.#order?.close();
    this.#order = undefined;
  }

  async #open(): Promise<void> {
    const { manifestPath, cacheBudgetBytes } = this.#options;
    const aheadMax = Math.min(AHEAD_MAX, Math.floor((cacheBudgetBytes * CACHE_SHARE) / USUAL_BLOCK_BYTES));
    try {
      this.#order = await BlockOrder.open(manifestPath, this.#abort.signal);
      this.#predictor = new ReadPredictor(this.#order, aheadMax);
    } catch (error) {
      this.#giveUp(error);
    }
    if (this.#missedLast !== undefined) this.#read(this.#missedLast, true);
  }

  #read(id: BlockId, missed: boolean): void {
    if (this.#order === undefined || this.#predictor === undefined || this.#abort.signal.aborted) return;
    try {
      const rank = this.#order.rankOf(id);
      if (rank === undefined) return;
      this.#predictor.read(rank, missed && !this.#recent.has(rank));
      if (missed) this.#remember(rank);
    } catch (error) {
      this.#giveUp(error);
    }
    this.#fetchMore();
  }

  #fetchMore(): void {
    const inFlightMax = Math.min(IN_FLIGHT_MAX, Math.ceil(IN_FLIGHT_BYTES / this.#meanBytes));
    while (this.#inFlight.size < inFlightMax && !this.#abort.signal.aborted) {
      const rank = this.#nextRank();
      if (rank === undefined) return;
      if (this.#inFlight.has(rank)) continue;
      this.#remember(rank);
      const fetching = this.#fetch(rank).finally(() => {
        this.#inFlight.delete(rank);
        this.#fetchMore();
      });
      this.#inFlight.set(rank, fetching);
    }
  }

  #nextRank(): number | undefined {
    try {
      return this.#predictor?.next();
    } catch (error) {
      this.#giveUp(error);
      return undefined;
    }
  }

  #remember(rank: number): void {
    // Again the latest.
    this.#recent.delete(rank);
    this.#recent.add(rank);
    for (const oldest of this.#recent) {
      if (this.#recent.size <= RECENT_MAX) break;
      this.#recent.delete(oldest);
    }
  }

  async #fetch(rank: number): Promise<void> {
    const { blocks, log } = this.#options;
    try {
      const id = this.#order?.idAt(rank);
      if (id === undefined) return;
      const bytes = await blocks.prefetch(id, { signal: this.#abort.signal });
      if (bytes > 0) this.#meanBytes += (bytes - this.#meanBytes) * MEAN_WEIGHT;
    } catch (error) {
      if (this.#abort.signal.aborted) return;
      log.debug({ problem: messageOf(error) }, 'a block could not be fetched ahead');
      this.#predictor?.forget();
    }
  }

  /** The order cannot be read: blocks are fetched when they are asked for. */
  #giveUp(error: unknown): void {
    if (this.#abort.signal.aborted) return;
    this.#options.log.warn({ problem: messageOf(error) }, 'no block is fetched ahead any more');
    this.#abort.abort();
  }
}
