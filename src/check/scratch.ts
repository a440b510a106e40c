import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { blockIdOf, bytesOfId, contentIdOf, type BlockId, type ContentId } from '../core/index.js';

const SCHEMA = `
CREATE TABLE needed (id BLOB PRIMARY KEY, end INTEGER NOT NULL, manifest INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE object (id BLOB PRIMARY KEY, bytes INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE part (block BLOB NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL, hash BLOB NOT NULL,
  PRIMARY KEY (block, offset, length)) WITHOUT ROWID;
CREATE TABLE bad (id BLOB PRIMARY KEY, what TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE concern (id BLOB NOT NULL, version TEXT NOT NULL, path BLOB, PRIMARY KEY (id, version, path)) WITHOUT ROWID;
`;

/** Paths that are remembered for each bad block. */
const PATHS_KEPT = 3;

export interface NeededBlock {
  id: BlockId;
  /** A version has bytes of it up to here. */
  end: number;
  /** The object's size in the store; undefined: it is not there. */
  storedBytes: number | undefined;
}

/** A file whose bytes are within one block. */
export interface ContentPart {
  id: ContentId;
  offset: number;
  length: number;
}

/**
 * What a check has to remember that grows with the store: in a database and a folder of its own on the disk for temporary files, so that memory
 * does not.
 */
export class Scratch {
  readonly dir: string;
  readonly #database: Database.Database;
  readonly #need: Database.Statement;
  readonly #addPart: Database.Statement;
  readonly #addObject: Database.Statement;

  constructor() {
    this.dir = mkdtempSync(join(tmpdir(), 'cairn-fsck-'));
    this.#database = new Database(join(this.dir, 'scratch.sqlite'));
    this.#database.pragma('journal_mode = OFF');
    this.#database.pragma('synchronous = OFF');
    this.#database.exec(SCHEMA);
    this.#need = this.#database.prepare(
      `INSERT INTO needed VALUES (?, ?, ?)
       ON CONFLICT DO UPDATE SET end = max(end, excluded.end), manifest = max(manifest, excluded.manifest)`,
    );
    this.#addPart = this.#database.prepare('INSERT OR IGNORE INTO part VALUES (?, ?, ?, ?)');
    this.#addObject = this.#database.prepare('INSERT OR IGNORE INTO object VALUES (?, ?)');
    this.#database.exec('BEGIN');
  }

  /** A version needs the bytes of a block up to `end`, for a file or for its manifest. */
  need(id: BlockId, end: number, of: 'file' | 'manifest'): void {
    this.#need.run(bytesOfId(id), end, of === 'manifest' ? 1 : 0);
  }

  /** A file's content is these bytes of the block. */
  addPart(block: BlockId, { id, offset, length }: ContentPart): void {
    this.#addPart.run(bytesOfId(block), offset, length, bytesOfId(id));
  }

  addObject(id: BlockId, bytes: number): void {
    this.#addObject.run(bytesOfId(id), bytes);
  }

  isNeeded(id: Buffer): boolean {
    return this.#database.prepare('SELECT 1 FROM needed WHERE id = ?').get(id) !== undefined;
  }

  objectBytes(id: Buffer): number | undefined {
    const row = this.#database
      .prepare<unknown[], { bytes: number }>('SELECT bytes FROM object WHERE id = ?')
      .get(id);
    return row?.bytes;
  }

  /** Needed blocks after `after` in order of id, at most `limit`. */
  neededPage(after: BlockId | undefined, limit: number): NeededBlock[] {
    const rows = this.#database
      .prepare<unknown[], { id: Buffer; end: number; bytes: number | null }>(
        `SELECT n.id, n.end, o.bytes FROM needed n LEFT JOIN object o ON o.id = n.id WHERE n.id > ? ORDER BY n.id LIMIT ? + 0`,
      )
      .all(after === undefined ? Buffer.alloc(0) : bytesOfId(after), limit);
    return rows.map(({ id, end, bytes }) => ({ id: blockIdOf(id), end, storedBytes: bytes ?? undefined }));
  }

  partsOf(block: BlockId): ContentPart[] {
    const rows = this.#database
      .prepare<unknown[], { hash: Buffer; offset: number; length: number }>(
        'SELECT hash, offset, length FROM part WHERE block = ?',
      )
      .all(bytesOfId(block));
    return rows.map(({ hash, offset, length }) => ({ id: contentIdOf(hash), offset, length }));
  }

  /** Objects no version needs, and their bytes. */
  unneeded(): { count: number; bytes: number } {
    return this.#database
      .prepare(
        'SELECT count(*) AS count, coalesce(sum(bytes), 0) AS bytes FROM object WHERE id NOT IN (SELECT id FROM needed)',
      )
      .get() as { count: number; bytes: number };
  }

  get neededCount(): number {
    return (this.#database.prepare('SELECT count(*) AS count FROM needed').get() as { count: number }).count;
  }

  /** The first thing that is said of a block stands. */
  addBad(id: BlockId, what: string): void {
    this.#database.prepare('INSERT OR IGNORE INTO bad VALUES (?, ?)').run(bytesOfId(id), what);
  }

  get hasBad(): boolean {
    return this.#database.prepare('SELECT 1 FROM bad').get() !== undefined;
  }

  isBad(id: BlockId): boolean {
    return this.#database.prepare('SELECT 1 FROM bad WHERE id = ?').get(bytesOfId(id)) !== undefined;
  }

  /** A bad block is part of a version: of its file at `path`, or of its manifest. */
  concern(id: BlockId, version: string, path: Buffer | undefined): void {
    this.#database
      .prepare('INSERT OR IGNORE INTO concern VALUES (?, ?, ?)')
      .run(bytesOfId(id), version, path ?? Buffer.alloc(0));
  }

  bad(): { id: BlockId; what: string }[] {
    const rows = this.#database
      .prepare<[], { id: Buffer; what: string }>('SELECT id, what FROM bad ORDER BY id')
      .all();
    return rows.map(({ id, what }) => ({ id: blockIdOf(id), what }));
  }

  concerns(id: BlockId): { versions: string[]; paths: Buffer[]; pathCount: number } {
    const key = bytesOfId(id);
    const versions = this.#database
      .prepare('SELECT DISTINCT version FROM concern WHERE id = ?')
      .pluck()
      .all(key) as string[];
    const paths = this.#database
      .prepare(
        `SELECT DISTINCT path FROM concern WHERE id = ? AND length(path) > 0 ORDER BY path LIMIT ${String(PATHS_KEPT)}`,
      )
      .pluck()
      .all(key) as Buffer[];
    const pathCount = this.#database
      .prepare('SELECT count(DISTINCT path) FROM concern WHERE id = ? AND length(path) > 0')
      .pluck()
      .get(key) as number;
    return { versions, paths, pathCount };
  }

  close(): void {
    this.#database.close();
    rmSync(this.dir, { recursive: true, force: true });
  }
}
