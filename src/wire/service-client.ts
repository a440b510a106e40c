import { setTimeout as sleep } from 'node:timers/promises';
import type { z } from 'zod';
import { CairnError, messageOf, systemCode } from '../core/index.js';
import { answerOf, bodyWithin } from './http-answer.js';
import { refusePlainText } from './plain-text.js';
import { problemOf, type ServiceProblem } from './problem.js';

/** As an object store has it: so many attempts, and none begun later than this after the first. */
const ATTEMPTS = 7;
const PATIENCE_MS = 60_000;
const FIRST_PAUSE_MS = 100;
const PAUSE_MAX_MS = 10_000;

/** How long one attempt may take to be answered; its body may take as long again for every part of it that comes. */
const ANSWER_LIMIT_MS = 60_000;

/** A JSON document, at most; and one line of a listing. */
const DOCUMENT_MAX_BYTES = 16 * 1024 * 1024;

/** The one status that keeps the method. */
const REDIRECT = 307;

const WORTH_A_RETRY = new Set([429, 502, 503, 504]);

export interface ServiceRequest {
  method?: 'GET' | 'HEAD' | 'PUT' | 'POST' | 'PATCH' | 'DELETE';
  /** Below the service's URL, with a leading slash, escaped. */
  path: string;
  query?: Readonly<Record<string, string | number | undefined>>;
  /** Sent as JSON. */
  json?: unknown;
  /** Sent as it is; a function, because what is tried again is made again. */
  body?: () => Uint8Array | AsyncIterable<Uint8Array>;
  headers?: Readonly<Record<string, string>>;
  signal?: AbortSignal | undefined;
  /** A POST or PATCH that may be done twice; everything else may. */
  repeatable?: boolean;
  /** A redirect is an answer, too. It is followed by nobody: a token goes to the service it is for and nowhere else. */
  mayRedirect?: boolean;
  /** Instead of a minute, for a request that the service holds back on purpose. */
  answerLimitMs?: number;
}

/**
 * One service and one token: every request of an agent goes through here. Tries again what may be tried again. Throws `ServiceProblem` for what the
 * service refuses, and `unreachable` for what is not answered; neither holds the token.
 */
export class ServiceClient {
  /** Without a slash at its end. */
  readonly url: string;
  readonly #token: string | undefined;
  readonly #impatience: AbortSignal | undefined;
  /** Requests that were sent, attempts counted each. */
  requests = 0;

  /** Throws `usage` for a token that would go to another machine in plain text. */
  constructor(options: { url: string; token?: string | undefined; impatience?: AbortSignal | undefined }) {
    if (options.token !== undefined) refusePlainText(options.url);
    this.url = options.url.replace(/\/+$/, '');
    this.#token = options.token;
    this.#impatience = options.impatience;
  }

  /** The answer as the JSON document that `schema` describes. */
  async json<Schema extends z.ZodType>(schema: Schema, request: ServiceRequest): Promise<z.output<Schema>> {
    const bytes = await this.bytes(request, DOCUMENT_MAX_BYTES);
    return this.#parsed(schema, bytes.toString('utf8'));
  }

  /** The answer's bytes; more than `maxBytes` of them are `corrupt`. A body that breaks off is asked for again. */
  async bytes(request: ServiceRequest, maxBytes: number): Promise<Buffer> {
    return await this.#retried(request, async (response) => await this.#bodyOf(response, maxBytes));
  }

  /** The answer's bytes, or at which URL they are. */
  async bytesOrLocation(request: ServiceRequest, maxBytes: number): Promise<Buffer | URL> {
    return await this.#retried({ ...request, mayRedirect: true }, async (response) => {
      if (response.status !== REDIRECT) return await this.#bodyOf(response, maxBytes);
      await response.body?.cancel();
      const location = response.headers.get('location') ?? '';
      if (!URL.canParse(location)) throw this.#corrupt('it redirects to what is no URL');
      return new URL(location);
    });
  }

  /** For an answer of which only that it came matters. */
  async done(request: ServiceRequest): Promise<void> {
    await this.bytes(request, DOCUMENT_MAX_BYTES);
  }

  /** The answer itself; its body must be read to its end or cancelled. What breaks in its body is the caller's. */
  async response(request: ServiceRequest): Promise<Response> {
    return await this.#retried(request, (response) => Promise.resolve(response));
  }

  /** JSON lines, one after the other. A listing that breaks off throws `unreachable`. */
  async *lines<Schema extends z.ZodType>(
    schema: Schema,
    request: ServiceRequest,
  ): AsyncGenerator<z.output<Schema>> {
    const response = await this.response(request);
    let pending = '';
    const decoder = new TextDecoder();
    const body: AsyncIterable<Uint8Array> = response.body ?? emptyBody();
    try {
      for await (const part of body) {
        const lines = (pending + decoder.decode(part, { stream: true })).split('\n');
        pending = lines.pop() ?? '';
        if (pending.length > DOCUMENT_MAX_BYTES) throw this.#corrupt('a line is too long');
        for (const line of lines) if (line !== '') yield this.#parsed(schema, line);
      }
    } catch (error) {
      throw this.#told(error);
    }
    if (pending !== '') throw this.#told(new Error('the answer ends within a line'));
  }

  async #retried<Result>(
    request: ServiceRequest,
    read: (response: Response) => Promise<Result>,
  ): Promise<Result> {
    const { method = 'GET' } = request;
    const mayRepeat = request.repeatable ?? (method !== 'POST' && method !== 'PATCH');
    const beganMs = performance.now();
    for (let attempt = 1; ; attempt += 1) {
      let pauseMs = Math.min(PAUSE_MAX_MS, FIRST_PAUSE_MS * 2 ** attempt) * (0.5 + Math.random() / 2);
      try {
        const response = await this.#send(request);
        const isElsewhere = request.mayRedirect === true && response.status === REDIRECT;
        if (response.ok || response.status === 304 || isElsewhere) return await read(response);
        const problem = await this.#problem(response);
        const isRefused = response.status === 429;
        if (!WORTH_A_RETRY.has(response.status) || !(mayRepeat || isRefused)) throw problem;
        pauseMs = Math.max(pauseMs, secondsOf(response.headers.get('retry-after')) * 1000);
        if (!this.#hasPatience(attempt, beganMs, pauseMs)) throw problem;
      } catch (error) {
        request.signal?.throwIfAborted();
        const told = this.#told(error);
        if (told.code !== 'unreachable' || 'problemCode' in told || !mayRepeat) throw told;
        if (!this.#hasPatience(attempt, beganMs, pauseMs)) throw told;
      }
      await sleep(pauseMs, undefined, { signal: request.signal });
    }
  }

  #hasPatience(attempt: number, beganMs: number, pauseMs: number): boolean {
    const isLate = performance.now() + pauseMs - beganMs > PATIENCE_MS;
    return attempt < ATTEMPTS && !isLate && this.#impatience?.aborted !== true;
  }

  async #send(request: ServiceRequest): Promise<Response> {
    const { method = 'GET', json, body, signal, answerLimitMs = ANSWER_LIMIT_MS } = request;
    const url = new URL(this.url + request.path);
    for (const [name, value] of Object.entries(request.query ?? {})) {
      if (value !== undefined) url.searchParams.set(name, String(value));
    }
    this.requests += 1;
    const init: RequestInit = {
      method,
      headers: {
        ...(this.#token !== undefined && { authorization: `Bearer ${this.#token}` }),
        ...(json !== undefined && { 'content-type': 'application/json' }),
        ...(body !== undefined && { 'content-type': 'application/octet-stream' }),
        ...request.headers,
      },
      body: json !== undefined ? JSON.stringify(json) : ((body?.() ?? null) as RequestInit['body'] & object),
      // A token goes to the service it is for and nowhere else.
      redirect: request.mayRedirect === true ? 'manual' : 'error',
      ...(body !== undefined && { duplex: 'half' }),
    };
    return await answerOf(url, init, answerLimitMs, signal);
  }

  async #problem(response: Response): Promise<ServiceProblem> {
    const text = await this.#bodyOf(response, DOCUMENT_MAX_BYTES);
    return problemOf(response.status, text.toString('utf8'), this.url);
  }

  async #bodyOf(response: Response, maxBytes: number): Promise<Buffer> {
    const bytes = await bodyWithin(response, maxBytes);
    if (bytes === undefined) throw this.#corrupt(`the answer has more than ${String(maxBytes)} bytes`);
    return bytes;
  }

  #parsed<Schema extends z.ZodType>(schema: Schema, text: string): z.output<Schema> {
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch {
      throw this.#corrupt('the answer is not JSON');
    }
    const parsed = schema.safeParse(value);
    if (parsed.success) return parsed.data;
    const [issue] = parsed.error.issues;
    throw this.#corrupt(
      `the answer is not as expected: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`,
    );
  }

  #corrupt(detail: string): CairnError {
    return new CairnError('corrupt', `${this.url}: ${detail}`, {
      hint: 'is it a cairn service of this release?',
    });
  }

  #told(error: unknown): CairnError {
    if (error instanceof CairnError) return error;
    // What Node's fetch throws says nothing; its cause does.
    const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
    const code = systemCode(cause);
    const message = messageOf(cause);
    return new CairnError('unreachable', `${this.url}: ${message === '' ? (code ?? 'no answer') : message}`, {
      hint: 'is the service up, and its address right?',
      cause,
    });
  }
}

/** RFC 9110 has dates as well; nobody of ours sends them. */
function secondsOf(retryAfter: string | null): number {
  const seconds = Number(retryAfter ?? 0);
  return Number.isFinite(seconds) && seconds > 0 ? seconds : 0;
}

// eslint-disable-next-line @typescript-eslint/require-await -- a body without parts
async function* emptyBody(): AsyncGenerator<Uint8Array> {
  yield* [];
}
