import { isDirectory, type Ino, type InodeAttributes } from '../core/index.js';
import type { FileRow } from '../catalog/index.js';
import { pathOf, walk, type ManifestReader } from '../manifest/index.js';
import type { UpperLayer } from '../upper/index.js';

/**
 * What a layer's changes do to `path → hash`: rows of the parent version that end, rows that begin. At the cost of the changes; a directory
 * that was moved costs the paths below it.
 */
export function changedPaths(
  layer: UpperLayer,
  parent: ManifestReader,
  child: ManifestReader,
): { removed: Buffer[]; added: FileRow[] } {
  const before = new PathRows(parent);
  const after = new PathRows(child);
  for (const { parent: directory, name, ino } of layer.dentries()) {
    const replaced = parent.lookup(directory, name);
    if (replaced !== undefined) before.addEntry(directory, name, replaced.ino);
    // What is below a directory this layer made has entries of its own in the layer.
    if (ino !== 0) after.addEntry(directory, name, ino, parent.inode(ino) === undefined);
  }
  for (const inode of layer.inodes()) {
    before.addInode(inode.ino);
    after.addInode(inode.ino);
  }
  return difference(before.rows, after.rows);
}

/** The file rows of one version, for some of its paths. Paths are keys as latin1: one character a byte. */
class PathRows {
  readonly rows = new Map<string, FileRow>();
  readonly #reader: ManifestReader;
  readonly #directories = new Map<Ino, Buffer>();

  constructor(reader: ManifestReader) {
    this.#reader = reader;
  }

  /** An entry of a directory and, unless `flat`, all that is below it. */
  addEntry(directory: Ino, name: Buffer, ino: Ino, flat = false): void {
    const inode = this.#reader.inode(ino);
    if (inode === undefined || this.#reader.inode(directory) === undefined) return;
    const path = this.#join(directory, name);
    this.#add(path, inode);
    if (flat || !isDirectory(inode.mode)) return;
    for (const entry of walk(this.#reader, ino)) {
      this.#add(Buffer.concat([path, SLASH, entry.path]), entry.inode);
    }
  }

  /** Every name of an inode. */
  addInode(ino: Ino): void {
    const inode = this.#reader.inode(ino);
    if (inode === undefined) return;
    for (const { parent, name } of this.#reader.namesOf(ino)) this.#add(this.#join(parent, name), inode);
  }

  #add(path: Buffer, inode: InodeAttributes): void {
    const key = path.toString('latin1');
    if (this.rows.has(key)) return;
    this.rows.set(key, fileRow(this.#reader, path, inode));
  }

  #join(directory: Ino, name: Buffer): Buffer {
    let path = this.#directories.get(directory);
    if (path === undefined) {
      path = pathOf(this.#reader, directory);
      this.#directories.set(directory, path);
    }
    return path.length === 0 ? name : Buffer.concat([path, SLASH, name]);
  }
}

const SLASH = Buffer.from('/');

/** The catalog's row for an inode at a path. */
export function fileRow(reader: ManifestReader, path: Buffer, inode: InodeAttributes): FileRow {
  return { path, hash: reader.content(inode.ino), size: inode.size, mode: inode.mode };
}

function difference(
  before: Map<string, FileRow>,
  after: Map<string, FileRow>,
): { removed: Buffer[]; added: FileRow[] } {
  const removed: Buffer[] = [];
  const added: FileRow[] = [];
  for (const [key, row] of before) {
    if (!sameRow(row, after.get(key))) removed.push(row.path);
  }
  for (const [key, row] of after) {
    if (!sameRow(row, before.get(key))) added.push(row);
  }
  return { removed, added };
}

function sameRow(row: FileRow, other: FileRow | undefined): boolean {
  return row.hash === other?.hash && row.size === other?.size && row.mode === other.mode;
}
