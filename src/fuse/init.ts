import { Errno, FsError, IO_MAX_BYTES } from '../core/index.js';
import {
  FUSE_MAJOR,
  FUSE_MINOR_KNOWN,
  FUSE_MINOR_LEAST,
  INIT_OUT_BYTES,
  InitFlag,
  InitFlag2,
} from './protocol.js';
import type { Reply } from './reply.js';
import type { Request } from './request.js';

/** What kernel and daemon agreed on; plain data, so that it can be stored for the daemon that takes over (which sees no INIT). */
export interface Negotiated {
  /** Of the protocol, 7.`minor`. */
  minor: number;
  /** The kernel can send unanswered requests again: without it a mount does not outlive its daemon. */
  resend: boolean;
}

const PAGE_BYTES = 4096;
const MAX_PAGES = IO_MAX_BYTES / PAGE_BYTES;
/** The bdi's read_ahead_kb is the limit that counts. */
const MAX_READAHEAD_BYTES = 16 * IO_MAX_BYTES;
/** Read-ahead and write-back requests in flight: enough to keep an object store busy, 256 MiB at the most. */
const MAX_BACKGROUND = 256;
const CONGESTION_THRESHOLD = 192;
const TIME_GRANULARITY_NS = 1;

/**
 * What is asked for, where the kernel has it. Deliberately not:
 * - READDIRPLUS_AUTO: the attributes of a listing cost nothing here, so every listing fills the caches.
 * - AUTO_INVAL_DATA: nothing changes behind the kernel's back; what does is invalidated explicitly.
 * - ATOMIC_O_TRUNC: there is no OPEN to carry it. POSIX_LOCKS, FLOCK_LOCKS: one kernel, it locks by itself.
 * - POSIX_ACL, SETXATTR_EXT, SECURITY_CTX, CREATE_SUPP_GROUP: no ACLs. PASSTHROUGH: would need an OPEN for every file.
 * - WRITEBACK_CACHE: every close(2), also of a file that was only read, would throw the cached attributes away, so that a program that
 *   opens and stats 100,000 unchanged files would send as many GETATTRs; and each new file would need one SETATTR more, for its times.
 */
const WANTED_FLAGS =
  InitFlag.ASYNC_READ |
  InitFlag.BIG_WRITES |
  InitFlag.DO_READDIRPLUS |
  InitFlag.ASYNC_DIO |
  InitFlag.NO_OPEN_SUPPORT |
  InitFlag.PARALLEL_DIROPS |
  InitFlag.ABORT_ERROR |
  InitFlag.MAX_PAGES |
  InitFlag.CACHE_SYMLINKS |
  InitFlag.NO_OPENDIR_SUPPORT |
  InitFlag.EXPLICIT_INVAL_DATA |
  InitFlag.HANDLE_KILLPRIV_V2 |
  InitFlag.INIT_EXT;

/** Without these the session could not answer as it does. */
const REQUIRED_FLAGS =
  InitFlag.NO_OPEN_SUPPORT | InitFlag.NO_OPENDIR_SUPPORT | InitFlag.MAX_PAGES | InitFlag.INIT_EXT;

/**
 * Answers INIT. Throws ENOSYS for a kernel older than Linux 6.2: the mount then fails.
 */
export function negotiate(request: Request, reply: Reply): Negotiated {
  const major = request.u32(0);
  const minor = request.u32(4);
  const offered = request.u32(12);
  if (major !== FUSE_MAJOR || minor < FUSE_MINOR_LEAST || (offered & REQUIRED_FLAGS) !== REQUIRED_FLAGS) {
    throw new FsError(Errno.ENOSYS, `the kernel speaks FUSE ${String(major)}.${String(minor)}`);
  }
  const flags = offered & WANTED_FLAGS;
  const flags2 = request.u32(16) & InitFlag2.HAS_RESEND;
  const replyMinor = Math.min(minor, FUSE_MINOR_KNOWN);
  const start = reply.payloadBytes;
  reply.u32(FUSE_MAJOR);
  reply.u32(replyMinor);
  reply.u32(MAX_READAHEAD_BYTES);
  reply.u32(flags);
  reply.u16(MAX_BACKGROUND);
  reply.u16(CONGESTION_THRESHOLD);
  reply.u32(IO_MAX_BYTES);
  reply.u32(TIME_GRANULARITY_NS);
  reply.u16(MAX_PAGES);
  reply.u16(0);
  reply.u32(flags2);
  reply.zeros(INIT_OUT_BYTES - (reply.payloadBytes - start));
  return {
    minor: replyMinor,
    resend: flags2 !== 0,
  };
}
