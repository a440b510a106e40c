import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { CairnError } from '../core/index.js';
import { ServiceProblem, transfer, type ServiceClient, type ServiceRequest } from '../wire/index.js';
import { BlockUrls } from './block-urls.js';
import { checkSize, GET_MAX_BYTES_DEFAULT } from './object-body.js';
import { assertObjectKey, assertRange } from './object-key.js';
import type { GetOptions, ObjectStore, PutOptions, StoreCounters } from './object-store.js';
import { newStoreCounters } from './store-counters.js';

/** What a service has of a store is asked for whole, and is no larger. */
const OBJECT_MAX_BYTES = 64 * 1024 * 1024;

/** A store answers a put with next to nothing. */
const ANSWER_MAX_BYTES = 64 * 1024;

/** At a URL that was kept, and at a new one. */
const PUT_ATTEMPTS = 2;

const KEY = /^(?:blocks\/[0-9a-f]{2}|(?<manifests>manifests))\/(?<id>[0-9a-f]{64})$/;

/**
 * The blocks and manifests of a service, as far as its token may have them: those that a workspace it can read holds, or that were put for one. What is put is
 * for versions of `workspace`; without one there is only reading. Where the service says so, bytes go between this process and the service's own store, at URLs that
 * the service gives; what is refused there goes through the service. It cannot list or delete: what becomes of objects is the service's.
 */
export class ServiceStore implements ObjectStore {
  readonly counters: StoreCounters = newStoreCounters();
  readonly #client: ServiceClient;
  readonly #workspace: string | undefined;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #readUrls: BlockUrls | undefined;
  readonly #putUrls: BlockUrls | undefined;
  /** Whether the service last sent this process to its store; undefined before it was asked. */
  #isDirect: boolean | undefined;

  /** @param isPastCaches what the service holds in memory is not to stand for what its store has. */
  constructor(client: ServiceClient, workspace: string | undefined, isPastCaches: boolean) {
    this.#client = client;
    this.#workspace = workspace;
    this.#headers = isPastCaches ? { 'cache-control': 'no-cache' } : {};
    if (workspace === undefined) return;
    this.#readUrls = new BlockUrls(client, workspace, 'urls');
    this.#putUrls = new BlockUrls(client, workspace, 'uploads');
  }

  get url(): string {
    return this.#client.url;
  }

  async get(key: string, options: GetOptions = {}): Promise<Buffer> {
    const { range, maxBytes = GET_MAX_BYTES_DEFAULT, signal } = options;
    assertRange(range);
    this.counters.requests.get += 1;
    const limit = range === undefined ? maxBytes : OBJECT_MAX_BYTES;
    const whole = await this.#told(key, async () => await this.#read(key, limit, signal));
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
    const { path, block } = placeOf(key);
    if (this.#workspace === undefined) throw this.#unsupported('storing without a workspace');
    this.counters.requests.put += 1;
    const request = this.#request(path, signal);
    await this.#told(key, async () => {
      if (block !== undefined && (await this.#putDirectly(key, block, body, signal))) return;
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
    const { path } = placeOf(key);
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

  /** At a URL that was asked for with others, at one that is asked for now, and through the service: the next where one is refused. */
  async #read(key: string, maxBytes: number, signal: AbortSignal | undefined): Promise<Buffer> {
    const { path, block } = placeOf(key);
    const what = this.#nameOf(key);
    if (block !== undefined && this.#isDirect === true) {
      const url = await this.#readUrls?.of(block);
      const transferred = url === undefined ? undefined : transfer({ url, what, maxBytes, signal });
      const bytes = await unlessRefused(transferred);
      if (bytes !== undefined) return bytes;
      this.#readUrls?.forget(block);
    }
    const request = this.#request(path, signal);
    const asked = { ...request, query: { ...request.query, direct: 'true' } };
    const answer = await this.#client.bytesOrLocation(asked, maxBytes);
    this.#isDirect = answer instanceof URL;
    if (!(answer instanceof URL)) return answer;
    const bytes = await unlessRefused(transfer({ url: answer.href, what, maxBytes, signal }));
    return bytes ?? (await this.#client.bytes(request, maxBytes));
  }

  /** False where it is to go through the service: that is not for this, or its URLs are refused. */
  async #putDirectly(
    key: string,
    block: string,
    body: Uint8Array,
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    const urls = this.#putUrls;
    if (urls === undefined || this.#isDirect === false) return false;
    for (let attempt = 1; attempt <= PUT_ATTEMPTS; attempt++) {
      const url = await urls.of(block);
      this.#isDirect = urls.isDirect;
      if (url === undefined) return false;
      const put = transfer({ url, what: this.#nameOf(key), body, maxBytes: ANSWER_MAX_BYTES, signal });
      if ((await unlessRefused(put)) !== undefined) return true;
      urls.forget(block);
    }
    return false;
  }

  #request(path: string, signal: AbortSignal | undefined): ServiceRequest {
    return { path, query: { workspace: this.#workspace }, headers: this.#headers, signal };
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

/** Undefined for what a store refuses: a URL that has ended, or that was signed with credentials that have. */
async function unlessRefused(transferred: Promise<Buffer> | undefined): Promise<Buffer | undefined> {
  try {
    return await transferred;
  } catch (error) {
    if (error instanceof CairnError && error.code === 'access-denied') return undefined;
    throw error;
  }
}

function placeOf(key: string): { path: string; block: string | undefined } {
  assertObjectKey(key);
  const { manifests, id } = KEY.exec(key)?.groups ?? {};
  if (id === undefined) throw new Error(`not the key of a block or a manifest: ${key}`);
  return manifests === undefined
    ? { path: `/v1/blocks/${id}`, block: id }
    : { path: `/v1/manifests/${id}`, block: undefined };
}
