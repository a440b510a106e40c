import { open, stat } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { Line, type LineSpeed } from './line.js';
import { listObjects } from './object-listing.js';

export interface ServerCounts {
  /** By method; a listing is a LIST. */
  requests: Record<string, number>;
  bytesOut: number;
  /** How many were under way at once, at most. */
  mostAtOnce: number;
  /** The longest chain of requests each of which came when the one before had been answered. */
  rounds: number;
}

const PIECE_BYTES = 256 * 1024;

/**
 * Folders as S3 buckets, for reading, at the far end of a line with latency and limited bandwidth: GET with ranges, HEAD, and
 * listings by directory. It knows no signatures. A server of the benchmark's own, since on one small machine a whole S3 server and
 * a proxy before it take more of the processor than what they are to measure, and no tree has to be uploaded.
 */
export class ObjectServer {
  readonly #server: Server;
  readonly #line: Line;
  readonly #buckets = new Map<string, string>();
  #counts = newCounts();
  #underWay = 0;

  private constructor(speed: LineSpeed) {
    this.#line = new Line(speed);
    this.#server = createServer((incoming, outgoing) => {
      this.#serve(incoming, outgoing).catch(() => outgoing.destroy());
    });
  }

  static async start(speed: LineSpeed): Promise<ObjectServer> {
    const server = new ObjectServer(speed);
    await new Promise<void>((resolve) => server.#server.listen(0, '127.0.0.1', resolve));
    return server;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** What the SDK needs in a process's environment to reach this server and nothing else. */
  get env(): Record<string, string> {
    return {
      AWS_ENDPOINT_URL_S3: this.endpoint,
      AWS_REGION: 'us-east-1',
      AWS_ACCESS_KEY_ID: 'bench',
      AWS_SECRET_ACCESS_KEY: 'bench',
      AWS_CONFIG_FILE: '/dev/null',
      AWS_SHARED_CREDENTIALS_FILE: '/dev/null',
      AWS_EC2_METADATA_DISABLED: 'true',
    };
  }

  set speed(speed: LineSpeed) {
    this.#line.speed = speed;
  }

  addBucket(name: string, folder: string): void {
    this.#buckets.set(name, folder);
  }

  /** What has been counted since the last call. */
  take(): ServerCounts {
    const counts = this.#counts;
    this.#counts = newCounts();
    return counts;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #serve(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const arrivedMs = performance.now();
    const counts = this.#counts;
    const url = new URL(incoming.url ?? '/', 'http://server');
    const [, bucket = '', key = ''] = /^\/([^/]+)\/?(.*)$/.exec(decodeURIComponent(url.pathname)) ?? [];
    const method = incoming.method === 'GET' && key === '' ? 'LIST' : (incoming.method ?? '');
    counts.requests[method] = (counts.requests[method] ?? 0) + 1;
    this.#underWay++;
    counts.mostAtOnce = Math.max(counts.mostAtOnce, this.#underWay);
    const round = counts.rounds + 1;
    outgoing.on('close', () => {
      this.#underWay--;
      counts.rounds = Math.max(counts.rounds, round);
    });
    incoming.resume();

    await this.#line.answer(arrivedMs);
    const folder = this.#buckets.get(bucket);
    if (method === 'HEAD' && key === '' && folder !== undefined) outgoing.writeHead(200).end();
    else if (folder === undefined) refuse(outgoing, 404, 'NoSuchBucket');
    else if (method === 'LIST') await this.#list(folder, bucket, url.searchParams, outgoing);
    else if (method === 'GET' || method === 'HEAD') await this.#object(folder, key, incoming, outgoing);
    else refuse(outgoing, 405, 'MethodNotAllowed');
  }

  async #list(
    folder: string,
    bucket: string,
    query: URLSearchParams,
    outgoing: ServerResponse,
  ): Promise<void> {
    const body = Buffer.from(await listObjects(folder, bucket, query));
    await this.#line.carry(body.length);
    this.#counts.bytesOut += body.length;
    outgoing.writeHead(200, { 'content-type': 'application/xml', 'content-length': body.length }).end(body);
  }

  async #object(
    folder: string,
    key: string,
    { method, headers }: IncomingMessage,
    outgoing: ServerResponse,
  ): Promise<void> {
    const file = path.join(folder, key);
    const about = await stat(file).catch(() => undefined);
    if (about?.isFile() !== true || key.endsWith('/')) {
      refuse(outgoing, 404, 'NoSuchKey');
      return;
    }
    const { start, end } = rangeOf(headers.range, about.size);
    outgoing.writeHead(headers.range === undefined ? 200 : 206, {
      'content-type': 'application/octet-stream',
      'content-length': end - start,
      'last-modified': about.mtime.toUTCString(),
      'accept-ranges': 'bytes',
      // As of an object in parts: no one takes it for a digest.
      etag: `"${about.size.toString(16)}-1"`,
      ...(headers.range !== undefined && { 'content-range': `bytes ${start}-${end - 1}/${about.size}` }),
    });
    if (method === 'GET') await this.#send(file, start, end, outgoing);
    outgoing.end();
  }

  async #send(file: string, start: number, end: number, outgoing: ServerResponse): Promise<void> {
    const handle = await open(file);
    try {
      for (let at = start; at < end && !outgoing.destroyed;) {
        const piece = Buffer.allocUnsafe(Math.min(PIECE_BYTES, end - at));
        const { bytesRead } = await handle.read(piece, 0, piece.length, at);
        if (bytesRead === 0) throw new Error(`${file} has become shorter`);
        await this.#line.carry(bytesRead);
        this.#counts.bytesOut += bytesRead;
        if (!outgoing.write(piece.subarray(0, bytesRead))) {
          await drained(outgoing);
        }
        at += bytesRead;
      }
    } finally {
      await handle.close();
    }
  }
}

/** Or closed: then there is no more to come. */
async function drained(outgoing: ServerResponse): Promise<void> {
  await new Promise<void>((resolve) => {
    const go = (): void => {
      outgoing.off('drain', go).off('close', go);
      resolve();
    };
    outgoing.on('drain', go).on('close', go);
  });
}

/** All of the object where there is no range of one part (RFC 9110, 14.1.2). */
function rangeOf(range: string | undefined, size: number): { start: number; end: number } {
  const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(range ?? '') ?? [];
  if (first === undefined) return { start: 0, end: size };
  return {
    start: Number(first),
    end: last === undefined || last === '' ? size : Math.min(Number(last) + 1, size),
  };
}

function refuse(outgoing: ServerResponse, status: number, code: string): void {
  const body = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code></Error>`;
  outgoing.writeHead(status, { 'content-type': 'application/xml' }).end(body);
}

function newCounts(): ServerCounts {
  return { requests: {}, bytesOut: 0, mostAtOnce: 0, rounds: 0 };
}
