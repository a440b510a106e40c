import fs from 'node:fs';
import path from 'node:path';
import { LRUCache } from 'lru-cache';
import { FsError, fsError, systemCode, type Ino } from '../core/index.js';
import { beginWriteback, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, fallocate } from '../posix/index.js';
import { freeBytes } from './reserve.js';

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

/** What `stat` counts in. */
const STAT_BLOCK_BYTES = 512;

/** So much freed space, in so many steps, may wait to be given back: that takes a sync. Whoever frees much at once looks for it. */
const FREED_BYTES_MAX = 64 * 1024 * 1024;
const FREED_STEPS_MAX = 1024;
const FREED_AT_ONCE_MAX_BYTES = 4 * 1024 * 1024;

/** What the layer's rows refer to, when the data is opened. */
export interface ReferredData {
  /** By segment, as the extents of the layer add up. */
  liveBytes: Iterable<[segment: number, bytes: number]>;
  hasOwnFile: (ino: Ino) => boolean;
}

/** Space that nothing refers to any more. */
class FreedSpace {
  segments = new Set<number>();
  truncated = new Map<Ino, number>();
  punched: { ino: Ino; offset: number; length: number }[] = [];
  removed = new Set<Ino>();
  /** Estimated from above; and of the largest operation. */
  bytes = 0;
  bytesAtOnce = 0;

  get steps(): number {
    return this.segments.size + this.truncated.size + this.punched.length + this.removed.size;
  }

  /** [offset, end) of an own file is referred to again. */
  keep(ino: Ino, offset: number, end: number): void {
    const size = this.truncated.get(ino);
    if (size !== undefined && size < end) this.truncated.set(ino, end);
    if (this.punched.length === 0) return;
    this.punched = this.punched.filter(
      (punch) => punch.ino !== ino || punch.offset >= end || punch.offset + punch.length <= offset,
    );
  }
}

/**
 * The data of one layer: append-only log segments `log-<n>`, where new small files stand together (a file of its own for each
 * would cost as much as the local disk's own create), and sparse files `data/<ino>` for what is large or rewritten in place.
 *
 * A crash leaves at worst bytes that no extent refers to, and power loss extents whose bytes are not there: those are zeros. Therefore:
 *
 * - Space is given back by `reclaim`, when what dropped the last reference is on the disk: after power loss the rows may be those of before.
 *   Until then it waits: the layer calls `settle` with each commit, `forgetPending` on rollback, and `reclaim` soon when it `shouldReclaim`.
 * - A segment is only ever appended to by the process that began it: extents that survived may refer to bytes behind its end.
 */
export class DataStore {
  readonly #dir: string;
  readonly #writable: boolean;
  readonly #fds: LRUCache<string, number>;
  /** Live bytes by segment: what extents refer to. */
  readonly #liveBytes = new Map<number, number>();
  #segment: number;
  #segmentEnd = 0;
  /** Appended since the last commit: dead bytes if it is rolled back. */
  #pendingAppend: { segment: number; bytes: number }[] = [];
  #pendingRelease: { segment: number; bytes: number }[] = [];
  #pendingTruncate: { ino: Ino; size: number }[] = [];
  #pendingPunch: { ino: Ino; offset: number; length: number }[] = [];
  #pendingRemove: Ino[] = [];
  /** By commits that may not be on the disk yet. */
  #freed = new FreedSpace();
  #writtenSinceCheck = SPACE_CHECK_BYTES;
  /** Puts all that is committed on the disk, then calls `reclaim`. */
  readonly #makeDurable: () => void;

  constructor(dir: string, writable: boolean, referred: ReferredData, makeDurable: () => void) {
    this.#dir = dir;
    this.#writable = writable;
    this.#makeDurable = makeDurable;
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
    for (const [segment, bytes] of referred.liveBytes) this.#liveBytes.set(segment, bytes);
    this.#segment = Math.max(-1, ...this.#liveBytes.keys()) + 1;
    if (!writable) return;
    for (const segment of segments) this.#freeIfDead(segment);
    for (const ino of fs.readdirSync(path.join(dir, 'data')).map(Number)) {
      if (referred.hasOwnFile(ino)) continue;
      this.#freed.removed.add(ino);
      this.#freed.bytes += fs.statSync(this.ownFilePath(ino)).blocks * STAT_BLOCK_BYTES;
    }
  }

  /** Appends to the log. Throws ENOSPC when the disk has only the reserve left; what else the disk says are Node's own errors. */
  append(data: Buffer): { segment: number; position: number } {
    if (this.#segmentEnd > 0 && this.#segmentEnd + data.length > SEGMENT_BYTES) {
      const full = this.#segment;
      this.#segment += 1;
      this.#segmentEnd = 0;
      this.#freeIfDead(full);
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
    this.#freed.keep(ino, offset, end);
    // What was cut off before, in the same transaction, has data again.
    for (const pending of this.#pendingTruncate) {
      if (pending.ino === ino) pending.size = Math.max(pending.size, end);
    }
    if (this.#pendingPunch.length > 0) {
      this.#pendingPunch = this.#pendingPunch.filter(
        (punch) => punch.ino !== ino || punch.offset >= end || punch.offset + punch.length <= offset,
      );
    }
  }

  /** Begins an own file: whatever an aborted earlier attempt left is dropped. */
  createOwnFile(ino: Ino): void {
    this.#freed.removed.delete(ino);
    fs.ftruncateSync(this.#fd(this.ownFilePath(ino)), 0);
  }

  /** Fills `target` from an extent's segment. Bytes beyond the end of the file are zeros: a hole at the end, or what power loss took. */
  read(ino: Ino, segment: number, position: number, target: Buffer): void {
    const fd = this.#fdIfThere(this.pathOf(ino, segment));
    let done = 0;
    while (fd !== undefined && done < target.length) {
      const count = fs.readSync(fd, target, done, target.length - done, position + done);
      if (count === 0) break;
      done += count;
    }
    target.fill(0, done);
  }

  /** Once committed: `bytes` of a segment or an own file are not referred to any more. */
  release(segment: number, bytes: number): void {
    if (segment !== ZEROS) this.#pendingRelease.push({ segment, bytes });
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

  /** What was freed since the last commit is committed, and waits for `reclaim`. */
  settle(): void {
    if (this.#pendingAppend.length > 0) this.#pendingAppend = [];
    if (this.#pendingRelease.length > 0) this.#settleReleased();
    for (const { ino, size } of this.#pendingTruncate) {
      this.#freed.truncated.set(ino, Math.min(size, this.#freed.truncated.get(ino) ?? size));
    }
    this.#freed.punched.push(...this.#pendingPunch);
    for (const ino of this.#pendingRemove) {
      this.#freed.removed.add(ino);
      this.#freed.truncated.delete(ino);
    }
    if (this.#pendingTruncate.length > 0) this.#pendingTruncate = [];
    if (this.#pendingPunch.length > 0) this.#pendingPunch = [];
    if (this.#pendingRemove.length > 0) this.#pendingRemove = [];
  }

  get shouldReclaim(): boolean {
    const { bytes, steps, bytesAtOnce } = this.#freed;
    if (steps === 0) return false;
    return bytes >= FREED_BYTES_MAX || steps >= FREED_STEPS_MAX || bytesAtOnce >= FREED_AT_ONCE_MAX_BYTES;
  }

  get hasFreed(): boolean {
    return this.#freed.steps > 0;
  }

  /** Gives back what was freed. All commits are on the disk. */
  reclaim(): void {
    const { segments, truncated, punched, removed } = this.#freed;
    this.#freed = new FreedSpace();
    for (const segment of segments) this.#removeFile(this.#segmentPath(segment));
    for (const ino of removed) this.#removeFile(this.ownFilePath(ino));
    for (const [ino, size] of truncated) {
      const fd = this.#fd(this.ownFilePath(ino));
      if (fs.fstatSync(fd).size > size) fs.ftruncateSync(fd, size);
    }
    for (const { ino, offset, length } of punched) {
      if (removed.has(ino)) continue;
      try {
        const fd = this.#fd(this.ownFilePath(ino));
        fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
      } catch (error) {
        // A file system that cannot make holes keeps the space.
        if (!(error instanceof FsError)) throw error;
      }
    }
  }

  forgetPending(): void {
    this.#pendingRelease = this.#pendingAppend;
    this.#pendingAppend = [];
    this.#settleReleased();
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
        if (stats?.isFile() === true) bytes += stats.blocks * STAT_BLOCK_BYTES;
      }
    }
    return bytes;
  }

  close(): void {
    this.#fds.clear();
  }

  #settleReleased(): void {
    let total = 0;
    for (const { segment, bytes } of this.#pendingRelease) {
      total += bytes;
      if (segment < 0) continue;
      this.#liveBytes.set(segment, (this.#liveBytes.get(segment) ?? 0) - bytes);
      this.#freeIfDead(segment);
    }
    this.#freed.bytes += total;
    this.#freed.bytesAtOnce = Math.max(this.#freed.bytesAtOnce, total);
    this.#pendingRelease = [];
  }

  /** The segment that is being written stays: its number must not be used twice. */
  #freeIfDead(segment: number): void {
    if (segment === this.#segment || (this.#liveBytes.get(segment) ?? 0) > 0) return;
    this.#freed.segments.add(segment);
    this.#liveBytes.delete(segment);
  }

  #removeFile(file: string): void {
    this.#fds.delete(file);
    fs.rmSync(file, { force: true });
  }

  #segmentPath(segment: number): string {
    return path.join(this.#dir, `log-${String(segment)}`);
  }

  /** Undefined for a file of a sealed layer that power loss took. */
  #fdIfThere(file: string): number | undefined {
    try {
      return this.#fd(file);
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  #fd(file: string): number {
    const open = this.#fds.get(file);
    if (open !== undefined) return open;
    const fd = this.#openFile(file);
    this.#fds.set(file, fd);
    return fd;
  }

  #openFile(file: string): number {
    const flags = this.#writable ? fs.constants.O_RDWR | fs.constants.O_CREAT : fs.constants.O_RDONLY;
    try {
      return fs.openSync(file, flags, 0o600);
    } catch (error) {
      if (systemCode(error) !== 'EMFILE') throw error;
      // The process has no descriptor left: these are only kept to spare the opening.
      this.#fds.clear();
      return fs.openSync(file, flags, 0o600);
    }
  }

  #checkSpace(): void {
    if (!this.#hasSpace()) {
      if (this.hasFreed) this.#makeDurable();
      if (!this.#hasSpace()) throw fsError('ENOSPC');
    }
    this.#writtenSinceCheck = 0;
  }

  #hasSpace(): boolean {
    return freeBytes(this.#dir) >= RESERVED_BYTES;
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
