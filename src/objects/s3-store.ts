import { addAbortSignal, Readable } from 'node:stream';
import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  type GetObjectCommandOutput,
} from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import { CairnError } from '../core/index.js';
import { bodyChunks, bodyStream, checkSize, GET_MAX_BYTES_DEFAULT, type BodySource } from './object-body.js';
import { assertKeyPrefix, assertObjectKey, assertRange, isObjectKey } from './object-key.js';
import type {
  GetOptions,
  ListedObject,
  ListOptions,
  ObjectStore,
  PutOptions,
  StoreCounters,
} from './object-store.js';
import { READ_FILES_AGAIN, RenewableCredentials } from './s3-credentials.js';
import { DirectGets, type DirectAnswer } from './s3-direct-get.js';
import { nameOf, s3Error, statusOf } from './s3-errors.js';
import { S3Presigner } from './s3-presigner.js';
import { newStoreCounters } from './store-counters.js';

/** A stream up to this is one request, a longer one is uploaded in parts of this: 10,000 parts are 156 GiB. */
const PART_BYTES = 16 * 1024 * 1024;

/** Parts of one stream in flight: the memory of a `putStream` is this many parts and one being filled. */
const PARTS_IN_FLIGHT = 2;

/** More than LimitedStore lets through: the SDK's own queue, which no abort empties, stays unused. */
const SOCKETS_MAX = 128;

export interface S3Timeouts {
  connectMs: number;
  /** A connection on which nothing moves for this long is given up. */
  idleMs: number;
  /** A whole request, of an object that is not a stream. */
  requestMs: number;
}

/** That credentials were replaced is noticed when the server refuses them in a request; signing a URL makes none. */
const CREDENTIALS_TRIED_EVERY_MS = 5_000;

const TIMEOUTS: S3Timeouts = { connectMs: 5_000, idleMs: 15_000, requestMs: 60_000 };

/**
 * Objects in a bucket, below a prefix, of AWS or any server that speaks its protocol: `<prefix>/<key>`.
 *
 * Endpoint, region and credentials come by the SDK's own chain (environment, shared configuration, instance role). Sends nothing
 * that only AWS understands: no checksum trailers, no `Expect`, no ETag comparison; what is read is verified by its hash elsewhere.
 * Makes one attempt and bounds nothing: see RetryingStore and LimitedStore.
 */
export class S3Store implements ObjectStore {
  readonly url: string;
  readonly counters: StoreCounters = newStoreCounters();
  readonly #client: S3Client;
  readonly #bucket: string;
  readonly #keyPrefix: string;
  readonly #timeouts: S3Timeouts;
  readonly #directGets: DirectGets;
  readonly #credentials: RenewableCredentials;
  readonly #presigner: S3Presigner;
  /** When they were last used only to see whether the server still takes them. */
  #credentialsTriedAtMs = -Infinity;

  private constructor(client: S3Client, bucket: string, prefix: string, timeouts: S3Timeouts) {
    this.url = prefix === '' ? `s3://${bucket}` : `s3://${bucket}/${prefix}`;
    this.#client = client;
    this.#bucket = bucket;
    this.#keyPrefix = prefix === '' ? '' : `${prefix}/`;
    this.#timeouts = timeouts;
    this.#directGets = new DirectGets(client);
    this.#credentials = new RenewableCredentials(client);
    this.#presigner = new S3Presigner(client);
    this.#countRequests();
  }

  /**
   * Makes no request: whether the bucket is there shows when it is used.
   *
   * @param prefix without a slash at either end; empty for the whole bucket.
   */
  static async open(bucket: string, prefix: string, timeouts: Partial<S3Timeouts> = {}): Promise<S3Store> {
    const allTimeouts = { ...TIMEOUTS, ...timeouts };
    // The SDK warns, at each start, of the Node versions it is going to drop: nothing a user of this program can act on.
    process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';
    const client = new S3Client({
      ...READ_FILES_AGAIN,
      region: await configuredRegion(),
      // Buckets are host names on AWS; another server's name seldom resolves with a bucket in front.
      forcePathStyle: Boolean(process.env.AWS_ENDPOINT_URL_S3 ?? process.env.AWS_ENDPOINT_URL),
      maxAttempts: 1,
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
      expectContinueHeader: false,
      requestHandler: new NodeHttpHandler({
        connectionTimeout: allTimeouts.connectMs,
        socketTimeout: allTimeouts.idleMs,
        requestTimeout: allTimeouts.requestMs,
        throwOnRequestTimeout: true,
        httpAgent: { keepAlive: true, maxSockets: SOCKETS_MAX },
        httpsAgent: { keepAlive: true, maxSockets: SOCKETS_MAX },
      }),
    });
    return new S3Store(client, bucket, prefix, allTimeouts);
  }

  async get(key: string, options: GetOptions = {}): Promise<Buffer> {
    assertRange(options.range);
    const limits = { maxBytes: GET_MAX_BYTES_DEFAULT, ...options };
    return this.#request('read', this.#name(key), options.signal, async (signal) => {
      const source = await this.#openBody(key, limits, signal, signal);
      // In memory of its own, which can be handed to another thread.
      const body = Buffer.allocUnsafeSlow(source.expectedBytes);
      let filled = 0;
      for await (const chunk of bodyChunks(source)) filled += chunk.copy(body, filled);
      return body;
    });
  }

  /** A consumer that reads nothing for longer than the idle timeout loses the connection. */
  async getStream(key: string, options: GetOptions = {}): Promise<Readable> {
    assertRange(options.range);
    return this.#request('read', this.#name(key), options.signal, async (signal) => {
      const source = await this.#openBody(key, options, signal, options.signal);
      if (options.signal !== undefined) addAbortSignal(options.signal, source.stream);
      return bodyStream(source);
    });
  }

  async put(key: string, body: Uint8Array, options: PutOptions = {}): Promise<'written' | 'exists'> {
    return this.#request('write', this.#name(key), options.signal, async (abortSignal) => {
      const condition = options.ifAbsent === true ? { IfNoneMatch: '*' } : {};
      const command = new PutObjectCommand({
        ...this.#object(key),
        Body: body,
        ContentLength: body.byteLength,
        ...condition,
      });
      try {
        await this.#client.send(command, { abortSignal });
        return 'written';
      } catch (error) {
        if (options.ifAbsent === true && statusOf(error) === 412) return 'exists';
        throw error;
      }
    });
  }

  /**
   * Visible all at once when the last part is there, or not at all; replaces what was there. A writer that dies, or cannot reach the
   * server to say that it gives up, leaves an unfinished upload: nobody sees it, but the bucket keeps it until a lifecycle rule
   * (AbortIncompleteMultipartUpload) removes it.
   */
  async putStream(key: string, body: Readable, options: { signal?: AbortSignal } = {}): Promise<void> {
    const what = this.#name(key);
    const { signal } = options;
    const abortController = new AbortController();
    const abort = (): void => {
      abortController.abort();
    };
    try {
      signal?.throwIfAborted();
      signal?.addEventListener('abort', abort, { once: true });
      await new Upload({
        client: this.#client,
        params: { ...this.#object(key), Body: body },
        partSize: PART_BYTES,
        queueSize: PARTS_IN_FLIGHT,
        abortController,
      }).done();
    } catch (error) {
      signal?.throwIfAborted();
      throw body.errored ?? s3Error(error, { verb: 'write', what, bucket: this.#bucket });
    } finally {
      signal?.removeEventListener('abort', abort);
      body.destroy();
    }
  }

  async head(
    key: string,
    options: { signal?: AbortSignal } = {},
  ): Promise<{ sizeBytes: number } | undefined> {
    return this.#request('look up', this.#name(key), options.signal, async (abortSignal) => {
      try {
        const answer = await this.#client.send(new HeadObjectCommand(this.#object(key)), { abortSignal });
        return { sizeBytes: answer.ContentLength ?? 0 };
      } catch (error) {
        if (statusOf(error) === 404) return undefined;
        throw error;
      }
    });
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ListedObject> {
    assertKeyPrefix(prefix);
    const position = options.after === undefined ? {} : { StartAfter: `${this.#keyPrefix}${options.after}` };
    let continuation: string | undefined;
    do {
      const command = new ListObjectsV2Command({
        Bucket: this.#bucket,
        Prefix: `${this.#keyPrefix}${prefix}`,
        ...(continuation === undefined ? position : { ContinuationToken: continuation }),
      });
      const page = await this.#request('list', `the keys of ${this.url}`, options.signal, (abortSignal) =>
        this.#client.send(command, { abortSignal }),
      );
      for (const { Key, Size, LastModified } of page.Contents ?? []) {
        const key = Key?.slice(this.#keyPrefix.length) ?? '';
        const modifiedAtMs = LastModified?.getTime() ?? Date.now();
        if (isObjectKey(key)) yield { key, sizeBytes: Size ?? 0, modifiedAtMs };
      }
      continuation = page.IsTruncated === true ? page.NextContinuationToken : undefined;
    } while (continuation !== undefined);
  }

  async delete(key: string, options: { signal?: AbortSignal } = {}): Promise<void> {
    await this.#request('delete', this.#name(key), options.signal, async (abortSignal) => {
      try {
        await this.#client.send(new DeleteObjectCommand(this.#object(key)), { abortSignal });
      } catch (error) {
        if (nameOf(error) !== 'NoSuchKey') throw error;
      }
    });
  }

  async presign(verb: 'GET' | 'PUT', key: string, seconds: number): Promise<string> {
    if (performance.now() - this.#credentialsTriedAtMs > CREDENTIALS_TRIED_EVERY_MS) {
      this.#credentialsTriedAtMs = performance.now();
      // A GET, because a HEAD is not told why it is refused. What else may be wrong is for who uses the URL.
      await this.get(key, { range: { start: 0, end: 1 } }).catch(ignoreFailure);
    }
    return this.#request('sign a URL for', this.#name(key), undefined, async () => {
      const { Bucket: bucket, Key } = this.#object(key);
      return await this.#presigner.url({ verb, bucket, key: Key, seconds });
    });
  }

  close(): Promise<void> {
    this.#client.destroy();
    return Promise.resolve();
  }

  #name(key: string): string {
    assertObjectKey(key);
    return `${key} in ${this.url}`;
  }

  #object(key: string): { Bucket: string; Key: string } {
    return { Bucket: this.#bucket, Key: `${this.#keyPrefix}${key}` };
  }

  /** @param signal of the request until its headers are there; @param bodySignal of its body. */
  async #openBody(
    key: string,
    options: GetOptions,
    signal: AbortSignal,
    bodySignal: AbortSignal | undefined,
  ): Promise<BodySource> {
    const { range } = options;
    const { stream, sizeBytes: expectedBytes } = await this.#answer(
      this.#object(key),
      range === undefined ? undefined : `bytes=${String(range.start)}-${String(range.end - 1)}`,
      signal,
    );
    const what = this.#name(key);
    try {
      checkSize(what, expectedBytes, options);
    } catch (error) {
      stream.destroy();
      throw error;
    }
    return {
      stream,
      what,
      expectedBytes,
      received: (bytes) => (this.counters.bytesIn += bytes),
      failure: (error): unknown =>
        bodySignal?.aborted === true
          ? bodySignal.reason
          : s3Error(error, { verb: 'read', what, bucket: this.#bucket }),
    };
  }

  async #answer(
    object: { Bucket: string; Key: string },
    range: string | undefined,
    abortSignal: AbortSignal,
  ): Promise<DirectAnswer> {
    if (this.#directGets.ready) {
      this.counters.requests.get += 1;
      const answer = await this.#directGets.get(object.Key, range, abortSignal);
      if (answer !== undefined) return answer;
    }
    const command = new GetObjectCommand({ ...object, ...(range === undefined ? {} : { Range: range }) });
    const answer = await this.#client.send(command, { abortSignal });
    return { stream: bodyOf(answer), sizeBytes: answer.ContentLength ?? 0 };
  }

  /**
   * Runs `operation` with the signal of its deadline and its caller, once more where its credentials had ended and there are others, and
   * answers for what it throws.
   */
  async #request<T>(
    verb: string,
    what: string,
    callerSignal: AbortSignal | undefined,
    operation: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    callerSignal?.throwIfAborted();
    const { requestMs } = this.#timeouts;
    const controller = new AbortController();
    const abort = (): void => {
      controller.abort(callerSignal?.reason);
    };
    const deadline = setTimeout(() => {
      const message = `cannot ${verb} ${what}: not done after ${String(requestMs / 1000)} s`;
      controller.abort(new CairnError('unreachable', message));
    }, requestMs);
    callerSignal?.addEventListener('abort', abort, { once: true });
    try {
      return await this.#withCredentials(() => operation(controller.signal));
    } catch (error) {
      controller.signal.throwIfAborted();
      throw s3Error(error, { verb, what, bucket: this.#bucket });
    } finally {
      clearTimeout(deadline);
      callerSignal?.removeEventListener('abort', abort);
    }
  }

  async #withCredentials<T>(operation: () => Promise<T>): Promise<T> {
    const used = await this.#credentials.current();
    try {
      return await operation();
    } catch (error) {
      if (!RenewableCredentials.areStaleBy(error)) throw error;
      if (!(await this.#credentials.areOthersThan(used))) throw error;
      return await operation();
    }
  }

  /** Counts each HTTP request as it is sent, those that the SDK makes of an upload included. */
  #countRequests(): void {
    const { requests } = this.counters;
    this.#client.middlewareStack.add(
      (next) => (args) => {
        const { method, query, body } = args.request as HttpRequest;
        if (method === 'GET') requests[query?.['list-type'] === undefined ? 'get' : 'list'] += 1;
        else if (method === 'HEAD') requests.head += 1;
        else if (method === 'DELETE') requests.delete += 1;
        else requests.put += 1;
        if (body instanceof Uint8Array) this.counters.bytesOut += body.byteLength;
        return next(args);
      },
      { step: 'finalizeRequest', name: 'countRequests' },
    );
  }
}

/** What the SDK is about to send, as far as it is counted. */
interface HttpRequest {
  method: string;
  query?: Record<string, unknown>;
  body?: unknown;
}

/** The region that the environment or the shared configuration names; servers other than AWS take any. */
async function configuredRegion(): Promise<string> {
  const probe = new S3Client({});
  try {
    return await probe.config.region();
  } catch {
    return 'us-east-1';
  } finally {
    probe.destroy();
  }
}

function ignoreFailure(): void {}

function bodyOf(answer: GetObjectCommandOutput): Readable {
  if (answer.Body instanceof Readable) return answer.Body;
  throw new Error('the SDK gave a body that is not a Node stream');
}
