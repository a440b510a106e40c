import {
  CairnError,
  isDirectory,
  isRegular,
  isSymlink,
  joinPath,
  ROOT_INO,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_ISGID,
  S_ISUID,
  SYMLINK_MAX_BYTES,
  type Ino,
  type InodeAttributes,
} from '../../core/index.js';
import {
  entriesOf,
  type FileContent,
  type ManifestBuilder,
  type ManifestReader,
} from '../../manifest/index.js';
import type { NumberSource } from '../../merge/index.js';
import { namesOfPath, type EntryAttributes, type PathChange } from './path-change.js';
import { pathText } from '../path-text.js';

const NEW_FILE_MODE = 0o644;
const NEW_DIRECTORY_MODE = 0o755;
const SYMLINK_MODE = 0o777;
const PERMISSION_BITS = 0o7777;

/** Lets whoever runs a file act as somebody else, like the set-user-ID bit. */
const CAPABILITY_XATTR = Buffer.from('security.capability');

export interface ChangedTreeOptions {
  /** The version that is changed; undefined: a first version is made. */
  base: ManifestReader | undefined;
  /** Of new inodes and entries. */
  numbers: NumberSource;
  /** The time of the changes, which is the mtime of what they change unless they say another. */
  now: { sec: number; nsec: number };
}

interface Entry {
  cookie: number;
  ino: Ino;
}

/** Where a path is, or would be. */
interface Place {
  directory: InodeAttributes;
  name: Buffer;
}

/**
 * A version's tree with changes of paths made to it, one after another, each seeing those before. Holds what differs from the version in memory, so that it
 * costs the changes; a folder that is deleted costs what was in it.
 *
 * What an ordinary file system would do it does: a folder's mtime moves with its entries (unless a change says what it is), a hard link goes on while it
 * has a name, and new content takes the set-user-ID bit away.
 */
export class ChangedTree {
  readonly #base: ManifestReader | undefined;
  readonly #numbers: NumberSource;
  readonly #now: { sec: number; nsec: number };
  /** All that differ from the version, or are new; those that are gone with no names left. */
  readonly #inodes = new Map<Ino, InodeAttributes>();
  /** What differs, by directory, and by name as latin1 text: one character a byte. Undefined: nothing is there. */
  readonly #entries = new Map<Ino, Map<string, Entry | undefined>>();
  readonly #contents = new Map<Ino, FileContent>();
  readonly #targets = new Map<Ino, Buffer>();
  /** Directories whose mtime a change has said. */
  readonly #dated = new Set<Ino>();

  constructor({ base, numbers, now }: ChangedTreeOptions) {
    this.#base = base;
    this.#numbers = numbers;
    this.#now = now;
    if (base === undefined) this.#add(ROOT_INO, S_IFDIR | NEW_DIRECTORY_MODE, { uid: 0, gid: 0 }, {});
  }

  /** Inodes, of this tree or the version, that are not what they were. Empty while nothing differs. */
  get touched(): ReadonlySet<Ino> {
    return new Set(this.#inodes.keys());
  }

  /**
   * Makes a change. Throws `CairnError`, having made a part of it at most: `usage` (no path of a tree), `not-found` (nothing to delete or set),
   * `conflict` (a file is in the way of a folder, or a folder of a file).
   */
  apply(change: PathChange): void {
    const names = namesOfPath(change.path);
    switch (change.kind) {
      case 'put':
        this.#put(names, change);
        break;
      case 'mkdir':
        this.#makeDirectory(names, change);
        break;
      case 'symlink':
        this.#makeSymlink(names, change);
        break;
      case 'set':
        this.#set(this.#found(names, change.path), change);
        break;
      case 'delete':
        this.#delete(names, change.path);
        break;
    }
  }

  /** Writes what differs into a builder on a copy of the version, or on an empty manifest. */
  writeTo(builder: ManifestBuilder): void {
    const base = this.#base;
    for (const [directory, entries] of this.#entries) {
      for (const name of entries.keys()) {
        const bytes = Buffer.from(name, 'latin1');
        if (base?.lookup(directory, bytes) !== undefined) builder.removeDentry(directory, bytes);
      }
    }
    for (const [ino, inode] of this.#inodes) {
      if (inode.nlink > 0) this.#writeInode(builder, inode);
      else if (base?.inode(ino) !== undefined) builder.removeInode(ino);
    }
    let nextIno = base?.nextIno ?? 0;
    let nextCookie = base?.nextCookie ?? 0;
    for (const [directory, entries] of this.#entries) {
      for (const [name, entry] of entries) {
        if (entry === undefined) continue;
        builder.putDentry(directory, entry.cookie, Buffer.from(name, 'latin1'), entry.ino);
        nextIno = Math.max(nextIno, entry.ino + 1);
        nextCookie = Math.max(nextCookie, entry.cookie + 1);
      }
    }
    if (nextIno > 0 && nextCookie > 0) builder.setNext(nextIno, nextCookie);
  }

  #writeInode(builder: ManifestBuilder, inode: InodeAttributes): void {
    const { ino } = inode;
    builder.putInode(inode);
    const content = this.#contents.get(ino);
    if (content !== undefined) {
      builder.setContent(ino, content);
      const xattrs = this.#base?.xattrs(ino) ?? [];
      const kept = xattrs.filter(({ name }) => !name.equals(CAPABILITY_XATTR));
      if (kept.length < xattrs.length) builder.setXattrs(ino, kept);
    }
    const target = this.#targets.get(ino);
    if (target !== undefined) builder.setSymlink(ino, target);
  }

  #put(names: readonly Buffer[], change: PathChange & { kind: 'put' }): void {
    const { path, size, content } = change;
    const place = this.#placeOf(names, path);
    const there = this.#inodeAt(place);
    if (there !== undefined && isDirectory(there.mode)) throw inTheWay(path, 'a folder');
    if (there === undefined || !isRegular(there.mode)) {
      const inode = this.#addAt(place, S_IFREG | NEW_FILE_MODE, change);
      inode.size = size;
      this.#contents.set(inode.ino, content);
      return;
    }
    if (this.#contentOf(there.ino) !== content.id) {
      const inode = this.#changing(there.ino);
      inode.size = size;
      inode.mode &= ~(S_ISUID | S_ISGID);
      this.#setModified(inode);
      this.#contents.set(inode.ino, content);
    }
    this.#set(this.#existing(there.ino), change);
  }

  #makeDirectory(names: readonly Buffer[], change: PathChange & { kind: 'mkdir' }): void {
    const { path } = change;
    if (names.length === 0) {
      this.#set(this.#existing(ROOT_INO), change);
      return;
    }
    const place = this.#placeOf(names, path);
    const there = this.#inodeAt(place) ?? this.#addAt(place, S_IFDIR | NEW_DIRECTORY_MODE, change);
    if (!isDirectory(there.mode)) throw inTheWay(path, 'a file');
    this.#set(there, change);
  }

  #makeSymlink(names: readonly Buffer[], change: PathChange & { kind: 'symlink' }): void {
    const { path, target } = change;
    if (target.length === 0 || target.length > SYMLINK_MAX_BYTES || target.includes(0)) {
      throw new CairnError('usage', `the symbolic link "${pathText(path)}" points nowhere`, {
        hint: `a target has 1 to ${String(SYMLINK_MAX_BYTES)} bytes, none of them NUL`,
      });
    }
    const place = this.#placeOf(names, path);
    const there = this.#inodeAt(place);
    if (there !== undefined && isDirectory(there.mode)) throw inTheWay(path, 'a folder');
    if (there !== undefined && isSymlink(there.mode) && this.#targetOf(there.ino)?.equals(target) === true) {
      this.#set(there, change);
      return;
    }
    const inode = this.#addAt(place, S_IFLNK | SYMLINK_MODE, change);
    inode.size = target.length;
    this.#targets.set(inode.ino, target);
  }

  #set(inode: InodeAttributes, { mode, uid, gid, mtime }: EntryAttributes): void {
    if (mtime !== undefined && isDirectory(inode.mode)) this.#dated.add(inode.ino);
    const wanted = {
      mode:
        mode === undefined || isSymlink(inode.mode)
          ? inode.mode
          : (inode.mode & S_IFMT) | (mode & PERMISSION_BITS),
      uid: uid ?? inode.uid,
      gid: gid ?? inode.gid,
      mtimeSec: mtime?.sec ?? inode.mtimeSec,
      mtimeNsec: mtime?.nsec ?? inode.mtimeNsec,
    };
    const differs =
      wanted.mode !== inode.mode ||
      wanted.uid !== inode.uid ||
      wanted.gid !== inode.gid ||
      wanted.mtimeSec !== inode.mtimeSec ||
      wanted.mtimeNsec !== inode.mtimeNsec;
    if (differs) Object.assign(this.#changing(inode.ino), wanted);
  }

  #delete(names: readonly Buffer[], path: Buffer): void {
    const inode = this.#found(names, path);
    const name = names.at(-1);
    if (name === undefined) {
      throw new CairnError('usage', 'the root of a workspace cannot be deleted', {
        hint: 'delete what is in it',
      });
    }
    const directory = this.#changing(this.#directoryAt(names.slice(0, -1), path, 'must be there').ino);
    this.#entriesOf(directory.ino).set(name.toString('latin1'), undefined);
    this.#entryChanged(directory);
    if (isDirectory(inode.mode)) directory.nlink -= 1;
    this.#dropName(inode);
  }

  /** An inode has lost a name, and with its last one everything below it. */
  #dropName(inode: InodeAttributes): void {
    const toDrop = [inode.ino];
    for (let ino = toDrop.pop(); ino !== undefined; ino = toDrop.pop()) {
      const dropped = this.#changing(ino);
      if (!isDirectory(dropped.mode)) {
        dropped.nlink -= 1;
        continue;
      }
      for (const [name, entry] of this.#listing(ino)) {
        this.#entriesOf(ino).set(name, undefined);
        toDrop.push(entry.ino);
      }
      dropped.nlink = 0;
    }
  }

  #listing(directory: Ino): [name: string, entry: Entry][] {
    const changed = this.#entries.get(directory);
    const there: [string, Entry][] = [];
    for (const [name, entry] of changed ?? []) if (entry !== undefined) there.push([name, entry]);
    if (this.#base?.inode(directory) !== undefined) {
      for (const { name, cookie, ino } of entriesOf(this.#base, directory)) {
        const text = name.toString('latin1');
        if (changed?.has(text) !== true) there.push([text, { cookie, ino }]);
      }
    }
    return there;
  }

  /** A new inode at a place, instead of what is there, whose cookie it has. */
  #addAt({ directory, name }: Place, mode: number, attributes: EntryAttributes): InodeAttributes {
    const before = this.#lookup(directory.ino, name);
    const parent = this.#changing(directory.ino);
    const inode = this.#add(this.#numbers.ino(), mode, parent, attributes);
    if (before !== undefined) this.#dropName(this.#existing(before.ino));
    const cookie = before?.cookie ?? this.#numbers.cookie();
    this.#entriesOf(directory.ino).set(name.toString('latin1'), { cookie, ino: inode.ino });
    this.#entryChanged(parent);
    if (isDirectory(mode)) parent.nlink += 1;
    return inode;
  }

  #add(
    ino: Ino,
    mode: number,
    owner: { uid: number; gid: number },
    attributes: EntryAttributes,
  ): InodeAttributes {
    const { sec, nsec } = this.#now;
    const inode: InodeAttributes = {
      ino,
      mode:
        attributes.mode === undefined || isSymlink(mode)
          ? mode
          : (mode & S_IFMT) | (attributes.mode & PERMISSION_BITS),
      uid: attributes.uid ?? owner.uid,
      gid: attributes.gid ?? owner.gid,
      size: 0,
      nlink: isDirectory(mode) ? 2 : 1,
      rdev: 0,
      mtimeSec: attributes.mtime?.sec ?? sec,
      mtimeNsec: attributes.mtime?.nsec ?? nsec,
      ctimeSec: sec,
      ctimeNsec: nsec,
      btimeSec: sec,
      btimeNsec: nsec,
    };
    this.#inodes.set(ino, inode);
    return inode;
  }

  #placeOf(names: readonly Buffer[], path: Buffer): Place {
    const name = names.at(-1);
    if (name === undefined) throw inTheWay(path, 'the root folder');
    return { directory: this.#directoryAt(names.slice(0, -1), path, 'is made'), name };
  }

  #directoryAt(
    names: readonly Buffer[],
    path: Buffer,
    missing: 'is made' | 'must be there',
  ): InodeAttributes {
    let directory = this.#existing(ROOT_INO);
    let way: Buffer = Buffer.alloc(0);
    for (const name of names) {
      way = joinPath(way, name);
      const place = { directory, name };
      const next = this.#inodeAt(place);
      if (next === undefined) {
        if (missing === 'must be there') throw notThere(path);
        directory = this.#addAt(place, S_IFDIR | NEW_DIRECTORY_MODE, {});
      } else if (isDirectory(next.mode)) directory = next;
      else if (missing === 'must be there') throw notThere(path);
      else throw inTheWay(way, 'no folder');
    }
    return directory;
  }

  #found(names: readonly Buffer[], path: Buffer): InodeAttributes {
    const name = names.at(-1);
    if (name === undefined) return this.#existing(ROOT_INO);
    const directory = this.#directoryAt(names.slice(0, -1), path, 'must be there');
    const inode = this.#inodeAt({ directory, name });
    if (inode === undefined) throw notThere(path);
    return inode;
  }

  #inodeAt({ directory, name }: Place): InodeAttributes | undefined {
    const entry = this.#lookup(directory.ino, name);
    return entry === undefined ? undefined : this.#existing(entry.ino);
  }

  #lookup(directory: Ino, name: Buffer): Entry | undefined {
    const changed = this.#entries.get(directory);
    const text = name.toString('latin1');
    if (changed?.has(text) === true) return changed.get(text);
    return this.#base?.lookup(directory, name);
  }

  #entriesOf(directory: Ino): Map<string, Entry | undefined> {
    let entries = this.#entries.get(directory);
    if (entries === undefined) {
      entries = new Map<string, Entry | undefined>();
      this.#entries.set(directory, entries);
    }
    return entries;
  }

  #inode(ino: Ino): InodeAttributes | undefined {
    return this.#inodes.get(ino) ?? this.#base?.inode(ino);
  }

  #existing(ino: Ino): InodeAttributes {
    const inode = this.#inode(ino);
    if (inode !== undefined) return inode;
    throw new CairnError(
      'corrupt',
      `inode ${String(ino)} of ${this.#base?.path ?? 'a new version'} is missing`,
    );
  }

  /** The inode, to be changed. */
  #changing(ino: Ino): InodeAttributes {
    let inode = this.#inodes.get(ino);
    if (inode === undefined) {
      inode = { ...this.#existing(ino) };
      this.#inodes.set(ino, inode);
    }
    inode.ctimeSec = this.#now.sec;
    inode.ctimeNsec = this.#now.nsec;
    return inode;
  }

  #entryChanged(directory: InodeAttributes): void {
    if (!this.#dated.has(directory.ino)) this.#setModified(directory);
  }

  #setModified(inode: InodeAttributes): void {
    inode.mtimeSec = this.#now.sec;
    inode.mtimeNsec = this.#now.nsec;
  }

  #contentOf(ino: Ino): string | undefined {
    return this.#contents.get(ino)?.id ?? this.#base?.content(ino);
  }

  #targetOf(ino: Ino): Buffer | undefined {
    return this.#targets.get(ino) ?? this.#base?.symlink(ino);
  }
}

function inTheWay(path: Buffer, what: string): CairnError {
  return new CairnError('conflict', `"${pathText(path)}" is ${what}`, { hint: 'delete or move it first' });
}

function notThere(path: Buffer): CairnError {
  return new CairnError('not-found', `there is no "${pathText(path)}"`);
}
