import type { Ino } from './ids.js';

/** File type bits of a mode (sys/stat.h). */
export const S_IFMT = 0o170000;
export const S_IFSOCK = 0o140000;
export const S_IFLNK = 0o120000;
export const S_IFREG = 0o100000;
export const S_IFBLK = 0o060000;
export const S_IFDIR = 0o040000;
export const S_IFCHR = 0o020000;
export const S_IFIFO = 0o010000;
export const S_ISUID = 0o4000;
export const S_ISGID = 0o2000;
export const S_ISVTX = 0o1000;

/**
 * What `stat` shows of an inode. Times are whole seconds and nanoseconds (0 to 999,999,999) since the epoch; seconds may be
 * negative. Access times are no part of a version: an inode that was not changed since has none, and shows its mtime. `rdev` is the kernel's encoding of a device number. `size` of a directory is 0, of a symbolic link its length.
 */
export interface InodeAttributes {
  ino: Ino;
  mode: number;
  uid: number;
  gid: number;
  size: number;
  nlink: number;
  rdev: number;
  mtimeSec: number;
  mtimeNsec: number;
  ctimeSec: number;
  ctimeNsec: number;
  btimeSec: number;
  btimeNsec: number;
  atimeSec?: number;
  atimeNsec?: number;
}

export const isDirectory = (mode: number): boolean => (mode & S_IFMT) === S_IFDIR;
export const isRegular = (mode: number): boolean => (mode & S_IFMT) === S_IFREG;
export const isSymlink = (mode: number): boolean => (mode & S_IFMT) === S_IFLNK;
