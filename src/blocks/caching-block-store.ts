import { CairnError, type BlockId } from '../core/index.js';
import type { ObjectStore } from '../objects/index.js';
import { BLOCK_OBJECT_MAX_BYTES, decodeBlock, encodeBlock } from './block-codec.js';
import type { BlockCounters, BlockStore, EncodedBlock, StoredBlock } from './block-store.js';
import { DiskCache } from './disk-cache.js';
import { UnpackPool } from './unpack-pool.js';

/** A block on its way, for all who ask for it meanwhile. */
interface Flight {
  /** The raw bytes; undefined when nobody wanted them when they were there: then the block is in the cache, if that takes it. */
  raw: Promise<Buffer | undefined>;
  /** Resolves, never rejects, when nothing is under way any more; with whether the cache has the block. */
  ended: Promise<boolean>;
  /** Somebody wants the bytes, and not only the block to be in the cache. */
  wanted: boolean;
  waiters: number;
  /** Aborted when nobody waits any more for what has not come yet. */
  abort: AbortController;
  arrived: boolean;
  /** What was fetched, 0 for a block that was there. */
  fetchedBytes: number;
}

/** A block that is there, and verified. */
interface Arrival {
  raw: Buffer | undefined;
  /** Whether the cache has it; a promise, which never rejects, while it is put there. */
  kept: boolean | Promise<boolean>;
}

/** The key of a block's object (FORMAT.md O-1). */
export function blockKey(id: BlockId): string {
  return `blocks/${id.slice(0, 2)}/${id}`;
}

/**
 * Opens the blocks of an object store through a cache folder that other processes may share. The object store stays the
 * caller's to close. Throws `CairnError('failed')` when the folder cannot be made.
 *
 * `threads`: how many at most unpack and cache what was fetched, beside the calling one; 0 unless given, for those who fetch little.
 */
export async function openBlockStore(options: {
  objects: ObjectStore;
  cacheDir: string;
  cacheBudgetBytes: number;
  threads?: number;
}): Promise<BlockStore> {
  const { objects, cacheDir, threads = 0 } = options;
  const cache = await DiskCache.open(cacheDir, options.cacheBudgetBytes);
  const pool = threads === 0 ? undefined : new UnpackPool(cache, cacheDir, threads);
  return new CachingBlockStore(objects, cache, pool);
}

class CachingBlockStore implements BlockStore {
  readonly counters: BlockCounters = { hits: 0, misses: 0 };
  readonly #objects: ObjectStore;
  readonly #cache: DiskCache;
  readonly #pool: UnpackPool | undefined;
  readonly #flights = new Map<BlockId, Flight>();
  #prefetched = 0;

  constructor(objects: ObjectStore, cache: DiskCache, pool: UnpackPool | undefined) {
    this.#objects = objects;
    this.#cache = cache;
    this.#pool = pool;
  }

  get prefetched(): number {
    return this.#prefetched;
  }

  async get(id: BlockId, options: { signal?: AbortSignal } = {}): Promise<Buffer> {
    for (;;) {
      options.signal?.throwIfAborted();
      const flight = this.#flights.get(id) ?? this.#startFlight(id, true);
      flight.wanted = true;
      const raw = await this.#wait(flight, flight.raw, options.signal);
      if (raw !== undefined) return raw;
      // It was fetched ahead, and unpacked before it was wanted: now it is in the cache, or is fetched once more.
      await this.#wait(flight, flight.ended, options.signal);
    }
  }

  async prefetch(id: BlockId, options: { signal?: AbortSignal } = {}): Promise<number> {
    options.signal?.throwIfAborted();
    const flight = this.#flights.get(id) ?? this.#startFlight(id, false);
    await this.#wait(flight, flight.raw, options.signal);
    const kept = await this.#wait(flight, flight.ended, options.signal);
    if (!kept) throw new CairnError('failed', `the cache cannot keep block ${id}`);
    return flight.fetchedBytes;
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

  async putVerified(id: BlockId, object: Buffer): Promise<void> {
    const raw = decodeBlock(id, object);
    await this.#objects.put(blockKey(id), object, { ifAbsent: true });
    await this.#cache.fill(id, raw);
  }

  async cachedBytes(): Promise<number> {
    return await this.#cache.measuredBytes();
  }

  async close(): Promise<void> {
    const flights = [...this.#flights.values()];
    for (const flight of flights) flight.abort.abort();
    await this.#pool?.close();
    await Promise.all(flights.map((flight) => flight.ended));
    await this.#cache.close();
  }

  /** Waits for a promise of the flight, which goes on for as long as somebody does. */
  async #wait<Value>(
    flight: Flight,
    promise: Promise<Value>,
    signal: AbortSignal | undefined,
  ): Promise<Value> {
    flight.waiters++;
    try {
      return await (signal === undefined ? promise : orAborted(promise, signal));
    } finally {
      flight.waiters--;
      if (flight.waiters === 0 && !flight.arrived) flight.abort.abort();
    }
  }

  #startFlight(id: BlockId, wanted: boolean): Flight {
    const abort = new AbortController();
    const flight: Flight = {
      raw: Promise.resolve(undefined),
      ended: Promise.resolve(false),
      wanted,
      waiters: 0,
      abort,
      arrived: false,
      fetchedBytes: 0,
    };
    this.#flights.set(id, flight);
    const leave = (): void => {
      if (this.#flights.get(id) === flight) this.#flights.delete(id);
    };
    // Whoever comes after that begins anew.
    abort.signal.addEventListener('abort', leave);
    const arrival = this.#arrival(id, flight);
    flight.raw = arrival.then(({ raw, kept }) => {
      flight.arrived = true;
      if (typeof kept === 'boolean') leave();
      return raw;
    });
    // Those who wait see a failure; when all have given up, nobody needs to.
    flight.ended = arrival
      .then(
        ({ kept }) => kept,
        () => false,
      )
      .finally(leave);
    flight.raw.catch(ignoreFailure);
    return flight;
  }

  async #arrival(id: BlockId, flight: Flight): Promise<Arrival> {
    if (flight.wanted) {
      const cached = await this.#cache.read(id);
      if (cached !== undefined) {
        this.counters.hits++;
        return { raw: cached, kept: true };
      }
      this.counters.misses++;
    } else {
      if (this.#cache.holds(id)) return { raw: undefined, kept: true };
      this.#prefetched++;
    }
    return await this.#fetchVerified(id, flight);
  }

  /** Law 2: what does not verify may have been damaged on the way, so it is fetched once more, and then refused. */
  async #fetchVerified(id: BlockId, flight: Flight): Promise<Arrival> {
    try {
      return await this.#fetch(id, flight);
    } catch (error) {
      if (!(error instanceof CairnError) || error.code !== 'corrupt') throw error;
      return await this.#fetch(id, flight);
    }
  }

  async #fetch(id: BlockId, flight: Flight): Promise<Arrival> {
    const { signal } = flight.abort;
    const [object] = await Promise.all([
      this.#objects.get(blockKey(id), { signal, maxBytes: BLOCK_OBJECT_MAX_BYTES, expected: true }),
      this.#cache.room(),
    ]);
    flight.fetchedBytes += object.length;
    if (this.#pool !== undefined) {
      const { found, kept } = this.#pool.unpack(id, object, flight);
      return { raw: await found, kept };
    }
    const raw = decodeBlock(id, object);
    return { raw, kept: await this.#cache.fill(id, raw) };
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

function ignoreFailure(): void {}
