import { bind, checked, cString, lastErrno, type CFunction } from './libc.js';
import { Errno, FsError } from '../core/index.js';

const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const UTIME_OMIT = (1 << 30) - 2;

const lgetxattr = bind('int64_t lgetxattr(const void *path, const void *name, void *value, size_t size)');
const llistxattr = bind('int64_t llistxattr(const void *path, void *list, size_t size)');
const lsetxattr = bind(
  'int lsetxattr(const void *path, const void *name, const void *value, size_t size, int flags)',
);
const utimensat = bind('int utimensat(int directory, const void *path, const void *times, int flags)');

/**
 * Calls `get` for a value of unknown size: once into a buffer that fits nearly always, else by asking for the size first, again
 * when the value grew between. -errno from `get` is returned as it is.
 */
function getSized(get: (buffer: Buffer | null, size: number) => number): Buffer | number {
  const first = Buffer.allocUnsafe(1024);
  let result = get(first, first.length);
  if (result >= 0) return first.subarray(0, result);
  while (result === -Errno.ERANGE) {
    const size = get(null, 0);
    if (size < 0) return size;
    const buffer = Buffer.allocUnsafe(size);
    result = get(buffer, size);
    if (result >= 0) return buffer.subarray(0, result);
  }
  return result;
}

/** One extended attribute of a path, not following a symbolic link; undefined when it has no such attribute. */
export function getXattr(path: Buffer, name: Buffer): Buffer | undefined {
  const cPath = cString(path);
  const cName = cString(name);
  const value = getSized((buffer, size) => {
    const result = lgetxattr(cPath, cName, buffer, size);
    return result === -1 ? -lastErrno() : result;
  });
  if (typeof value !== 'number') return value;
  if (value === -Errno.ENODATA || value === -Errno.EOPNOTSUPP) return undefined;
  throw new FsError(-value, 'lgetxattr');
}

/** Names of a path's extended attributes, not following a symbolic link; none where the file system has no such thing. */
export function listXattrs(path: Buffer): Buffer[] {
  const cPath = cString(path);
  const list = getSized((buffer, size) => {
    const result = llistxattr(cPath, buffer, size);
    return result === -1 ? -lastErrno() : result;
  });
  if (typeof list === 'number') {
    if (list === -Errno.EOPNOTSUPP) return [];
    throw new FsError(-list, 'llistxattr');
  }
  const names: Buffer[] = [];
  let start = 0;
  for (let end = list.indexOf(0); end !== -1; end = list.indexOf(0, start)) {
    names.push(list.subarray(start, end));
    start = end + 1;
  }
  return names;
}

/** lsetxattr(2); `flags`: XATTR_CREATE 1, XATTR_REPLACE 2. Throws FsError. */
export function setXattr(path: Buffer, name: Buffer, value: Buffer, flags = 0): void {
  checked(lsetxattr(cString(path), cString(name), value, value.length, flags), 'lsetxattr');
}

let mknodCall: ((path: Buffer, mode: number, device: number) => number) | undefined;

/** glibc has had `mknod` as a function of its own since 2.33; before, only `__xmknod` behind an inline. */
function bindMknod(): (path: Buffer, mode: number, device: number) => number {
  let direct: CFunction;
  try {
    direct = bind('int mknod(const void *path, unsigned int mode, uint64_t device)');
  } catch {
    const versioned = bind('int __xmknod(int version, const void *path, unsigned int mode, void *device)');
    return (path, mode, device) => {
      const dev = Buffer.alloc(8);
      dev.writeBigUInt64LE(BigInt(device));
      return versioned(0, path, mode, dev);
    };
  }
  return direct;
}

/** mknod(2): fifos, sockets, devices, files. `mode` as stored (the umask applies), `rdev` in the kernel's encoding. */
export function mknod(path: Buffer, mode: number, rdev: number): void {
  mknodCall ??= bindMknod();
  checked(mknodCall(cString(path), mode, rdev), 'mknod');
}

/** Sets the modification time of a path to the nanosecond, not following a symbolic link. The access time stays. */
export function setModificationTime(path: Buffer, sec: number, nsec: number): void {
  const times = Buffer.alloc(32);
  times.writeBigInt64LE(BigInt(UTIME_OMIT), 8);
  times.writeBigInt64LE(BigInt(sec), 16);
  times.writeBigInt64LE(BigInt(nsec), 24);
  checked(utimensat(AT_FDCWD, cString(path), times, AT_SYMLINK_NOFOLLOW), 'utimensat');
}
