import Database from 'better-sqlite3';
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { resolve } from 'node:path';
import { CairnError, messageOf, systemCode } from '../core/index.js';
import {
  APPLICATION_ID,
  DENTRY_INDEXES,
  META_KEYS,
  PAGE_BYTES,
  SCHEMA_VERSION,
  TABLES,
  type Meta,
  type MetaKey,
} from './schema.js';

/**
 * Pages in memory, in KiB, of the 20 MiB that a manifest of 100,000 files has: a scan passes through them in order. Not memory-mapped: a mapped page has its
 * cells checked at each use, a cached one once (1.4 against 2.4 µs a lookup), and a file that shrinks is an
 * error, not a SIGBUS.
 */
const PAGE_CACHE_KIB = 12 * 1024;

const HEADER_BYTES = 100;

/** A row of `inode`: the number, and a type for each column, however small they are. */
const INODE_MIN_BYTES = 16;

export type Row = readonly unknown[];

export function corruptManifest(path: string, reason: string, cause?: unknown): CairnError {
  return new CairnError('corrupt', `manifest ${path} is corrupt: ${reason}`, { cause });
}

/**
 * What to throw for an error met while reading a manifest. The file never changes, so whatever SQLite finds
 * wrong with it is damage; only a failing disk is not the file's fault.
 */
export function readingError(path: string, error: unknown): unknown {
  if (!(error instanceof Database.SqliteError)) return error;
  if (error.code.startsWith('SQLITE_IOERR')) {
    return new CairnError('failed', `cannot read manifest ${path}: ${error.message}`, { cause: error });
  }
  return corruptManifest(path, error.message, error);
}

/** A prepared statement whose rows are arrays, and whose errors are this manifest's. */
export class ManifestQuery<Parameters extends unknown[]> {
  readonly #statement: Database.Statement<unknown[], Row>;
  readonly #path: string;

  constructor(database: Database.Database, path: string, sql: string) {
    this.#path = path;
    try {
      this.#statement = database.prepare<unknown[], Row>(sql).raw();
    } catch (error) {
      throw readingError(path, error);
    }
  }

  get(...parameters: Parameters): Row | undefined {
    try {
      return this.#statement.get(...parameters);
    } catch (error) {
      throw readingError(this.#path, error);
    }
  }

  all(...parameters: Parameters): Row[] {
    try {
      return this.#statement.all(...parameters);
    } catch (error) {
      throw readingError(this.#path, error);
    }
  }

  /** Row by row. Meanwhile the connection takes no other statement that writes. */
  *each(...parameters: Parameters): IterableIterator<Row> {
    try {
      yield* this.#statement.iterate(...parameters);
    } catch (error) {
      throw readingError(this.#path, error);
    }
  }
}

/**
 * Opens a manifest for reading only, with SQLite's guards against hostile files up, after checking M-1 and
 * M-8. Throws `CairnError`: `not-found`, `corrupt` with what is wrong, `failed`.
 */
export function openManifestDatabase(
  path: string,
  { pageCacheKib = PAGE_CACHE_KIB }: { pageCacheKib?: number } = {},
): { database: Database.Database; meta: Meta } {
  checkHeader(path);
  let database: Database.Database | undefined;
  try {
    // Defensive mode and trusted_schema=OFF are the driver's defaults; the pragma says it again for other
    // builds of SQLite.
    database = new Database(resolve(path), { readonly: true, fileMustExist: true });
    database.pragma('query_only = ON');
    database.pragma('trusted_schema = OFF');
    database.pragma('cell_size_check = ON');
    database.pragma(`cache_size = -${String(pageCacheKib)}`);
    // One read transaction for good: nobody writes, and the lock need not be taken again for every query.
    database.exec('BEGIN');
    checkSchema(database, path);
    const meta = readMeta(database, path);
    checkMeta(database, path, meta);
    return { database, meta };
  } catch (error) {
    database?.close();
    throw readingError(path, error);
  }
}

/**
 * M-1 of the database header (https://www.sqlite.org/fileformat2.html#the_database_header), before SQLite
 * reads a byte of it: the page size decides how it reads all others, and a file in WAL mode would make it
 * look for a `-wal` beside this one.
 */
export function checkHeader(path: string): void {
  const header = Buffer.alloc(HEADER_BYTES);
  let fileBytes: number;
  try {
    const fd = openSync(path, 'r');
    try {
      fileBytes = fstatSync(fd).size;
      readSync(fd, header, 0, HEADER_BYTES, 0);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    if (systemCode(error) === 'ENOENT') throw new CairnError('not-found', `there is no manifest ${path}`);
    throw new CairnError('failed', `cannot read manifest ${path}: ${messageOf(error)}`, { cause: error });
  }
  if (header.toString('latin1', 0, 16) !== 'SQLite format 3\0')
    throw corruptManifest(path, 'not an SQLite database');
  if (header.readUInt16BE(16) !== PAGE_BYTES) {
    throw corruptManifest(path, `page size ${String(header.readUInt16BE(16))}`);
  }
  if (header.readUInt8(18) !== 1 || header.readUInt8(19) !== 1) throw corruptManifest(path, 'WAL mode');
  if (header.readUInt8(20) !== 0) throw corruptManifest(path, 'reserved bytes in pages');
  if (header.readUInt32BE(28) * PAGE_BYTES !== fileBytes || fileBytes === 0) {
    throw corruptManifest(
      path,
      `${String(fileBytes)} bytes are not the ${String(header.readUInt32BE(28))} pages it counts`,
    );
  }
  if (header.readUInt32BE(56) !== 1) throw corruptManifest(path, 'text is not UTF-8');
  if (header.readUInt32BE(60) !== SCHEMA_VERSION) {
    throw corruptManifest(path, `user_version ${String(header.readUInt32BE(60))}`);
  }
  if (header.readUInt32BE(68) !== APPLICATION_ID) {
    throw corruptManifest(path, `application_id 0x${header.readUInt32BE(68).toString(16)}`);
  }
}

function withoutExtraSpace(sql: string): string {
  return sql.replace(/\s+/g, ' ').trim();
}

/** M-1: the expected tables and indexes, and nothing else. */
export function checkSchema(database: Database.Database, path: string): void {
  const expected = new Set([...TABLES, ...DENTRY_INDEXES]);
  const rows = new ManifestQuery(database, path, 'SELECT type, name, sql FROM sqlite_schema').each();
  for (const [type, name, sql] of rows) {
    if (typeof sql !== 'string' || !expected.delete(withoutExtraSpace(sql))) {
      throw corruptManifest(path, `unexpected ${String(type)} ${String(name)}`);
    }
  }
  for (const missing of expected) throw corruptManifest(path, `missing: ${missing}`);
}

/** The rows of `meta`: exactly the keys of M-8, each a safe integer that is not negative. */
export function readMeta(database: Database.Database, path: string): Meta {
  const values = new Map<unknown, unknown>();
  for (const [key, value] of new ManifestQuery(
    database,
    path,
    'SELECT key, value FROM meta LIMIT 64',
  ).all()) {
    values.set(key, value);
  }
  if (values.size !== META_KEYS.length) throw corruptManifest(path, `${String(values.size)} rows in meta`);
  const read = (key: MetaKey): number => {
    const value = values.get(key);
    if (!Number.isSafeInteger(value) || (value as number) < 0) {
      throw corruptManifest(path, `meta ${key} is ${String(value)}`);
    }
    return value as number;
  };
  return {
    next_ino: read('next_ino'),
    next_cookie: read('next_cookie'),
    files: read('files'),
    directories: read('directories'),
    others: read('others'),
    bytes: read('bytes'),
  };
}

/** The bounds of M-8 that cost nothing to hold against the tables. */
function checkMeta(database: Database.Database, path: string, meta: Meta): void {
  const [highest] = new ManifestQuery(database, path, 'SELECT max(ino) FROM inode').get() ?? [];
  if (typeof highest !== 'number') throw corruptManifest(path, 'no inodes');
  if (meta.next_ino <= highest) {
    throw corruptManifest(path, `next_ino ${String(meta.next_ino)} is not above inode ${String(highest)}`);
  }
  const inodes = meta.files + meta.directories + meta.others;
  if (inodes >= meta.next_ino) throw corruptManifest(path, 'more inodes counted than numbers given out');
  const [pages] = new ManifestQuery(database, path, 'PRAGMA page_count').get() ?? [];
  if (inodes * INODE_MIN_BYTES > (pages as number) * PAGE_BYTES) {
    throw corruptManifest(path, 'more inodes counted than it has room for');
  }
}
