import {
  deviceNumber,
  isDirectory,
  S_IFMT,
  shownIno,
  type Ino,
  type InodeAttributes,
} from '../core/index.js';
import {
  ATTR_OUT_BYTES,
  DIRENT_HEADER_BYTES,
  ENTRY_OUT_BYTES,
  OPEN_OUT_BYTES,
  OUT_HEADER_BYTES,
  STATX_MASK,
  STATX_OUT_BYTES,
  STATFS_OUT_BYTES,
} from './protocol.js';
import type { StatFs } from '../vfs/index.js';

const TWO_TO_32 = 0x1_0000_0000;

/** Entries, attributes and absences stay valid until the kernel is told otherwise (seconds). */
const FOREVER_SEC = 0x7fff_ffff;

const IO_BLOCK_BYTES = 4096;
const SECTOR_BYTES = 512;
const DIRECTORY_SHOWN_BYTES = 4096;

/** The size `stat` shows: a directory has none of its own, and some programs take 0 for "empty". */
const shownSize = (inode: InodeAttributes): number =>
  isDirectory(inode.mode) ? DIRECTORY_SHOWN_BYTES : inode.size;

const shownSectors = (inode: InodeAttributes, storedBytes: number): number =>
  Math.ceil((isDirectory(inode.mode) ? DIRECTORY_SHOWN_BYTES : storedBytes) / SECTOR_BYTES);

/**
 * One reply, encoded in place. There is one object for all replies of a session: `begin` starts the next.
 * Methods append to the payload; `finish` returns the whole as a view, valid until the next `begin`.
 */
export class Reply {
  readonly buffer: Buffer;
  readonly #view: DataView;
  #length = OUT_HEADER_BYTES;

  /** `payloadBytes`: the largest payload. */
  constructor(payloadBytes: number) {
    this.buffer = Buffer.alloc(OUT_HEADER_BYTES + payloadBytes);
    this.#view = new DataView(this.buffer.buffer, this.buffer.byteOffset, this.buffer.byteLength);
  }

  begin(uniqueLow: number, uniqueHigh: number): void {
    this.#length = OUT_HEADER_BYTES;
    this.#view.setInt32(4, 0, true);
    this.#view.setUint32(8, uniqueLow, true);
    this.#view.setUint32(12, uniqueHigh, true);
  }

  get length(): number {
    return this.#length;
  }

  get payloadBytes(): number {
    return this.#length - OUT_HEADER_BYTES;
  }

  finish(): Buffer {
    this.#view.setUint32(0, this.#length, true);
    return this.buffer.subarray(0, this.#length);
  }

  /** Drops the payload and makes it the reply of a failure. */
  error(errno: number): void {
    this.#length = OUT_HEADER_BYTES;
    this.#view.setInt32(4, -errno, true);
  }

  /** A whole reply that was stored, header included, but for the `unique` of `begin`. */
  stored(reply: Buffer): void {
    this.#view.setInt32(4, reply.readInt32LE(4), true);
    reply.copy(this.buffer, OUT_HEADER_BYTES, OUT_HEADER_BYTES);
    this.#length = reply.length;
  }

  u32(value: number): void {
    this.#view.setUint32(this.#take(4), value, true);
  }

  u16(value: number): void {
    this.#view.setUint16(this.#take(2), value, true);
  }

  u64(value: number): void {
    this.#setU64(this.#take(8), value);
  }

  zeros(length: number): void {
    const at = this.#take(length);
    this.buffer.fill(0, at, at + length);
  }

  bytes(source: Buffer): void {
    source.copy(this.buffer, this.#take(source.length));
  }

  /** Room for `length` bytes that the caller writes to `buffer` itself, at the offset returned. */
  reserve(length: number): number {
    return this.#take(length);
  }

  /** fuse_attr_out */
  attributes(inode: InodeAttributes, storedBytes: number): void {
    const at = this.#take(ATTR_OUT_BYTES);
    this.#setU64(at, FOREVER_SEC);
    this.#setU64(at + 8, 0);
    this.#attr(at + 16, inode, storedBytes);
  }

  /** fuse_entry_out */
  entry(inode: InodeAttributes, storedBytes: number): void {
    this.#entry(this.#take(ENTRY_OUT_BYTES), inode, storedBytes);
  }

  /** fuse_entry_out for a name that is not there, which the kernel then remembers. */
  absentEntry(): void {
    const at = this.#take(ENTRY_OUT_BYTES);
    this.buffer.fill(0, at, at + ENTRY_OUT_BYTES);
    this.#setU64(at + 16, FOREVER_SEC);
  }

  /** fuse_open_out without a file handle and flags */
  opened(): void {
    this.zeros(OPEN_OUT_BYTES);
  }

  /** fuse_statx_out */
  statx(inode: InodeAttributes, storedBytes: number): void {
    const view = this.#view;
    const at = this.#take(STATX_OUT_BYTES);
    this.buffer.fill(0, at, at + STATX_OUT_BYTES);
    this.#setU64(at, FOREVER_SEC);
    const stat = at + 32;
    view.setUint32(stat, STATX_MASK, true);
    view.setUint32(stat + 4, IO_BLOCK_BYTES, true);
    view.setUint32(stat + 16, inode.nlink, true);
    view.setUint32(stat + 20, inode.uid, true);
    view.setUint32(stat + 24, inode.gid, true);
    view.setUint16(stat + 28, inode.mode, true);
    this.#setU64(stat + 32, shownIno(inode));
    this.#setU64(stat + 40, shownSize(inode));
    this.#setU64(stat + 48, shownSectors(inode, storedBytes));
    this.#statxTime(stat + 64, inode.atimeSec ?? inode.mtimeSec, inode.atimeNsec ?? inode.mtimeNsec);
    this.#statxTime(stat + 80, inode.btimeSec, inode.btimeNsec);
    this.#statxTime(stat + 96, inode.ctimeSec, inode.ctimeNsec);
    this.#statxTime(stat + 112, inode.mtimeSec, inode.mtimeNsec);
    const device = deviceNumber(inode);
    view.setUint32(stat + 128, (device & 0xfff00) >>> 8, true);
    view.setUint32(stat + 132, (device & 0xff) | ((device >>> 12) & 0xfff00), true);
  }

  /** fuse_statfs_out */
  statfs(stat: StatFs, nameMaxBytes: number): void {
    const at = this.#take(STATFS_OUT_BYTES);
    this.buffer.fill(0, at, at + STATFS_OUT_BYTES);
    this.#setU64(at, stat.blocks);
    this.#setU64(at + 8, stat.blocksFree);
    this.#setU64(at + 16, stat.blocksAvailable);
    this.#setU64(at + 24, stat.files);
    this.#setU64(at + 32, stat.filesFree);
    this.#view.setUint32(at + 40, stat.blockBytes, true);
    this.#view.setUint32(at + 44, nameMaxBytes, true);
    this.#view.setUint32(at + 48, stat.blockBytes, true);
  }

  /** fuse_dirent with the number that programs see; false, and nothing appended, when the payload would exceed `maxPayloadBytes`. */
  directoryEntry(maxPayloadBytes: number, cookie: number, name: Buffer, ino: Ino, mode: number): boolean {
    const bytes = recordBytes(DIRENT_HEADER_BYTES + name.length);
    if (this.payloadBytes + bytes > maxPayloadBytes) return false;
    this.#dirent(this.#take(bytes), cookie, name, ino, mode);
    return true;
  }

  /** fuse_direntplus; `inode` undefined for `.` and `..`, which the kernel looks up by other means. */
  directoryEntryPlus(
    maxPayloadBytes: number,
    cookie: number,
    name: Buffer,
    ino: Ino,
    mode: number,
    inode: InodeAttributes | undefined,
    storedBytes: number,
  ): boolean {
    const bytes = recordBytes(ENTRY_OUT_BYTES + DIRENT_HEADER_BYTES + name.length);
    if (this.payloadBytes + bytes > maxPayloadBytes) return false;
    const at = this.#take(bytes);
    if (inode === undefined) this.buffer.fill(0, at, at + ENTRY_OUT_BYTES);
    else this.#entry(at, inode, storedBytes);
    this.#dirent(at + ENTRY_OUT_BYTES, cookie, name, inode === undefined ? ino : shownIno(inode), mode);
    return true;
  }

  #take(length: number): number {
    const at = this.#length;
    if (at + length > this.buffer.length) throw new RangeError(`a reply of ${String(at + length)} bytes`);
    this.#length = at + length;
    return at;
  }

  #setU64(at: number, value: number): void {
    this.#view.setUint32(at, value % TWO_TO_32, true);
    this.#view.setUint32(at + 4, Math.floor(value / TWO_TO_32), true);
  }

  #entry(at: number, inode: InodeAttributes, storedBytes: number): void {
    this.#setU64(at, inode.ino);
    this.#setU64(at + 8, 0);
    this.#setU64(at + 16, FOREVER_SEC);
    this.#setU64(at + 24, FOREVER_SEC);
    this.#setU64(at + 32, 0);
    this.#attr(at + 40, inode, storedBytes);
  }

  /** fuse_attr */
  #attr(at: number, inode: InodeAttributes, storedBytes: number): void {
    const view = this.#view;
    this.#setU64(at, shownIno(inode));
    this.#setU64(at + 8, shownSize(inode));
    this.#setU64(at + 16, shownSectors(inode, storedBytes));
    this.#setU64(at + 24, inode.atimeSec ?? inode.mtimeSec);
    this.#setU64(at + 32, inode.mtimeSec);
    this.#setU64(at + 40, inode.ctimeSec);
    view.setUint32(at + 48, inode.atimeNsec ?? inode.mtimeNsec, true);
    view.setUint32(at + 52, inode.mtimeNsec, true);
    view.setUint32(at + 56, inode.ctimeNsec, true);
    view.setUint32(at + 60, inode.mode, true);
    view.setUint32(at + 64, inode.nlink, true);
    view.setUint32(at + 68, inode.uid, true);
    view.setUint32(at + 72, inode.gid, true);
    view.setUint32(at + 76, deviceNumber(inode), true);
    view.setUint32(at + 80, IO_BLOCK_BYTES, true);
    view.setUint32(at + 84, 0, true);
  }

  #statxTime(at: number, sec: number, nsec: number): void {
    this.#setU64(at, sec);
    this.#view.setUint32(at + 8, nsec, true);
  }

  #dirent(at: number, cookie: number, name: Buffer, ino: Ino, mode: number): void {
    this.#setU64(at, ino);
    this.#setU64(at + 8, cookie);
    this.#view.setUint32(at + 16, name.length, true);
    this.#view.setUint32(at + 20, (mode & S_IFMT) >>> 12, true);
    const end = at + DIRENT_HEADER_BYTES + name.length;
    name.copy(this.buffer, at + DIRENT_HEADER_BYTES);
    this.buffer.fill(0, end, at + recordBytes(DIRENT_HEADER_BYTES + name.length));
  }
}

/** FUSE_REC_ALIGN: records of a listing begin at multiples of 8. ENTRY_OUT_BYTES is one. */
function recordBytes(length: number): number {
  return (length + 7) & ~7;
}
