import {
  ROOT_INO,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  isDirectory,
  isRegular,
  type Ino,
  type InodeAttributes,
} from '../../src/core/index.js';
import type { FileContent, ManifestBuilder, ManifestReader, XattrRow } from '../../src/manifest/index.js';
import { ROOT_COOKIE, blockIdFor, contentIdFor, directoryWith, inodeWith } from './trees.js';

/** One random change; `a`, `b` and `size` choose among what there is. */
export interface Change {
  kind:
    | 'file'
    | 'directory'
    | 'symlink'
    | 'link'
    | 'remove'
    | 'rename'
    | 'replace'
    | 'remake'
    | 'write'
    | 'chmod'
    | 'xattr';
  a: number;
  b: number;
  size: number;
}

interface ModelInode {
  attributes: InodeAttributes;
  content?: FileContent;
  target?: Buffer;
  xattrs: XattrRow[];
}

interface ModelDentry {
  parent: Ino;
  cookie: number;
  name: Buffer;
  ino: Ino;
}

/** A tree in plain maps, which changes as a file system does, and knows which rows a manifest of it lacks. */
export class TreeModel {
  readonly inodes = new Map<Ino, ModelInode>();
  dentries: ModelDentry[] = [];
  nextIno = ROOT_INO + 1;
  nextCookie = ROOT_COOKIE;
  #now = 1;
  #touched = new Set<Ino>();
  #gone: { parent: Ino; name: Buffer }[] = [];
  #put = new Set<ModelDentry>();

  constructor() {
    this.inodes.set(ROOT_INO, { attributes: directoryWith(ROOT_INO), xattrs: [] });
    this.#touched.add(ROOT_INO);
  }

  /** A copy that goes on by itself; what is new in it has numbers, cookies and times from `first` on. */
  branch(first: number): TreeModel {
    const copy = new TreeModel();
    for (const [ino, inode] of this.inodes) copy.inodes.set(ino, { ...inode });
    copy.dentries = [...this.dentries];
    copy.nextIno = first;
    copy.nextCookie = first;
    copy.#now = first;
    return copy;
  }

  apply({ kind, a, b, size }: Change): void {
    this.#now++;
    const directory = pick(this.#inosOf(isDirectory), a);
    const file = pick(this.#inosOf(isRegular), b);
    const dentry = pick(this.dentries, b);
    switch (kind) {
      case 'file': {
        const ino = this.#add(directory ?? ROOT_INO, inodeWith(this.nextIno, S_IFREG | 0o644));
        this.#write(ino, size);
        return;
      }
      case 'directory':
        this.#add(directory ?? ROOT_INO, inodeWith(this.nextIno, S_IFDIR | 0o755));
        return;
      case 'symlink': {
        const target = Buffer.from(`target ${String(size)}`);
        const ino = this.#add(
          directory ?? ROOT_INO,
          inodeWith(this.nextIno, S_IFLNK | 0o777, { size: target.length }),
        );
        this.#inode(ino).target = target;
        return;
      }
      case 'link':
        if (file !== undefined) this.#name(directory ?? ROOT_INO, file);
        return;
      case 'remove':
        if (dentry !== undefined && !this.dentries.some(({ parent }) => parent === dentry.ino))
          this.#unname(dentry);
        return;
      case 'rename': {
        if (dentry === undefined || this.#isWithin(directory ?? ROOT_INO, dentry.ino)) return;
        this.#dropDentry(dentry);
        this.#name(directory ?? ROOT_INO, dentry.ino);
        return;
      }
      case 'replace': {
        const replaced = pick(
          this.dentries.filter(({ ino }) => this.#inosOf(isRegular).includes(ino)),
          b,
        );
        if (replaced === undefined) return;
        this.#unname(replaced);
        this.#write(
          this.#add(replaced.parent, inodeWith(this.nextIno, S_IFREG | 0o644), replaced.name),
          size,
        );
        return;
      }
      case 'remake': {
        const remade = pick(
          this.dentries.filter(({ ino }) => this.#inosOf(isDirectory).includes(ino)),
          b,
        );
        if (remade === undefined) return;
        this.#dropDentry(remade);
        const ino = this.#add(remade.parent, inodeWith(this.nextIno, S_IFDIR | 0o755), remade.name);
        for (const entry of this.dentries.filter(({ parent }) => parent === remade.ino)) {
          this.#dropDentry(entry);
          this.#name(ino, entry.ino, entry.name);
        }
        this.inodes.delete(remade.ino);
        this.#touched.add(remade.ino);
        return;
      }
      case 'write':
        if (file !== undefined) this.#write(file, size);
        return;
      case 'chmod':
        if (file !== undefined) this.#change(file, { mode: S_IFREG | (size & 0o777) });
        return;
      case 'xattr': {
        const inode = this.#inode(file ?? ROOT_INO);
        inode.xattrs =
          size % 3 === 0 ? [] : [{ name: Buffer.from('user.n'), value: Buffer.from(String(size)) }];
        this.#change(inode.attributes.ino, {});
        return;
      }
    }
  }

  /** Puts all rows into a builder for a new manifest. */
  feed(builder: ManifestBuilder): void {
    this.#countLinks();
    for (const ino of this.inodes.keys()) this.#feedInode(builder, ino);
    for (const { parent, cookie, name, ino } of this.dentries) builder.putDentry(parent, cookie, name, ino);
    builder.setNext(this.nextIno, this.nextCookie);
  }

  /** Puts what changed since the last call into a builder that holds the state of then. */
  feedChanges(builder: ManifestBuilder): void {
    this.#countLinks();
    for (const { parent, name } of this.#gone) builder.removeDentry(parent, name);
    for (const ino of this.#touched) {
      if (this.inodes.has(ino)) this.#feedInode(builder, ino);
      else builder.removeInode(ino);
    }
    for (const dentry of this.#put) {
      if (!this.dentries.includes(dentry)) continue;
      builder.putDentry(dentry.parent, dentry.cookie, dentry.name, dentry.ino);
    }
    builder.setNext(this.nextIno, this.nextCookie);
    this.forgetChanges();
  }

  forgetChanges(): void {
    this.#touched.clear();
    this.#gone = [];
    this.#put.clear();
  }

  #feedInode(builder: ManifestBuilder, ino: Ino): void {
    const inode = this.#inode(ino);
    builder.putInode(inode.attributes);
    if (inode.content !== undefined) builder.setContent(ino, inode.content);
    if (inode.target !== undefined) builder.setSymlink(ino, inode.target);
    builder.setXattrs(ino, inode.xattrs);
  }

  #inosOf(hasType: (mode: number) => boolean): Ino[] {
    return [...this.inodes.values()]
      .map(({ attributes }) => attributes)
      .filter(({ mode }) => hasType(mode))
      .map(({ ino }) => ino);
  }

  #inode(ino: Ino): ModelInode {
    const inode = this.inodes.get(ino);
    if (inode === undefined) throw new Error(`no inode ${String(ino)}`);
    return inode;
  }

  #add(parent: Ino, attributes: InodeAttributes, name?: Buffer): Ino {
    this.nextIno++;
    this.inodes.set(attributes.ino, { attributes, xattrs: [] });
    this.#touched.add(attributes.ino);
    this.#name(parent, attributes.ino, name);
    return attributes.ino;
  }

  /** By the name given, or a new one: one in four is one that another entry may have had before. */
  #name(parent: Ino, ino: Ino, given?: Buffer): void {
    const cookie = this.nextCookie++;
    const again = Buffer.from(`again-${String(cookie % 3)}`);
    const isFree = !this.dentries.some((dentry) => dentry.parent === parent && dentry.name.equals(again));
    const fresh = cookie % 4 === 0 && isFree ? again : Buffer.from(`\xff\n${String(cookie)}`, 'latin1');
    const name = given ?? fresh;
    const dentry = { parent, cookie, name, ino };
    this.dentries.push(dentry);
    this.#put.add(dentry);
  }

  #unname(dentry: ModelDentry): void {
    this.#dropDentry(dentry);
    if (this.dentries.some(({ ino }) => ino === dentry.ino)) return;
    this.inodes.delete(dentry.ino);
    this.#touched.add(dentry.ino);
  }

  #dropDentry(dentry: ModelDentry): void {
    this.dentries = this.dentries.filter((other) => other !== dentry);
    this.#gone.push(dentry);
  }

  #isWithin(directory: Ino, ancestor: Ino): boolean {
    for (
      let at = directory;
      at !== ROOT_INO;
      at = this.dentries.find(({ ino }) => ino === at)?.parent ?? ROOT_INO
    ) {
      if (at === ancestor) return true;
    }
    return false;
  }

  #write(ino: Ino, size: number): void {
    const id = contentIdFor(`${String(ino)} ${String(size)} ${String(this.#now)}`);
    const inode = this.#inode(ino);
    this.#change(ino, { size });
    if (size > 0 && size < 100) inode.content = { id, embedded: Buffer.alloc(size, this.#now), extents: [] };
    else if (size < 300) inode.content = { id, extents: [] };
    else {
      const half = Math.floor(size / 2);
      const block = blockIdFor(String(this.#now));
      inode.content = {
        id,
        extents: [
          { offset: 0, length: half - 10, block, blockOffset: 7 },
          { offset: half, length: size - half, block: blockIdFor(String(size % 5)), blockOffset: half },
        ],
      };
    }
  }

  #change(ino: Ino, changes: Partial<InodeAttributes>): void {
    const inode = this.#inode(ino);
    inode.attributes = { ...inode.attributes, ...changes, mtimeSec: this.#now };
    this.#touched.add(ino);
  }

  #countLinks(): void {
    for (const [ino, inode] of this.inodes) {
      const names = this.dentries.filter((dentry) => dentry.ino === ino).length;
      const subdirectories = this.dentries.filter(
        (dentry) => dentry.parent === ino && isDirectory(this.#inode(dentry.ino).attributes.mode),
      ).length;
      const nlink = isDirectory(inode.attributes.mode) ? 2 + subdirectories : names;
      if (nlink === inode.attributes.nlink) continue;
      inode.attributes = { ...inode.attributes, nlink };
      this.#touched.add(ino);
    }
  }
}

function pick<Item>(items: readonly Item[], choice: number): Item | undefined {
  return items[choice % Math.max(1, items.length)];
}

/** Everything a reader tells, as plain values that two readers of equal trees have equal. */
export function dump(reader: ManifestReader): unknown {
  return {
    counters: reader.counters,
    next: [reader.nextIno, reader.nextCookie],
    inodes: [...reader.inodes()].map((inode) => ({
      inode,
      type: inode.mode & S_IFMT,
      content: reader.content(inode.ino),
      embedded: reader.embedded(inode.ino)?.toString('hex'),
      extents: reader.extents(inode.ino, 0, inode.size),
      symlink: reader.symlink(inode.ino)?.toString('latin1'),
      xattrs: reader
        .xattrs(inode.ino)
        .map(({ name, value }) => [name.toString('latin1'), value.toString('latin1')]),
      names: reader
        .namesOf(inode.ino)
        .map(({ parent, name }) => `${String(parent)}/${name.toString('latin1')}`),
      entries: reader
        .listWithInodes(inode.ino, 0, 1_000_000)
        .map(({ cookie, name, ino }) => `${String(cookie)} ${name.toString('latin1')} ${String(ino)}`),
    })),
  };
}
