import fs from 'node:fs';
import path from 'node:path';
import { LRUCache } from 'lru-cache';
import { FsError, fsError, type Ino } from '../core/index.js';
import { beginWriteback, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, fallocate } from '../posix/index.js';

/** `segment` of an extent whose bytes are in the inode's own sparse file, at the same offset as in the file itself. */
export const OWN_FILE = -1;
/** `segment` of an extent of zeros, which hides what is below it. */
export const ZEROS = -2;

/** Small files share log segments of this size; a segment without live bytes is deleted. */
const SEGMENT_BYTES = 64 * 1024 * 1024;
const OPEN_FILES_MAX = 128;

/** Whoever writes a large file goes on while the disk takes what is there: the fsync at its end finds most of it done. */
const WRITEBACK_STRETCH_BYTES = 8 * 1024 * 1024;

/** Left to the metadata when data fills the disk: without it a full disk could not even be emptied, for a removal is a commit too. */
const RESERVED_BYTES = 8 * 1024 * 1024;
/** How much is written between two looks at the free space. */
const SPACE_CHECK_BYTES = 1024 * 1024;

/**
 * The data of one layer: append-only log segments `log-<n>`, where new small files stand together (a file of its own for each
 * would cost as much as the local disk's own create), and sparse files `data/<ino>` for what is large or rewritten in place.
 *
 * A crash leaves at worst bytes that no extent refers to. Space is therefore given back only after the transaction that dropped the
 * last reference has committed: the layer collects those steps and calls `settle`, or `forgetPending` on rollback.
 */
export class DataStore {
  readonly #dir: string;
  readonly #writable: boolean;
  readonly #fds: LRUCache<string, number>;
  /** Live bytes by segment: what extents refer to. */
  readonly #liveBytes = new Map<number, number>();
  #segment: number;
  #segmentEnd: number;
  /** Appended since the last commit: dead bytes if it is rolled back. */
  #pendingAppend: { segment: number; bytes: number }[] = [];
  #pendingRelease: { segment: number; bytes: number }[] = [];
  #pendingTruncate: { ino: Ino; size: number }[] = [];
  #pendingPunch: { ino: Ino; offset: number; length: number }[] = [];
  #pendingRemove: Ino[] = [];
  #writtenSinceCheck = SPACE_CHECK_BYTES;

  /** `liveBytes`: by segment, as the extents of the layer add up. */
  constructor(dir: string, writable: boolean, liveBytes: Iterable<[number, number]>) {
    this.#dir = dir;
    this.#writable = writable;
    this.#fds = new LRUCache({
      max: OPEN_FILES_MAX,
      dispose: (fd) => {
        fs.closeSync(fd);
      },
    });
    if (writable) fs.mkdirSync(path.join(dir, 'data'), { recursive: true });
    const segments = fs
      .readdirSync(dir)
      .map((name) => /^log-(\d+)$/.exec(name)?.[1])
      .filter((digits) => digits !== undefined)
      .map(Number);
    for (const segment of segments) this.#liveBytes.set(segment, 0);
    for (const [segment, bytes] of liveBytes) if (segment >= 0) this.#liveBytes.set(segment, bytes);
    this.#segment = Math.max(0, ...segments);
    this.#segmentEnd = segments.length === 0 ? 0 : fs.statSync(this.#segmentPath(this.#segment)).size;
    if (writable) for (const segment of segments) this.#deleteIfDead(segment);
  }

  /** Appends to the log. Throws ENOSPC when the disk has only the reserve left; what else the disk says are Node's own errors. */
  append(data: Buffer): { segment: number; position: number } {
    if (this.#segmentEnd > 0 && this.#segmentEnd + data.length > SEGMENT_BYTES) {
      const full = this.#segment;
      this.#segment += 1;
      this.#segmentEnd = 0;
      this.#deleteIfDead(full);
    }
    const segment = this.#segment;
    const position = this.#segmentEnd;
    this.#writeAll(this.#fd(this.#segmentPath(segment)), data, position);
    this.#segmentEnd += data.length;
    this.#liveBytes.set(segment, (this.#liveBytes.get(segment) ?? 0) + data.length);
    this.#pendingAppend.push({ segment, bytes: data.length });
    return { segment, position };
  }

  writeOwnFile(ino: Ino, offset: number, data: Buffer): void {
    const fd = this.#fd(this.ownFilePath(ino));
    this.#writeAll(fd, data, offset);
    const end = offset + data.length;
    const stretchEnd = end - (end % WRITEBACK_STRETCH_BYTES);
    if (offset < stretchEnd)
      beginWriteback(fd, stretchEnd - WRITEBACK_STRETCH_BYTES, WRITEBACK_STRETCH_BYTES);
    // What was cut off before, in the same transaction, has data again.
    for (const pending of this.#pendingTruncate) {
      if (pending.ino === ino) pending.size = Math.max(pending.size, offset + data.length);
    }
    if (this.#pendingPunch.length > 0) {
      this.#pendingPunch = this.#pendingPunch.filter(
        (punch) => punch.ino !== ino || punch.offset >= end || punch.offset + punch.length <= offset,
      );
    }
  }

  /** Begins an own file: whatever an aborted earlier attempt left is dropped. */
  createOwnFile(ino: Ino): void {
    fs.ftruncateSync(this.#fd(this.ownFilePath(ino)), 0);
  }

  /** Fills `target` from an extent's segment. Bytes beyond the end of the file are zeros: a hole at the end. */
  read(ino: Ino, segment: number, position: number, target: Buffer): void {
    const file = segment === OWN_FILE ? this.ownFilePath(ino) : this.#segmentPath(segment);
    const fd = this.#fd(file);
    let done = 0;
    while (done < target.length) {
      const count = fs.readSync(fd, target, done, target.length - done, position + done);
      if (count === 0) break;
      done += count;
    }
    target.fill(0, done);
  }

  /** Once committed: `bytes` of a segment are not referred to any more. */
  release(segment: number, bytes: number): void {
    if (segment >= 0) this.#pendingRelease.push({ segment, bytes });
  }

  /** Once committed: the own file needs no more than `size` bytes. */
  truncateOwnFile(ino: Ino, size: number): void {
    this.#pendingTruncate.push({ ino, size });
  }

  /** Once committed: the own file's bytes in the range are not needed. */
  punchOwnFile(ino: Ino, offset: number, length: number): void {
    this.#pendingPunch.push({ ino, offset, length });
  }

  /** Once committed: the own file is not needed. */
  removeOwnFile(ino: Ino): void {
    this.#pendingRemove.push(ino);
  }

  settle(): void {
    if (this.#pendingAppend.length > 0) this.#pendingAppend = [];
    if (this.#pendingRelease.length > 0) this.#settleSegments();
    for (const { ino, size } of this.#pendingTruncate) {
      const fd = this.#fd(this.ownFilePath(ino));
      if (fs.fstatSync(fd).size > size) fs.ftruncateSync(fd, size);
    }
    for (const { ino, offset, length } of this.#pendingPunch) {
      try {
        const fd = this.#fd(this.ownFilePath(ino));
        fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
      } catch (error) {
        // A file system that cannot make holes keeps the space.
        if (!(error instanceof FsError)) throw error;
      }
    }
    for (const ino of this.#pendingRemove) {
      this.#fds.delete(this.ownFilePath(ino));
      fs.rmSync(this.ownFilePath(ino), { force: true });
    }
    if (this.#pendingTruncate.length > 0) this.#pendingTruncate = [];
    if (this.#pendingPunch.length > 0) this.#pendingPunch = [];
    if (this.#pendingRemove.length > 0) this.#pendingRemove = [];
  }

  forgetPending(): void {
    this.#pendingRelease = this.#pendingAppend;
    this.#pendingAppend = [];
    this.#settleSegments();
    this.#pendingTruncate = [];
    this.#pendingPunch = [];
    this.#pendingRemove = [];
  }

  ownFilePath(ino: Ino): string {
    return path.join(this.#dir, 'data', String(ino));
  }

  /** The file an extent's bytes are in, for fdatasync. */
  pathOf(ino: Ino, segment: number): string {
    return segment === OWN_FILE ? this.ownFilePath(ino) : this.#segmentPath(segment);
  }

  /** Allocated bytes of everything in the layer's folder. */
  diskBytes(): number {
    let bytes = 0;
    for (const folder of [this.#dir, path.join(this.#dir, 'data')]) {
      for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
        const stats = fs.statSync(path.join(folder, entry.name), { throwIfNoEntry: false });
        if (stats?.isFile() === true) bytes += stats.blocks * 512;
      }
    }
    return bytes;
  }

  close(): void {
    this.#fds.clear();
  }

  #settleSegments(): void {
    for (const { segment, bytes } of this.#pendingRelease) {
      this.#liveBytes.set(segment, (this.#liveBytes.get(segment) ?? 0) - bytes);
      this.#deleteIfDead(segment);
    }
    this.#pendingRelease = [];
  }

  /** The segment that is being written stays: its number must not be used twice. */
  #deleteIfDead(segment: number): void {
    if (segment === this.#segment || (this.#liveBytes.get(segment) ?? 0) > 0) return;
    this.#fds.delete(this.#segmentPath(segment));
    fs.rmSync(this.#segmentPath(segment), { force: true });
    this.#liveBytes.delete(segment);
  }

  #segmentPath(segment: number): string {
    return path.join(this.#dir, `log-${String(segment)}`);
  }

  #fd(file: string): number {
    const open = this.#fds.get(file);
    if (open !== undefined) return open;
    const flags = this.#writable ? fs.constants.O_RDWR | fs.constants.O_CREAT : fs.constants.O_RDONLY;
    const fd = fs.openSync(file, flags, 0o600);
    this.#fds.set(file, fd);
    return fd;
  }

  #checkSpace(): void {
    const disk = fs.statfsSync(this.#dir);
    if (disk.bavail * disk.bsize < RESERVED_BYTES) throw fsError('ENOSPC');
    this.#writtenSinceCheck = 0;
  }

  #writeAll(fd: number, data: Buffer, position: number): void {
    this.#writtenSinceCheck += data.length;
    if (this.#writtenSinceCheck >= SPACE_CHECK_BYTES) this.#checkSpace();
    let done = 0;
    while (done < data.length) {
      done += fs.writeSync(fd, data, done, data.length - done, position + done);
    }
  }
}
