import { Errno, FsError, ROOT_INO, S_IFDIR, type InodeAttributes } from '../core/index.js';
import { readable, readInto, setNonBlocking, writeFrom } from '../posix/index.js';
import { negotiate } from './init.js';
import { Opcode, STATX_OUT_BYTES } from './protocol.js';
import { Reply } from './reply.js';
import { Request, REQUEST_MAX_BYTES } from './request.js';
import { endOfConnection } from './transport.js';

/** What is left of the tree: a folder at the mountpoint, which can be looked at and unmounted. */
const ROOT: InodeAttributes = {
  ino: ROOT_INO,
  mode: S_IFDIR | 0o755,
  uid: process.getuid?.() ?? 0,
  gid: process.getgid?.() ?? 0,
  size: 0,
  nlink: 2,
  rdev: 0,
  mtimeSec: 0,
  mtimeNsec: 0,
  ctimeSec: 0,
  ctimeNsec: 0,
  btimeSec: 0,
  btimeNsec: 0,
};

/**
 * Answers everything the kernel asks of a mount with EIO, until it is unmounted or aborted: for a mount that has no daemon any more. Needs no file,
 * and no memory beyond what it takes at its beginning. What the kernel has in its caches it still answers by itself.
 */
export async function refuseRequests(fd: number): Promise<void> {
  const request = new Request(REQUEST_MAX_BYTES);
  const reply = new Reply(STATX_OUT_BYTES);
  const nextRequest = readable(fd);
  setNonBlocking(fd);
  for (;;) {
    const received = readInto(fd, request.buffer, request.buffer.length);
    if (received > 0) {
      if (request.load(received) === 'unanswerable') continue;
      reply.begin(request.uniqueLow, request.uniqueHigh);
      // The reply may come too late: whoever asked is gone.
      if (answer(request, reply)) writeFrom(fd, reply.finish(), reply.length);
    } else if (received === -Errno.EAGAIN) {
      await nextRequest();
    } else if (endOfConnection(received) !== undefined) {
      return;
    } else if (received !== -Errno.EINTR && received !== -Errno.ENOENT) {
      throw new FsError(-received, 'read from /dev/fuse');
    }
  }
}

/** False when the kernel wants no reply. */
function answer(request: Request, reply: Reply): boolean {
  switch (request.opcode) {
    case Opcode.FORGET:
    case Opcode.BATCH_FORGET:
    case Opcode.INTERRUPT:
      return false;
    case Opcode.INIT:
      negotiate(request, reply);
      return true;
    case Opcode.GETATTR:
      if (request.nodeid !== ROOT_INO) break;
      reply.attributes(ROOT, 0);
      return true;
    case Opcode.STATX:
      if (request.nodeid !== ROOT_INO) break;
      reply.statx(ROOT, 0);
      return true;
    case Opcode.RELEASE:
    case Opcode.RELEASEDIR:
    case Opcode.DESTROY:
      return true;
  }
  reply.error(Errno.EIO);
  return true;
}
