import koffi from 'koffi';

import { bind, checked, lastErrno } from './libc.js';

const PROT_NONE = 0;
const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_PRIVATE = 2;
const MAP_ANONYMOUS = 0x20;

// Addresses of a process are below 2^47: exact as numbers.
const mmap = bind(
  'int64_t mmap(int64_t address, size_t length, int protection, int flags, int fd, int64_t offset)',
);
const mprotect = bind('int mprotect(int64_t address, size_t length, int protection)');
const getpagesize = bind('int getpagesize()');
const write = bind('int64_t write(int fd, int64_t address, size_t length)');

/** What mmap(2) and mprotect(2) count in, in bytes. */
export function pageBytes(): number {
  return getpagesize();
}

/** Memory outside of the JavaScript heap, which stays mapped as long as the process lives. */
export interface MappedMemory {
  address: number;
  /** A view of it. To touch it while it is unreadable ends the process with SIGSEGV. */
  bytes: Buffer;
}

/** Maps zeroed memory by mmap(2); `length` is a multiple of the page size. Throws FsError. */
export function mapMemory(length: number): MappedMemory {
  const address = mmap(0, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  checked(address, 'mmap');
  return { address, bytes: Buffer.from(koffi.view(BigInt(address), length)) };
}

/**
 * mprotect(2): makes whole pages unreadable, or readable and writable again. From its return on no system call that is under way in
 * another thread copies from unreadable pages any more, except out of a page it had begun with: it fails with EFAULT. Throws FsError.
 */
export function protectMemory(address: number, length: number, to: 'unreadable' | 'writable'): void {
  checked(mprotect(address, length, to === 'unreadable' ? PROT_NONE : PROT_READ | PROT_WRITE), 'mprotect');
}

/** write(2) of `length` bytes at an address: the number of bytes taken, or -errno. */
export function writeMemory(fd: number, address: number, length: number): number {
  const result = write(fd, address, length);
  return result === -1 ? -lastErrno() : result;
}
