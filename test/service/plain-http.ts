import { request as httpRequest, type IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import type { ServiceSite } from './service-site.js';

export interface Answer {
  status: number;
  headers: IncomingMessage['headers'];
  body: Buffer;
}

export interface Ask {
  method?: string;
  token?: string;
  headers?: Record<string, string>;
  body?: Buffer | Readable;
}

/** Plain HTTP: what is asked is what is sent, the escapes of a path too. */
export function ask(site: ServiceSite, path: string, options: Ask = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      {
        // Not as a URL, which would be made tidy first.
        host: new URL(site.url).hostname,
        port: new URL(site.url).port,
        path,
        method: options.method ?? 'GET',
        headers: { authorization: `Bearer ${options.token ?? site.adminToken}`, ...options.headers },
      },
      (response) => {
        response.toArray().then((pieces: Buffer[]) => {
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: Buffer.concat(pieces),
          });
        }, reject);
      },
    );
    request.once('error', reject);
    if (options.body instanceof Readable) options.body.pipe(request);
    else request.end(options.body);
  });
}

export const jsonOf = ({ body }: Answer): unknown => JSON.parse(body.toString());
