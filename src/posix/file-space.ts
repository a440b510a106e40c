import { Errno, FsError } from '../core/index.js';
import { bind, bindAsync, checked, lastErrno } from './libc.js';

const SEEK_DATA = 3;
const SEEK_HOLE = 4;

/** Modes of fallocate(2) (linux/falloc.h). */
export const FALLOC_FL_KEEP_SIZE = 1;
export const FALLOC_FL_PUNCH_HOLE = 2;

const lseek = bind('int64_t lseek(int fd, int64_t offset, int whence)');
const fallocateCall = bind('int fallocate(int fd, int mode, int64_t offset, int64_t length)');
const syncfsCall = bindAsync('int syncfs(int fd)');

/** Where the next data or hole at or after `offset` begins; undefined at the end of the file. Moves the file position. */
export function seek(fd: number, offset: number, whence: 'data' | 'hole'): number | undefined {
  const result = lseek(fd, offset, whence === 'data' ? SEEK_DATA : SEEK_HOLE);
  if (result !== -1) return result;
  const errno = lastErrno();
  if (errno === Errno.ENXIO) return undefined;
  throw new FsError(errno, 'lseek');
}

/** fallocate(2). Throws FsError. */
export function fallocate(fd: number, mode: number, offset: number, length: number): void {
  checked(fallocateCall(fd, mode, offset, length), 'fallocate');
}

/** syncfs(2), on another thread: it waits for everything dirty on the file system `fd` is on. Rejects with FsError. */
export async function syncfs(fd: number): Promise<void> {
  await syncfsCall(fd);
}
