import type { FileRow } from '../../catalog/index.js';
import { ROOT_INO, type Ino, type InodeAttributes } from '../../core/index.js';
import { PathFinder, resolvePath, walk, type ManifestReader } from '../../manifest/index.js';

/**
 * What a version adds to and removes from the catalog's paths, read from the manifests row by row: of a first version
 * everything, else all names of the inodes that were touched, here or in the parent version. A path whose row stays the same
 * (times, for one, are not in it) is in neither.
 */
export function publicationRows(
  parent: ManifestReader | undefined,
  version: ManifestReader,
  touched: ReadonlySet<Ino>,
): { added: Iterable<FileRow>; removed: Iterable<Buffer> } {
  if (parent === undefined) return { added: allRows(version), removed: [] };
  return {
    added: rowsOnlyIn(version, parent, touched),
    removed: pathsOf(rowsOnlyIn(parent, version, touched)),
  };
}

function* allRows(version: ManifestReader): IterableIterator<FileRow> {
  for (const { path, inode } of walk(version, ROOT_INO)) yield fileRow(version, path, inode);
}

function* rowsOnlyIn(
  one: ManifestReader,
  other: ManifestReader,
  touched: ReadonlySet<Ino>,
): IterableIterator<FileRow> {
  const paths = new PathFinder(one);
  for (const ino of touched) {
    const inode = one.inode(ino);
    if (inode === undefined) continue;
    for (const name of one.namesOf(ino)) {
      const row = fileRow(one, paths.pathOfName(name), inode);
      if (!sameRow(row, rowAt(other, row.path))) yield row;
    }
  }
}

function rowAt(reader: ManifestReader, path: Buffer): FileRow | undefined {
  const ino = resolvePath(reader, path);
  const inode = ino === undefined ? undefined : reader.inode(ino);
  return inode === undefined ? undefined : fileRow(reader, path, inode);
}

function fileRow(reader: ManifestReader, path: Buffer, inode: InodeAttributes): FileRow {
  return { path, hash: reader.content(inode.ino), size: inode.size, mode: inode.mode };
}

function sameRow(row: FileRow, other: FileRow | undefined): boolean {
  return row.hash === other?.hash && row.size === other?.size && row.mode === other.mode;
}

function* pathsOf(rows: Iterable<FileRow>): IterableIterator<Buffer> {
  for (const { path } of rows) yield path;
}
