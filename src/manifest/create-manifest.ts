import Database from 'better-sqlite3';
import { constants, copyFileSync, rmSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import {
  FILE_MAX_BYTES,
  MANIFEST_PIECE_BYTES,
  ROOT_INO,
  bytesOfId,
  isDirectory,
  isRegular,
  type BlockId,
  type Ino,
  type InodeAttributes,
} from '../core/index.js';
import type { FileContent, ManifestBuilder } from './manifest-builder.js';
import { checkHeader, checkSchema, readMeta } from './manifest-database.js';
import type { XattrRow } from './manifest-reader.js';
import {
  dentryFault,
  extentFault,
  inodeFault,
  isDigest,
  isInodeNumber,
  symlinkFault,
  xattrFault,
} from './row-rules.js';
import {
  APPLICATION_ID,
  DENTRY_INDEXES,
  FIRST_COOKIE,
  INODE_COLUMNS,
  META_KEYS,
  PAGE_BYTES,
  SCHEMA_VERSION,
  TABLES,
  type Meta,
} from './schema.js';
import { piecesInLog } from './pieces-in-log.js';

/** Pages held before SQLite writes some of them to the file, in KiB: the builder's memory. */
const PAGE_CACHE_KIB = 64 * 1024;

/** A builder for a new manifest at `path`; whatever an earlier, unfinished builder left there is replaced. */
export function createManifest(path: string): ManifestBuilder {
  rmSync(path, { force: true });
  const database = openForWriting(path);
  try {
    database.pragma(`page_size = ${String(PAGE_BYTES)}`);
    database.pragma(`application_id = ${String(APPLICATION_ID)}`);
    database.pragma(`user_version = ${String(SCHEMA_VERSION)}`);
    database.exec('BEGIN');
    for (const statement of TABLES) database.exec(statement);
    const meta = {
      next_ino: ROOT_INO + 1,
      next_cookie: FIRST_COOKIE,
      files: 0,
      directories: 0,
      others: 0,
      bytes: 0,
    };
    return new SqliteManifestBuilder(path, database, meta, 'empty');
  } catch (error) {
    database.close();
    throw error;
  }
}

/** As `changeManifest`, on a copy made at `path`. */
export function createManifestFrom(parentPath: string, path: string): ManifestBuilder {
  checkHeader(parentPath);
  rmSync(path, { force: true });
  copyFileSync(parentPath, path, constants.COPYFILE_FICLONE);
  return changeManifest(path);
}

/**
 * A builder that changes the manifest at `path`, the caller's own copy of the parent's: rows that are not touched keep their place
 * in the file, so that most pieces stay the parent's (FORMAT.md M-11). Throws `CairnError` as `openManifest` does, and then has
 * removed the file.
 *
 * It has a write-ahead log until it is finished: that says which pages were written, at the cost of those.
 */
export function changeManifest(path: string): ManifestBuilder {
  let database: Database.Database | undefined;
  try {
    checkHeader(path);
    rmSync(logPath(path), { force: true });
    database = openForWriting(path);
    checkSchema(database, path);
    const meta = readMeta(database, path);
    database.pragma('journal_mode = WAL');
    database.pragma('wal_autocheckpoint = 0');
    database.exec('BEGIN');
    return new SqliteManifestBuilder(path, database, meta, 'copy');
  } catch (error) {
    database?.close();
    removeDatabase(path);
    throw error;
  }
}

function logPath(path: string): string {
  return `${path}-wal`;
}

function removeDatabase(path: string): void {
  rmSync(path, { force: true });
  rmSync(logPath(path), { force: true });
}

/** Without syncs, or a rollback journal on the disk: a crash leaves a file nobody was told about. */
function openForWriting(path: string): Database.Database {
  const database = new Database(resolve(path));
  database.pragma('locking_mode = EXCLUSIVE');
  database.pragma('journal_mode = MEMORY');
  database.pragma('synchronous = OFF');
  database.pragma('trusted_schema = OFF');
  database.pragma('cell_size_check = ON');
  database.pragma(`cache_size = -${String(PAGE_CACHE_KIB)}`);
  return database;
}

type Statement = Database.Statement<unknown[], unknown[]>;

class SqliteManifestBuilder implements ManifestBuilder {
  readonly #path: string;
  readonly #database: Database.Database;
  readonly #meta: Meta;
  readonly #began: 'empty' | 'copy';
  #hasDentryIndexes: boolean;
  #highestCookie = 0;
  /** Neighbours share blocks: nearly every extent is in the block of the one before. */
  #lastBlock: { id: BlockId; idx: number } | undefined;

  readonly #inodeOf: Statement;
  readonly #putInode: Statement;
  readonly #removeInode: Statement;
  readonly #putDentry: Statement;
  #removeDentry: Statement | undefined;
  readonly #putSymlink: Statement;
  readonly #removeSymlink: Statement;
  readonly #setFirstContent: Statement;
  readonly #setContent: Statement;
  readonly #putEmbedded: Statement;
  readonly #removeEmbedded: Statement;
  readonly #blockIdx: Statement;
  readonly #putBlock: Statement;
  readonly #putExtent: Statement;
  readonly #removeExtents: Statement;
  readonly #putXattr: Statement;
  readonly #removeXattrs: Statement;

  constructor(path: string, database: Database.Database, meta: Meta, began: 'empty' | 'copy') {
    this.#path = path;
    this.#database = database;
    this.#meta = meta;
    this.#began = began;
    this.#hasDentryIndexes = began === 'copy';

    const prepare = (sql: string): Statement => database.prepare<unknown[], unknown[]>(sql);
    const replaced = INODE_COLUMNS.slice(1).map((column) => `${column} = excluded.${column}`);
    this.#inodeOf = prepare('SELECT mode, size FROM inode WHERE ino = ?').raw();
    this.#putInode = prepare(
      `INSERT INTO inode(${INODE_COLUMNS.join(', ')}) VALUES (${INODE_COLUMNS.map(() => '?').join(', ')})
       ON CONFLICT(ino) DO UPDATE SET ${replaced.join(', ')}`,
    );
    this.#removeInode = prepare('DELETE FROM inode WHERE ino = ?');
    this.#putDentry = prepare('INSERT OR REPLACE INTO dentry(parent, cookie, name, ino) VALUES (?, ?, ?, ?)');
    this.#putSymlink = prepare('INSERT OR REPLACE INTO symlink(ino, target) VALUES (?, ?)');
    this.#removeSymlink = prepare('DELETE FROM symlink WHERE ino = ?');
    this.#setFirstContent = prepare('UPDATE inode SET content = ? WHERE ino = ? AND content IS NULL');
    this.#setContent = prepare('UPDATE inode SET content = ? WHERE ino = ?');
    this.#putEmbedded = prepare('INSERT INTO embedded(ino, bytes) VALUES (?, ?)');
    this.#removeEmbedded = prepare('DELETE FROM embedded WHERE ino = ?');
    this.#blockIdx = prepare('SELECT idx FROM block WHERE id = ?').raw();
    this.#putBlock = prepare('INSERT INTO block(id) VALUES (?)');
    this.#putExtent = prepare(
      'INSERT INTO extent(ino, offset, length, block, block_offset) VALUES (?, ?, ?, ?, ?)',
    );
    this.#removeExtents = prepare('DELETE FROM extent WHERE ino = ?');
    this.#putXattr = prepare('INSERT INTO xattr(ino, name, value) VALUES (?, ?, ?)');
    this.#removeXattrs = prepare('DELETE FROM xattr WHERE ino = ?');
  }

  putInode(inode: InodeAttributes): void {
    refuse(inodeFault(inode));
    this.#count(this.#inodeOf.get(inode.ino), -1);
    this.#putInode.run(
      inode.ino,
      inode.mode,
      inode.uid,
      inode.gid,
      inode.size,
      inode.nlink,
      inode.rdev,
      inode.mtimeSec,
      inode.mtimeNsec,
      inode.ctimeSec,
      inode.ctimeNsec,
      inode.btimeSec,
      inode.btimeNsec,
    );
    this.#count([inode.mode, inode.size], 1);
  }

  removeInode(ino: Ino): void {
    this.#count(this.#inodeOf.get(ino), -1);
    this.#removeInode.run(ino);
    this.#removeSymlink.run(ino);
    this.#removeEmbedded.run(ino);
    this.#removeExtents.run(ino);
    this.#removeXattrs.run(ino);
  }

  putDentry(parent: Ino, cookie: number, name: Buffer, ino: Ino): void {
    refuse(dentryFault(parent, cookie, name, ino));
    this.#putDentry.run(parent, cookie, name, ino);
    if (cookie > this.#highestCookie) this.#highestCookie = cookie;
  }

  removeDentry(parent: Ino, name: Buffer): void {
    this.#createDentryIndexes();
    this.#removeDentry ??= this.#database.prepare('DELETE FROM dentry WHERE parent = ? AND name = ?');
    this.#removeDentry.run(parent, name);
  }

  setSymlink(ino: Ino, target: Buffer): void {
    refuse(symlinkFault(ino, target));
    this.#putSymlink.run(ino, target);
  }

  setContent(ino: Ino, content: FileContent): void {
    const id = bytesOfId(content.id);
    if (!isDigest(id)) throw new Error(`not a content id: ${content.id}`);
    if (this.#setFirstContent.run(id, ino).changes === 0) {
      if (this.#setContent.run(id, ino).changes === 0)
        throw new Error(`content of inode ${String(ino)}, not put`);
      this.#removeEmbedded.run(ino);
      this.#removeExtents.run(ino);
    }
    if (content.embedded !== undefined) this.#putEmbedded.run(ino, content.embedded);
    let notBefore = 0;
    for (const { offset, length, block, blockOffset } of content.extents) {
      refuse(extentFault(ino, offset, length, blockOffset, notBefore, FILE_MAX_BYTES));
      this.#putExtent.run(ino, offset, length, this.#idxOf(block), blockOffset);
      notBefore = offset + length;
    }
  }

  setXattrs(ino: Ino, xattrs: readonly XattrRow[]): void {
    this.#removeXattrs.run(ino);
    for (const { name, value } of xattrs) {
      refuse(xattrFault(ino, name, value));
      this.#putXattr.run(ino, name, value);
    }
  }

  setNext(nextIno: Ino, nextCookie: number): void {
    if (!isInodeNumber(nextIno) || nextIno < this.#meta.next_ino)
      throw new Error(`next_ino ${String(nextIno)}`);
    if (!Number.isSafeInteger(nextCookie) || nextCookie < this.#meta.next_cookie) {
      throw new Error(`next_cookie ${String(nextCookie)}`);
    }
    this.#meta.next_ino = nextIno;
    this.#meta.next_cookie = nextCookie;
  }

  finish(): ReadonlySet<number> {
    const highest =
      this.#database.prepare<[], number | null>('SELECT max(ino) FROM inode').pluck().get() ?? 0;
    if (highest >= this.#meta.next_ino) throw new Error(`inode ${String(highest)} is not below next_ino`);
    if (this.#highestCookie >= this.#meta.next_cookie) {
      throw new Error(`cookie ${String(this.#highestCookie)} is not below next_cookie`);
    }
    this.#createDentryIndexes();
    const putMeta = this.#database.prepare('INSERT OR REPLACE INTO meta(key, value) VALUES (?, ?)');
    for (const key of META_KEYS) putMeta.run(key, this.#meta[key]);
    this.#database.exec('COMMIT');
    return this.#began === 'empty' ? this.#closeNew() : this.#closeChanged();
  }

  abandon(): void {
    this.#database.close();
    removeDatabase(this.#path);
  }

  #closeNew(): ReadonlySet<number> {
    this.#database.close();
    return new Set(Array(Math.ceil(statSync(this.#path).size / MANIFEST_PIECE_BYTES)).keys());
  }

  #closeChanged(): ReadonlySet<number> {
    const pieces = piecesInLog(logPath(this.#path));
    // M-1. Folds the log in, and marks it in the first page.
    this.#database.pragma('journal_mode = MEMORY');
    pieces.add(0);
    this.#database.close();
    return pieces;
  }

  /** Adds a row of `#inodeOf` to the counters, or takes it away. */
  #count(row: readonly unknown[] | undefined, sign: 1 | -1): void {
    if (row === undefined) return;
    const [mode, size] = row as [number, number];
    if (isRegular(mode)) {
      this.#meta.files += sign;
      this.#meta.bytes += sign * size;
    } else if (isDirectory(mode)) {
      this.#meta.directories += sign;
    } else {
      this.#meta.others += sign;
    }
  }

  #idxOf(id: BlockId): number {
    if (this.#lastBlock?.id === id) return this.#lastBlock.idx;
    const digest = bytesOfId(id);
    if (!isDigest(digest)) throw new Error(`not a block id: ${id}`);
    const row = this.#blockIdx.get(digest);
    const idx = Number(row === undefined ? this.#putBlock.run(digest).lastInsertRowid : row[0]);
    this.#lastBlock = { id, idx };
    return idx;
  }

  #createDentryIndexes(): void {
    if (this.#hasDentryIndexes) return;
    for (const statement of DENTRY_INDEXES) this.#database.exec(statement);
    this.#hasDentryIndexes = true;
  }
}

/** Rows that break a rule come from a fault in this program, never from a user's file. */
function refuse(fault: string | undefined): void {
  if (fault !== undefined) throw new Error(`not to be put in a manifest: ${fault}`);
}
