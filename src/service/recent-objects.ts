import { LRUCache } from 'lru-cache';
import type { ObjectStore } from '../objects/index.js';

/** Held in memory, as stored. */
const HELD_BYTES = 64 * 1024 * 1024;

/** Keys that were asked for once. */
const SEEN_KEYS = 20_000;

/**
 * Objects that several agents ask for: who mount one workspace at the same time want the same blocks. What is under way is fetched once for all who wait; what is
 * asked for again is kept, once it has been verified.
 */
export class RecentObjects {
  readonly #objects: ObjectStore;
  readonly #underWay = new Map<string, Promise<Buffer>>();
  readonly #seen = new LRUCache<string, true>({ max: SEEN_KEYS });
  readonly #held = new LRUCache<string, Buffer>({
    maxSize: HELD_BYTES,
    sizeCalculation: ({ length }) => Math.max(1, length),
  });

  constructor(objects: ObjectStore) {
    this.#objects = objects;
  }

  /**
   * As `ObjectStore.get` of what is there. `verify` throws for bytes that are not what the key names: those are handed on, for who gets them verifies them too
   * and asks again, and are not kept.
   */
  get(key: string, maxBytes: number, verify: (bytes: Buffer) => unknown): Promise<Buffer> {
    const held = this.#held.get(key);
    if (held !== undefined) return Promise.resolve(held);
    const underWay = this.#underWay.get(key);
    if (underWay !== undefined) return underWay;
    const fetching = this.#fetch(key, maxBytes, verify).finally(() => this.#underWay.delete(key));
    this.#underWay.set(key, fetching);
    return fetching;
  }

  async #fetch(key: string, maxBytes: number, verify: (bytes: Buffer) => unknown): Promise<Buffer> {
    const bytes = await this.#objects.get(key, { maxBytes, expected: true });
    // To verify costs more than to fetch: what is asked for once is not worth it.
    const isAskedAgain = this.#seen.has(key);
    this.#seen.set(key, true);
    if (isAskedAgain && bytes.length <= HELD_BYTES && isSound(verify, bytes)) this.#held.set(key, bytes);
    return bytes;
  }
}

function isSound(verify: (bytes: Buffer) => unknown, bytes: Buffer): boolean {
  try {
    verify(bytes);
    return true;
  } catch {
    return false;
  }
}
