import { CairnError, Errno, errnoOf, messageOf } from '../core/index.js';
import type { ErrorRecord } from './supervisor-protocol.js';

/** Any error as it crosses a process boundary. */
export function errorRecord(error: unknown): ErrorRecord {
  if (error instanceof CairnError) return { code: error.code, message: error.message, hint: error.hint };
  const errno = errnoOf(error);
  if (errno === Errno.ENOSPC || errno === Errno.EDQUOT) {
    const hint = 'free some space on the disk of the home folder';
    return { code: 'no-space', message: `the local disk is full: ${messageOf(error)}`, hint };
  }
  return { code: 'failed', message: messageOf(error), hint: undefined };
}

export function errorFromRecord(record: ErrorRecord): CairnError {
  return new CairnError(record.code, record.message, record.hint === undefined ? {} : { hint: record.hint });
}
