import { CairnError, messageOf, systemCode, type ErrorCode } from '../core/index.js';

/** Which request failed. */
export interface S3Request {
  verb: string;
  /** Names the object, or the listing, and the store. */
  what: string;
  bucket: string;
}

const CREDENTIALS_HINT =
  'check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, and what they are allowed to do';
const EXPIRED_HINT =
  'renew them where AWS_PROFILE finds them, or unmount and mount again with new AWS_* variables; edits are kept';
const ENDPOINT_HINT = 'check the network, and AWS_ENDPOINT_URL_S3 if the store is not AWS';

/** Errors of the connection (libuv, Node's http), or of making one, that another attempt may not meet. */
const NETWORK_ERRORS = new Set([
  'EAI_AGAIN',
  'ECONNABORTED',
  'ECONNREFUSED',
  'ECONNRESET',
  'EHOSTDOWN',
  'EHOSTUNREACH',
  'EMFILE',
  'ENETDOWN',
  'ENETUNREACH',
  'ENFILE',
  'ENOTFOUND',
  'EPIPE',
  'ERR_STREAM_PREMATURE_CLOSE',
  'ETIMEDOUT',
]);

/**
 * What an error of the SDK means to a person. Names are those of "Error Responses" in the Amazon S3 API Reference; the servers that
 * speak its protocol use them too, with names of their own where a case says so.
 */
export function s3Error(error: unknown, request: S3Request): CairnError {
  if (error instanceof CairnError) return error;
  const { code, hint } = meaningOf(error, request.bucket);
  const reason = error instanceof Error && error.message === '' ? nameOf(error) : messageOf(error);
  const message = `cannot ${request.verb} ${request.what}: ${reason}`;
  return new CairnError(code, message, { cause: error, ...(hint === undefined ? {} : { hint }) });
}

/** The HTTP status of the answer an error was made from, or undefined when there was no answer. */
export function statusOf(error: unknown): number | undefined {
  if (typeof error !== 'object' || error === null || !('$metadata' in error)) return undefined;
  const metadata = error.$metadata as { httpStatusCode?: number };
  return metadata.httpStatusCode;
}

/** `NoSuchKey`, `AccessDenied` …: the SDK's name for an error. */
export function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : '';
}

function meaningOf(error: unknown, bucket: string): { code: ErrorCode; hint?: string } {
  switch (nameOf(error)) {
    case 'NoSuchBucket':
      return {
        code: 'not-found',
        hint: `make the bucket ${bucket}, or check its name and AWS_ENDPOINT_URL_S3`,
      };
    case 'CredentialsProviderError':
      return {
        code: 'access-denied',
        hint: 'set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE',
      };
    case 'ExpiredToken': // With the status 400.
    case 'InvalidToken':
    case 'TokenRefreshRequired':
      return { code: 'access-denied', hint: EXPIRED_HINT };
    case 'RequestTimeTooSkewed':
      // The SDK has corrected its clock by the answer, so another attempt can succeed.
      return { code: 'unreachable', hint: "check this machine's clock" };
    case 'QuotaExceeded': // Ceph
    case 'XMinioStorageFull': // MinIO
      return { code: 'no-space', hint: `raise the quota of the bucket ${bucket}, or make room in it` };
    case 'PermanentRedirect':
    case 'AuthorizationHeaderMalformed':
      return { code: 'failed', hint: `set AWS_REGION to the region of the bucket ${bucket}` };
    case 'ConditionalRequestConflict': // Another writer of the same key has not ended yet.
    case 'OperationAborted':
    case 'RequestTimeout':
    case 'SlowDown':
      return { code: 'unreachable' };
    case 'TimeoutError':
      return { code: 'unreachable', hint: ENDPOINT_HINT };
    default:
      return meaningOfStatus(statusOf(error)) ?? meaningOfSystemError(systemCode(error));
  }
}

function meaningOfStatus(status: number | undefined): { code: ErrorCode; hint?: string } | undefined {
  if (status === undefined) return undefined;
  switch (status) {
    case 401:
    case 403:
      return { code: 'access-denied', hint: CREDENTIALS_HINT };
    case 404:
      return { code: 'not-found' };
    case 416: // The range begins behind the object's end.
      return { code: 'corrupt' };
    case 408:
    case 429:
      return { code: 'unreachable' };
    case 501:
      return { code: 'unsupported', hint: 'CairnFS needs a store with conditional writes (If-None-Match)' };
    case 507:
      return { code: 'no-space' };
    default:
      return status >= 500 ? { code: 'unreachable' } : undefined;
  }
}

function meaningOfSystemError(code: string | undefined): { code: ErrorCode; hint?: string } {
  return code !== undefined && NETWORK_ERRORS.has(code)
    ? { code: 'unreachable', hint: ENDPOINT_HINT }
    : { code: 'failed' };
}
