/**
 * daemon: one mount, wired: the supervisor that holds the descriptor, the daemon's main thread, the session thread, the control socket, and
 * the course of a snapshot.
 *
 * Invariants: the supervisor does nothing that could fail; a daemon may die at any time and the next one goes on from what is on the disk;
 * nothing of a mount is in two processes' hands at once. Never parses arguments or prints.
 */
export type {
  FollowState,
  MountControl,
  MountedAs,
  MountRequest,
  MountStats,
  MountStatus,
  RebaseConflict,
  RebaseResult,
  PublishQueue,
  SnapshotResult,
  StatusEntry,
} from './mount-control.js';
export {
  clearDead,
  connectMount,
  isMountInUse,
  knownMountpoints,
  listMounts,
  startMount,
  takeOverMount,
  type ListedMount,
} from './mounts.js';
