import { bind } from './libc.js';

const SYNC_FILE_RANGE_WRITE = 2;

const syncFileRange = bind('int sync_file_range(int fd, int64_t offset, int64_t length, unsigned int flags)');

/** Has the kernel begin to write a dirty stretch of a file to the disk, without waiting for it: sync_file_range(2). It makes nothing durable. */
export function beginWriteback(fd: number, offset: number, length: number): void {
  syncFileRange(fd, offset, length, SYNC_FILE_RANGE_WRITE);
}
