import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { systemCode } from '../../core/index.js';
import { fileStat, sameStamp, untilChangesShowMs, type ChangeStamp, type FileStat } from './file-stat.js';
import { changedWhileRead, unreadable } from './source-error.js';

/** A file that changes while it is read is read again this often before the import gives up. */
export const READ_AGAIN_LIMIT = 3;

/** Never through a symbolic link put in the file's place, never waiting for the other end of a fifo. */
const OPEN_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

const sleeper = new Int32Array(new SharedArrayBuffer(4));

function sleepMs(ms: number): void {
  Atomics.wait(sleeper, 0, 0, ms);
}

/** Opens a regular file; undefined when there is none of that name (any more). */
export function openSource(path: Buffer): number | undefined {
  try {
    return openSync(path, OPEN_FLAGS);
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    // What was a regular file when listed is a symbolic link or a socket now.
    if (code === 'ELOOP' || code === 'ENXIO') throw changedWhileRead(path);
    throw unreadable(path, error);
  }
}

/** `fstat`, after waiting for the moment from which on every change of the file shows in its ctime. */
export function settledStat(fd: number, path: Buffer): FileStat {
  for (let waits = 0; ; waits++) {
    const stats = fstatSync(fd, { bigint: true });
    if (!stats.isFile()) throw changedWhileRead(path);
    const stat = fileStat(stats);
    const waitMs = untilChangesShowMs(stat);
    if (waitMs === 0 || waits === READ_AGAIN_LIMIT) return stat;
    sleepMs(waitMs);
  }
}

/** Reads as many bytes as the file has, at most; returns how many there were. */
export function readFully(
  fd: number,
  target: Uint8Array,
  start: number,
  length: number,
  position: number,
): number {
  let done = 0;
  while (done < length) {
    const count = readSync(fd, target, start + done, length - done, position + done);
    if (count === 0) break;
    done += count;
  }
  return done;
}

export type StableRead =
  | { kind: 'read'; bytes: Uint8Array; stat: FileStat | undefined }
  | { kind: 'gone' }
  | { kind: 'grown'; stat: FileStat };

/**
 * Reads a small file so that its bytes and its attributes belong together: nothing changed from before the first byte was read
 * until after the last. `expected` is what `lstat` said; `stat` of the result is there when the file is no longer that.
 * The bytes are read to `target` at `start` while they are as many as expected.
 */
export function readStable(
  path: Buffer,
  expected: ChangeStamp,
  maxBytes: number,
  target: Uint8Array,
  start: number,
): StableRead {
  for (let attempt = 0; attempt <= READ_AGAIN_LIMIT; attempt++) {
    const fd = openSource(path);
    if (fd === undefined) return { kind: 'gone' };
    try {
      const asExpected = attempt === 0 && untilChangesShowMs(expected) === 0;
      const before = asExpected ? expected : settledStat(fd, path);
      if (before.size > maxBytes) return { kind: 'grown', stat: settledStat(fd, path) };
      const inPlace = before.size === expected.size;
      const bytes = inPlace ? target.subarray(start, start + before.size) : Buffer.allocUnsafe(before.size);
      const count = readFully(fd, bytes, 0, bytes.length, 0);
      const stats = fstatSync(fd, { bigint: true });
      if (!stats.isFile()) throw changedWhileRead(path);
      const after = fileStat(stats);
      if (count === before.size && sameStamp(before, after)) {
        return { kind: 'read', bytes, stat: sameStamp(expected, after) ? undefined : after };
      }
    } catch (error) {
      throw unreadable(path, error);
    } finally {
      closeSync(fd);
    }
  }
  throw changedWhileRead(path);
}
