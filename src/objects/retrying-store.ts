import type { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { CairnError, messageOf } from '../core/index.js';
import type {
  GetOptions,
  ListedObject,
  ListOptions,
  ObjectStore,
  PutOptions,
  StoreCounters,
} from './object-store.js';

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
  /** Aborted when nobody has the patience for another attempt any more: what fails has failed. */
  impatience: AbortSignal | undefined;
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
  impatience: undefined,
  sleep: (ms, signal) => delay(ms, undefined, signal === undefined ? {} : { signal }),
};

/**
 * Tries again what ended `unreachable` (and `not-found`, of an object that is expected), and nothing else, after a pause chosen evenly between nothing and an exponentially growing
 * limit ("full jitter": Brooker, "Exponential Backoff And Jitter", 2015), so that the clients of a store that comes back do not come
 * back together. What fails to the end is the last error, with the number of attempts. `putStream` is not retried, `getStream`
 * until its first byte, `list` goes on after the last key. It knows best whether the store is there, and says so in the counters' `outage`.
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
    return this.#retried(options?.signal, () => this.#inner.get(key, options), options?.expected);
  }

  getStream(key: string, options?: GetOptions): Promise<Readable> {
    return this.#retried(options?.signal, () => this.#inner.getStream(key, options), options?.expected);
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

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ListedObject> {
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
        this.counters.outage = undefined;
        return;
      } catch (error) {
        this.#noteOutage(error);
        await attempts.pauseAfter(error);
      }
    }
  }

  delete(key: string, options?: { signal?: AbortSignal }): Promise<void> {
    return this.#retried(options?.signal, () => this.#inner.delete(key, options));
  }

  get presign(): ObjectStore['presign'] {
    const { presign } = this.#inner;
    if (presign === undefined) return undefined;
    return (verb, key, seconds) =>
      this.#retried(undefined, () => presign.call(this.#inner, verb, key, seconds));
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

  async #retried<T>(
    signal: AbortSignal | undefined,
    operation: () => Promise<T>,
    expected?: boolean,
  ): Promise<T> {
    const attempts = this.#newAttempts(signal, expected);
    for (;;) {
      try {
        const result = await operation();
        this.counters.outage = undefined;
        return result;
      } catch (error) {
        this.#noteOutage(error);
        await attempts.pauseAfter(error);
      }
    }
  }

  /** Any answer that is not `unreachable` is one; an abort says nothing. */
  #noteOutage(error: unknown): void {
    if (!(error instanceof CairnError)) return;
    const sinceMs = this.counters.outage?.sinceMs ?? Date.now();
    this.counters.outage = isUnreachable(error) ? { sinceMs, problem: messageOf(error) } : undefined;
  }

  #newAttempts(signal: AbortSignal | undefined, expected = false): Attempts {
    return new Attempts(this.#policy, this.counters, signal, expected);
  }
}

/** The attempts at one operation. */
class Attempts {
  readonly #policy: RetryPolicy;
  readonly #counters: StoreCounters;
  readonly #signal: AbortSignal | undefined;
  readonly #expected: boolean;
  readonly #startedMs: number;
  #made = 0;

  constructor(
    policy: RetryPolicy,
    counters: StoreCounters,
    signal: AbortSignal | undefined,
    expected: boolean,
  ) {
    this.#policy = policy;
    this.#counters = counters;
    this.#signal = signal;
    this.#expected = expected;
    this.#startedMs = policy.now();
  }

  /** Waits until the next attempt may begin. @throws `error` when there is to be none; the signal's reason when aborted. */
  async pauseAfter(error: unknown): Promise<void> {
    this.#signal?.throwIfAborted();
    if (!isUnreachable(error) && !(this.#expected && isNotFound(error))) throw error;
    const { attempts, pauseBaseMs, pauseMaxMs, deadlineMs, impatience, now, random, sleep } = this.#policy;
    this.#made += 1;
    const pauseMs = random() * Math.min(pauseMaxMs, pauseBaseMs * 2 ** (this.#made - 1));
    const elapsedMs = now() - this.#startedMs;
    const isLast = this.#made >= attempts || elapsedMs + pauseMs > deadlineMs;
    if (isLast || impatience?.aborted === true) throw this.#givenUp(error, elapsedMs);
    const signals = [this.#signal, impatience].filter((signal) => signal !== undefined);
    try {
      await sleep(pauseMs, signals.length > 1 ? AbortSignal.any(signals) : signals[0]);
    } catch {
      throw this.#givenUp(error, elapsedMs);
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

function isNotFound(error: unknown): error is CairnError {
  return error instanceof CairnError && error.code === 'not-found';
}

function isUnreachable(error: unknown): error is CairnError {
  return error instanceof CairnError && error.code === 'unreachable';
}
