import type { ErrorCode } from '../core/index.js';
import type { MountedAs } from './mount-control.js';

/** The descriptor of the mounted /dev/fuse in the daemon: inherited, so that it survives the daemon. */
export const FUSE_FD = 3;

/** Environment variables from the supervisor to the daemon. */
export const FOLDER_VARIABLE = 'CAIRN_MOUNT_FOLDER';
export const RESTARTS_VARIABLE = 'CAIRN_DAEMON_RESTARTS';
/** Set when the kernel already speaks with the mount: another daemon answered before this one. */
export const TOOK_OVER_VARIABLE = 'CAIRN_DAEMON_TOOK_OVER';
/** Set when another daemon still answers: this one prepares itself, and waits to be told that it is its turn. */
export const STAND_BY_VARIABLE = 'CAIRN_DAEMON_STANDS_BY';
/** The supervisor's pid, for `stats`. */
export const SUPERVISOR_VARIABLE = 'CAIRN_SUPERVISOR_PID';

/** An error on its way to another process. */
export interface ErrorRecord {
  code: ErrorCode;
  message: string;
  hint: string | undefined;
}

/** From the daemon to the supervisor, and from the supervisor to `cairn mount`, as JSON over the IPC channel. */
export type StartReport =
  { kind: 'mounted'; as: Omit<MountedAs, 'supervisorPid'> } | { kind: 'failed'; error: ErrorRecord };

/** From the daemon to the supervisor. */
export type DaemonReport =
  | StartReport
  /** Both threads that a mount needs get on. */
  | { kind: 'beat' }
  /** It has all it needs and waits for its turn. */
  | { kind: 'standing by' }
  /** The mount is gone and all is in order: it ends now, with status 0. */
  | { kind: 'unmounted' }
  /** It ends now, because the supervisor with this pid takes the mount over. */
  | { kind: 'yielding'; to: number };

/** From the supervisor to a daemon that stands by. */
export interface YourTurn {
  kind: 'your turn';
}
