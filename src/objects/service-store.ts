import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { CairnError } from '../core/index.js';
import { ServiceProblem, type ServiceClient, type ServiceRequest } from '../wire/index.js';
import { checkSize, GET_MAX_BYTES_DEFAULT } from './object-body.js';
import { assertObjectKey, assertRange } from './object-key.js';
import type { GetOptions, ObjectStore, PutOptions, StoreCounters } from './object-store.js';
import { newStoreCounters } from './store-counters.js';

/** What a service has of a store is asked for whole, and is no larger. */
const OBJECT_MAX_BYTES = 64 * 1024 * 1024;

const KEY = /^(?:blocks\/[0-9a-f]{2}|(?<manifests>manifests))\/(?<id>[0-9a-f]{64})$/;

/**
 * The blocks and manifests of a service, as far as its token may have them: those that a workspace it can read holds, or that were put for one. What is put is
 * for versions of `workspace`; without one there is only reading. It cannot list or delete: what becomes of objects is the service's.
 */
export class ServiceStore implements ObjectStore {
  readonly counters: StoreCounters = newStoreCounters();
  readonly #client: ServiceClient;
  readonly #workspace: string | undefined;

  constructor(client: ServiceClient, workspace: string | undefined) {
    this.#client = client;
    this.#workspace = workspace;
  }

  get url(): string {
    return this.#client.url;
  }

  async get(key: string, options: GetOptions = {}): Promise<Buffer> {
    const { range, maxBytes = GET_MAX_BYTES_DEFAULT, signal } = options;
    assertRange(range);
    const path = pathOf(key);
    this.counters.requests.get += 1;
    const limit = range === undefined ? maxBytes : OBJECT_MAX_BYTES;
    const whole = await this.#told(
      key,
      async () => await this.#client.bytes(this.#request(path, signal), limit),
    );
    this.counters.bytesIn += whole.length;
    const bytes = range === undefined ? whole : whole.subarray(range.start, range.end);
    checkSize(this.#nameOf(key), bytes.length, { ...(range && { range }), maxBytes });
    return bytes;
  }

  async getStream(key: string, options: GetOptions = {}): Promise<Readable> {
    const bytes = await this.get(key, { maxBytes: OBJECT_MAX_BYTES, ...options });
    return Readable.from([bytes], { objectMode: false });
  }

  async put(key: string, body: Uint8Array, { signal }: PutOptions = {}): Promise<'written' | 'exists'> {
    const path = pathOf(key);
    if (this.#workspace === undefined) throw this.#unsupported('storing without a workspace');
    this.counters.requests.put += 1;
    const request = this.#request(path, signal);
    await this.#told(key, async () => {
      await this.#client.done({ ...request, method: 'PUT', body: () => body });
    });
    this.counters.bytesOut += body.length;
    return 'written';
  }

  async putStream(key: string, body: Readable, options: { signal?: AbortSignal } = {}): Promise<void> {
    await this.put(key, await buffer(body), options);
  }

  async head(
    key: string,
    { signal }: { signal?: AbortSignal } = {},
  ): Promise<{ sizeBytes: number } | undefined> {
    const path = pathOf(key);
    this.counters.requests.head += 1;
    try {
      const response = await this.#told(key, async () => {
        return await this.#client.response({ ...this.#request(path, signal), method: 'HEAD' });
      });
      return { sizeBytes: Number(response.headers.get('content-length')) };
    } catch (error) {
      if (error instanceof CairnError && error.code === 'not-found') return undefined;
      throw error;
    }
  }

  list(): AsyncIterable<never> {
    throw this.#unsupported('listing');
  }

  delete(): Promise<void> {
    return Promise.reject(this.#unsupported('deleting'));
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  #request(path: string, signal: AbortSignal | undefined): ServiceRequest {
    return { path, query: { workspace: this.#workspace }, signal };
  }

  #nameOf(key: string): string {
    return `${key} of ${this.url}`;
  }

  /** A store's errors name the store and the key. */
  async #told<Result>(key: string, work: () => Promise<Result>): Promise<Result> {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof ServiceProblem)) throw error;
      const { code, message, hint } = error;
      throw new CairnError(code, `${this.#nameOf(key)}: ${message}`, {
        ...(hint !== undefined && { hint }),
        cause: error,
      });
    }
  }

  #unsupported(what: string): CairnError {
    return new CairnError('unsupported', `${this.url}: a service has no ${what}`, {
      hint: 'do this where the service runs, with --store and --catalog of its own',
    });
  }
}

function pathOf(key: string): string {
  assertObjectKey(key);
  const { manifests, id } = KEY.exec(key)?.groups ?? {};
  if (id === undefined) throw new Error(`not the key of a block or a manifest: ${key}`);
  return manifests === undefined ? `/v1/blocks/${id}` : `/v1/manifests/${id}`;
}
