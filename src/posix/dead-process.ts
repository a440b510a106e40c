import { closeSync, readFileSync } from 'node:fs';
import { Errno, FsError } from '../core/index.js';
import { bind, checked, lastErrno } from './libc.js';

// Without wrappers in older C libraries; the numbers are the same on x86_64 and aarch64.
const PIDFD_OPEN = 434;
const PROCESS_MRELEASE = 448;

/** In no reply, so core's table does not have it. */
const ESRCH = 3;

const systemCall = bind('int64_t syscall(int64_t number, int64_t first, int64_t second)');

/** Whether a child that is not waited for has died, although threads of it may still be in the kernel (proc_pid_stat(5)). */
export function isDead(pid: number): boolean {
  try {
    // The name before it, in brackets, may hold anything.
    return /\) Z [^)]*$/.test(readFileSync(`/proc/${String(pid)}/stat`, 'latin1'));
  } catch {
    return false;
  }
}

/**
 * process_mrelease(2): takes the private memory of a dying process away, whose threads then copy nothing out of it any more, in no system call.
 * False when there is none left. Throws FsError.
 */
export function releaseMemory(pid: number): boolean {
  const pidfd = checked(systemCall(PIDFD_OPEN, pid, 0), 'pidfd_open');
  try {
    for (;;) {
      if (systemCall(PROCESS_MRELEASE, pidfd, 0) === 0) return true;
      const errno = lastErrno();
      if (errno === ESRCH) return false;
      // Somebody else changes the memory at this moment.
      if (errno !== Errno.EAGAIN) throw new FsError(errno, 'process_mrelease');
    }
  } finally {
    closeSync(pidfd);
  }
}
