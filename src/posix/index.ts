/**
 * posix: the system calls Node has no function for, on Linux (x86_64, aarch64), through koffi.
 *
 * Owns no state. Paths and names are bytes. A failing call throws `FsError` with the kernel's errno; only `readInto`,
 * `writeFrom` and `writeMemory`, made for the threads that speak to the kernel, return -errno instead. Never interprets what
 * it reads, never retries.
 * What Node can do (readv, writev, statfs, copy_file_range) is left to Node.
 */
export {
  createEventDrain,
  createEventFd,
  PollSet,
  readable,
  readInto,
  setNonBlocking,
  signalEventFd,
  writeFrom,
  yieldCpu,
} from './descriptors.js';
export { bindDatagramSocket, receiveFd, sendFd, socketPair } from './fd-passing.js';
export { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, fallocate, seek, syncfs } from './file-space.js';
export { getXattr, listXattrs, mknod, setModificationTime, setXattr } from './inode-calls.js';
export { isOpenElsewhere } from './leases.js';
export { mapMemory, pageBytes, protectMemory, writeMemory, type MappedMemory } from './memory.js';
export { beginWriteback } from './page-cache.js';
export { MNT_DETACH, MS_RDONLY, mount, unmount, UMOUNT_NOFOLLOW } from './mount-calls.js';
export {
  currentThreadId,
  dieWithParent,
  isDead,
  memoryBytes,
  releaseMemory,
  threadState,
} from './process-state.js';
