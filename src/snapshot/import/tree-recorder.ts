import {
  deviceNumber,
  isDirectory,
  ROOT_INO,
  S_IFMT,
  type Ino,
  type InodeAttributes,
} from '../../core/index.js';
import {
  FIRST_COOKIE,
  type DentryWithInode,
  type FileContent,
  type ManifestBuilder,
  type ManifestReader,
  type XattrRow,
} from '../../manifest/index.js';
import type { FileStat } from './file-stat.js';
import { sameXattrs } from './source-xattrs.js';

/** A directory that is being recorded. */
export interface RecordedDirectory {
  ino: Ino;
  stat: FileStat;
  /** What the parent version has in its place, if that is a directory too. */
  previous: InodeAttributes | undefined;
  subdirectories: number;
}

/** One name in a recorded directory, with what the parent version has under it. */
export interface RecordedName {
  directory: RecordedDirectory;
  name: Buffer;
  cookie: number;
  previous: DentryWithInode | undefined;
}

/** An inode number chosen for a file, with the inode of the parent version it goes on from. */
export interface RecordedInode {
  ino: Ino;
  previous: InodeAttributes | undefined;
}

/** What a file has besides attributes; undefined: as the inode it goes on from. */
export interface FileHolds {
  /** Of a regular file. */
  content?: FileContent | undefined;
  /** Of a symbolic link. */
  target?: Buffer | undefined;
  xattrs?: readonly XattrRow[] | undefined;
}

const LIST_PAGE = 1024;

export interface TreeRecorderOptions {
  /** The version this one follows; undefined for a first one. */
  parent: ManifestReader | undefined;
  /** New inodes and cookies are numbered from here, see `Catalog.reserveNumbers`; undefined for a first version. */
  firstNumber: number | undefined;
  /** Begins the manifest. Not called while nothing differs from the parent. */
  begin: () => ManifestBuilder;
}

/**
 * Records a tree as a manifest: rows that the parent version has as they are now are not touched, so a tree that has not changed
 * costs no manifest at all. By path, inode numbers and cookies stay what they were (FORMAT.md M-4); one inode of the parent goes on
 * as one inode at most.
 *
 * ctime and btime are recorded where they differ but are no difference in themselves: nothing can bring them back.
 */
export class TreeRecorder {
  /** Inodes, of this version or the parent, whose rows in the catalog may differ. Empty for a first version, where all do. */
  readonly touched = new Set<Ino>();
  readonly #parent: ManifestReader | undefined;
  readonly #begin: () => ManifestBuilder;
  #builder: ManifestBuilder | undefined;
  #differs: boolean;
  #nextIno: Ino;
  #nextCookie: number;
  /** Of the parent's inodes with several names: those that go on, and those that lost a name. */
  readonly #goingOn = new Set<Ino>();
  readonly #maybeRemoved = new Set<Ino>();

  constructor({ parent, firstNumber, begin }: TreeRecorderOptions) {
    this.#parent = parent;
    this.#begin = begin;
    this.#differs = parent === undefined;
    this.#nextIno = firstNumber ?? ROOT_INO + 1;
    this.#nextCookie = firstNumber ?? FIRST_COOKIE;
  }

  /** Files may go on from a version before. */
  get hasParent(): boolean {
    return this.#parent !== undefined;
  }

  root(stat: FileStat): RecordedDirectory {
    return { ino: ROOT_INO, stat, previous: this.#parent?.inode(ROOT_INO), subdirectories: 0 };
  }

  /** What the parent version has in a directory, by name as latin1 text: one character a byte. */
  previousEntries(directory: RecordedDirectory): Map<string, DentryWithInode> {
    const entries = new Map<string, DentryWithInode>();
    if (directory.previous === undefined) return entries;
    for (const entry of this.#previousIn(directory.ino)) entries.set(entry.name.toString('latin1'), entry);
    return entries;
  }

  name(directory: RecordedDirectory, name: Buffer, previous: DentryWithInode | undefined): RecordedName {
    return { directory, name, cookie: previous?.cookie ?? this.#nextCookie++, previous };
  }

  /** The number with which the file at `name` goes on from the parent version; undefined when it is a new one. */
  inodeGoingOn({ previous }: RecordedName, mode: number): RecordedInode | undefined {
    if (previous === undefined || (previous.inode.mode & S_IFMT) !== (mode & S_IFMT)) return undefined;
    if (previous.inode.nlink > 1 && !isDirectory(mode)) {
      if (this.#goingOn.has(previous.ino)) return undefined;
      this.#goingOn.add(previous.ino);
    }
    return { ino: previous.ino, previous: previous.inode };
  }

  newInode(): RecordedInode {
    return { ino: this.#nextIno++, previous: undefined };
  }

  /** A directory below another. `recordDirectory` records it. */
  directory(name: RecordedName, stat: FileStat): RecordedDirectory {
    return { ...(this.inodeGoingOn(name, stat.mode) ?? this.newInode()), stat, subdirectories: 0 };
  }

  /** Records a directory whose `subdirectories` are counted, and its name (none for the root). */
  recordDirectory(
    directory: RecordedDirectory,
    name: RecordedName | undefined,
    xattrs: readonly XattrRow[] | undefined,
  ): void {
    this.recountDirectory(directory);
    if (name !== undefined) this.#putName(name, directory.ino);
    this.#putXattrs(directory, xattrs);
  }

  /** After a change of `subdirectories`. */
  recountDirectory({ ino, stat, previous, subdirectories }: RecordedDirectory): void {
    this.#putInode({ ino, previous }, stat, 2 + subdirectories);
  }

  /** Records what is not a directory, under all its names. */
  recordFile(inode: RecordedInode, names: readonly RecordedName[], stat: FileStat, holds: FileHolds): void {
    this.#putInode(inode, stat, names.length);
    for (const name of names) this.#putName(name, inode.ino);
    const { content, target, xattrs } = holds;
    const before = inode.previous === undefined ? undefined : this.#parent;
    if (content !== undefined && before?.content(inode.ino) !== content.id) {
      this.#changing(inode.ino).setContent(inode.ino, content);
    }
    if (target !== undefined && before?.symlink(inode.ino)?.equals(target) !== true) {
      this.#changing(inode.ino).setSymlink(inode.ino, target);
    }
    this.#putXattrs(inode, xattrs);
  }

  /** The file for which `inode` was chosen is gone, and has no name left. */
  release(inode: RecordedInode): void {
    this.#goingOn.delete(inode.ino);
  }

  /** What the parent version has in `directory` as `entry` is not there any more. */
  removed(directory: RecordedDirectory, entry: DentryWithInode): void {
    this.#changing(entry.ino).removeDentry(directory.ino, entry.name);
    this.#dropInode(entry.inode);
  }

  /** Completes the manifest: the pieces that were written. Undefined, and no manifest, when the tree is as in the parent version. */
  finish(): ReadonlySet<number> | undefined {
    for (const ino of this.#maybeRemoved) {
      if (!this.#goingOn.has(ino)) this.#changing(ino).removeInode(ino);
    }
    if (!this.#differs) {
      this.abandon();
      return undefined;
    }
    const builder = this.#building();
    builder.setNext(this.#nextIno, this.#nextCookie);
    this.#builder = undefined;
    return builder.finish();
  }

  /** Leaves nothing behind. */
  abandon(): void {
    this.#builder?.abandon();
    this.#builder = undefined;
  }

  *#previousIn(directory: Ino): Generator<DentryWithInode> {
    for (let after = 0; this.#parent !== undefined;) {
      const page = this.#parent.listWithInodes(directory, after, LIST_PAGE);
      yield* page;
      const last = page.at(-1);
      if (last === undefined || page.length < LIST_PAGE) return;
      after = last.cookie;
    }
  }

  /** The builder, for writing down that `ino` is not what it was. */
  #changing(ino: Ino): ManifestBuilder {
    this.#differs = true;
    if (this.#parent !== undefined) this.touched.add(ino);
    return this.#building();
  }

  #building(): ManifestBuilder {
    this.#builder ??= this.#begin();
    return this.#builder;
  }

  #putInode({ ino, previous }: RecordedInode, stat: FileStat, nlink: number): void {
    if (previous !== undefined && isSame(previous, stat, nlink)) {
      if (isSameOriginal(previous, stat)) return;
      this.#building().putInode(attributesOf(ino, stat, nlink));
      return;
    }
    this.#changing(ino).putInode(attributesOf(ino, stat, nlink));
  }

  #putName({ directory, name, cookie, previous }: RecordedName, ino: Ino): void {
    if (previous?.ino === ino) return;
    const builder = this.#changing(ino);
    if (previous !== undefined) {
      builder.removeDentry(directory.ino, name);
      this.#dropInode(previous.inode);
    }
    builder.putDentry(directory.ino, cookie, name, ino);
  }

  #putXattrs({ ino, previous }: RecordedInode, xattrs: readonly XattrRow[] | undefined): void {
    if (xattrs === undefined) return;
    const before = previous === undefined ? [] : (this.#parent?.xattrs(ino) ?? []);
    if (!sameXattrs(before, xattrs)) this.#changing(ino).setXattrs(ino, xattrs);
  }

  /** An inode of the parent version has lost a name: its only one, unless it has several. */
  #dropInode({ ino, mode, nlink }: InodeAttributes): void {
    const builder = this.#changing(ino);
    if (isDirectory(mode)) this.#dropDirectory(ino, builder);
    else if (nlink > 1) this.#maybeRemoved.add(ino);
    else builder.removeInode(ino);
  }

  #dropDirectory(ino: Ino, builder: ManifestBuilder): void {
    for (const entry of this.#previousIn(ino)) {
      builder.removeDentry(ino, entry.name);
      this.#dropInode(entry.inode);
    }
    builder.removeInode(ino);
  }
}

function attributesOf(ino: Ino, stat: FileStat, nlink: number): InodeAttributes {
  return {
    ino,
    mode: stat.mode,
    uid: stat.uid,
    gid: stat.gid,
    size: stat.size,
    nlink,
    rdev: stat.rdev,
    mtimeSec: stat.mtimeSec,
    mtimeNsec: stat.mtimeNsec,
    ctimeSec: stat.ctimeSec,
    ctimeNsec: stat.ctimeNsec,
    btimeSec: stat.btimeSec,
    btimeNsec: stat.btimeNsec,
  };
}

/** In everything a copy of the tree could have. */
function isSame(previous: InodeAttributes, stat: FileStat, nlink: number): boolean {
  return (
    previous.mode === stat.mode &&
    previous.uid === stat.uid &&
    previous.gid === stat.gid &&
    previous.size === stat.size &&
    previous.nlink === nlink &&
    deviceNumber(previous) === deviceNumber(stat) &&
    previous.mtimeSec === stat.mtimeSec &&
    previous.mtimeNsec === stat.mtimeNsec
  );
}

/** In what no copy of it has, too. */
function isSameOriginal(previous: InodeAttributes, stat: FileStat): boolean {
  return (
    previous.rdev === stat.rdev &&
    previous.ctimeSec === stat.ctimeSec &&
    previous.ctimeNsec === stat.ctimeNsec &&
    previous.btimeSec === stat.btimeSec &&
    previous.btimeNsec === stat.btimeNsec
  );
}
