import { z } from 'zod';
import { CairnError, type ErrorCode } from '../core/index.js';

export const PROBLEM_TYPE = 'application/problem+json';

/** RFC 9457, with a code that says what to expect and a hint that says what to do. */
export const problemSchema = z.object({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  detail: z.string().describe('One line for a person: what failed, and on what.'),
  instance: z.string().describe('The request’s id, as the service’s log has it.'),
  code: z.string().describe('What programs decide by; a code once given to a failure stays.'),
  hint: z.string().optional().describe('One line: what to do about it.'),
});
export type Problem = z.infer<typeof problemSchema>;

const CODES: ReadonlySet<string> = new Set<ErrorCode>([
  'failed',
  'usage',
  'not-found',
  'conflict',
  'unreachable',
  'access-denied',
  'corrupt',
  'no-space',
  'changed-while-read',
  'unsupported',
]);

/** What a failure is for who asked, where its code is not one of `CairnError`'s. */
function codeOfStatus(status: number): ErrorCode {
  switch (status) {
    case 401:
    case 403:
      return 'access-denied';
    case 404:
      return 'not-found';
    case 409:
    case 410:
    case 412:
      return 'conflict';
    case 429:
    case 502:
    case 503:
    case 504:
      return 'unreachable';
    default:
      return status < 500 ? 'usage' : 'failed';
  }
}

/** An answer of the service that is a refusal. */
export class ServiceProblem extends CairnError {
  readonly status: number;
  /** As the service named it: one of `ErrorCode`, or one of its own (`generation`, `precondition-failed` …). */
  readonly problemCode: string;

  constructor(problem: { status: number; code: string; detail: string; hint?: string | undefined }) {
    const code = CODES.has(problem.code) ? (problem.code as ErrorCode) : codeOfStatus(problem.status);
    super(code, problem.detail, problem.hint === undefined ? {} : { hint: problem.hint });
    this.name = 'ServiceProblem';
    this.status = problem.status;
    this.problemCode = problem.code;
  }
}

/** An answer that is a refusal, whoever gave it: a proxy in between writes no problem documents. */
export function problemOf(status: number, text: string, service: string): ServiceProblem {
  let parsed: Problem | undefined;
  try {
    parsed = problemSchema.safeParse(JSON.parse(text)).data;
  } catch {
    // Not of the service.
  }
  if (parsed !== undefined) return new ServiceProblem({ ...parsed, status });
  return new ServiceProblem({
    status,
    code: codeOfStatus(status),
    detail: `${service} answers with status ${String(status)}`,
    hint: 'is it a cairn service, and is it up?',
  });
}
