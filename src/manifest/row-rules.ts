import {
  BLOCK_MAX_BYTES,
  NAME_MAX_BYTES,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_IFSOCK,
  SYMLINK_MAX_BYTES,
  XATTR_VALUE_MAX_BYTES,
  type Ino,
  type InodeAttributes,
} from '../core/index.js';
import { FIRST_COOKIE } from './schema.js';

/*
 * What FORMAT.md demands of single rows. Each function returns what is wrong, or undefined. They run for
 * every row read on the session thread and every row built, so they allocate nothing while all is well.
 */

const UINT32_MAX = 0xffff_ffff;
const NANOSECONDS_PER_SECOND = 1_000_000_000;
const MODE_MAX = 0o177777;
const DOT = 0x2e;
const SLASH = 0x2f;

function isUint32(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= UINT32_MAX;
}

function isNanoseconds(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value < NANOSECONDS_PER_SECOND;
}

export function isInodeNumber(value: unknown): value is Ino {
  return Number.isSafeInteger(value) && (value as number) >= 1;
}

function isModeWithType(mode: number): boolean {
  if (!Number.isInteger(mode) || mode < 0 || mode > MODE_MAX) return false;
  switch (mode & S_IFMT) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFLNK:
    case S_IFCHR:
    case S_IFBLK:
    case S_IFIFO:
    case S_IFSOCK:
      return true;
    default:
      return false;
  }
}

/** M-2 */
export function inodeFault(inode: InodeAttributes): string | undefined {
  if (!isInodeNumber(inode.ino)) return `inode number ${String(inode.ino)}`;
  if (!isModeWithType(inode.mode)) return `mode ${String(inode.mode)} of inode ${String(inode.ino)}`;
  if (!isUint32(inode.uid) || !isUint32(inode.gid)) return `owner of inode ${String(inode.ino)}`;
  if (!Number.isSafeInteger(inode.size) || inode.size < 0) {
    return `size ${String(inode.size)} of inode ${String(inode.ino)}`;
  }
  if (!isUint32(inode.nlink) || inode.nlink < 1) {
    return `nlink ${String(inode.nlink)} of inode ${String(inode.ino)}`;
  }
  if (!isUint32(inode.rdev)) return `rdev ${String(inode.rdev)} of inode ${String(inode.ino)}`;
  if (
    !Number.isSafeInteger(inode.mtimeSec) ||
    !isNanoseconds(inode.mtimeNsec) ||
    !Number.isSafeInteger(inode.ctimeSec) ||
    !isNanoseconds(inode.ctimeNsec) ||
    !Number.isSafeInteger(inode.btimeSec) ||
    !isNanoseconds(inode.btimeNsec)
  ) {
    return `times of inode ${String(inode.ino)}`;
  }
  return undefined;
}

/** M-4 */
export function dentryFault(parent: Ino, cookie: unknown, name: unknown, ino: unknown): string | undefined {
  if (!isInodeNumber(ino) || ino === 1) return `entry of inode ${String(parent)} names inode ${String(ino)}`;
  if (!Number.isSafeInteger(cookie) || (cookie as number) < FIRST_COOKIE) {
    return `cookie ${String(cookie)} in inode ${String(parent)}`;
  }
  return isName(name) ? undefined : `name of inode ${String(ino)} in inode ${String(parent)}`;
}

/**
 * 1 to 255 bytes without `/` and NUL, not `.` or `..`. A loop: names are short, and a native search costs
 * more than it finds.
 */
function isName(name: unknown): boolean {
  if (!(name instanceof Uint8Array)) return false;
  const length = name.length;
  if (length === 0 || length > NAME_MAX_BYTES) return false;
  if (name[0] === DOT && (length === 1 || (length === 2 && name[1] === DOT))) return false;
  for (let index = 0; index < length; index++) {
    const byte = name[index];
    if (byte === SLASH || byte === 0) return false;
  }
  return true;
}

/** M-6, but for what the block really holds: that is known, and checked, where the block is read. */
export function extentFault(
  ino: Ino,
  offset: unknown,
  length: unknown,
  blockOffset: unknown,
  notBefore: number,
  fileSize: number,
): string | undefined {
  if (
    !Number.isSafeInteger(offset) ||
    !Number.isSafeInteger(length) ||
    !Number.isSafeInteger(blockOffset) ||
    (length as number) < 1 ||
    (offset as number) < notBefore ||
    (offset as number) > fileSize - (length as number) ||
    (blockOffset as number) < 0 ||
    (blockOffset as number) > BLOCK_MAX_BYTES - (length as number)
  ) {
    return `extent at ${String(offset)} of inode ${String(ino)}`;
  }
  return undefined;
}

/** M-5 */
export function symlinkFault(ino: Ino, target: unknown): string | undefined {
  return Buffer.isBuffer(target) &&
    target.length > 0 &&
    target.length <= SYMLINK_MAX_BYTES &&
    !target.includes(0)
    ? undefined
    : `target of symbolic link ${String(ino)}`;
}

/** M-5 */
export function xattrFault(ino: Ino, name: unknown, value: unknown): string | undefined {
  return Buffer.isBuffer(name) &&
    name.length > 0 &&
    name.length <= NAME_MAX_BYTES &&
    !name.includes(0) &&
    Buffer.isBuffer(value) &&
    value.length <= XATTR_VALUE_MAX_BYTES
    ? undefined
    : `extended attribute of inode ${String(ino)}`;
}

export function isDigest(value: unknown): value is Buffer {
  return Buffer.isBuffer(value) && value.length === 32;
}
