import type { BlockId, Ino, InodeAttributes } from '../core/index.js';

/** Who asks: of the FUSE header. */
export interface Caller {
  uid: number;
  gid: number;
  pid: number;
}

/** What SETATTR changes; undefined leaves it as it is. Times: seconds and nanoseconds, or 'now'. */
export interface AttributeChanges {
  mode?: number;
  uid?: number;
  gid?: number;
  size?: number;
  atime?: { sec: number; nsec: number } | 'now';
  mtime?: { sec: number; nsec: number } | 'now';
  ctime?: { sec: number; nsec: number };
  /** FATTR_KILL_SUIDGID: the kernel asks that set-id bits go, because of a truncation or change of owner. */
  killSetId?: boolean;
}

/** One stretch of a read: zeros, bytes at hand, or part of a block that may have to be fetched. In order, without gaps. */
export type ReadPart =
  | { kind: 'zeros'; length: number }
  | { kind: 'bytes'; length: number; bytes: Buffer }
  | { kind: 'block'; length: number; block: BlockId; blockOffset: number };

/**
 * Takes one directory entry; false when its buffer is full (the entry was not taken and will be listed again). `published`: the inode
 * and all its content are as the mounted version has them.
 */
export type EntrySink = (
  cookie: number,
  name: Buffer,
  ino: Ino,
  inode: InodeAttributes,
  published: boolean,
) => boolean;

export interface StatFs {
  blockBytes: number;
  blocks: number;
  blocksFree: number;
  blocksAvailable: number;
  files: number;
  filesFree: number;
}

/**
 * POSIX by inode: the merged view of an upper layer over a manifest, as the session thread asks for it.
 *
 * - Synchronous, one caller (the session thread). Refusals are thrown as `FsError`.
 * - Permission to do a thing was checked by the kernel (`default_permissions`).
 * - After operations marked *changes*, `commit` makes all of it survive the death of the process (law 3), together with the
 *   reply for a resent request; or `rollback` leaves no trace.
 * - Names are checked here (length, `/`, NUL, `.` and `..`): NAME_MAX_BYTES.
 * - Every `InodeAttributes` returned is only valid until the next call: encode it at once.
 */
export interface FileSystem {
  readonly readOnly: boolean;

  /** `reply` is the whole FUSE reply, of at most 4 KiB; it is copied. `unique` without the resend bit. */
  commit(unique: bigint, reply: Buffer): void;
  rollback(): void;
  /** The reply stored with `unique`, if that was the last change committed here. */
  storedReply(unique: bigint): Buffer | undefined;

  /** Adds one to the inode's lookup count. */
  lookup(parent: Ino, name: Buffer): InodeAttributes;
  /** The kernel dropped `count` references. An unlinked inode goes when none is left. */
  forget(ino: Ino, count: number): void;
  inode(ino: Ino): InodeAttributes;
  /** What `stat` shows that an inode's content takes on a disk, in bytes: of a file with holes less than its size, where that does no harm. */
  storedBytes(inode: InodeAttributes): number;
  readlink(ino: Ino): Buffer;
  /** Entries after `cookie` (0: from the start) to `sink`. `.` and `..` are the session's business. */
  list(ino: Ino, cookie: number, sink: EntrySink): void;
  /** As `list`; every entry taken adds one to its inode's lookup count. */
  listPlus(ino: Ino, cookie: number, sink: EntrySink): void;
  /**
   * A request names the inode that may come before a change of its pages, or its pages are about to be pushed: until the kernel has
   * forgotten it, it is touched. Returns the listing that named it last, 0 when none did or it was touched before.
   */
  touch(ino: Ino): number;
  /** An entry that `listPlus` gave was part of the listing of that number, above 0 and below 2^32 - 1. */
  setListing(ino: Ino, listing: number): void;
  /** Whether the kernel has known the inode since that listing, which was the last to name it, and it was not touched. */
  isUntouchedSince(ino: Ino, listing: number): boolean;
  /** For spare moments: prepares a little of what will be asked next; false when there is nothing to do. */
  workAhead(): boolean;
  /** The directory `ino` is in; the root's is the root. */
  parentOf(ino: Ino): Ino;
  /** What `length` bytes at `offset` are made of; shorter at the end of the file, empty beyond it. */
  read(ino: Ino, offset: number, length: number): ReadPart[];
  /** SEEK_DATA or SEEK_HOLE: the offset found; ENXIO beyond the end. */
  seek(ino: Ino, offset: number, whence: 'data' | 'hole'): number;
  getXattr(ino: Ino, name: Buffer): Buffer;
  /** Names, each followed by NUL, as listxattr(2) returns them. */
  listXattrs(ino: Ino): Buffer;
  statfs(): StatFs;

  /** changes */
  setAttributes(ino: Ino, changes: AttributeChanges): InodeAttributes;
  /** changes; any type but directory and symlink; adds a lookup */
  mknod(parent: Ino, name: Buffer, mode: number, rdev: number, caller: Caller): InodeAttributes;
  /** changes; adds a lookup */
  mkdir(parent: Ino, name: Buffer, mode: number, caller: Caller): InodeAttributes;
  /** changes; adds a lookup */
  symlink(parent: Ino, name: Buffer, target: Buffer, caller: Caller): InodeAttributes;
  /** changes; adds a lookup */
  link(ino: Ino, newParent: Ino, newName: Buffer): InodeAttributes;
  /** changes; a regular file without a name (O_TMPFILE); adds a lookup */
  tmpfile(parent: Ino, mode: number, caller: Caller): InodeAttributes;
  /** changes */
  unlink(parent: Ino, name: Buffer): void;
  /** changes */
  rmdir(parent: Ino, name: Buffer): void;
  /** changes; `flags` of renameat2(2): RENAME_NOREPLACE 1, RENAME_EXCHANGE 2, RENAME_WHITEOUT 4, which is owned by `caller` */
  rename(parent: Ino, name: Buffer, newParent: Ino, newName: Buffer, flags: number, caller: Caller): void;
  /** changes; all of `data` is taken, the bytes are copied. `killSetId`: FUSE_WRITE_KILL_SUIDGID */
  write(ino: Ino, offset: number, data: Buffer, killSetId: boolean): void;
  /** changes; `mode` of fallocate(2); `killSetId` as for a write */
  fallocate(ino: Ino, mode: number, offset: number, length: number, killSetId: boolean): void;
  /** changes; `flags` of setxattr(2): XATTR_CREATE 1, XATTR_REPLACE 2 */
  setXattr(ino: Ino, name: Buffer, value: Buffer, flags: number): void;
  /** changes */
  removeXattr(ino: Ino, name: Buffer): void;

  /** Files whose fdatasync makes everything written to `ino` so far survive power loss; [] for a read-only mount. */
  filesToSync(ino: Ino): string[];
}
