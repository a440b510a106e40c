/**
 * The kernel's FUSE protocol, version 7.45: the parts of linux/fuse.h this daemon uses, under their names there. Sizes and
 * offsets are in bytes; everything is little-endian, as the processors are on which this runs.
 */

export const FUSE_MAJOR = 7;
/** The oldest minor that will do (Linux 6.2), and the newest this was written for (Linux 6.18). */
export const FUSE_MINOR_LEAST = 38;
export const FUSE_MINOR_KNOWN = 45;

export const Opcode = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  READLINK: 5,
  SYMLINK: 6,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  LINK: 13,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  SETXATTR: 21,
  GETXATTR: 22,
  LISTXATTR: 23,
  REMOVEXATTR: 24,
  FLUSH: 25,
  INIT: 26,
  OPENDIR: 27,
  READDIR: 28,
  RELEASEDIR: 29,
  FSYNCDIR: 30,
  ACCESS: 34,
  CREATE: 35,
  INTERRUPT: 36,
  DESTROY: 38,
  IOCTL: 39,
  POLL: 40,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
  READDIRPLUS: 44,
  RENAME2: 45,
  LSEEK: 46,
  COPY_FILE_RANGE: 47,
  SYNCFS: 50,
  TMPFILE: 51,
  STATX: 52,
} as const;

/** Opcodes are below this. */
export const OPCODE_LIMIT = 64;

/** INIT flags; those from bit 32 up travel in `flags2`, here without the 32. */
export const InitFlag = {
  ASYNC_READ: 1 << 0,
  BIG_WRITES: 1 << 5,
  DO_READDIRPLUS: 1 << 13,
  ASYNC_DIO: 1 << 15,
  NO_OPEN_SUPPORT: 1 << 17,
  PARALLEL_DIROPS: 1 << 18,
  ABORT_ERROR: 1 << 21,
  MAX_PAGES: 1 << 22,
  CACHE_SYMLINKS: 1 << 23,
  NO_OPENDIR_SUPPORT: 1 << 24,
  EXPLICIT_INVAL_DATA: 1 << 25,
  HANDLE_KILLPRIV_V2: 1 << 28,
  INIT_EXT: 1 << 30,
} as const;

export const InitFlag2 = {
  HAS_RESEND: 1 << (39 - 32),
} as const;

/** Bits of `fuse_setattr_in.valid`. */
export const SetattrValid = {
  MODE: 1 << 0,
  UID: 1 << 1,
  GID: 1 << 2,
  SIZE: 1 << 3,
  ATIME: 1 << 4,
  MTIME: 1 << 5,
  ATIME_NOW: 1 << 7,
  MTIME_NOW: 1 << 8,
  CTIME: 1 << 10,
  KILL_SUIDGID: 1 << 11,
} as const;

/** A bit of `fuse_write_in.write_flags`. */
export const WRITE_KILL_SUIDGID = 1 << 2;

export const NOTIFY_INVAL_INODE = 2;
export const NOTIFY_INVAL_ENTRY = 3;
export const NOTIFY_STORE = 4;
export const NOTIFY_DELETE = 6;
export const NOTIFY_RESEND = 7;

/** STATX_BASIC_STATS and STATX_BTIME (linux/stat.h). */
export const STATX_MASK = 0xfff;

export const SEEK_DATA = 3;
export const SEEK_HOLE = 4;

export const IN_HEADER_BYTES = 40;
export const OUT_HEADER_BYTES = 16;
const ATTR_BYTES = 88;
export const ATTR_OUT_BYTES = 16 + ATTR_BYTES;
export const ENTRY_OUT_BYTES = 40 + ATTR_BYTES;
export const OPEN_OUT_BYTES = 16;
export const DIRENT_HEADER_BYTES = 24;
export const INIT_OUT_BYTES = 64;
export const STATFS_OUT_BYTES = 80;
export const STATX_OUT_BYTES = 288;
export const WRITE_IN_BYTES = 40;
export const NOTIFY_STORE_OUT_BYTES = 24;
