import { fsError, IO_MAX_BYTES } from '../core/index.js';
import type { Caller } from '../vfs/index.js';
import { IN_HEADER_BYTES } from './protocol.js';

const TWO_TO_32 = 0x1_0000_0000;
const RESEND_BIT = 0x8000_0000;
const EXTENSION_UNIT_BYTES = 8;

/** The kernel wants room for max_write and a header; it says so with EINVAL. */
export const REQUEST_MAX_BYTES = IO_MAX_BYTES + 4096;

/**
 * One request as the kernel wrote it, decoded in place. There is one object for all requests of a session.
 *
 * Offsets given to the accessors count from the end of the header. Nothing is ever read beyond the request: what is too short
 * for what it should hold is EINVAL. Buffers returned are views, valid until the next request is loaded.
 */
export class Request {
  readonly buffer: Buffer;
  readonly #view: DataView;
  readonly caller: Caller = { uid: 0, gid: 0, pid: 0 };
  opcode = 0;
  nodeid = 0;
  /** The two halves of `unique`, as received: what the reply must carry. */
  uniqueLow = 0;
  uniqueHigh = 0;
  #bodyBytes = 0;

  /** `bytes`: the largest request, header included. */
  constructor(bytes: number) {
    // Every page is there from the start: into one that is not, the kernel of a process that is being killed copies nothing, and gives
    // the request up with EIO instead of keeping it for the next daemon (fuse_dev_do_read).
    this.buffer = Buffer.allocUnsafeSlow(bytes).fill(0);
    this.#view = new DataView(this.buffer.buffer, this.buffer.byteOffset, this.buffer.byteLength);
  }

  /**
   * Decodes the header of the `received` bytes now in `buffer`. 'unanswerable' when there is no whole header (then there is no
   * `unique` to reply to), 'malformed' when its lengths contradict what was received.
   */
  load(received: number): 'ok' | 'malformed' | 'unanswerable' {
    if (received < IN_HEADER_BYTES) return 'unanswerable';
    const view = this.#view;
    const length = view.getUint32(0, true);
    this.opcode = view.getUint32(4, true);
    this.uniqueLow = view.getUint32(8, true);
    this.uniqueHigh = view.getUint32(12, true);
    this.nodeid = view.getUint32(16, true) + view.getUint32(20, true) * TWO_TO_32;
    this.caller.uid = view.getUint32(24, true);
    this.caller.gid = view.getUint32(28, true);
    this.caller.pid = view.getUint32(32, true);
    this.#bodyBytes = length - IN_HEADER_BYTES - view.getUint16(36, true) * EXTENSION_UNIT_BYTES;
    const consistent = length === received && this.#bodyBytes >= 0 && Number.isSafeInteger(this.nodeid);
    return consistent ? 'ok' : 'malformed';
  }

  /** The kernel sends this request again: an earlier daemon may have executed it. */
  get isResent(): boolean {
    return this.uniqueHigh >= RESEND_BIT;
  }

  /** What names the request in a reply. */
  get rawUnique(): bigint {
    return (BigInt(this.uniqueHigh) << 32n) | BigInt(this.uniqueLow);
  }

  /** What names the request however often it is sent. */
  get unique(): bigint {
    return (BigInt(this.uniqueHigh & ~RESEND_BIT) << 32n) | BigInt(this.uniqueLow);
  }

  get bodyBytes(): number {
    return this.#bodyBytes;
  }

  u32(at: number): number {
    this.#require(at, 4);
    return this.#view.getUint32(IN_HEADER_BYTES + at, true);
  }

  /** A size, an offset or an inode number: what is beyond exact arithmetic is EFBIG. */
  u64(at: number): number {
    this.#require(at, 8);
    const value =
      this.#view.getUint32(IN_HEADER_BYTES + at, true) +
      this.#view.getUint32(IN_HEADER_BYTES + at + 4, true) * TWO_TO_32;
    if (!Number.isSafeInteger(value)) throw fsError('EFBIG');
    return value;
  }

  /** Seconds of a time, which may lie before 1970. */
  i64(at: number): number {
    this.#require(at, 8);
    const value =
      this.#view.getUint32(IN_HEADER_BYTES + at, true) +
      this.#view.getInt32(IN_HEADER_BYTES + at + 4, true) * TWO_TO_32;
    if (!Number.isSafeInteger(value)) throw fsError('EINVAL', 'time out of range');
    return value;
  }

  /** A 64-bit number that is only compared or passed on. */
  bigU64(at: number): bigint {
    this.#require(at, 8);
    return this.#view.getBigUint64(IN_HEADER_BYTES + at, true);
  }

  /** The bytes up to the next NUL, which must be inside the request. What follows begins at `at + length + 1`. */
  name(at: number): Buffer {
    this.#require(at, 1);
    const start = IN_HEADER_BYTES + at;
    const end = this.buffer.indexOf(0, start);
    if (end === -1 || end >= IN_HEADER_BYTES + this.#bodyBytes) throw fsError('EINVAL', 'unterminated name');
    return this.buffer.subarray(start, end);
  }

  bytes(at: number, length: number): Buffer {
    this.#require(at, length);
    return this.buffer.subarray(IN_HEADER_BYTES + at, IN_HEADER_BYTES + at + length);
  }

  #require(at: number, length: number): void {
    if (at + length > this.#bodyBytes) throw fsError('EINVAL', 'short request');
  }
}
