import { CairnError, messageOf, systemCode, type ErrorCode } from '../core/index.js';
import { answerOf, bodyWithin } from './http-answer.js';

/** How long one attempt may take to be answered. */
const ANSWER_LIMIT_MS = 60_000;

export interface DirectTransfer {
  /** Presigned: it is for one object, and says by itself who has signed it. */
  url: string;
  /** What is read or written, for errors. */
  what: string;
  /** Absent: it is read. */
  body?: Uint8Array | undefined;
  maxBytes: number;
  signal?: AbortSignal | undefined;
}

/**
 * Reads or writes the object of a presigned URL; one attempt. No token goes with it. The URL's query is a secret: errors name the host alone. Throws
 * `access-denied` for a URL that the store does not take, or not any more.
 */
export async function transfer({ url, what, body, maxBytes, signal }: DirectTransfer): Promise<Buffer> {
  const { host } = new URL(url);
  const failed = (code: ErrorCode, why: string, hint?: string): CairnError =>
    new CairnError(code, `${what}, at ${host}: ${why}`, hint === undefined ? {} : { hint });
  let answer: { status: number; bytes: Buffer | undefined };
  try {
    const init = body === undefined ? {} : { method: 'PUT', body: body as RequestInit['body'] & object };
    const response = await answerOf(url, { ...init, redirect: 'error' }, ANSWER_LIMIT_MS, signal);
    const { status } = response;
    if (!response.ok) await response.body?.cancel();
    answer = { status, bytes: response.ok ? await bodyWithin(response, maxBytes) : undefined };
  } catch (error) {
    signal?.throwIfAborted();
    const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
    const why = messageOf(cause) === '' ? (systemCode(cause) ?? 'no answer') : messageOf(cause);
    throw failed(
      'unreachable',
      why,
      'can this machine reach the bucket? the service sends its clients there',
    );
  }
  const { status, bytes } = answer;
  if (bytes !== undefined) return bytes;
  if (status < 400) throw failed('corrupt', `it has more than ${String(maxBytes)} bytes`);
  throw failed(codeOf(status), `it answers with status ${String(status)}`);
}

function codeOf(status: number): ErrorCode {
  switch (status) {
    case 400: // What S3 says of credentials that have ended.
    case 401:
    case 403:
      return 'access-denied';
    case 404:
      return 'not-found';
    case 408:
    case 429:
      return 'unreachable';
    default:
      return status >= 500 ? 'unreachable' : 'failed';
  }
}
