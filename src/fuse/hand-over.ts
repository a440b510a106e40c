import { writevSync } from 'node:fs';

import { systemCode, type Ino } from '../core/index.js';
import type { ReadPart } from '../vfs/index.js';
import { OUT_HEADER_BYTES } from './protocol.js';

/**
 * What the session thread gives away because it would have to wait. Whoever takes a request answers it with `writeReadReply` or
 * `writeErrorReply`, from any thread, exactly once. `unique` is as the kernel sent it.
 *
 * Called on the session thread: must neither wait nor throw. Bytes in `parts` are only valid during the call.
 */
export interface HandOver {
  /** A READ of which at least one block is not in the disk cache; `size` is the sum of the parts. */
  read(request: { unique: bigint; ino: Ino; parts: readonly ReadPart[]; size: number }): void;
  /** An FSYNC or FSYNCDIR: `files` are to be synced, then the request answered with errno 0. */
  sync(unique: bigint, files: readonly string[]): void;
  /** The caller of a request that was handed over got a signal: EINTR, if it is still unanswered. Others are to be ignored. */
  interrupt(unique: bigint): void;
}

/** writev(2) takes 1024 pieces; libuv would write more in several calls, which are several replies to the kernel. */
const MAX_PIECES = 1000;

/** Answers a READ that was handed over: the buffers are the bytes, in order, at most what was asked for. */
export function writeReadReply(fd: number, unique: bigint, buffers: readonly Buffer[]): void {
  const payload = buffers.length < MAX_PIECES ? buffers : [Buffer.concat(buffers)];
  const length = payload.reduce((sum, buffer) => sum + buffer.length, OUT_HEADER_BYTES);
  writeWhole(fd, [header(length, 0, unique), ...payload]);
}

/** Answers any request that was handed over without a payload: `errno` of a failure, or 0 for success. */
export function writeErrorReply(fd: number, unique: bigint, errno: number): void {
  writeWhole(fd, [header(OUT_HEADER_BYTES, -errno, unique)]);
}

function header(length: number, error: number, unique: bigint): Buffer {
  const bytes = Buffer.alloc(OUT_HEADER_BYTES);
  bytes.writeUInt32LE(length, 0);
  bytes.writeInt32LE(error, 4);
  bytes.writeBigUInt64LE(unique, 8);
  return bytes;
}

function writeWhole(fd: number, pieces: readonly Buffer[]): void {
  try {
    writevSync(fd, pieces);
  } catch (error) {
    // The request is not there any more: aborted, unmounted, or queued again for another daemon.
    if (systemCode(error) !== 'ENOENT') throw error;
  }
}
