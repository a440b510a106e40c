import type { ErrorRecord } from './supervisor-protocol.js';

/** One request on the control socket; each is one line of JSON, as is each answer. */
export type ControlRequest =
  | { method: 'status'; limit: number }
  | { method: 'stats' }
  | { method: 'snapshot'; message: string; author: string };

export type ControlAnswer =
  | { kind: 'step'; step: string }
  | { kind: 'result'; result: unknown }
  | { kind: 'error'; error: ErrorRecord };

/** A line longer than this is nobody's request. */
export const CONTROL_LINE_MAX_BYTES = 1024 * 1024;

/**
 * A socket's address has room for 107 bytes, a path may be longer: the folder is reached through a descriptor of it. Linux only, as is
 * everything here.
 */
export function socketAddress(folderFd: number): string {
  return `/proc/self/fd/${String(folderFd)}/control.sock`;
}
