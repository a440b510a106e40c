import { setMaxListeners } from 'node:events';
import type { Readable } from 'node:stream';
import type {
  GetOptions,
  ListedObject,
  ListOptions,
  ObjectStore,
  PutOptions,
  StoreCounters,
} from './object-store.js';

export interface RequestLimits {
  /** Requests of `get`, `getStream`, `head` in flight. */
  reads: number;
  /** Requests of `put`, `putStream`, `delete` in flight. */
  writes: number;
}

/**
 * Bounds the requests in flight; who comes later waits in order of arrival. Reads and writes are bounded apart, so that a snapshot's
 * thousand uploads never stand before the one block a program is waiting for, and a stream may be copied within a store. A caller's
 * abort is answered at once, the request keeps its place until it has really ended. A listing makes one request at a time by
 * itself and is not bounded here: its consumer may make requests of its own between two keys.
 *
 * The queue holds one entry for each call that waits: bounding those is the callers' part.
 */
export class LimitedStore implements ObjectStore {
  readonly #inner: ObjectStore;
  readonly #reads: Slots;
  readonly #writes: Slots;

  constructor(inner: ObjectStore, limits: RequestLimits) {
    this.#inner = inner;
    this.#reads = new Slots(limits.reads);
    this.#writes = new Slots(limits.writes);
  }

  get url(): string {
    return this.#inner.url;
  }

  get counters(): StoreCounters {
    return this.#inner.counters;
  }

  get(key: string, options?: GetOptions): Promise<Buffer> {
    return this.#reads.run(options?.signal, () => this.#inner.get(key, options));
  }

  async getStream(key: string, options?: GetOptions): Promise<Readable> {
    await this.#reads.acquire(options?.signal);
    try {
      const stream = await this.#inner.getStream(key, options);
      stream.once('close', () => {
        this.#reads.release();
      });
      return stream;
    } catch (error) {
      this.#reads.release();
      throw error;
    }
  }

  put(key: string, body: Uint8Array, options?: PutOptions): Promise<'written' | 'exists'> {
    return this.#writes.run(options?.signal, () => this.#inner.put(key, body, options));
  }

  putStream(key: string, body: Readable, options?: { signal?: AbortSignal }): Promise<void> {
    return this.#writes.run(options?.signal, () => this.#inner.putStream(key, body, options));
  }

  head(key: string, options?: { signal?: AbortSignal }): Promise<{ sizeBytes: number } | undefined> {
    return this.#reads.run(options?.signal, () => this.#inner.head(key, options));
  }

  list(prefix: string, options?: ListOptions): AsyncIterable<ListedObject> {
    return this.#inner.list(prefix, options);
  }

  delete(key: string, options?: { signal?: AbortSignal }): Promise<void> {
    return this.#writes.run(options?.signal, () => this.#inner.delete(key, options));
  }

  get presign(): ObjectStore['presign'] {
    return this.#inner.presign?.bind(this.#inner);
  }

  close(): Promise<void> {
    return this.#inner.close();
  }
}

/** A counting semaphore, first come first served. */
class Slots {
  #free: number;
  readonly #waiting = new Set<() => void>();

  constructor(count: number) {
    this.#free = count;
  }

  /** Resolves when a slot is the caller's; rejects with the signal's reason when it is aborted before. */
  async acquire(signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    // One signal may end any number of requests: Node's warning of a leak beyond ten listeners is wrong here.
    if (signal !== undefined) setMaxListeners(0, signal);
    if (this.#free > 0) {
      this.#free -= 1;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const granted = (): void => {
        signal?.removeEventListener('abort', aborted);
        resolve();
      };
      const aborted = (): void => {
        this.#waiting.delete(granted);
        reject(signal?.reason as Error);
      };
      this.#waiting.add(granted);
      signal?.addEventListener('abort', aborted, { once: true });
    });
  }

  release(): void {
    for (const granted of this.#waiting) {
      this.#waiting.delete(granted);
      granted();
      return;
    }
    this.#free += 1;
  }

  async run<T>(signal: AbortSignal | undefined, operation: () => Promise<T>): Promise<T> {
    await this.acquire(signal);
    const running = operation().finally(() => {
      this.release();
    });
    return untilAborted(running, signal);
  }
}

/** `running`, or the signal's reason if that comes first. */
function untilAborted<T>(running: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return running;
  return new Promise<T>((resolve, reject) => {
    const aborted = (): void => {
      reject(signal.reason as Error);
    };
    signal.addEventListener('abort', aborted, { once: true });
    running.then(resolve, reject).finally(() => {
      signal.removeEventListener('abort', aborted);
    });
  });
}
