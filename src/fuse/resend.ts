import { FsError } from '../core/index.js';
import { writeFrom } from '../posix/index.js';
import { notification } from './notification.js';
import { NOTIFY_RESEND } from './protocol.js';

/**
 * Asks the kernel to queue again every request that was read but not answered: what a daemon that takes over a mount does
 * before it starts its session. Those requests come with the resend bit in `unique`. Needs Linux 6.9 (EINVAL before).
 */
export function requestResend(fd: number): void {
  const message = notification(NOTIFY_RESEND);
  const result = writeFrom(fd, message, message.length);
  if (result < 0) throw new FsError(-result, 'FUSE_NOTIFY_RESEND');
}
