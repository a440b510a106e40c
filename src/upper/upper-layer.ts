import fs from 'node:fs';
import path from 'node:path';
import type { Ino } from '../core/index.js';
import { PACKED_FILE_MAX_BYTES } from '../core/index.js';
import type { DentryRow, XattrRow } from '../manifest/index.js';
import { DataStore, OWN_FILE, ZEROS } from './data-store.js';
import {
  openingError,
  type LayerDentry,
  type LayerExtent,
  type LayerInode,
  type LayerState,
} from './layer-database.js';
import { LayerRows } from './layer-rows.js';

/**
 * One layer. What was changed becomes lasting by `commit`, or is taken back by `rollback`. A commit survives the process when it returns, and power
 * loss once `filesToSync` were synced.
 * An inode that was returned or put is not to be changed: a change is made in a copy, which is put.
 */
export class UpperLayer {
  readonly dir: string;
  readonly #rows: LayerRows;
  readonly #data: DataStore;

  private constructor(dir: string, rows: LayerRows, writable: boolean) {
    this.dir = dir;
    this.#rows = rows;
    const referred = {
      liveBytes: rows.liveBytes(),
      hasOwnFile: (ino: Ino) => rows.inode(ino)?.ownFile === 1,
    };
    this.#data = new DataStore(dir, writable, referred, () => {
      this.#tryReclaim();
    });
  }

  /** Makes an empty layer; inode numbers and cookies below the given ones are taken. */
  static create(dir: string, state: LayerState): void {
    fs.rmSync(dir, { recursive: true, force: true });
    fs.mkdirSync(dir, { recursive: true, mode: 0o700 });
    LayerRows.create(dir, state);
  }

  /** Opens a layer; `writable` false for a sealed one, or for a second look at the active one, which its owner has folded. `makeRoom`
   * is called when there is no space to fold, and says whether there is more now. */
  static open(dir: string, writable: boolean, makeRoom?: () => boolean): UpperLayer {
    let rows: LayerRows | undefined;
    try {
      rows = LayerRows.open(dir, writable, makeRoom);
      return new UpperLayer(dir, rows, writable);
    } catch (error) {
      rows?.close();
      throw openingError(dir, error);
    }
  }

  /** Makes a layer whole that a dead process left behind. Nobody may have it open. */
  static recover(dir: string): void {
    try {
      LayerRows.recover(dir);
    } catch (error) {
      throw openingError(dir, error);
    }
  }

  get nextIno(): Ino {
    return this.#rows.state.nextIno;
  }

  get nextCookie(): number {
    return this.#rows.state.nextCookie;
  }

  allocateIno(): Ino {
    return this.#rows.allocateIno();
  }

  allocateCookie(): number {
    return this.#rows.allocateCookie();
  }

  commit(unique: string, reply: Buffer): void {
    this.#rows.commit(unique, reply);
    this.#data.settle();
    if (this.#data.shouldReclaim || (this.#rows.isDurable && this.#data.hasFreed)) this.#tryReclaim();
  }

  rollback(): void {
    try {
      this.#rows.rollback();
    } finally {
      this.#data.forgetPending();
    }
  }

  /** Commits all there is to the database: others see it, and the layer can be sealed. Between operations only. */
  fold(): void {
    this.#rows.fold();
  }

  /** Folds, and gives space that is not needed back to the disk. */
  compact(): void {
    this.#rows.compact();
  }

  /** Ends the writing: the layer is sealed. */
  freeze(): void {
    this.#rows.freeze();
  }

  /** The last committed change's `unique` and reply. */
  last(): Pick<LayerState, 'lastUnique' | 'lastReply'> {
    const { lastUnique, lastReply } = this.#rows.state;
    return { lastUnique, lastReply };
  }

  inode(ino: Ino): LayerInode | undefined {
    return this.#rows.inode(ino);
  }

  inodes(): IterableIterator<LayerInode> {
    return this.#rows.inodes();
  }

  dentry(parent: Ino, name: Buffer): DentryRow | undefined {
    return this.#rows.dentry(parent, name);
  }

  dentries(): IterableIterator<LayerDentry> {
    return this.#rows.dentries();
  }

  /** True when the layer changes the entries of any directory. */
  hasDentries(): boolean {
    return this.#rows.hasDentries();
  }

  /** True when the layer changes anything in the directory itself. */
  hasDentriesIn(parent: Ino): boolean {
    return this.#rows.hasDentriesIn(parent);
  }

  /** Live entries with cookies above `afterCookie`, in cookie order. */
  list(parent: Ino, afterCookie: number, limit: number): DentryRow[] {
    return this.#rows.list(parent, afterCookie, limit);
  }

  namesOf(ino: Ino): { parent: Ino; name: Buffer }[] {
    return this.#rows.namesOf(ino);
  }

  symlink(ino: Ino): Buffer | undefined {
    return this.#rows.symlink(ino);
  }

  xattrs(ino: Ino): XattrRow[] {
    return this.#rows.xattrs(ino);
  }

  xattr(ino: Ino, name: Buffer): Buffer | undefined {
    return this.#rows.xattr(ino, name);
  }

  /** Inodes without a name: removed, and perhaps still open. */
  unlinkedInos(): Ino[] {
    return this.#rows.unlinkedInos();
  }

  /** Extents that overlap [offset, offset + length), in order, whole. */
  extents(ino: Ino, offset: number, length: number): readonly LayerExtent[] {
    return this.#rows.extents(ino, offset, length);
  }

  /** Fills `target` with an extent's bytes from `offset` of the file on. */
  readExtent(ino: Ino, extent: LayerExtent, offset: number, target: Buffer): void {
    if (extent.segment === ZEROS) target.fill(0);
    else this.#data.read(ino, extent.segment, extent.position + (offset - extent.offset), target);
  }

  putInode(inode: LayerInode): void {
    this.#rows.putInode(inode);
  }

  /** Removes an inode this layer created, with all that belongs to it. */
  deleteInode(inode: LayerInode): void {
    const { ino } = inode;
    for (const extent of this.extents(ino, 0, Number.MAX_SAFE_INTEGER)) {
      this.#data.release(extent.segment, extent.length);
      this.#rows.deleteExtent(ino, extent.offset);
    }
    if (inode.ownFile === 1) this.#data.removeOwnFile(ino);
    this.#rows.deleteSymlink(ino);
    for (const { name } of this.#rows.xattrs(ino)) this.#rows.deleteXattr(ino, name);
    this.#rows.deleteInode(ino);
  }

  /** Forgets the rows of inodes, which have nothing here but attributes: what is below shows again. Between operations only. */
  forgetAttributes(inos: readonly Ino[]): void {
    if (inos.length === 0) return;
    for (const ino of inos) this.#rows.deleteInode(ino);
    const { lastUnique, lastReply } = this.last();
    this.commit(lastUnique, lastReply);
  }

  putDentry(parent: Ino, name: Buffer, cookie: number, ino: Ino): void {
    this.#rows.putDentry(parent, name, cookie, ino);
  }

  deleteDentry(parent: Ino, name: Buffer): void {
    this.#rows.deleteDentry(parent, name);
  }

  setSymlink(ino: Ino, target: Buffer): void {
    this.#rows.putSymlink(ino, target);
  }

  putXattr(ino: Ino, name: Buffer, value: Buffer): void {
    this.#rows.putXattr(ino, name, value);
  }

  deleteXattr(ino: Ino, name: Buffer): void {
    this.#rows.deleteXattr(ino, name);
  }

  /**
   * Takes data into the layer. Changes `inode.ownFile` (never its size); the caller puts the inode. Small files written once go
   * to the log, everything else to a file of its own: the log would keep what a rewrite replaced. What is in the log stays there: it may have
   * been synced, and a copy would not be.
   */
  writeData(inode: LayerInode, offset: number, data: Buffer): void {
    const end = offset + data.length;
    if (inode.ownFile === 0) {
      const overlapped = this.extents(inode.ino, offset, data.length).some((extent) => extent.segment >= 0);
      if (end <= PACKED_FILE_MAX_BYTES && !overlapped) {
        this.#dropExtents(inode, offset, data.length);
        const { segment, position } = this.#data.append(data);
        this.#rows.putExtent(inode.ino, { offset, length: data.length, segment, position });
        return;
      }
      this.#data.createOwnFile(inode.ino);
      inode.ownFile = 1;
    }
    this.#data.writeOwnFile(inode.ino, offset, data);
    this.#coverOwnFile(inode, offset, end);
  }

  /** Drops data at and beyond `size`. Changes `inode.belowLimit`. */
  truncateData(inode: LayerInode, size: number): void {
    this.#dropExtents(inode, size, Number.MAX_SAFE_INTEGER - size);
    if (inode.belowLimit > size) inode.belowLimit = size;
    if (inode.ownFile === 1) this.#data.truncateOwnFile(inode.ino, size);
  }

  /** Makes [offset, offset + length) read as zeros. */
  zeroData(inode: LayerInode, offset: number, length: number): void {
    this.#dropExtents(inode, offset, length);
    if (inode.ownFile === 1) this.#data.punchOwnFile(inode.ino, offset, length);
    const hidden = Math.min(offset + length, inode.belowLimit) - offset;
    if (hidden > 0) this.#rows.putExtent(inode.ino, { offset, length: hidden, segment: ZEROS, position: 0 });
  }

  /** What fdatasync must cover for an inode's data and all metadata to survive power loss. */
  filesToSync(ino: Ino): string[] {
    const segments = this.#rows.segmentsOf(ino);
    const files = segments
      .filter((segment) => segment !== ZEROS)
      .map((segment) => this.#data.pathOf(ino, segment));
    if (segments.includes(OWN_FILE)) files.push(path.join(this.dir, 'data'));
    return [...files, ...this.#rows.filesToSync, this.dir];
  }

  /** What the layer takes on the disk. */
  diskBytes(): number {
    return this.#data.diskBytes();
  }

  close(): void {
    if (this.#data.hasFreed) this.#tryReclaim();
    this.#data.close();
    this.#rows.close();
  }

  /** Gives back what committed operations have freed. */
  #tryReclaim(): void {
    try {
      this.#rows.sync();
      this.#data.reclaim();
    } catch {
      // The operation is committed all the same; what was freed waits for the next attempt, or is found when the layer is opened.
    }
  }

  /** Records that the own file holds [offset, end), as one extent with those it touches. */
  #coverOwnFile(inode: LayerInode, offset: number, end: number): void {
    let from = offset;
    let to = end;
    // One byte more on each side finds the neighbours that become part of the same extent.
    const reach = Math.max(0, offset - 1);
    const touched = this.extents(inode.ino, reach, end + 1 - reach);
    const holds = (extent: LayerExtent): boolean =>
      extent.offset <= offset && extent.offset + extent.length >= end;
    if (touched.some((extent) => extent.segment === OWN_FILE && holds(extent))) return;
    for (const extent of touched) {
      if (extent.segment === OWN_FILE) {
        from = Math.min(from, extent.offset);
        to = Math.max(to, extent.offset + extent.length);
        this.#rows.deleteExtent(inode.ino, extent.offset);
      } else {
        this.#cut(inode.ino, extent, offset, end);
      }
    }
    this.#rows.putExtent(inode.ino, { offset: from, length: to - from, segment: OWN_FILE, position: from });
  }

  #dropExtents(inode: LayerInode, offset: number, length: number): void {
    for (const extent of this.extents(inode.ino, offset, length)) {
      this.#cut(inode.ino, extent, offset, offset + length);
    }
  }

  /** Takes [from, to) out of an extent, leaving what stands before and after it. */
  #cut(ino: Ino, extent: LayerExtent, from: number, to: number): void {
    const extentEnd = extent.offset + extent.length;
    const cutFrom = Math.max(from, extent.offset);
    const cutTo = Math.min(to, extentEnd);
    if (cutTo <= cutFrom) return;
    this.#data.release(extent.segment, cutTo - cutFrom);
    if (cutFrom > extent.offset) {
      this.#rows.putExtent(ino, { ...extent, length: cutFrom - extent.offset });
    } else {
      this.#rows.deleteExtent(ino, extent.offset);
    }
    if (cutTo < extentEnd) {
      const position = extent.position + (cutTo - extent.offset);
      this.#rows.putExtent(ino, {
        offset: cutTo,
        length: extentEnd - cutTo,
        segment: extent.segment,
        position,
      });
    }
  }
}
