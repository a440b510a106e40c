import fs from 'node:fs';
import path from 'node:path';
import Database from 'better-sqlite3';
import { CairnError, type Ino, type InodeAttributes } from '../core/index.js';
import type { DentryRow, XattrRow } from '../manifest/index.js';
import { syncPath } from './sync-path.js';

const SCHEMA_VERSION = 3;
/** Without access times: `open` adds them. */
const SCHEMA_VERSION_WITHOUT_ATIME = 2;
const FILE_NAME = 'upper.sqlite';

/** Room for everything that is written between two commits: a transaction that outgrew it would be written to the log early. */
const PAGE_CACHE_KIB = 8 * 1024;

const SCHEMA = `
CREATE TABLE state (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  next_ino INTEGER NOT NULL, next_cookie INTEGER NOT NULL,
  last_unique TEXT NOT NULL, last_reply BLOB NOT NULL,
  generation INTEGER NOT NULL
);
CREATE TABLE inode (
  ino INTEGER PRIMARY KEY,
  mode INTEGER NOT NULL, uid INTEGER NOT NULL, gid INTEGER NOT NULL, size INTEGER NOT NULL, nlink INTEGER NOT NULL,
  rdev INTEGER NOT NULL, mtime INTEGER NOT NULL, mtime_nsec INTEGER NOT NULL, ctime INTEGER NOT NULL,
  ctime_nsec INTEGER NOT NULL, btime INTEGER NOT NULL, btime_nsec INTEGER NOT NULL,
  created INTEGER NOT NULL, content_changed INTEGER NOT NULL, below_limit INTEGER NOT NULL,
  own_file INTEGER NOT NULL, owns_xattrs INTEGER NOT NULL, atime INTEGER NOT NULL, atime_nsec INTEGER NOT NULL
);
CREATE INDEX inode_unlinked ON inode (ino) WHERE nlink = 0;
CREATE TABLE dentry (
  parent INTEGER NOT NULL, name BLOB NOT NULL, cookie INTEGER NOT NULL, ino INTEGER NOT NULL,
  PRIMARY KEY (parent, name)
) WITHOUT ROWID;
CREATE INDEX dentry_cookie ON dentry (parent, cookie);
CREATE INDEX dentry_ino ON dentry (ino) WHERE ino > 0;
CREATE TABLE symlink (ino INTEGER PRIMARY KEY, target BLOB NOT NULL);
CREATE TABLE xattr (ino INTEGER NOT NULL, name BLOB NOT NULL, value BLOB NOT NULL, PRIMARY KEY (ino, name)) WITHOUT ROWID;
CREATE TABLE extent (
  ino INTEGER NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL, segment INTEGER NOT NULL,
  position INTEGER NOT NULL, PRIMARY KEY (ino, offset)
) WITHOUT ROWID;
PRAGMA user_version = ${String(SCHEMA_VERSION)};
`;

const INODE_COLUMNS = `ino, mode, uid, gid, size, nlink, rdev, mtime AS mtimeSec, mtime_nsec AS mtimeNsec, ctime AS ctimeSec,
  ctime_nsec AS ctimeNsec, btime AS btimeSec, btime_nsec AS btimeNsec, created, content_changed AS contentChanged,
  below_limit AS belowLimit, own_file AS ownFile, owns_xattrs AS ownsXattrs,
  atime AS atimeSec, atime_nsec AS atimeNsec`;

const ADD_ATIME = `
ALTER TABLE inode ADD COLUMN atime INTEGER NOT NULL DEFAULT 0;
ALTER TABLE inode ADD COLUMN atime_nsec INTEGER NOT NULL DEFAULT 0;
UPDATE inode SET atime = mtime, atime_nsec = mtime_nsec;
PRAGMA user_version = ${String(SCHEMA_VERSION)};
`;

/** An inode as a layer holds it: always all its attributes, and which of the rest it holds. Flags are 0 or 1. */
export interface LayerInode extends InodeAttributes {
  /** Not there in the layers below. `nlink` 0 and not created: hides the inode below. */
  created: number;
  /** The content differs from below; else everything is below, and `belowLimit` means nothing. */
  contentChanged: number;
  /** Content below this offset that no extent covers is below; from there on it is zeros. */
  belowLimit: number;
  /** Has a sparse file of its own in the layer. */
  ownFile: number;
  /** The layer holds all of its xattrs; else all are below. */
  ownsXattrs: number;
  atimeSec: number;
  atimeNsec: number;
}

export const INODE_FIELDS = [
  'ino',
  'mode',
  'uid',
  'gid',
  'size',
  'nlink',
  'rdev',
  'mtimeSec',
  'mtimeNsec',
  'ctimeSec',
  'ctimeNsec',
  'btimeSec',
  'btimeNsec',
  'created',
  'contentChanged',
  'belowLimit',
  'ownFile',
  'ownsXattrs',
  'atimeSec',
  'atimeNsec',
] as const satisfies readonly (keyof LayerInode)[];

/** `length` bytes at `offset` of an inode are at `position` of a log segment, of its own file, or zeros. */
export interface LayerExtent {
  readonly offset: number;
  readonly length: number;
  readonly segment: number;
  readonly position: number;
}

/** A dentry of a layer; `ino` 0 is a whiteout: the name is gone. */
export interface LayerDentry extends DentryRow {
  parent: Ino;
}

/** What a layer knows beside its rows. */
export interface LayerState {
  nextIno: Ino;
  nextCookie: number;
  /** The last committed change and its reply, for a request that is sent again. */
  lastUnique: string;
  lastReply: Buffer;
}

/** Takes the changes of rows: the database, or the journal in front of it. */
export interface RowSink {
  putInode(inode: LayerInode): void;
  deleteInode(ino: Ino): void;
  putDentry(parent: Ino, name: Buffer, cookie: number, ino: Ino): void;
  deleteDentry(parent: Ino, name: Buffer): void;
  putSymlink(ino: Ino, target: Buffer): void;
  deleteSymlink(ino: Ino): void;
  putXattr(ino: Ino, name: Buffer, value: Buffer): void;
  deleteXattr(ino: Ino, name: Buffer): void;
  putExtent(ino: Ino, extent: LayerExtent): void;
  deleteExtent(ino: Ino, offset: number): void;
}

/** `upper.sqlite` of one layer: rows in, rows out, by prepared statements. When something is committed is its owner's to say. */
export class LayerDatabase implements RowSink {
  readonly #db: Database.Database;
  readonly #statements: ReturnType<typeof prepareStatements>;

  private constructor(db: Database.Database) {
    this.#db = db;
    this.#statements = prepareStatements(db);
  }

  static create(dir: string, state: LayerState): void {
    const file = path.join(dir, FILE_NAME);
    const db = new Database(file);
    db.pragma('page_size = 4096');
    // What names took is given back when the disk is full: see `compact`.
    db.pragma('auto_vacuum = INCREMENTAL');
    db.pragma('synchronous = OFF');
    db.exec(`BEGIN; ${SCHEMA} COMMIT;`);
    db.prepare('INSERT INTO state VALUES (1, ?, ?, ?, ?, 1)').run(
      state.nextIno,
      state.nextCookie,
      state.lastUnique,
      state.lastReply,
    );
    db.pragma('journal_mode = WAL');
    db.close();
    // What is committed later counts on this file and its name being there after power loss.
    for (const synced of [file, dir, path.dirname(dir)]) syncPath(synced);
  }

  static open(dir: string, writable: boolean): LayerDatabase {
    let db: Database.Database | undefined;
    try {
      db = new Database(path.join(dir, FILE_NAME), { readonly: !writable, fileMustExist: true });
      if (schemaVersion(db) === SCHEMA_VERSION_WITHOUT_ATIME) addAccessTimes(db.name);
      if (schemaVersion(db) !== SCHEMA_VERSION) {
        throw new CairnError('unsupported', `upper layer ${dir} was written by another release`);
      }
      if (writable) {
        // NORMAL: a commit is in the log file, in the kernel's hands; it is synced before it is folded into the database.
        db.pragma('synchronous = NORMAL');
        db.pragma('wal_autocheckpoint = 0');
        db.pragma(`cache_size = -${String(PAGE_CACHE_KIB)}`);
        // Rather more memory, which the journal's length bounds, than a full disk in the middle of an operation.
        db.pragma('cache_spill = OFF');
      }
      return new LayerDatabase(db);
    } catch (error) {
      db?.close();
      throw openingError(dir, error);
    }
  }

  begin(): void {
    this.#statements.begin.run();
  }

  commit(): void {
    this.#statements.commit.run();
  }

  rollback(): void {
    if (this.#db.inTransaction) this.#statements.rollback.run();
  }

  /** Syncs the write-ahead log and moves it into the database file, which is synced too. False when a reader was in the way. */
  checkpoint(): boolean {
    const [result] = this.#db.pragma('wal_checkpoint(PASSIVE)') as [
      { busy: number; log: number; checkpointed: number },
    ];
    return result.busy === 0 && result.log === result.checkpointed;
  }

  /**
   * Gives back to the disk what the database and its log do not need. Outside of a transaction. False when a reader was in the way: then the
   * log is still needed.
   */
  compact(): boolean {
    this.#db.pragma('incremental_vacuum');
    const [result] = this.#db.pragma('wal_checkpoint(TRUNCATE)') as [{ busy: number }];
    return result.busy === 0;
  }

  close(): void {
    this.#db.close();
  }

  /** The file that commits go to. */
  get logPath(): string {
    return `${this.#db.name}-wal`;
  }

  /** `generation`: the first journal whose records are not in the database. */
  state(): LayerState & { generation: number } {
    const row = this.#statements.state.get();
    if (row === undefined) throw new CairnError('corrupt', `upper layer ${this.#db.name} has no state`);
    return row;
  }

  putState(state: LayerState, generation: number): void {
    this.#statements.putState.run(
      state.nextIno,
      state.nextCookie,
      state.lastUnique,
      state.lastReply,
      generation,
    );
  }

  inode(ino: Ino): LayerInode | undefined {
    return this.#statements.inode.get(ino);
  }

  inodes(): IterableIterator<LayerInode> {
    return this.#statements.inodes.iterate();
  }

  /** Inodes without a name. */
  unlinkedInos(): Ino[] {
    return this.#statements.unlinked.all().map((row) => row.ino);
  }

  hasInodes(): boolean {
    return this.#statements.anyInode.get() !== undefined;
  }

  dentry(parent: Ino, name: Buffer): DentryRow | undefined {
    return this.#statements.dentry.get(parent, name);
  }

  dentries(): IterableIterator<LayerDentry> {
    return this.#statements.dentries.iterate();
  }

  hasDentries(): boolean {
    return this.#statements.anyDentryAtAll.get() !== undefined;
  }

  hasDentriesIn(parent: Ino): boolean {
    return this.#statements.anyDentry.get(parent) !== undefined;
  }

  list(parent: Ino, afterCookie: number, limit: number): DentryRow[] {
    return this.#statements.list.all(parent, afterCookie, limit);
  }

  namesOf(ino: Ino): { parent: Ino; name: Buffer }[] {
    return this.#statements.namesOf.all(ino);
  }

  symlink(ino: Ino): Buffer | undefined {
    return this.#statements.symlink.get(ino)?.target;
  }

  hasXattrs(): boolean {
    return this.#statements.anyXattr.get() !== undefined;
  }

  xattrs(ino: Ino): XattrRow[] {
    return this.#statements.xattrs.all(ino);
  }

  xattr(ino: Ino, name: Buffer): Buffer | undefined {
    return this.#statements.xattr.get(ino, name)?.value;
  }

  /** The first `limit` extents of an inode. */
  firstExtents(ino: Ino, limit: number): LayerExtent[] {
    return this.#statements.firstExtents.all(ino, limit);
  }

  /** Extents that overlap [offset, offset + length), in order, whole. */
  extents(ino: Ino, offset: number, length: number): LayerExtent[] {
    return this.#statements.extents.all(ino, offset + length, ino, offset, offset);
  }

  extentAt(ino: Ino, offset: number): LayerExtent | undefined {
    return this.#statements.extentAt.get(ino, offset);
  }

  segmentsOf(ino: Ino): number[] {
    return this.#statements.segmentsOf.all(ino).map((row) => row.segment);
  }

  /** How many bytes of each log segment extents refer to. */
  liveBytes(): [segment: number, bytes: number][] {
    return this.#statements.liveBytes.raw().all() as [number, number][];
  }

  putInode(inode: LayerInode): void {
    this.#statements.putInode.run(inode);
  }

  deleteInode(ino: Ino): void {
    this.#statements.deleteInode.run(ino);
  }

  putDentry(parent: Ino, name: Buffer, cookie: number, ino: Ino): void {
    this.#statements.putDentry.run(parent, name, cookie, ino);
  }

  deleteDentry(parent: Ino, name: Buffer): void {
    this.#statements.deleteDentry.run(parent, name);
  }

  putSymlink(ino: Ino, target: Buffer): void {
    this.#statements.putSymlink.run(ino, target);
  }

  deleteSymlink(ino: Ino): void {
    this.#statements.deleteSymlink.run(ino);
  }

  putXattr(ino: Ino, name: Buffer, value: Buffer): void {
    this.#statements.putXattr.run(ino, name, value);
  }

  deleteXattr(ino: Ino, name: Buffer): void {
    this.#statements.deleteXattr.run(ino, name);
  }

  putExtent(ino: Ino, { offset, length, segment, position }: LayerExtent): void {
    this.#statements.putExtent.run(ino, offset, length, segment, position);
  }

  deleteExtent(ino: Ino, offset: number): void {
    this.#statements.deleteExtent.run(ino, offset);
  }

  deleteExtents(ino: Ino): void {
    this.#statements.deleteExtents.run(ino);
  }
}

/** What these say is not the file's fault. */
const NOT_DAMAGE = /^SQLITE_(FULL|IOERR|BUSY|LOCKED|READONLY|NOMEM)/;

/** What to throw for an error met while the layer in `dir` is opened: what SQLite finds wrong with its file is `corrupt`. */
export function openingError(dir: string, error: unknown): unknown {
  if (!(error instanceof Database.SqliteError) || NOT_DAMAGE.test(error.code)) return error;
  // Else there are no descriptors left, or no right to open it.
  const isDamage = error.code !== 'SQLITE_CANTOPEN' || !fs.existsSync(path.join(dir, FILE_NAME));
  if (!isDamage) return error;
  return new CairnError('corrupt', `upper layer ${dir} cannot be opened: ${error.message}`, {
    hint: 'nothing was changed: cairn fsck says what is damaged',
    cause: error,
  });
}

function schemaVersion(db: Database.Database): unknown {
  return db.pragma('user_version', { simple: true });
}

/** In a connection of its own: a sealed layer is opened for reading. Another thread may have been first. */
function addAccessTimes(file: string): void {
  const db = new Database(file, { fileMustExist: true });
  try {
    db.transaction(() => {
      if (schemaVersion(db) === SCHEMA_VERSION_WITHOUT_ATIME) db.exec(ADD_ATIME);
    }).immediate();
  } finally {
    db.close();
  }
}

type One = { one: number };

function prepareStatements(db: Database.Database) {
  const values = INODE_FIELDS.map((field) => `@${field}`).join(', ');
  return {
    begin: db.prepare('BEGIN IMMEDIATE'),
    commit: db.prepare('COMMIT'),
    rollback: db.prepare('ROLLBACK'),
    state: db.prepare<[], LayerState & { generation: number }>(
      `SELECT next_ino AS nextIno, next_cookie AS nextCookie, last_unique AS lastUnique, last_reply AS lastReply, generation
       FROM state`,
    ),
    putState: db.prepare<[number, number, string, Buffer, number]>(
      'UPDATE state SET next_ino = ?, next_cookie = ?, last_unique = ?, last_reply = ?, generation = ?',
    ),
    inode: db.prepare<[Ino], LayerInode>(`SELECT ${INODE_COLUMNS} FROM inode WHERE ino = ?`),
    inodes: db.prepare<[], LayerInode>(`SELECT ${INODE_COLUMNS} FROM inode ORDER BY ino`),
    unlinked: db.prepare<[], { ino: Ino }>('SELECT ino FROM inode WHERE nlink = 0'),
    anyInode: db.prepare<[], One>('SELECT 1 AS one FROM inode LIMIT 1'),
    putInode: db.prepare<[LayerInode]>(`INSERT OR REPLACE INTO inode VALUES (${values})`),
    deleteInode: db.prepare<[Ino]>('DELETE FROM inode WHERE ino = ?'),
    dentry: db.prepare<[Ino, Buffer], DentryRow>(
      'SELECT name, cookie, ino FROM dentry WHERE parent = ? AND name = ?',
    ),
    dentries: db.prepare<[], LayerDentry>(
      'SELECT parent, name, cookie, ino FROM dentry ORDER BY parent, name',
    ),
    anyDentryAtAll: db.prepare<[], One>('SELECT 1 AS one FROM dentry LIMIT 1'),
    anyDentry: db.prepare<[Ino], One>('SELECT 1 AS one FROM dentry WHERE parent = ? LIMIT 1'),
    list: db.prepare<[Ino, number, number], DentryRow>(
      'SELECT name, cookie, ino FROM dentry WHERE parent = ? AND cookie > ? AND ino > 0 ORDER BY cookie LIMIT ? + 0',
    ),
    namesOf: db.prepare<[Ino], { parent: Ino; name: Buffer }>(
      'SELECT parent, name FROM dentry WHERE ino = ? AND ino > 0',
    ),
    putDentry: db.prepare<[Ino, Buffer, number, Ino]>(
      'INSERT OR REPLACE INTO dentry (parent, name, cookie, ino) VALUES (?, ?, ?, ?)',
    ),
    deleteDentry: db.prepare<[Ino, Buffer]>('DELETE FROM dentry WHERE parent = ? AND name = ?'),
    symlink: db.prepare<[Ino], { target: Buffer }>('SELECT target FROM symlink WHERE ino = ?'),
    putSymlink: db.prepare<[Ino, Buffer]>('INSERT OR REPLACE INTO symlink VALUES (?, ?)'),
    deleteSymlink: db.prepare<[Ino]>('DELETE FROM symlink WHERE ino = ?'),
    anyXattr: db.prepare<[], One>('SELECT 1 AS one FROM xattr LIMIT 1'),
    xattrs: db.prepare<[Ino], XattrRow>('SELECT name, value FROM xattr WHERE ino = ? ORDER BY name'),
    xattr: db.prepare<[Ino, Buffer], { value: Buffer }>('SELECT value FROM xattr WHERE ino = ? AND name = ?'),
    putXattr: db.prepare<[Ino, Buffer, Buffer]>('INSERT OR REPLACE INTO xattr VALUES (?, ?, ?)'),
    deleteXattr: db.prepare<[Ino, Buffer]>('DELETE FROM xattr WHERE ino = ? AND name = ?'),
    firstExtents: db.prepare<[Ino, number], LayerExtent>(
      'SELECT offset, length, segment, position FROM extent WHERE ino = ? ORDER BY offset LIMIT ? + 0',
    ),
    // Extents do not overlap, so only the last one that begins at or before the offset can reach into the range.
    extents: db.prepare<[Ino, number, Ino, number, number], LayerExtent>(
      `SELECT offset, length, segment, position FROM extent
       WHERE ino = ? AND offset < ? AND offset >= coalesce((SELECT max(offset) FROM extent WHERE ino = ? AND offset <= ?), 0)
         AND offset + length > ? ORDER BY offset`,
    ),
    extentAt: db.prepare<[Ino, number], LayerExtent>(
      'SELECT offset, length, segment, position FROM extent WHERE ino = ? AND offset = ?',
    ),
    segmentsOf: db.prepare<[Ino], { segment: number }>('SELECT DISTINCT segment FROM extent WHERE ino = ?'),
    liveBytes: db.prepare('SELECT segment, SUM(length) FROM extent WHERE segment >= 0 GROUP BY segment'),
    putExtent: db.prepare<[Ino, number, number, number, number]>(
      'INSERT OR REPLACE INTO extent VALUES (?, ?, ?, ?, ?)',
    ),
    deleteExtent: db.prepare<[Ino, number]>('DELETE FROM extent WHERE ino = ? AND offset = ?'),
    deleteExtents: db.prepare<[Ino]>('DELETE FROM extent WHERE ino = ?'),
  };
}
