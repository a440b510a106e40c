import type { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { CairnError } from '../core/index.js';
import type { GetOptions, ListOptions, ObjectStore, PutOptions, StoreCounters } from './object-store.js';

export interface RetryPolicy {
  /** Attempts in all, the first included. */
  attempts: number;
  /** The first pause is at most this; each later one at most twice the one before, up to `pauseMaxMs`. */
  pauseBaseMs: number;
  pauseMaxMs: number;
  /** No attempt begins later than this after the first. */
  deadlineMs: number;
  /** Milliseconds of a clock that never goes back. */
  now: () => number;
  /** Evenly from [0, 1). */
  random: () => number;
  /** Resolves after `ms`, or rejects when the signal is aborted. */
  sleep: (ms: number, signal: AbortSignal | undefined) => Promise<void>;
}

const POLICY: RetryPolicy = {
  attempts: 7,
  pauseBaseMs: 100,
  pauseMaxMs: 5_000,
  deadlineMs: 60_000,
  now: () => performance.now(),
  random: Math.random,
  sleep: (ms, signal) => delay(ms, undefined, signal === undefined ? {} : { signal }),
};

/**
 * Tries again what ended `unreachable`, and nothing else, after a pause chosen evenly between nothing and an exponentially growing
 * limit ("full jitter": Brooker, "Exponential Backoff And Jitter", 2015), so that the clients of a store that comes back do not come
 * back together. What fails to the end is the last error, with the number of attempts. `putStream` is not retried, `getStream`
 * until its first byte, `list` goes on after the last key.
 */
export class RetryingStore implements ObjectStore {
  readonly #inner: ObjectStore;
  readonly #policy: RetryPolicy;

  constructor(inner: ObjectStore, policy: Partial<RetryPolicy> = {}) {
    this.#inner = inner;
    this.#policy = { ...POLICY, ...policy };
  }

  get url(): string {
    return this.#inner.url;
  }

  get counters(): StoreCounters {
    return this.#inner.counters;
  }

  get(key: string, options?: GetOptions): Promise<Buffer> {
    return this.#retried(options?.signal, () => this.#inner.get(key, options));
  }

  getStream(key: string, options?: GetOptions): Promise<Readable> {
    return this.#retried(options?.signal, () => this.#inner.getStream(key, options));
  }

  /**
   * An `ifAbsent` put whose outcome stayed unknown (an answer that got lost, a 500 told to the loser of a race) may find, when it is
   * retried, an object that it wrote itself. So it reads back: the same bytes are its own, `written`; others are `exists`.
   */
  put(key: string, body: Uint8Array, options?: PutOptions): Promise<'written' | 'exists'> {
    let earlierOutcomeUnknown = false;
    return this.#retried(options?.signal, async () => {
      try {
        const outcome = await this.#inner.put(key, body, options);
        if (outcome === 'written' || !earlierOutcomeUnknown) return outcome;
      } catch (error) {
        if (isUnreachable(error)) earlierOutcomeUnknown = true;
        throw error;
      }
      return (await this.#holds(key, body, options?.signal)) ? 'written' : 'exists';
    });
  }

  putStream(key: string, body: Readable, options?: { signal?: AbortSignal }): Promise<void> {
    return this.#inner.putStream(key, body, options);
  }

  head(key: string, options?: { signal?: AbortSignal }): Promise<{ sizeBytes: number } | undefined> {
    return this.#retried(options?.signal, () => this.#inner.head(key, options));
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<{ key: string; sizeBytes: number }> {
    let after = options.after;
    let attempts = this.#newAttempts(options.signal);
    for (;;) {
      try {
        for await (const entry of this.#inner.list(prefix, {
          ...options,
          ...(after === undefined ? {} : { after }),
        })) {
          yield entry;
          after = entry.key;
          attempts = this.#newAttempts(options.signal);
        }
        return;
      } catch (error) {
        await attempts.pauseAfter(error);
      }
    }
  }

  delete(key: string, options?: { signal?: AbortSignal }): Promise<void> {
    return this.#retried(options?.signal, () => this.#inner.delete(key, options));
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  async #holds(key: string, body: Uint8Array, signal: AbortSignal | undefined): Promise<boolean> {
    const options = { maxBytes: body.byteLength, ...(signal === undefined ? {} : { signal }) };
    try {
      return (await this.#inner.get(key, options)).equals(body);
    } catch (error) {
      // Larger than ours, or deleted again by someone else: in neither case is it ours.
      if (error instanceof CairnError && (error.code === 'corrupt' || error.code === 'not-found'))
        return false;
      throw error;
    }
  }

  async #retried<T>(signal: AbortSignal | undefined, operation: () => Promise<T>): Promise<T> {
    const attempts = this.#newAttempts(signal);
    for (;;) {
      try {
        return await operation();
      } catch (error) {
        await attempts.pauseAfter(error);
      }
    }
  }

  #newAttempts(signal: AbortSignal | undefined): Attempts {
    return new Attempts(this.#policy, this.counters, signal);
  }
}

/** The attempts at one operation. */
class Attempts {
  readonly #policy: RetryPolicy;
  readonly #counters: StoreCounters;
  readonly #signal: AbortSignal | undefined;
  readonly #startedMs: number;
  #made = 0;

  constructor(policy: RetryPolicy, counters: StoreCounters, signal: AbortSignal | undefined) {
    this.#policy = policy;
    this.#counters = counters;
    this.#signal = signal;
    this.#startedMs = policy.now();
  }

  /** Waits until the next attempt may begin. @throws `error` when there is to be none; the signal's reason when aborted. */
  async pauseAfter(error: unknown): Promise<void> {
    this.#signal?.throwIfAborted();
    if (!isUnreachable(error)) throw error;
    const { attempts, pauseBaseMs, pauseMaxMs, deadlineMs, now, random, sleep } = this.#policy;
    this.#made += 1;
    const pauseMs = random() * Math.min(pauseMaxMs, pauseBaseMs * 2 ** (this.#made - 1));
    const elapsedMs = now() - this.#startedMs;
    if (this.#made >= attempts || elapsedMs + pauseMs > deadlineMs) throw this.#givenUp(error, elapsedMs);
    try {
      await sleep(pauseMs, this.#signal);
    } finally {
      this.#signal?.throwIfAborted();
    }
    this.#counters.retries += 1;
  }

  #givenUp(error: CairnError, elapsedMs: number): CairnError {
    const seconds = (elapsedMs / 1000).toFixed(1);
    const message = `${error.message} (${String(this.#made)} attempts in ${seconds} s)`;
    return new CairnError(error.code, message, {
      cause: error,
      ...(error.hint === undefined ? {} : { hint: error.hint }),
    });
  }
}

function isUnreachable(error: unknown): error is CairnError {
  return error instanceof CairnError && error.code === 'unreachable';
}
