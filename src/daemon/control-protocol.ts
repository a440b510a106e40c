import type { ErrorRecord } from './supervisor-protocol.js';

/** One request on the control socket; each is one line of JSON, as is each answer. */
export type ControlRequest =
  | { method: 'status'; limit: number }
  | { method: 'stats' }
  | { method: 'snapshot'; message: string; author: string; rebase: boolean }
  /** To send the mount's descriptor to the socket for it in the mount's folder. */
  | { method: 'share' }
  /** To end, for the supervisor with this pid to go on with the mount. */
  | { method: 'yield'; to: number };

export type ControlAnswer =
  | { kind: 'step'; step: string }
  | { kind: 'result'; result: unknown }
  | { kind: 'error'; error: ErrorRecord };

/** A line longer than this is nobody's request. */
export const CONTROL_LINE_MAX_LENGTH = 1024 * 1024;

/** What the daemon accepts on its control socket; undefined for everything else. */
export function parseControlRequest(line: string): ControlRequest | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { method, limit, message, author, rebase, to } = value as Readonly<Record<string, unknown>>;
  if (method === 'stats' || method === 'share') return { method };
  if (method === 'yield' && typeof to === 'number' && Number.isSafeInteger(to) && to > 1)
    return { method, to };
  if (method === 'status' && typeof limit === 'number' && Number.isSafeInteger(limit) && limit >= 0) {
    return { method, limit };
  }
  if (method === 'snapshot' && typeof message === 'string' && typeof author === 'string') {
    return { method, message, author, rebase: rebase === true };
  }
  return undefined;
}
