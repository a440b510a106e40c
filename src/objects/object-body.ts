import { Readable } from 'node:stream';
import { CairnError } from '../core/index.js';
import type { GetOptions } from './object-store.js';

/** What an object that `get` returns whole may have, unless the caller says otherwise. */
export const GET_MAX_BYTES_DEFAULT = 8 * 1024 * 1024;

/**
 * Refuses an answer of `sizeBytes` bytes that is not what was asked for: larger than `maxBytes`, or shorter than the range.
 *
 * @param what names the object and its store.
 * @throws CairnError `corrupt`
 */
export function checkSize(what: string, sizeBytes: number, options: GetOptions): void {
  const { range, maxBytes } = options;
  if (range !== undefined && sizeBytes !== range.end - range.start) {
    throw new CairnError('corrupt', `${what} ends before byte ${String(range.end)}`);
  }
  if (maxBytes !== undefined && sizeBytes > maxBytes) {
    throw new CairnError(
      'corrupt',
      `${what} has ${String(sizeBytes)} bytes, more than the ${String(maxBytes)} it may have`,
    );
  }
}

export interface BodySource {
  stream: Readable;
  /** Names the object and its store. */
  what: string;
  expectedBytes: number;
  /** Told of each chunk's length. */
  received: (bytes: number) => void;
  /** Turns an error of the stream into the one to throw. */
  failure: (error: unknown) => unknown;
}

/** The bytes of `source`; when they are fewer or more than announced, `corrupt`. The stream is destroyed when the iteration ends. */
export async function* bodyChunks(source: BodySource): AsyncGenerator<Buffer, void, void> {
  const { what, expectedBytes } = source;
  let receivedBytes = 0;
  try {
    for await (const chunk of source.stream as AsyncIterable<Buffer>) {
      source.received(chunk.byteLength);
      receivedBytes += chunk.byteLength;
      if (receivedBytes > expectedBytes) break;
      yield chunk;
    }
  } catch (error) {
    throw source.failure(error);
  }
  if (receivedBytes !== expectedBytes) {
    throw new CairnError(
      'corrupt',
      `${what} has not the ${String(expectedBytes)} bytes it was announced with`,
    );
  }
}

/** `bodyChunks` as a stream. Destroyed before its first read, it destroys the source all the same. */
export function bodyStream(source: BodySource): Readable {
  const stream = Readable.from(bodyChunks(source), { objectMode: false });
  stream.once('close', () => source.stream.destroy());
  return stream;
}
