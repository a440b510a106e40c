import { Readable } from 'node:stream';
import type { S3Client } from '@aws-sdk/client-s3';

/** Where objects are: what the SDK found out for the first one, of endpoints, regions and ways to write a bucket. */
interface Route {
  protocol: string;
  hostname: string;
  port?: number;
  /** Before an object's key, which needs no escapes. */
  path: string;
  userAgent: string;
}

/** The part of an HTTP request of the SDK's that is looked at. */
interface SentRequest {
  protocol: string;
  hostname: string;
  port?: number;
  path: string;
  headers: Record<string, string>;
}

/** What is looked at of its answer. */
interface Response {
  statusCode: number;
  headers: Record<string, string>;
  body: unknown;
}

/** An object's body on its way. */
export interface DirectAnswer {
  stream: Readable;
  sizeBytes: number;
}

/**
 * Reads objects with the SDK's signer and HTTP handler, and without the thirty steps between a command and them: they take two
 * thirds of the processor time of a GET, and a mount that reads ahead makes a thousand a second.
 *
 * It begins when the SDK has read a first object, and knows one answer only, that the object is there. With all others, but those
 * that ask for patience, the SDK is to be asked again: it says what they mean.
 */
export class DirectGets {
  readonly #client: S3Client;
  #route: Route | undefined;

  constructor(client: S3Client) {
    this.#client = client;
    this.#learnRoute();
  }

  /** Whether `get` makes a request. */
  get ready(): boolean {
    return this.#route !== undefined;
  }

  /**
   * @param key as the bucket has it; @param range a value of the Range header.
   * @returns undefined when the SDK is to be asked.
   * @throws what the SDK's HTTP handler throws, or an error with a status of 429 or 5xx in the SDK's form.
   */
  async get(
    key: string,
    range: string | undefined,
    abortSignal: AbortSignal,
  ): Promise<DirectAnswer | undefined> {
    const route = this.#route;
    if (route === undefined) return undefined;
    const { config } = this.#client;
    const signer = await config.signer();
    const { userAgent, path, ...server } = route;
    const signed = await signer.sign(
      {
        ...server,
        method: 'GET',
        path: path + key,
        query: {},
        headers: {
          host: server.port === undefined ? server.hostname : `${server.hostname}:${String(server.port)}`,
          'user-agent': userAgent,
          ...(range === undefined ? {} : { range }),
        },
      },
      { signingDate: new Date(Date.now() + config.systemClockOffset) },
    );
    const { response } = (await config.requestHandler.handle(signed as HandledRequest, {
      abortSignal,
    })) as { response: Response };
    const { statusCode, headers, body } = response;
    if (!(body instanceof Readable)) throw new Error('the SDK gave a body that is not a Node stream');
    const sizeBytes = Number(headers['content-length']);
    if ((statusCode === 200 || statusCode === 206) && Number.isSafeInteger(sizeBytes)) {
      return { stream: body, sizeBytes };
    }
    body.on('error', ignoreFailure).resume();
    if (statusCode === 429 || statusCode >= 500) {
      const message = `the server answered with status ${String(statusCode)}`;
      throw Object.assign(new Error(message), { $metadata: { httpStatusCode: statusCode } });
    }
    // Another region, other credentials, a bucket that has gone: what was found out may hold no longer.
    if (statusCode !== 404) this.#route = undefined;
    return undefined;
  }

  #learnRoute(): void {
    this.#client.middlewareStack.add(
      (next, context) => async (args) => {
        const output = await next(args);
        if (this.#route === undefined && context.commandName === 'GetObjectCommand') {
          const { Key: key = '' } = args.input as { Key?: string };
          this.#route = routeOf(args.request as SentRequest, key, context['signing_service']);
        }
        return output;
      },
      // Behind the signing: the request is as it is sent.
      { step: 'finalizeRequest', priority: 'low', name: 'learnRoute' },
    );
  }
}

type HandledRequest = Parameters<S3Client['config']['requestHandler']['handle']>[0];

/** Undefined where the SDK signs in ways of which only it knows when they end (S3 Express, access points of several regions). */
function routeOf(request: SentRequest, key: string, signingService: unknown): Route | undefined {
  const { protocol, hostname, port, path, headers } = request;
  if (signingService !== 's3' || 'x-amz-region-set' in headers || !path.endsWith(`/${key}`)) return undefined;
  return {
    protocol,
    hostname,
    path: path.slice(0, -key.length),
    userAgent: headers['user-agent'] ?? 'cairn',
    ...(port === undefined ? {} : { port }),
  };
}

function ignoreFailure(): void {}
