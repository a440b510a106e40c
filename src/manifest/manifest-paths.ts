import {
  ROOT_INO,
  isDirectory,
  joinPath,
  type CairnError,
  type Ino,
  type InodeAttributes,
} from '../core/index.js';
import { corruptManifest } from './manifest-database.js';
import type { DentryRow, DentryWithInode, ManifestReader } from './manifest-reader.js';

/*
 * Paths are relative to the root, raw bytes, `/`-separated, without a leading slash; the root's is empty.
 */

const SLASH = 0x2f;
const WALK_PAGE_ROWS = 256;
const LIST_PAGE_ROWS = 1024;

/** One place of a tree. */
export interface WalkedEntry {
  path: Buffer;
  dentry: DentryRow;
  inode: InodeAttributes;
}

/**
 * The inode at `path`, following no symbolic link; undefined when there is none. Empty segments count for
 * nothing.
 */
export function resolvePath(reader: ManifestReader, path: Buffer): Ino | undefined {
  let ino = ROOT_INO;
  for (let start = 0; start < path.length;) {
    let end = path.indexOf(SLASH, start);
    if (end === -1) end = path.length;
    if (end > start) {
      const dentry = reader.lookup(ino, path.subarray(start, end));
      if (dentry === undefined) return undefined;
      ino = dentry.ino;
    }
    start = end + 1;
  }
  return ino;
}

/**
 * The path of an inode by the first of its names. Throws `CairnError('corrupt')` when it is not below the
 * root.
 */
export function pathOf(reader: ManifestReader, ino: Ino): Buffer {
  return new PathFinder(reader).pathOf(ino);
}

/** Paths of many inodes: every directory on the way is looked up once, and remembered. */
export class PathFinder {
  readonly #reader: ManifestReader;
  readonly #directories = new Map<Ino, Buffer>([[ROOT_INO, Buffer.alloc(0)]]);

  constructor(reader: ManifestReader) {
    this.#reader = reader;
  }

  pathOf(ino: Ino): Buffer {
    if (ino === ROOT_INO) return Buffer.alloc(0);
    return this.pathOfName(this.#firstName(ino));
  }

  pathOfName({ parent, name }: { parent: Ino; name: Buffer }): Buffer {
    return joinPath(this.#directory(parent), name);
  }

  #directory(ino: Ino): Buffer {
    const above: { ino: Ino; name: Buffer }[] = [];
    let at = ino;
    let path = this.#directories.get(at);
    while (path === undefined) {
      const { parent, name } = this.#firstName(at);
      above.push({ ino: at, name });
      // More above one another than there are directories: they go round in a circle.
      if (above.length > this.#reader.counters.directories) throw this.#lost(ino);
      at = parent;
      path = this.#directories.get(at);
    }
    for (const directory of above.reverse()) {
      path = joinPath(path, directory.name);
      this.#directories.set(directory.ino, path);
    }
    return path;
  }

  #firstName(ino: Ino): { parent: Ino; name: Buffer } {
    const [first] = this.#reader.namesOf(ino);
    if (first === undefined) throw this.#lost(ino);
    return first;
  }

  #lost(ino: Ino): CairnError {
    return corruptManifest(this.#reader.path, `inode ${String(ino)} is not below the root`);
  }
}

/** All entries of a directory, in cookie order. */
export function* entriesOf(reader: ManifestReader, ino: Ino): IterableIterator<DentryRow> {
  for (let after = 0; ;) {
    const page = reader.list(ino, after, LIST_PAGE_ROWS);
    yield* page;
    const last = page.at(-1);
    if (last === undefined || page.length < LIST_PAGE_ROWS) return;
    after = last.cookie;
  }
}

interface OpenDirectory {
  ino: Ino;
  path: Buffer;
  page: DentryWithInode[];
  next: number;
}

/**
 * Everything below a directory, each directory before what it holds, entries in cookie order. Paths are
 * relative to it. Memory grows with the depth only. Throws `CairnError('corrupt')` on a directory within
 * itself, or named twice: of either there would be no end.
 */
export function* walk(reader: ManifestReader, ino: Ino): IterableIterator<WalkedEntry> {
  const open: OpenDirectory[] = [openDirectory(reader, ino, Buffer.alloc(0))];
  let directories = 1;
  for (;;) {
    const directory = open.at(-1);
    if (directory === undefined) return;
    const entry = nextEntry(reader, directory);
    if (entry === undefined) {
      open.pop();
      continue;
    }
    const { inode, ...dentry } = entry;
    const path = joinPath(directory.path, entry.name);
    yield { path, dentry, inode };
    if (!isDirectory(inode.mode)) continue;
    directories += 1;
    if (directories > reader.counters.directories) {
      throw corruptManifest(
        reader.path,
        `directory ${String(inode.ino)} is one more than there are: it, or one before it, is within itself or named twice`,
      );
    }
    open.push(openDirectory(reader, inode.ino, path));
  }
}

function openDirectory(reader: ManifestReader, ino: Ino, path: Buffer): OpenDirectory {
  return { ino, path, page: reader.listWithInodes(ino, 0, WALK_PAGE_ROWS), next: 0 };
}

function nextEntry(reader: ManifestReader, directory: OpenDirectory): DentryWithInode | undefined {
  if (directory.next === WALK_PAGE_ROWS) {
    const last = directory.page[WALK_PAGE_ROWS - 1];
    directory.page = reader.listWithInodes(directory.ino, last?.cookie ?? 0, WALK_PAGE_ROWS);
    directory.next = 0;
  }
  return directory.page[directory.next++];
}
