import type { Ino, ManifestRoot } from '../core/index.js';
import type { ConflictKind } from '../merge/index.js';

/** What `cairn mount` asks for. Paths are absolute. */
export interface MountRequest {
  home: string;
  store: string;
  catalog: string;
  embedBelowBytes: number;
  workspace: string;
  /** Undefined: the head. */
  seq: number | undefined;
  mountpoint: string;
  readOnly: boolean;
  /** Goes over to each new head as it comes. */
  follow: boolean;
  allowOther: boolean;
  cacheBudgetBytes: number;
  logLevel: string;
  /** Stay attached: the caller's process is the supervisor until the mount ends. */
  foreground: boolean;
}

export interface MountedAs {
  workspace: string;
  seq: number;
  mountpoint: string;
  readOnly: boolean;
  /** Edits that were kept from an earlier mount at this place. */
  resumedEdits: boolean;
  /** A writable mount of a version that is not the head: edits can be made, but not published on it (law 7). */
  behindHead: boolean;
  supervisorPid: number;
  daemonPid: number;
}

/** One path that differs from the mounted version. */
export interface StatusEntry {
  kind: 'added' | 'modified' | 'removed' | 'renamed' | 'metadata';
  /** Raw bytes as latin1. */
  path: string;
  /** Where a renamed entry was. */
  from?: string;
  ino: Ino;
}

export interface MountStatus {
  workspace: string;
  seq: number;
  root: ManifestRoot;
  headSeq: number | undefined;
  mountpoint: string;
  readOnly: boolean;
  entries: StatusEntry[];
  /** Cut off at the limit asked for. */
  truncated: boolean;
  /** Sealed layers that wait to be published. */
  sealedLayers: number;
  /** Why publishing does not get on, when it does not. */
  publishProblem: string | undefined;
  /** The same in full. */
  publishing: PublishQueue;
  /** Of a mount with `follow`. */
  following: FollowState | undefined;
  upperBytes: number;
}

/** Why publishing does not get on, since when, and when it is tried again; undefined where a person has to do something first. */
export interface PublishFailure {
  problem: string;
  sinceMs: number;
  nextAttemptMs: number | undefined;
}

/** How a mount that follows the head stands to it. */
export interface FollowState {
  /** The head it cannot show because of edits here, and since when. */
  heldUp: { headSeq: number; sinceMs: number } | undefined;
  /** Why it cannot know or get the head, and since when. */
  problem: { text: string; sinceMs: number } | undefined;
}

/** Versions to be, the oldest first. */
export interface PublishQueue {
  waiting: { message: string; author: string; sealedAtMs: number }[];
  failure: PublishFailure | undefined;
}

export interface SnapshotResult {
  /** False when nothing had changed: then `seq` is the version that is mounted. */
  created: boolean;
  seq: number;
  root: ManifestRoot;
  changedFiles: number;
  newBlocks: number;
  storedBytes: number;
  sealMs: number;
  totalMs: number;
  /** Where the edits were merged with what others had published. */
  rebased?: RebaseResult;
}

export interface RebaseResult {
  conflicts: RebaseConflict[];
  /** False while programs change what others changed: the version is published, and the mount does not show what others did yet. */
  moved: boolean;
}

/** `MergeConflict`, with paths of raw bytes as latin1. */
export interface RebaseConflict {
  kind: ConflictKind;
  path: string;
  kept: 'ours' | 'theirs' | 'both';
  beside?: string;
}

export interface MountStats {
  supervisor: { pid: number; restarts: number };
  daemon: { pid: number; uptimeMs: number };
  /** Since this daemon started: `requests` by opcode name, and files whose bytes the kernel was given before it asked. */
  fuse: { requests: Record<string, number>; pushedFiles: number };
  cache: { hits: number; misses: number; prefetched: number; bytes: number; budgetBytes: number };
  store: {
    url: string;
    requests: Record<'get' | 'put' | 'head' | 'list' | 'delete', number>;
    retries: number;
    bytesIn: number;
    bytesOut: number;
    /** While requests of this daemon are not answered: since when, and the last error. */
    outage: { sinceMs: number; problem: string } | undefined;
  };
  publishing: PublishQueue;
  /** Resident set sizes, in bytes. */
  memory: { supervisorBytes: number; daemonBytes: number; heapUsedBytes: number };
}

/** A mount's control socket, as commands use it. Every call throws `CairnError('unreachable')` when the daemon is gone for good. */
export interface MountControl {
  readonly workspace: string;
  status(limit: number): Promise<MountStatus>;
  stats(): Promise<MountStats>;
  snapshot(
    options: { message: string; author: string; rebase: boolean },
    onProgress: (step: string) => void,
  ): Promise<SnapshotResult>;
  /** Resolves when the mountpoint is free. `conflict` when programs still use it. */
  unmount(): Promise<void>;
  close(): void;
}
