import type { BlockCounters } from '../blocks/index.js';
import type { BlockId, Ino } from '../core/index.js';
import type { Negotiated, SessionEnd } from '../fuse/index.js';
import type { TreeChanges } from '../manifest/index.js';
import type { BaseVersion, LayerNumbers, SealedLayer } from '../upper/index.js';
import type { ReadPart } from '../vfs/index.js';
import type { ErrorRecord } from './supervisor-protocol.js';

/** What the session thread is started with. */
export interface SessionStart {
  fd: number;
  /** The mount's folder. */
  dir: string;
  manifestDir: string;
  cacheDir: string;
  cacheBudgetBytes: number;
  readOnly: boolean;
  base: BaseVersion;
  /** The kernel already speaks with us: another process answered before this one. */
  tookOver: boolean;
  requestCounters: SharedArrayBuffer;
  /** Shared with the feeder thread, see `createFeederRing`. */
  feederRing: SharedArrayBuffer;
  wakeFd: number;
  spinUs: number | undefined;
}

/** From the main thread. Sent with the eventfd signalled; handled between two requests. */
export type ToSession =
  | { kind: 'seal'; sealed: Omit<SealedLayer, 'id'>; numbers: LayerNumbers | undefined }
  /** The oldest sealed layer was published as `base`, whose manifest is in the manifest folder. Asked twice, done once. */
  | { kind: 'adopt'; layerId: number; base: BaseVersion }
  /**
   * To go over to another tree: `base` with its changes from the one the mount stands on. Refused where an edit is in the way. `forgotten`: inodes without a
   * name that the kernel does not know.
   */
  | { kind: 'move'; base: BaseVersion; changes: TreeChanges; forgotten: readonly Ino[] }
  /** Inodes without a name that the kernel does not know. */
  | { kind: 'forgotten'; inos: readonly Ino[] }
  /** The kernel has been told of all that the last move changed. */
  | { kind: 'settle' }
  /** To commit all that was answered to the layer's database, for others to read. */
  | { kind: 'fold' }
  | { kind: 'counters' }
  /** To end between two requests: another process goes on. */
  | { kind: 'release' };

/** To the main thread. */
export type FromSession =
  /** It opens the layers now; `threadId` is the kernel's. */
  | { kind: 'begun'; threadId: number }
  | { kind: 'ready' }
  /** Somebody scans the tree: start the feeder thread. */
  | { kind: 'feederWanted' }
  | { kind: 'negotiated'; negotiated: Negotiated }
  | { kind: 'read'; unique: bigint; ino: Ino; parts: readonly ReadPart[]; size: number }
  | { kind: 'sync'; unique: bigint; files: readonly string[] }
  | { kind: 'interrupt'; unique: bigint }
  /** Inodes without a name of which only the kernel can say whether it knows them. */
  | { kind: 'doubtful'; inos: readonly Ino[] }
  /** A cached block is read for the first time in a while. */
  | { kind: 'used'; block: BlockId }
  | { kind: 'sealed'; layer: SealedLayer }
  | { kind: 'adopted' }
  /** `open`: of what would be there again, what had lost its name and may be open. */
  | { kind: 'moved'; done: boolean; open: readonly Ino[] }
  | { kind: 'letGo' }
  | { kind: 'settled' }
  | { kind: 'folded' }
  | { kind: 'counters'; blocks: BlockCounters }
  /** Doing what the last `seal` or `adopt` asked for failed; nothing changed. */
  | { kind: 'refused'; error: ErrorRecord }
  /** A request was answered EIO, or its reply was not taken. */
  | { kind: 'failure'; what: string; message: string }
  | { kind: 'ended'; how: SessionEnd };

/** What the feeder thread is started with. */
export interface FeederStart {
  fd: number;
  ring: SharedArrayBuffer;
  manifestDir: string;
  cacheDir: string;
  cacheBudgetBytes: number;
}

/** The feeder thread to the main thread: it goes on without pushing. */
export type FromFeeder =
  | { kind: 'failure'; what: string; message: string }
  /** As the session thread's. */
  | { kind: 'used'; block: BlockId };
