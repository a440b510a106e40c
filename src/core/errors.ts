import { Errno, errnoName, type ErrnoName } from './errno.js';

/** What a command ended with; the numbers are part of the command line's contract (README). */
export const ExitCode = {
  done: 0,
  failed: 1,
  usage: 2,
  notFound: 3,
  conflict: 4,
  unreachable: 5,
} as const;

/** Every way this product fails a person; each maps to one exit code. */
export type ErrorCode =
  | 'failed'
  | 'usage'
  | 'not-found'
  | 'conflict'
  | 'unreachable'
  | 'access-denied'
  | 'corrupt'
  | 'no-space'
  | 'changed-while-read'
  | 'unsupported';

const EXIT_CODES: Record<ErrorCode, number> = {
  failed: ExitCode.failed,
  usage: ExitCode.usage,
  'not-found': ExitCode.notFound,
  conflict: ExitCode.conflict,
  unreachable: ExitCode.unreachable,
  'access-denied': ExitCode.unreachable,
  corrupt: ExitCode.failed,
  'no-space': ExitCode.failed,
  'changed-while-read': ExitCode.failed,
  unsupported: ExitCode.failed,
};

/**
 * An error for a person: `message` says what failed and on what, `hint` what to do about it. Both are one line.
 * A programmer's error is a plain `Error` (an assertion), never this.
 */
export class CairnError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, options: { hint?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'CairnError';
    this.code = code;
    this.hint = options.hint;
  }

  get exitCode(): number {
    return EXIT_CODES[this.code];
  }
}

/** A file system operation's refusal: the errno is the whole answer. Creating one does not walk the stack. */
export class FsError extends Error {
  readonly errno: number;

  constructor(errno: number, detail?: string) {
    const limit = Error.stackTraceLimit;
    Error.stackTraceLimit = 0;
    super(detail === undefined ? errnoName(errno) : `${errnoName(errno)}: ${detail}`);
    Error.stackTraceLimit = limit;
    this.name = 'FsError';
    this.errno = errno;
  }
}

/** The error to throw for an errno by name, as in `throw fsError('ENOENT')`. */
export function fsError(name: ErrnoName, detail?: string): FsError {
  return new FsError(Errno[name], detail);
}

/** The `code` of an error of Node's own (`ENOENT`, `ECONNREFUSED` …), or undefined. */
export function systemCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * Failures of the local disk that a program on the mount is told as they are, because it can do something about them; `SQLITE_*` are
 * SQLite's names for the same.
 */
const TOLD_AS_THEY_ARE = new Map<string, number>([
  ['ENOSPC', Errno.ENOSPC],
  ['SQLITE_FULL', Errno.ENOSPC],
  // The index of a write-ahead log could not be made: there is no space for it.
  ['SQLITE_IOERR_SHMSIZE', Errno.ENOSPC],
  ['EDQUOT', Errno.EDQUOT],
  ['EROFS', Errno.EROFS],
  ['SQLITE_READONLY', Errno.EROFS],
  ['EMFILE', Errno.EMFILE],
  ['ENFILE', Errno.EMFILE],
  ['EFBIG', Errno.EFBIG],
]);

/** The errno a program gets for any error: an `FsError`'s own, that of a full disk and the like, EIO for everything else. */
export function errnoOf(error: unknown): number {
  if (error instanceof FsError) return error.errno;
  return TOLD_AS_THEY_ARE.get(systemCode(error) ?? '') ?? Errno.EIO;
}
