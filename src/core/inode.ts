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
 * negative. Access times are no part of a version: an inode that was not changed since has none, and shows its mtime. `size` of a
 * directory is 0, of a symbolic link its length. `rdev` of a device is its number as the kernel encodes it (`deviceNumber`); of a file that was
 * imported it is what `shownIno` needs.
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
export const isDevice = (mode: number): boolean => (mode & S_IFMT) === S_IFCHR || (mode & S_IFMT) === S_IFBLK;

/** 0 for what is no device. */
export const deviceNumber = ({ mode, rdev }: Pick<InodeAttributes, 'mode' | 'rdev'>): number =>
  isDevice(mode) ? rdev : 0;

/** Files with numbers below this can show the one they had where they were imported; those beyond it, a million, are later ones. */
const SOURCE_SHOWN_BELOW = 2 ** 20;
/** Nothing has a number of its own from here on: 2^28 at a time are given to a writer. */
const SHOWN_FROM = 2 ** 52;

/** `rdev` of what is imported: of no device the low 32 bits of the number it has there. Directories keep none: nobody compares theirs. */
export function rdevOfSource(mode: number, source: { rdev: bigint; ino: bigint }): number {
  if (isDevice(mode)) return Number(source.rdev);
  return isDirectory(mode) ? 0 : Number(BigInt.asUintN(32, source.ino));
}

/**
 * The inode number that programs see. Tools that keep the numbers of files to know them again, as git's index does, compare 32 bits: an
 * imported file shows those it had, with its own number above them, which keeps it apart from all others. It stays below 2^53, so that
 * programs that count in doubles see it exactly.
 */
export function shownIno({ ino, mode, rdev }: InodeAttributes): number {
  if (rdev === 0 || ino >= SOURCE_SHOWN_BELOW || isDirectory(mode) || isDevice(mode)) return ino;
  return SHOWN_FROM + ino * 2 ** 32 + rdev;
}
