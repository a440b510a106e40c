import { Errno, FsError } from '../core/index.js';
import { PollSet, readInto, setNonBlocking, yieldCpu } from '../posix/index.js';

/** ECONNABORTED is in no reply, so core's table does not have it. */
const ECONNABORTED = 103;

/** While requests stream in without a pause the wake descriptor is looked at after so many. */
const REQUESTS_PER_WAKE_CHECK = 64;

const FUSE = 0;
const WAKE = 1;

/** `released`: as it was asked to; the connection goes on. */
export type SessionEnd = 'unmounted' | 'aborted' | 'released';

export interface Transport {
  /** Of /dev/fuse, mounted. Set to O_NONBLOCK here. */
  fd: number;
  /** Readable (an eventfd, a pipe) when `onWake` should run. */
  wakeFd: number;
  /** After a request, how long to go on asking for the next before sleeping, in microseconds: waking up costs more. */
  spinUs: number;
  /** Where requests are read to: max_write and 4096 bytes at the least. */
  buffer: Buffer;
  /** Called with the length of each request. */
  onRequest: (length: number) => void;
  /** Does a little work in advance while no request is there; false when there is none to do. */
  onSpareTime: () => boolean;
  /** Drains `wakeFd` and does what it stands for. */
  onWake: () => void;
  /** Asked after `onWake`: whether the session is to end, and another process to go on. */
  isReleased: () => boolean;
}

/** What a read of the device that came to `result` says of the connection; undefined while there is one. */
export function endOfConnection(result: number): 'unmounted' | 'aborted' | undefined {
  if (result === -Errno.ENODEV || result === 0) return 'unmounted';
  return result === -ECONNABORTED ? 'aborted' : undefined;
}

/**
 * Reads requests and hands them to `onRequest`, one at a time, until the file system is unmounted, its connection aborted, or it is released.
 * Blocks the thread; any other failure of the device is thrown as FsError.
 */
export function serve(transport: Transport): SessionEnd {
  const { fd, buffer, spinUs } = transport;
  const pollSet = new PollSet([fd, transport.wakeFd]);
  setNonBlocking(fd);
  let sinceWakeCheck = 0;
  let spinUntilMs = 0;
  for (;;) {
    const result = readInto(fd, buffer, buffer.length);
    if (result > 0) {
      transport.onRequest(result);
      spinUntilMs = 0;
      if (++sinceWakeCheck < REQUESTS_PER_WAKE_CHECK) continue;
    } else if (result === -Errno.EAGAIN) {
      if (transport.onSpareTime()) continue;
      // Only when nothing is there is the clock read: it costs a tenth of a request.
      const nowMs = performance.now();
      if (spinUntilMs === 0) spinUntilMs = nowMs + spinUs / 1000;
      if (nowMs < spinUntilMs) {
        // Whoever will ask next may be waiting for this very core: without this, creating a file takes a third longer here.
        yieldCpu();
        continue;
      }
      pollSet.wait(-1);
      if (pollSet.isReady(WAKE)) {
        transport.onWake();
        if (transport.isReleased()) return 'released';
      }
      if (pollSet.isReady(FUSE)) spinUntilMs = 0;
      continue;
    } else if (result !== -Errno.EINTR && result !== -Errno.ENOENT) {
      const end = endOfConnection(result);
      if (end !== undefined) return end;
      throw new FsError(-result, 'read from /dev/fuse');
    }
    if (sinceWakeCheck >= REQUESTS_PER_WAKE_CHECK) {
      sinceWakeCheck = 0;
      pollSet.wait(0);
      if (pollSet.isReady(WAKE)) {
        transport.onWake();
        if (transport.isReleased()) return 'released';
      }
    }
  }
}
