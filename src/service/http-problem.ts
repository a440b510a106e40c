import { STATUS_CODES } from 'node:http';
import { CairnError, messageOf, type ErrorCode } from '../core/index.js';
import type { Problem } from '../wire/index.js';

/** A refusal that HTTP has a status of its own for. */
export class HttpProblem extends Error {
  readonly status: number;
  readonly code: string;
  readonly hint: string | undefined;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    status: number,
    code: string,
    message: string,
    options: { hint?: string; headers?: Readonly<Record<string, string>> } = {},
  ) {
    super(message);
    this.name = 'HttpProblem';
    this.status = status;
    this.code = code;
    this.hint = options.hint;
    this.headers = options.headers ?? {};
  }
}

const STATUS_OF: Readonly<Record<ErrorCode, number>> = {
  failed: 500,
  usage: 400,
  'not-found': 404,
  conflict: 409,
  unreachable: 503,
  'access-denied': 403,
  corrupt: 500,
  'no-space': 507,
  'changed-while-read': 409,
  unsupported: 400,
};

/** Any error as what the client is told. Of failures inside only the request's id: the log has the rest. */
export function problemDocument(
  error: unknown,
  requestId: string,
): { problem: Problem; headers: Readonly<Record<string, string>> } {
  const document = (status: number, code: string, detail: string, hint?: string): Problem => ({
    type: 'about:blank',
    title: STATUS_CODES[status] ?? 'Error',
    status,
    detail,
    instance: requestId,
    code,
    ...(hint !== undefined && { hint }),
  });
  if (error instanceof HttpProblem) {
    return {
      problem: document(error.status, error.code, error.message, error.hint),
      headers: error.headers,
    };
  }
  if (error instanceof CairnError) {
    const status = STATUS_OF[error.code];
    if (status === 503) {
      const detail = 'the service cannot reach its catalog or its store';
      return {
        problem: document(status, error.code, detail, 'try again later'),
        headers: { 'retry-after': '1' },
      };
    }
    if (status !== 500) {
      return { problem: document(status, error.code, error.message, error.hint), headers: {} };
    }
    return {
      problem: document(500, error.code, `the request failed inside the service`, seeLog(requestId)),
      headers: {},
    };
  }
  const refused = refusalOfFastify(error);
  if (refused !== undefined) {
    return { problem: document(refused.status, refused.code, messageOf(error)), headers: {} };
  }
  return {
    problem: document(500, 'failed', `the request failed inside the service`, seeLog(requestId)),
    headers: {},
  };
}

function seeLog(requestId: string): string {
  return `the service’s log says why, at request ${requestId}`;
}

const CODE_OF_STATUS: Readonly<Record<number, string>> = {
  404: 'not-found',
  408: 'timeout',
  413: 'too-large',
  415: 'unsupported-media-type',
  429: 'too-many-requests',
  503: 'unreachable',
};

/** What the server refuses before a route sees it: bodies that are too large, are not JSON, are of another type … */
function refusalOfFastify(error: unknown): { status: number; code: string } | undefined {
  if (!(error instanceof Error) || !('statusCode' in error)) return undefined;
  const { statusCode } = error;
  if (typeof statusCode !== 'number' || statusCode < 400 || statusCode >= 500) return undefined;
  return { status: statusCode, code: CODE_OF_STATUS[statusCode] ?? 'usage' };
}
