import { CairnError, type BlockId } from '../core/index.js';
import type { ObjectStore } from '../objects/index.js';
import { BLOCK_OBJECT_MAX_BYTES, decodeBlock, encodeBlock } from './block-codec.js';
import type { BlockCounters, BlockStore, EncodedBlock, StoredBlock } from './block-store.js';
import { DiskCache } from './disk-cache.js';

/** A block being found, for all who asked for it meanwhile. */
interface Flight {
  raw: Promise<Buffer>;
  waiters: number;
  /** Aborted when nobody waits any more. */
  abort: AbortController;
}

/** The key of a block's object (FORMAT.md O-1). */
export function blockKey(id: BlockId): string {
  return `blocks/${id.slice(0, 2)}/${id}`;
}

/**
 * Opens the blocks of an object store through a cache folder that other processes may share. The object store stays the
 * caller's to close. Throws `CairnError('failed')` when the folder cannot be made.
 */
export async function openBlockStore(options: {
  objects: ObjectStore;
  cacheDir: string;
  cacheBudgetBytes: number;
}): Promise<BlockStore> {
  const cache = await DiskCache.open(options.cacheDir, options.cacheBudgetBytes);
  return new CachingBlockStore(options.objects, cache);
}

class CachingBlockStore implements BlockStore {
  readonly counters: BlockCounters = { hits: 0, misses: 0 };
  readonly #objects: ObjectStore;
  readonly #cache: DiskCache;
  readonly #flights = new Map<BlockId, Flight>();

  constructor(objects: ObjectStore, cache: DiskCache) {
    this.#objects = objects;
    this.#cache = cache;
  }

  async get(id: BlockId, options: { signal?: AbortSignal } = {}): Promise<Buffer> {
    options.signal?.throwIfAborted();
    const flight = this.#flights.get(id) ?? this.#startFlight(id);
    flight.waiters++;
    try {
      return await (options.signal === undefined ? flight.raw : orAborted(flight.raw, options.signal));
    } finally {
      flight.waiters--;
      if (flight.waiters === 0) {
        if (this.#flights.get(id) === flight) this.#flights.delete(id);
        flight.abort.abort();
      }
    }
  }

  async put(raw: Uint8Array): Promise<StoredBlock> {
    const block = encodeBlock(raw);
    await this.putEncoded(block);
    await this.#cache.fill(block.id, raw);
    return { id: block.id, rawBytes: block.rawLength, storedBytes: block.object.length };
  }

  async putEncoded(block: EncodedBlock): Promise<void> {
    await this.#objects.put(blockKey(block.id), block.object, { ifAbsent: true });
  }

  async cachedBytes(): Promise<number> {
    return await this.#cache.measuredBytes();
  }

  async close(): Promise<void> {
    const flights = [...this.#flights.values()];
    for (const flight of flights) flight.abort.abort();
    await Promise.allSettled(flights.map((flight) => flight.raw));
    await this.#cache.close();
  }

  #startFlight(id: BlockId): Flight {
    const abort = new AbortController();
    const flight: Flight = { raw: this.#find(id, abort.signal), waiters: 0, abort };
    // Those who wait see the rejection; when all have given up, nobody needs to.
    flight.raw.catch(() => undefined);
    this.#flights.set(id, flight);
    return flight;
  }

  async #find(id: BlockId, signal: AbortSignal): Promise<Buffer> {
    const cached = await this.#cache.read(id);
    if (cached !== undefined) {
      this.counters.hits++;
      return cached;
    }
    this.counters.misses++;
    const raw = await this.#fetchVerified(id, signal);
    await this.#cache.fill(id, raw);
    return raw;
  }

  /** Law 2: what does not verify may have been damaged on the way, so it is fetched once more, and then refused. */
  async #fetchVerified(id: BlockId, signal: AbortSignal): Promise<Buffer> {
    try {
      return await this.#fetch(id, signal);
    } catch (error) {
      if (!(error instanceof CairnError) || error.code !== 'corrupt') throw error;
      return await this.#fetch(id, signal);
    }
  }

  async #fetch(id: BlockId, signal: AbortSignal): Promise<Buffer> {
    const object = await this.#objects.get(blockKey(id), { signal, maxBytes: BLOCK_OBJECT_MAX_BYTES });
    return decodeBlock(id, object);
  }
}

/** Settles as `promise` does, or rejects with the signal's reason when that comes first. */
function orAborted<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  return new Promise((resolve, reject) => {
    const giveUp = (): void => {
      reject(signal.reason as Error);
    };
    signal.addEventListener('abort', giveUp, { once: true });
    void promise.then(resolve, reject).finally(() => {
      signal.removeEventListener('abort', giveUp);
    });
  });
}
