import fs from 'node:fs';
import {
  FILE_MAX_BYTES,
  fsError,
  isDevice,
  isDirectory,
  isRegular,
  PACKED_FILE_MAX_BYTES,
  ROOT_INO,
  S_IFCHR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_IFDIR,
  S_ISGID,
  S_ISUID,
  SYMLINK_MAX_BYTES,
  XATTR_LIST_MAX_BYTES,
  XATTR_VALUE_MAX_BYTES,
  type Clock,
  type Ino,
  type InodeAttributes,
} from '../core/index.js';
import type { DentryRow } from '../manifest/index.js';
import {
  isFull,
  type ContentPart,
  type LayerInode,
  type MergedView,
  type UpperLayer,
} from '../upper/index.js';
import type { AttributeChanges, Caller, EntrySink, FileSystem, ReadPart, StatFs } from './file-system.js';
import { CopyUp } from './copy-up.js';
import { hasNameAgain, LayerStack, type RetainedInode } from './layer-stack.js';
import { LookupCounts } from './lookup-counts.js';
import { checkName } from './names.js';

const S_IXGRP = 0o010;
const PERMISSION_BITS = 0o7777;

const RENAME_NOREPLACE = 1;
const RENAME_EXCHANGE = 2;
const RENAME_WHITEOUT = 4;

const FALLOC_KEEP_SIZE = 0x01;
const FALLOC_PUNCH_HOLE = 0x02;
const FALLOC_ZERO_RANGE = 0x10;

const XATTR_CREATE = 1;
const XATTR_REPLACE = 2;
const XATTR_NAME_MAX_BYTES = 255;

/** How far `seek` looks at once, as the extents of a stretch are all in memory: at first, and where it has found nothing for long. */
const SEEK_WINDOW_BYTES = 256 * 1024 * 1024;
const SEEK_WINDOW_MAX_BYTES = 2 ** 44;

export interface OverlayOptions {
  /** The stack, the active layer first. A read-only mount has a manifest and no layer. */
  view: MergedView;
  readOnly: boolean;
  /** Of the kernel's knowledge nothing is known: this process took over from another. */
  tookOver: boolean;
  retained: readonly RetainedInode[];
  /** Where the numbers end that new inodes get, see `LayerNumbers`. */
  numbersEnd: Ino | undefined;
  clock: Clock;
  /** The folder of the upper layer, whose disk `statfs` speaks of. */
  diskPath: string;
  /** The kernel forgot an inode without a name that it may have known before this process took over: whether it knows it still, it alone can say. */
  onDoubt?: (ino: Ino) => void;
  /** Called when what removes something was refused for want of space: true when there is more now. */
  makeRoom?: () => boolean;
}

/**
 * POSIX by inode over a merged view: resolves in the view, changes in the active layer (copy-up of an inode is one row; of
 * content, the extents written). Holds in memory only what the kernel holds too: lookup counts, and inodes without a name.
 */
export class OverlayFileSystem implements FileSystem {
  readonly readOnly: boolean;
  readonly #stack: LayerStack;
  readonly #copyUp: CopyUp;
  readonly #clock: Clock;
  readonly #diskPath: string;
  readonly #makeRoom: () => boolean;
  readonly #onDoubt: (ino: Ino) => void;
  readonly #lookups = new LookupCounts();
  /**
   * The numbers this process may have given out. All others may have been known to the kernel before it took over: without a name those inodes stay
   * until the kernel was asked.
   */
  readonly #lookupsKnownFrom: Ino;
  readonly #lookupsKnownTo: Ino;
  /** Inodes without a name that the kernel may still use. */
  readonly #unlinked = new Set<Ino>();
  readonly #now = { sec: 0, nsec: 0 };
  /** Undone by `rollback`, in step with the layer's transaction. */
  #newLookups: Ino[] = [];
  #newUnlinked: Ino[] = [];
  #newLinked: Ino[] = [];

  constructor(options: OverlayOptions) {
    // At the start of a mount the kernel knows no inode that could have been retained for it.
    this.#stack = new LayerStack(options.view, options.tookOver ? options.retained : []);
    this.#copyUp = new CopyUp(this.#stack);
    this.readOnly = options.readOnly;
    this.#lookupsKnownFrom = options.tookOver ? (options.view.layers[0]?.nextIno ?? Infinity) : 0;
    this.#lookupsKnownTo = options.tookOver ? (options.numbersEnd ?? Infinity) : Infinity;
    this.#clock = options.clock;
    this.#diskPath = options.diskPath;
    this.#makeRoom = options.makeRoom ?? ((): boolean => false);
    this.#onDoubt = options.onDoubt ?? ((): void => undefined);
    for (const layer of options.view.layers) {
      for (const ino of layer.unlinkedInos()) if (!hasNameAgain(options.view, ino)) this.#unlinked.add(ino);
    }
    for (const { ino } of this.#stack.retained()) this.#unlinked.add(ino);
    if (!options.tookOver) this.#dropUnlinked();
  }

  // What the mount's owner does between requests.

  get view(): MergedView {
    return this.#stack.view;
  }

  /** The active layer was sealed and `active` put above it. */
  pushLayer(active: UpperLayer): void {
    this.#stack.push(active);
  }

  /**
   * The stack became `view`: the same active layer, or none as before, over one that shows the same tree, but that it has no inodes `removed`. Inodes without a name go on
   * reading from the old stack, which the caller keeps open for them (`retained`).
   */
  replaceBelow(view: MergedView, removed: readonly Ino[] = []): void {
    for (const ino of removed) if (this.#mayBeKnown(ino)) this.#unlinked.add(ino);
    this.#stack.replaceBelow(view, this.#unlinked);
  }

  retained(): RetainedInode[] {
    return this.#stack.retained();
  }

  /** Whether the kernel may still use the inode although it has no name. */
  isUnlinked(ino: Ino): boolean {
    return this.#unlinked.has(ino);
  }

  /** What `replaceBelow` would leave as retained. */
  retainedWithout(removed: readonly Ino[]): RetainedInode[] {
    const known = removed.filter((ino) => this.#mayBeKnown(ino));
    return this.#stack.retainedWith(new Set([...this.#unlinked, ...known]));
  }

  // Transactions.

  commit(unique: bigint, reply: Buffer): void {
    this.#stack.active.commit(unique.toString(), reply);
    for (const ino of this.#newLookups) this.#lookups.add(ino);
    for (const ino of this.#newUnlinked) this.#unlinked.add(ino);
    for (const ino of this.#newLinked) {
      this.#unlinked.delete(ino);
      this.#stack.release(ino);
    }
    this.#clearNew();
  }

  rollback(): void {
    this.#clearNew();
    if (!this.readOnly) this.#stack.active.rollback();
  }

  storedReply(unique: bigint): Buffer | undefined {
    if (this.readOnly) return undefined;
    const { lastUnique, lastReply } = this.#stack.active.last();
    return lastUnique === unique.toString() ? lastReply : undefined;
  }

  // Reading.

  lookup(parent: Ino, name: Buffer): InodeAttributes {
    if (name.length > 255) throw fsError('ENAMETOOLONG');
    const inode = this.inode(this.#stack.entry(parent, name).ino);
    this.#lookups.add(inode.ino);
    return inode;
  }

  forget(ino: Ino, count: number): void {
    const left = this.#lookups.subtract(ino, count);
    if (left > 0 || !this.#unlinked.has(ino)) return;
    if (this.#countsAll(ino)) this.#letGo(ino);
    else this.#onDoubt(ino);
  }

  /**
   * Inodes without a name that came over from another process, which may have died with the kernel's word that they are forgotten. Only files with bytes in
   * them: to write them the kernel had to know the inode, whereas one just made by O_TMPFILE may be in a reply that the kernel has not taken in yet, or
   * gets only now.
   */
  doubtful(): Ino[] {
    return [...this.#unlinked].filter((ino) => !this.#countsAll(ino) && this.#hasBytes(ino));
  }

  /**
   * The kernel does not know the inode, whatever was counted. It cannot come to know it again: it learns of an inode by a name, and to give one without a name
   * another (linkat of an open file) it has to know it. So whatever is still on its way for the inode is for nobody.
   */
  forgotten(ino: Ino): void {
    if (this.#unlinked.has(ino)) this.#letGo(ino);
  }

  #letGo(ino: Ino): void {
    this.#unlinked.delete(ino);
    this.#stack.release(ino);
    this.#dropInode(ino);
  }

  inode(ino: Ino): InodeAttributes {
    return this.#stack.inode(ino);
  }

  storedBytes({ ino, mode, size }: InodeAttributes): number {
    // Where files can be mapped and written to, what looks sparse is dangerous: Linux asks for data and holes (SEEK_DATA) without writing back
    // mapped pages first, so that cp, which asks only of sparse files, would leave out what is in them.
    if (!this.readOnly || size <= PACKED_FILE_MAX_BYTES || !isRegular(mode)) return size;
    return this.#stack.view.manifest.storedBytes(ino);
  }

  readlink(ino: Ino): Buffer {
    const target = this.#stack.viewOf(ino).symlink(ino);
    if (target === undefined) throw fsError('EINVAL');
    return target;
  }

  list(ino: Ino, cookie: number, sink: EntrySink): void {
    this.#stack.directory(ino);
    for (const entry of this.#stack.view.list(ino, cookie)) {
      if (!sink(entry.cookie, entry.name, entry.ino, entry.inode, isPublished(entry.inode))) return;
    }
  }

  listPlus(ino: Ino, cookie: number, sink: EntrySink): void {
    this.#stack.directory(ino);
    for (const entry of this.#stack.view.list(ino, cookie)) {
      if (!sink(entry.cookie, entry.name, entry.ino, entry.inode, isPublished(entry.inode))) return;
      this.#lookups.add(entry.ino);
    }
  }

  touch(ino: Ino): number {
    return this.#lookups.touch(ino);
  }

  setListing(ino: Ino, listing: number): void {
    this.#lookups.setListing(ino, listing);
  }

  isUntouchedSince(ino: Ino, listing: number): boolean {
    return this.#lookups.isUntouchedSince(ino, listing);
  }

  workAhead(): boolean {
    return this.#stack.view.manifest.listAhead();
  }

  parentOf(ino: Ino): Ino {
    return this.#stack.view.parentOf(ino) ?? ROOT_INO;
  }

  read(ino: Ino, offset: number, length: number): ReadPart[] {
    const inode = this.inode(ino);
    const end = Math.min(offset + length, inode.size);
    if (end <= offset) return [];
    return this.#stack
      .viewOf(ino)
      .content(ino, offset, end - offset)
      .map((part) => readPart(ino, part));
  }

  seek(ino: Ino, offset: number, whence: 'data' | 'hole'): number {
    const { size } = this.inode(ino);
    if (offset >= size) throw fsError('ENXIO');
    const view = this.#stack.viewOf(ino);
    let window = SEEK_WINDOW_BYTES;
    for (let from = offset; from < size;) {
      for (const part of view.content(ino, from, Math.min(window, size - from))) {
        if ((part.kind === 'zeros') === (whence === 'hole')) return part.offset;
      }
      from += window;
      window = Math.min(2 * window, SEEK_WINDOW_MAX_BYTES);
    }
    if (whence === 'data') throw fsError('ENXIO');
    return size;
  }

  getXattr(ino: Ino, name: Buffer): Buffer {
    const value = this.#stack.viewOf(ino).xattr(ino, name);
    if (value === undefined) throw fsError('ENODATA');
    return value;
  }

  listXattrs(ino: Ino): Buffer {
    const terminator = Buffer.alloc(1);
    const rows = this.#stack.viewOf(ino).xattrs(ino);
    return Buffer.concat(rows.flatMap((row) => [row.name, terminator]));
  }

  statfs(): StatFs {
    const disk = fs.statfsSync(this.#diskPath);
    return {
      blockBytes: disk.bsize,
      blocks: disk.blocks,
      blocksFree: disk.bfree,
      blocksAvailable: disk.bavail,
      files: disk.files,
      filesFree: disk.ffree,
    };
  }

  filesToSync(ino: Ino): string[] {
    return this.#stack.view.layers.flatMap((layer) => layer.filesToSync(ino));
  }

  // Changes.

  setAttributes(ino: Ino, changes: AttributeChanges): InodeAttributes {
    const inode = this.#copyUp.inode(ino);
    if (changes.mode !== undefined) {
      inode.mode = (inode.mode & S_IFMT) | (changes.mode & PERMISSION_BITS);
    }
    if (changes.uid !== undefined) inode.uid = changes.uid;
    if (changes.gid !== undefined) inode.gid = changes.gid;
    if (changes.killSetId === true) clearSetId(inode);
    if (changes.uid !== undefined || changes.gid !== undefined || changes.size !== undefined) {
      this.#copyUp.dropCapability(inode);
    }
    this.#touchChange(inode);
    if (changes.size !== undefined) {
      this.#resize(inode, changes.size);
      inode.mtimeSec = this.#now.sec;
      inode.mtimeNsec = this.#now.nsec;
    }
    if (changes.atime !== undefined) {
      const time = changes.atime === 'now' ? this.#now : changes.atime;
      inode.atimeSec = time.sec;
      inode.atimeNsec = time.nsec;
    }
    if (changes.mtime !== undefined) {
      const time = changes.mtime === 'now' ? this.#now : changes.mtime;
      inode.mtimeSec = time.sec;
      inode.mtimeNsec = time.nsec;
    }
    if (changes.ctime !== undefined) {
      inode.ctimeSec = changes.ctime.sec;
      inode.ctimeNsec = changes.ctime.nsec;
    }
    this.#stack.active.putInode(inode);
    return inode;
  }

  mknod(parent: Ino, name: Buffer, mode: number, rdev: number, caller: Caller): InodeAttributes {
    const typed = (mode & S_IFMT) === 0 ? mode | S_IFREG : mode;
    const directory = this.#newName(parent, name);
    const inode = this.#newInode(directory, typed, caller);
    if (isDevice(typed)) inode.rdev = rdev;
    this.#stack.active.putInode(inode);
    this.#enter(directory, name, inode.ino, 0);
    return inode;
  }

  mkdir(parent: Ino, name: Buffer, mode: number, caller: Caller): InodeAttributes {
    const directory = this.#newName(parent, name);
    const inode = this.#newInode(directory, S_IFDIR | (mode & PERMISSION_BITS), caller);
    inode.nlink = 2;
    if ((directory.mode & S_ISGID) !== 0) inode.mode |= S_ISGID;
    this.#stack.active.putInode(inode);
    this.#enter(directory, name, inode.ino, 1);
    return inode;
  }

  symlink(parent: Ino, name: Buffer, target: Buffer, caller: Caller): InodeAttributes {
    if (target.length > SYMLINK_MAX_BYTES) throw fsError('ENAMETOOLONG');
    const directory = this.#newName(parent, name);
    const inode = this.#newInode(directory, S_IFLNK | 0o777, caller);
    inode.size = target.length;
    this.#stack.active.putInode(inode);
    this.#stack.active.setSymlink(inode.ino, target);
    this.#enter(directory, name, inode.ino, 0);
    return inode;
  }

  link(ino: Ino, newParent: Ino, newName: Buffer): InodeAttributes {
    const directory = this.#newName(newParent, newName);
    const inode = this.#copyUp.inode(ino);
    if (isDirectory(inode.mode)) throw fsError('EPERM');
    // Of a file of O_TMPFILE that gets its first name, no version holds what sealed layers have.
    if (inode.nlink === 0 && inode.created === 0) this.#copyUp.whole(inode);
    inode.nlink += 1;
    this.#touchChange(inode);
    this.#stack.active.putInode(inode);
    this.#newLinked.push(ino);
    this.#enter(directory, newName, ino, 0);
    this.#newLookups.push(ino);
    return inode;
  }

  tmpfile(parent: Ino, mode: number, caller: Caller): InodeAttributes {
    const inode = this.#newInode(this.#stack.directory(parent), S_IFREG | (mode & PERMISSION_BITS), caller);
    inode.nlink = 0;
    this.#newUnlinked.push(inode.ino);
    this.#stack.active.putInode(inode);
    return inode;
  }

  unlink(parent: Ino, name: Buffer): void {
    const entry = this.#stack.entry(parent, name);
    const inode = this.#copyUp.inode(entry.ino);
    if (isDirectory(inode.mode)) throw fsError('EISDIR');
    this.#removeName(parent, name);
    this.#dropLink(inode);
    this.#touchDirectory(parent, 0);
  }

  rmdir(parent: Ino, name: Buffer): void {
    const entry = this.#stack.entry(parent, name);
    const inode = this.#copyUp.inode(entry.ino);
    this.#checkRemovable(inode);
    this.#removeName(parent, name);
    this.#dropLink(inode);
    this.#touchDirectory(parent, -1);
  }

  rename(parent: Ino, name: Buffer, newParent: Ino, newName: Buffer, flags: number, caller: Caller): void {
    if ((flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT)) !== 0) throw fsError('EINVAL');
    checkName(newName);
    const source = this.#stack.entry(parent, name);
    const target = this.#stack.view.lookup(newParent, newName);
    if ((flags & RENAME_EXCHANGE) !== 0) {
      if (target === undefined) throw fsError('ENOENT');
      this.#exchange(parent, name, source, newParent, newName, target);
      return;
    }
    if (target !== undefined && (flags & RENAME_NOREPLACE) !== 0) throw fsError('EEXIST');
    if (target?.ino === source.ino) return;
    this.#move(parent, name, source, newParent, newName, target);
    if ((flags & RENAME_WHITEOUT) !== 0) this.#putWhiteout(parent, name, caller);
  }

  write(ino: Ino, offset: number, data: Buffer, killSetId: boolean): void {
    const end = offset + data.length;
    if (end > FILE_MAX_BYTES) throw fsError('EFBIG');
    const inode = this.#copyUp.content(ino);
    this.#stack.active.writeData(inode, offset, data);
    if (end > inode.size) inode.size = end;
    if (killSetId) clearSetId(inode);
    this.#copyUp.dropCapability(inode);
    this.#touchContent(inode);
    this.#stack.active.putInode(inode);
  }

  fallocate(ino: Ino, mode: number, offset: number, length: number, killSetId: boolean): void {
    const known = FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE | FALLOC_ZERO_RANGE;
    if ((mode & ~known) !== 0) throw fsError('EOPNOTSUPP');
    const end = offset + length;
    if (end > FILE_MAX_BYTES) throw fsError('EFBIG');
    const inode = this.#copyUp.content(ino);
    if ((mode & (FALLOC_PUNCH_HOLE | FALLOC_ZERO_RANGE)) !== 0) {
      this.#stack.active.zeroData(inode, offset, length);
    }
    if ((mode & FALLOC_KEEP_SIZE) === 0 && end > inode.size) inode.size = end;
    if (killSetId) clearSetId(inode);
    this.#touchContent(inode);
    this.#stack.active.putInode(inode);
  }

  setXattr(ino: Ino, name: Buffer, value: Buffer, flags: number): void {
    if (name.length > XATTR_NAME_MAX_BYTES || value.length > XATTR_VALUE_MAX_BYTES) throw fsError('ERANGE');
    const rows = this.#stack.viewOf(ino).xattrs(ino);
    const exists = rows.some((row) => row.name.equals(name));
    if ((flags & XATTR_CREATE) !== 0 && exists) throw fsError('EEXIST');
    if ((flags & XATTR_REPLACE) !== 0 && !exists) throw fsError('ENODATA');
    const namesBytes = rows.reduce((sum, row) => sum + row.name.length + 1, name.length + 1);
    if (!exists && namesBytes > XATTR_LIST_MAX_BYTES) throw fsError('ENOSPC');
    this.#ownXattrs(ino);
    this.#stack.active.putXattr(ino, name, value);
  }

  removeXattr(ino: Ino, name: Buffer): void {
    if (this.#stack.viewOf(ino).xattr(ino, name) === undefined) throw fsError('ENODATA');
    this.#ownXattrs(ino);
    this.#stack.active.deleteXattr(ino, name);
  }

  // Content and xattrs.

  #ownXattrs(ino: Ino): void {
    const inode = this.#copyUp.inode(ino);
    this.#copyUp.xattrs(inode);
    this.#touchChange(inode);
    this.#stack.active.putInode(inode);
  }

  #resize(inode: LayerInode, size: number): void {
    if (!isRegular(inode.mode)) throw fsError('EINVAL');
    if (size > FILE_MAX_BYTES) throw fsError('EFBIG');
    if (inode.contentChanged === 0) {
      inode.contentChanged = 1;
      inode.belowLimit = inode.size;
    }
    if (size < inode.size) this.#stack.active.truncateData(inode, size);
    inode.size = size;
  }

  // Names.

  /** The directory a new name goes into. */
  #newName(parent: Ino, name: Buffer): InodeAttributes {
    checkName(name);
    const directory = this.#stack.directory(parent);
    if (directory.nlink === 0) throw fsError('ENOENT');
    if (this.#stack.view.lookup(parent, name) !== undefined) throw fsError('EEXIST');
    return directory;
  }

  #countsAll(ino: Ino): boolean {
    return ino >= this.#lookupsKnownFrom && ino < this.#lookupsKnownTo;
  }

  /** False for one that cannot be read as well: nothing is done for its sake. */
  #hasBytes(ino: Ino): boolean {
    try {
      const { mode, size } = this.inode(ino);
      return isRegular(mode) && size > 0;
    } catch {
      return false;
    }
  }

  #mayBeKnown(ino: Ino): boolean {
    return this.#lookups.get(ino) > 0 || !this.#countsAll(ino);
  }

  /** One that the reply tells the kernel of, which is a lookup. */
  #newInode(directory: InodeAttributes, mode: number, caller: Caller): LayerInode {
    const inode = this.#makeInode(directory, mode, caller);
    this.#newLookups.push(inode.ino);
    return inode;
  }

  #makeInode(directory: InodeAttributes, mode: number, caller: Caller): LayerInode {
    this.#clock.now(this.#now);
    const { sec, nsec } = this.#now;
    return {
      ino: this.#stack.active.allocateIno(),
      mode,
      uid: caller.uid,
      gid: (directory.mode & S_ISGID) === 0 ? caller.gid : directory.gid,
      size: 0,
      nlink: 1,
      rdev: 0,
      mtimeSec: sec,
      mtimeNsec: nsec,
      ctimeSec: sec,
      ctimeNsec: nsec,
      btimeSec: sec,
      btimeNsec: nsec,
      created: 1,
      contentChanged: isRegular(mode) ? 1 : 0,
      belowLimit: 0,
      ownFile: 0,
      ownsXattrs: 1,
      atimeSec: sec,
      atimeNsec: nsec,
    };
  }

  #enter(directory: InodeAttributes, name: Buffer, ino: Ino, subdirectories: number): void {
    this.#stack.active.putDentry(directory.ino, name, this.#stack.active.allocateCookie(), ino);
    this.#touchDirectory(directory.ino, subdirectories);
  }

  /** Takes a name away: by a whiteout where a layer below has it, else without a trace. */
  #removeName(parent: Ino, name: Buffer): void {
    const active = this.#stack.active;
    if (this.#stack.view.below().lookup(parent, name) === undefined) active.deleteDentry(parent, name);
    else active.putDentry(parent, name, active.allocateCookie(), 0);
  }

  #move(
    parent: Ino,
    name: Buffer,
    source: DentryRow,
    newParent: Ino,
    newName: Buffer,
    target: DentryRow | undefined,
  ): void {
    const moved = this.#copyUp.inode(source.ino);
    const movesDirectory = isDirectory(moved.mode);
    let replacedDirectories = 0;
    if (target !== undefined) {
      const replaced = this.#copyUp.inode(target.ino);
      if (movesDirectory) this.#checkRemovable(replaced);
      else if (isDirectory(replaced.mode)) throw fsError('EISDIR');
      replacedDirectories = isDirectory(replaced.mode) ? 1 : 0;
      this.#dropLink(replaced);
    } else if (this.#stack.directory(newParent).nlink === 0) {
      throw fsError('ENOENT');
    }
    this.#removeName(parent, name);
    this.#stack.active.putDentry(newParent, newName, this.#stack.active.allocateCookie(), source.ino);
    this.#touchChange(moved);
    this.#stack.active.putInode(moved);
    const leaving = movesDirectory ? -1 : 0;
    const arriving = (movesDirectory ? 1 : 0) - replacedDirectories;
    if (parent === newParent) {
      this.#touchDirectory(parent, leaving + arriving);
    } else {
      this.#touchDirectory(parent, leaving);
      this.#touchDirectory(newParent, arriving);
    }
  }

  /** As an overlayfs above marks a name of its lower layers as gone: a character device without a number, in the renamed one's place. */
  #putWhiteout(parent: Ino, name: Buffer, caller: Caller): void {
    const inode = this.#makeInode(this.#stack.directory(parent), S_IFCHR, caller);
    this.#stack.active.putInode(inode);
    this.#stack.active.putDentry(parent, name, this.#stack.active.allocateCookie(), inode.ino);
  }

  #exchange(
    parent: Ino,
    name: Buffer,
    source: DentryRow,
    newParent: Ino,
    newName: Buffer,
    target: DentryRow,
  ): void {
    if (source.ino === target.ino) return;
    const active = this.#stack.active;
    const left = this.#copyUp.inode(source.ino);
    const right = this.#copyUp.inode(target.ino);
    active.putDentry(newParent, newName, active.allocateCookie(), source.ino);
    active.putDentry(parent, name, active.allocateCookie(), target.ino);
    this.#touchChange(left);
    active.putInode(left);
    this.#touchChange(right);
    active.putInode(right);
    const shift = (isDirectory(left.mode) ? 1 : 0) - (isDirectory(right.mode) ? 1 : 0);
    if (parent === newParent) {
      this.#touchDirectory(parent, 0);
    } else {
      this.#touchDirectory(parent, -shift);
      this.#touchDirectory(newParent, shift);
    }
  }

  #checkRemovable(directory: InodeAttributes): void {
    if (!isDirectory(directory.mode)) throw fsError('ENOTDIR');
    if (!this.#stack.view.isEmptyDirectory(directory.ino)) throw fsError('ENOTEMPTY');
  }

  /** One name less; without any the inode stays for those who have it open. */
  #dropLink(inode: LayerInode): void {
    inode.nlink = isDirectory(inode.mode) ? 0 : inode.nlink - 1;
    this.#touchChange(inode);
    this.#stack.active.putInode(inode);
    if (inode.nlink === 0) this.#newUnlinked.push(inode.ino);
  }

  /** Nobody can reach the inode any more: what this layer made goes; what is below stays hidden by its row. */
  #dropInode(ino: Ino): void {
    const active = this.#stack.view.layers[0];
    const inode = active?.inode(ino);
    if (active === undefined || inode?.nlink !== 0 || inode.created !== 1) return;
    const { lastUnique, lastReply } = active.last();
    for (;;) {
      try {
        active.deleteInode(inode);
        active.commit(lastUnique, lastReply);
        return;
      } catch (error) {
        active.rollback();
        if (!isFull(error) || !this.#makeRoom()) throw error;
      }
    }
  }

  /** At the start of a mount the kernel knows nothing: what had no name is gone. */
  #dropUnlinked(): void {
    for (const ino of this.#unlinked) this.#dropInode(ino);
    this.#unlinked.clear();
  }

  #clearNew(): void {
    this.#newLookups.length = 0;
    this.#newUnlinked.length = 0;
    this.#newLinked.length = 0;
  }

  // Times.

  #touchChange(inode: InodeAttributes): void {
    this.#clock.now(this.#now);
    inode.ctimeSec = this.#now.sec;
    inode.ctimeNsec = this.#now.nsec;
  }

  #touchContent(inode: InodeAttributes): void {
    this.#touchChange(inode);
    inode.mtimeSec = this.#now.sec;
    inode.mtimeNsec = this.#now.nsec;
  }

  #touchDirectory(ino: Ino, subdirectories: number): void {
    const directory = this.#copyUp.inode(ino);
    this.#touchContent(directory);
    directory.nlink += subdirectories;
    this.#stack.active.putInode(directory);
  }
}

/** An inode of which a layer has a row comes with the layer's columns. */
function isPublished(inode: InodeAttributes | LayerInode): boolean {
  return !('contentChanged' in inode);
}

function clearSetId(inode: InodeAttributes): void {
  inode.mode &= ~S_ISUID;
  if ((inode.mode & S_IXGRP) !== 0) inode.mode &= ~S_ISGID;
}

function readPart(ino: Ino, part: ContentPart): ReadPart {
  switch (part.kind) {
    case 'zeros':
      return { kind: 'zeros', length: part.length };
    case 'embedded':
      return { kind: 'bytes', length: part.length, bytes: part.bytes };
    case 'layer': {
      const bytes = Buffer.allocUnsafe(part.length);
      part.layer.readExtent(ino, part.extent, part.offset, bytes);
      return { kind: 'bytes', length: part.length, bytes };
    }
    case 'block':
      return {
        kind: 'block',
        length: part.length,
        block: part.extent.block,
        blockOffset: part.extent.blockOffset,
      };
  }
}
