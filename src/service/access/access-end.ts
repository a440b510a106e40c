import type { FastifyRequest } from 'fastify';
import type { ServiceContext } from '../context.js';
import { HttpProblem } from '../http-problem.js';
import { authenticate } from './enforce-access.js';

/** With the time for which a register trusts what it knows, below the two seconds in which a revoked token ends. */
const ASKED_MS = 400;

/**
 * Aborted, with the refusal of such a request, when its token has been revoked or has ended: for requests that are held back on purpose, which were let in once.
 * `left`: nobody is there any more to be refused.
 */
export function accessEnd(request: FastifyRequest, context: ServiceContext, left: AbortSignal): AbortSignal {
  const ended = new AbortController();
  if (left.aborted) return ended.signal;
  const timer = setInterval(() => {
    authenticate(request.headers.authorization, context).catch((error: unknown) => {
      // A catalog that does not answer says nothing about the token; who waits asks it as well.
      if (error instanceof HttpProblem) ended.abort(error);
    });
  }, ASKED_MS);
  left.addEventListener('abort', () => {
    clearInterval(timer);
  });
  return ended.signal;
}
