import { patternedBytes } from '../fixtures/patterned-bytes.js';
import type { Operation } from './tree-model.js';

/** What a workload writes down beside the disk. `operation` comes before it is done, everything else after it was. */
export type Note =
  /** The workspace is imported and mounted: `importedFiles` are there. */
  | { note: 'begun' }
  | { note: 'operation'; operation: Operation }
  /** An fsync came back: of a file, whose content is there from now on, or of a folder. */
  | { note: 'synced'; path?: string }
  /** So many rows are committed in a database, as its settings promise for good. */
  | { note: 'rows'; database: string; rows: number }
  /** A snapshot came back. */
  | { note: 'version'; seq: number }
  /** An import of `otherFiles` of that generation came back. */
  | { note: 'imported'; seq: number; generation: number };

export const WORKSPACE = 'work';
export const OTHER_WORKSPACE = 'other';
/** Where the databases are, on the mount. What is in it is no part of the model. */
export const DATABASES = 'db';
export const MOUNTPOINT = 'mnt';

/** What the workspace has from its import: many small files, some that are cut into blocks of their own. */
export function importedFiles(): Map<string, Buffer> {
  const files = new Map<string, Buffer>();
  for (let index = 0; index < 24; index++) {
    const length = index < 18 ? 700 + index * 977 : 150_000 + index * 20_011;
    files.set(`imported-${String(index)}`, patternedBytes(`imported ${String(index)}`, length));
  }
  return files;
}

export function otherFiles(generation: number): Map<string, Buffer> {
  const files = new Map<string, Buffer>();
  for (let index = 0; index < 6; index++) {
    const seed = `other ${String(index)}, ${String(index % 2 === 0 ? 0 : generation)}`;
    files.set(`other-${String(index)}`, patternedBytes(seed, 3_000 + index * 60_000));
  }
  return files;
}

/** The row of that number in a workload's database. */
export function rowBytes(row: number): Buffer {
  return patternedBytes(`row ${String(row)}`, 500 + ((row * 7919) % 4000));
}
