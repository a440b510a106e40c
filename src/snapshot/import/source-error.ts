import { CairnError, messageOf, systemCode } from '../../core/index.js';
import { pathText } from '../path-text.js';

const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EPERM: 'operation not permitted',
  EIO: 'input/output error',
  ENAMETOOLONG: 'the path is longer than 4095 bytes',
  EMFILE: 'too many open files',
};

const HINTS: Readonly<Record<string, string>> = {
  EACCES: 'run as a user who may read it, or change its permissions',
  ENAMETOOLONG:
    'import a directory further down, or copy the tree to a mount, where it may be as deep as it likes',
  EMFILE: 'raise the limit of open files (ulimit -n)',
};

/** The error to report when the file at `path` cannot be read. */
export function unreadable(path: Uint8Array, error: unknown): CairnError {
  if (error instanceof CairnError) return error;
  const code = systemCode(error) ?? '';
  const hint = HINTS[code];
  return new CairnError('failed', `cannot read ${pathText(path)}: ${REASONS[code] ?? messageOf(error)}`, {
    cause: error,
    ...(hint === undefined ? {} : { hint }),
  });
}

/** The error to report when the file at `path` never held still. */
export function changedWhileRead(path: Uint8Array): CairnError {
  return new CairnError('changed-while-read', `${pathText(path)} kept changing while it was read`, {
    hint: 'stop what writes to it, then try again',
  });
}
