import { GetObjectCommand, PutObjectCommand, type S3Client } from '@aws-sdk/client-s3';
import { getSignedUrl, S3RequestPresigner } from '@aws-sdk/s3-request-presigner';

/** Where objects are, and for which region and service a request for one is signed. */
interface Route {
  protocol: string;
  hostname: string;
  port?: number;
  /** Before an object's key, which needs no escapes. */
  path: string;
  region: string;
  service: string;
}

/** One request that whoever has its URL may make. */
export interface PresignedRequest {
  verb: 'GET' | 'PUT';
  bucket: string;
  key: string;
  seconds: number;
}

/** Of requests whose signature only the SDK knows how to make: S3 Express, access points of several regions. */
const SDK_ONLY = ['X-Amz-Region-Set', 'X-Amz-S3session-Token'];

/**
 * Presigned URLs by the SDK's presigner, without the thirty steps before it, which take ten times as long as the signature: a service
 * signs a thousand at a time. The first URL is the SDK's own; it shows where objects are.
 */
export class S3Presigner {
  readonly #client: S3Client;
  #route: Route | undefined;

  constructor(client: S3Client) {
    this.#client = client;
  }

  /** Makes no request, but those that the chain makes to find credentials. */
  async url({ verb, bucket, key, seconds }: PresignedRequest): Promise<string> {
    if (this.#route !== undefined) return await this.#signed(this.#route, { verb, key, seconds });
    const object = { Bucket: bucket, Key: key };
    const command = verb === 'GET' ? new GetObjectCommand(object) : new PutObjectCommand(object);
    const url = await getSignedUrl(this.#client, command, { expiresIn: seconds });
    this.#route = routeOf(new URL(url), key);
    return url;
  }

  async #signed(
    { path, region, service, ...server }: Route,
    { verb, key, seconds }: Omit<PresignedRequest, 'bucket'>,
  ): Promise<string> {
    const { config } = this.#client;
    const presigner = new S3RequestPresigner({
      credentials: config.credentials,
      sha256: config.sha256,
      region,
      service,
    });
    const { query = {} } = await presigner.presign(
      { ...server, method: verb, path: `${path}${key}`, query: {}, headers: {} },
      { expiresIn: seconds, signingDate: new Date(Date.now() + config.systemClockOffset) },
    );
    const url = new URL(`${server.protocol}//${server.hostname}`);
    if (server.port !== undefined) url.port = String(server.port);
    url.pathname = `${path}${key}`;
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, String(value));
    return url.href;
  }
}

function routeOf({ protocol, hostname, port, pathname, searchParams }: URL, key: string): Route | undefined {
  // <access key>/<date>/<region>/<service>/aws4_request
  const [, , region, service] = searchParams.get('X-Amz-Credential')?.split('/') ?? [];
  if (region === undefined || service === undefined || !pathname.endsWith(`/${key}`)) return undefined;
  if (SDK_ONLY.some((name) => searchParams.has(name))) return undefined;
  return {
    protocol,
    hostname,
    path: pathname.slice(0, -key.length),
    region,
    service,
    ...(port !== '' && { port: Number(port) }),
  };
}
