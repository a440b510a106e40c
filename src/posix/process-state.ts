import { closeSync, readFileSync, readlinkSync } from 'node:fs';
import path from 'node:path';
import { Errno, FsError } from '../core/index.js';
import { bind, checked, lastErrno } from './libc.js';

// Without wrappers in older C libraries; the numbers are the same on x86_64 and aarch64.
const PIDFD_OPEN = 434;
const PROCESS_MRELEASE = 448;

/** In no reply, so core's table does not have it. */
const ESRCH = 3;

const PR_SET_PDEATHSIG = 1;
const SIGKILL = 9;

const prctl = bind('int prctl(int option, ...)');
const systemCall = bind('int64_t syscall(int64_t number, int64_t first, int64_t second)');

/**
 * The state of a thread, one letter (proc_pid_stat(5)): Z of a process that has died although threads of it may still be in the kernel, D of
 * one that waits in the kernel and cannot be killed, t of one that a debugger holds. Undefined when it is gone.
 */
export function threadState(pid: number, tid = pid): string | undefined {
  try {
    const stat = readFileSync(`/proc/${String(pid)}/task/${String(tid)}/stat`, 'latin1');
    // The name before it, in brackets, may hold anything.
    return /\) (\S) [^)]*$/.exec(stat)?.[1];
  } catch {
    return undefined;
  }
}

/** Whether a child that is not waited for has died, although threads of it may still be in the kernel. */
export function isDead(pid: number): boolean {
  return threadState(pid) === 'Z';
}

/** The id of the calling thread, as `threadState` takes it. */
export function currentThreadId(): number {
  return Number(path.basename(readlinkSync('/proc/thread-self')));
}

/** Whether the calling process is killed when its parent ends (prctl(2), PR_SET_PDEATHSIG). */
export function dieWithParent(dies: boolean): void {
  checked(prctl(PR_SET_PDEATHSIG, 'unsigned long', dies ? SIGKILL : 0), 'prctl');
}

/**
 * Memory of a process, in bytes, by the name proc_pid_status(5) has for it: VmRSS is all it has, RssAnon what it has to itself and is on no disk. 0 when it is
 * gone.
 */
export function memoryBytes(pid: number, field: 'VmRSS' | 'RssAnon'): number {
  try {
    const status = readFileSync(`/proc/${String(pid)}/status`, 'latin1');
    return Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1] ?? 0) * 1024;
  } catch {
    return 0;
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
