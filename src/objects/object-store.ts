import type { Readable } from 'node:stream';

/** What went over the wire (or to the disk) since the store was opened. */
export interface StoreCounters {
  requests: { get: number; put: number; head: number; list: number; delete: number };
  retries: number;
  bytesIn: number;
  bytesOut: number;
  /** While requests end `unreachable`: since when none was answered, by the system's clock, and the last error. */
  outage: { sinceMs: number; problem: string } | undefined;
}

export interface GetOptions {
  /** Gives up at once when aborted, with the signal's reason. */
  signal?: AbortSignal;
  /**
   * An answer larger than this (the object's size, or the range's) is refused as corrupt before it is read whole. For `get` 8 MiB
   * unless given, for `getStream` none.
   */
  maxBytes?: number;
  /**
   * Something that was published names the object, so it was put: `not-found` is as worth a retry as `unreachable`. There are servers that
   * show an object some time after its put (replicated ones, caches in between).
   */
  expected?: boolean;
  /** Bytes [start, end) of the object, at least one. An object that ends before `end` is refused as corrupt. */
  range?: { start: number; end: number };
}

export interface PutOptions {
  signal?: AbortSignal;
  /**
   * Never replace: exactly one of any number of racing writers is told `written`, all others `exists`. `exists` promises as
   * much as `written`: the object that is there is whole and durable. After an attempt with an unknown outcome an object of the
   * same bytes counts as one's own; where the race decides something, each writer's bytes must therefore be its own.
   */
  ifAbsent?: boolean;
}

export interface ListOptions {
  signal?: AbortSignal;
  /** Only keys after this one. */
  after?: string;
}

export interface ListedObject {
  key: string;
  sizeBytes: number;
  /** When it was put, by the store's clock. */
  modifiedAtMs: number;
}

/**
 * Immutable objects by key. A promise, whichever implementation stands behind it:
 *
 * - `put` is atomic and durable: when it resolves the whole object survives power loss and every later `get`, by any process,
 *   sees all of it; when it fails or the process dies, readers see the old object, none, or all of the new one, never a part.
 * - `put` of the same bytes under the same key is idempotent; whoever calls may retry anything.
 * - Errors are `CairnError`: `not-found` (no such object), `unreachable` (network, timeouts, 5xx: worth a retry),
 *   `access-denied`, `corrupt` (larger than allowed, truncated), `no-space`, `failed`. The message names the store and the key.
 * - Keys are `/`-separated segments of [A-Za-z0-9._-]; anything else, `.` and `..`, and the first segment `tmp` (unfinished writes of
 *   a directory) are refused by an assertion.
 * - Safe for any number of processes and concurrent calls. Implementations bound their own concurrency.
 */
export interface ObjectStore {
  /** `file:///dir` or `s3://bucket/prefix`. */
  readonly url: string;
  readonly counters: StoreCounters;

  get(key: string, options?: GetOptions): Promise<Buffer>;

  /**
   * As a stream, for objects of any size, in bounded memory. Errors after the first byte are the stream's, and not retried. The
   * stream must be read to its end or destroyed: until then it counts as a request in flight.
   */
  getStream(key: string, options?: GetOptions): Promise<Readable>;

  put(key: string, body: Uint8Array, options?: PutOptions): Promise<'written' | 'exists'>;

  /** Of any size, in bounded memory; multipart where the store has it. Not conditional, not retried: a stream is read once. */
  putStream(key: string, body: Readable, options?: { signal?: AbortSignal }): Promise<void>;

  /** The object's size in bytes, or undefined when there is none. What is reported is whole and durable. */
  head(key: string, options?: { signal?: AbortSignal }): Promise<{ sizeBytes: number } | undefined>;

  /** Keys that begin with `prefix` (characters, not whole segments), in byte order. */
  list(prefix: string, options?: ListOptions): AsyncIterable<ListedObject>;

  /** No error when there is none. */
  delete(key: string, options?: { signal?: AbortSignal }): Promise<void>;

  /**
   * A URL with which anybody may read the one object, or write it, for so many seconds, or less long where the store's own credentials end before. Who
   * has it needs no credentials: it is a secret, for no log and no error. Absent where a store has none.
   */
  presign?: ((verb: 'GET' | 'PUT', key: string, seconds: number) => Promise<string>) | undefined;

  close(): Promise<void>;
}
