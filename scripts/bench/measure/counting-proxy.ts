import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

export interface ProxyCounts {
  /** By method. */
  requests: Record<string, number>;
  requestBytes: number;
  responseBytes: number;
  /** How many were under way at once, at most. */
  mostAtOnce: number;
}

/**
 * In front of an S3 server on this machine: counts what really goes over the wire, and holds every answer back for as long as a
 * store in the same region takes. Signatures stay valid, as the Host header passes unchanged.
 */
export class CountingProxy {
  readonly #server: Server;
  readonly #target: URL;
  readonly #latencyMs: number;
  #counts = newCounts();
  #underWay = 0;

  private constructor(target: URL, latencyMs: number) {
    this.#target = target;
    this.#latencyMs = latencyMs;
    this.#server = createServer((incoming, outgoing) => {
      this.#forward(incoming, outgoing).catch(() => outgoing.destroy());
    });
  }

  static async start(endpoint: string, latencyMs: number): Promise<CountingProxy> {
    const proxy = new CountingProxy(new URL(endpoint), latencyMs);
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  /** The server's endpoint, through this proxy. */
  get endpoint(): string {
    const url = new URL(this.#target);
    url.port = String((this.#server.address() as AddressInfo).port);
    return url.href;
  }

  /** What has been counted since the last call. */
  take(): ProxyCounts {
    const counts = this.#counts;
    this.#counts = newCounts();
    return counts;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #forward(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const counts = this.#counts;
    const method = incoming.method ?? '';
    counts.requests[method] = (counts.requests[method] ?? 0) + 1;
    this.#underWay++;
    counts.mostAtOnce = Math.max(counts.mostAtOnce, this.#underWay);
    try {
      const { hostname, port } = this.#target;
      const { url: path, headers } = incoming;
      const answered = new Promise<IncomingMessage>((resolve, reject) => {
        const forwarded = request({ hostname, port, method, path, headers }, resolve);
        forwarded.on('error', reject);
        incoming.on('data', (piece: Buffer) => (counts.requestBytes += piece.length));
        incoming.pipe(forwarded);
      });
      const [answer] = await Promise.all([answered, delay(this.#latencyMs)]);
      outgoing.writeHead(answer.statusCode ?? 502, answer.rawHeaders);
      answer.on('data', (piece: Buffer) => (counts.responseBytes += piece.length));
      answer.pipe(outgoing);
      await new Promise((resolve) => outgoing.once('close', resolve));
    } finally {
      this.#underWay--;
    }
  }
}

function newCounts(): ProxyCounts {
  return { requests: {}, requestBytes: 0, responseBytes: 0, mostAtOnce: 0 };
}
