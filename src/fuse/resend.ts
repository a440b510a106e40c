import { FsError } from '../core/index.js';
import { writeFrom } from '../posix/index.js';
import { NOTIFY_RESEND, OUT_HEADER_BYTES } from './protocol.js';

/**
 * Asks the kernel to queue again every request that was read but not answered: what a daemon that takes over a mount does
 * before it starts its session. Those requests come with the resend bit in `unique`. Needs Linux 6.9 (EINVAL before).
 */
export function requestResend(fd: number): void {
  const notification = Buffer.alloc(OUT_HEADER_BYTES);
  notification.writeUInt32LE(OUT_HEADER_BYTES, 0);
  notification.writeInt32LE(NOTIFY_RESEND, 4);
  const result = writeFrom(fd, notification, notification.length);
  if (result < 0) throw new FsError(-result, 'FUSE_NOTIFY_RESEND');
}
