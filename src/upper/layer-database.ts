import fs from 'node:fs';
import path from 'node:path';
import Database from 'better-sqlite3';
import { CairnError, type Ino, type InodeAttributes } from '../core/index.js';
import type { DentryRow, XattrRow } from '../manifest/index.js';
import { COLUMNS, createSchema, bringSchemaUpToDate, type LayerTable } from './layer-schema.js';
import { rowChecksum } from './row-checksum.js';
import { syncPath } from './sync-path.js';

const FILE_NAME = 'upper.sqlite';

/** Room for everything that is written between two commits: a transaction that outgrew it would be written to the log early. */
const PAGE_CACHE_KIB = 8 * 1024;

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

/**
 * `upper.sqlite` of one layer: rows in, rows out, by prepared statements. When something is committed is its owner's to say.
 *
 * A row that is not as it was written is `corrupt`, in whatever was to be read; those that were not asked for do not matter.
 */
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
    createSchema(db);
    db.prepare('INSERT INTO state VALUES (?, ?, ?, ?, ?, ?, ?)').run(withChecksum(stateRow(state, 1)));
    db.pragma('journal_mode = WAL');
    db.close();
    // What is committed later counts on this file and its name being there after power loss.
    for (const synced of [file, dir, path.dirname(dir)]) syncPath(synced);
  }

  static open(dir: string, writable: boolean): LayerDatabase {
    let db: Database.Database | undefined;
    try {
      db = new Database(path.join(dir, FILE_NAME), { readonly: !writable, fileMustExist: true });
      if (!bringSchemaUpToDate(db)) {
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
    const row = this.#checked('state', this.#statements.state.get());
    if (row === undefined) throw new CairnError('corrupt', `upper layer ${this.#db.name} has no state`);
    const [, nextIno, nextCookie, lastUnique, lastReply, generation] = row as StateRow;
    return { nextIno, nextCookie, lastUnique, lastReply, generation };
  }

  putState(state: LayerState, generation: number): void {
    this.#statements.putState.run(withChecksum(stateRow(state, generation)));
  }

  inode(ino: Ino): LayerInode | undefined {
    const row = this.#checked('inode', this.#statements.inode.get(ino));
    return row === undefined ? undefined : inodeOf(row);
  }

  *inodes(): IterableIterator<LayerInode> {
    for (const row of this.#statements.inodes.iterate()) yield inodeOf(this.#checked('inode', row));
  }

  /** Inodes without a name. */
  unlinkedInos(): Ino[] {
    return this.#statements.unlinked.all().map((row) => row.ino);
  }

  hasInodes(): boolean {
    return this.#statements.anyInode.get() !== undefined;
  }

  dentry(parent: Ino, name: Buffer): DentryRow | undefined {
    const row = this.#checked('dentry', this.#statements.dentry.get(parent, name));
    return row === undefined ? undefined : dentryOf(row);
  }

  *dentries(): IterableIterator<LayerDentry> {
    for (const row of this.#statements.dentries.iterate()) yield dentryOf(this.#checked('dentry', row));
  }

  hasDentries(): boolean {
    return this.#statements.anyDentryAtAll.get() !== undefined;
  }

  hasDentriesIn(parent: Ino): boolean {
    return this.#statements.anyDentry.get(parent) !== undefined;
  }

  list(parent: Ino, afterCookie: number, limit: number): DentryRow[] {
    return this.#statements.list
      .all(parent, afterCookie, limit)
      .map((row) => dentryOf(this.#checked('dentry', row)));
  }

  namesOf(ino: Ino): { parent: Ino; name: Buffer }[] {
    return this.#statements.namesOf.all(ino).map((row) => dentryOf(this.#checked('dentry', row)));
  }

  symlink(ino: Ino): Buffer | undefined {
    return this.#checked('symlink', this.#statements.symlink.get(ino))?.[1] as Buffer | undefined;
  }

  hasXattrs(): boolean {
    return this.#statements.anyXattr.get() !== undefined;
  }

  xattrs(ino: Ino): XattrRow[] {
    return this.#statements.xattrs.all(ino).map((row) => {
      const [, name, value] = this.#checked('xattr', row) as XattrValues;
      return { name, value };
    });
  }

  xattr(ino: Ino, name: Buffer): Buffer | undefined {
    return this.#checked('xattr', this.#statements.xattr.get(ino, name))?.[2] as Buffer | undefined;
  }

  /** The first `limit` extents of an inode. */
  firstExtents(ino: Ino, limit: number): LayerExtent[] {
    return this.#extentsOf(this.#statements.firstExtents.all(ino, limit));
  }

  /** Extents that overlap [offset, offset + length), in order, whole. */
  extents(ino: Ino, offset: number, length: number): LayerExtent[] {
    return this.#extentsOf(this.#statements.extents.all(ino, offset + length, ino, offset, offset));
  }

  extentAt(ino: Ino, offset: number): LayerExtent | undefined {
    return this.#extentsOf(this.#statements.extentAt.all(ino, offset))[0];
  }

  segmentsOf(ino: Ino): number[] {
    return this.#statements.segmentsOf.all(ino).map((row) => row.segment);
  }

  /** How many bytes of each log segment extents refer to. */
  liveBytes(): [segment: number, bytes: number][] {
    return this.#statements.liveBytes.raw().all() as [number, number][];
  }

  putInode(inode: LayerInode): void {
    this.#statements.putInode.run(withChecksum(INODE_FIELDS.map((field) => inode[field])));
  }

  deleteInode(ino: Ino): void {
    this.#statements.deleteInode.run(ino);
  }

  putDentry(parent: Ino, name: Buffer, cookie: number, ino: Ino): void {
    this.#statements.putDentry.run(withChecksum([parent, name, cookie, ino]));
  }

  deleteDentry(parent: Ino, name: Buffer): void {
    this.#statements.deleteDentry.run(parent, name);
  }

  putSymlink(ino: Ino, target: Buffer): void {
    this.#statements.putSymlink.run(withChecksum([ino, target]));
  }

  deleteSymlink(ino: Ino): void {
    this.#statements.deleteSymlink.run(ino);
  }

  putXattr(ino: Ino, name: Buffer, value: Buffer): void {
    this.#statements.putXattr.run(withChecksum([ino, name, value]));
  }

  deleteXattr(ino: Ino, name: Buffer): void {
    this.#statements.deleteXattr.run(ino, name);
  }

  putExtent(ino: Ino, { offset, length, segment, position }: LayerExtent): void {
    this.#statements.putExtent.run(withChecksum([ino, offset, length, segment, position]));
  }

  deleteExtent(ino: Ino, offset: number): void {
    this.#statements.deleteExtent.run(ino, offset);
  }

  deleteExtents(ino: Ino): void {
    this.#statements.deleteExtents.run(ino);
  }

  #extentsOf(rows: Row[]): LayerExtent[] {
    return rows.map((row) => {
      const [, offset, length, segment, position] = this.#checked('extent', row) as ExtentRow;
      return { offset, length, segment, position };
    });
  }

  #checked<Found extends Row | undefined>(table: LayerTable, row: Found): Found {
    if (row === undefined || row[row.length - 1] === rowChecksum(row, row.length - 1)) return row;
    throw new CairnError(
      'corrupt',
      `upper layer ${this.#db.name}: the row of ${table} ${String(row[0])} is not as it was written`,
      { hint: 'cairn fsck says which paths are damaged' },
    );
  }
}

/** Values in the order of `COLUMNS`, then the checksum. */
type Row = unknown[];
type StateRow = [number, Ino, number, string, Buffer, number];
type DentryValues = [Ino, Buffer, number, Ino];
type XattrValues = [Ino, Buffer, Buffer];
type ExtentRow = [Ino, number, number, number, number];

function withChecksum(values: Row): Row {
  values.push(rowChecksum(values));
  return values;
}

function stateRow({ nextIno, nextCookie, lastUnique, lastReply }: LayerState, generation: number): Row {
  return [1, nextIno, nextCookie, lastUnique, lastReply, generation];
}

function inodeOf(row: Row): LayerInode {
  const inode: Partial<LayerInode> = {};
  INODE_FIELDS.forEach((field, index) => {
    inode[field] = row[index] as number;
  });
  return inode as LayerInode;
}

function dentryOf(row: Row): LayerDentry {
  const [parent, name, cookie, ino] = row as DentryValues;
  return { parent, name, cookie, ino };
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

type One = { one: number };

function prepareStatements(db: Database.Database) {
  const select = <Parameters extends unknown[]>(
    table: LayerTable,
    rest: string,
  ): Database.Statement<Parameters, Row> =>
    db.prepare<Parameters, Row>(`SELECT ${COLUMNS[table].join(', ')}, checksum FROM ${table} ${rest}`).raw();
  const put = (table: LayerTable): Database.Statement =>
    db.prepare(
      `INSERT OR REPLACE INTO ${table} (${COLUMNS[table].join(', ')}, checksum)
       VALUES (${'?, '.repeat(COLUMNS[table].length)}?)`,
    );
  return {
    begin: db.prepare('BEGIN IMMEDIATE'),
    commit: db.prepare('COMMIT'),
    rollback: db.prepare('ROLLBACK'),
    state: select<[]>('state', ''),
    putState: put('state'),
    inode: select<[Ino]>('inode', 'WHERE ino = ?'),
    inodes: select<[]>('inode', 'ORDER BY ino'),
    unlinked: db.prepare<[], { ino: Ino }>('SELECT ino FROM inode WHERE nlink = 0'),
    anyInode: db.prepare<[], One>('SELECT 1 AS one FROM inode LIMIT 1'),
    putInode: put('inode'),
    deleteInode: db.prepare<[Ino]>('DELETE FROM inode WHERE ino = ?'),
    dentry: select<[Ino, Buffer]>('dentry', 'WHERE parent = ? AND name = ?'),
    dentries: select<[]>('dentry', 'ORDER BY parent, name'),
    anyDentryAtAll: db.prepare<[], One>('SELECT 1 AS one FROM dentry LIMIT 1'),
    anyDentry: db.prepare<[Ino], One>('SELECT 1 AS one FROM dentry WHERE parent = ? LIMIT 1'),
    list: select<[Ino, number, number]>(
      'dentry',
      'WHERE parent = ? AND cookie > ? AND ino > 0 ORDER BY cookie LIMIT ? + 0',
    ),
    namesOf: select<[Ino]>('dentry', 'WHERE ino = ? AND ino > 0'),
    putDentry: put('dentry'),
    deleteDentry: db.prepare<[Ino, Buffer]>('DELETE FROM dentry WHERE parent = ? AND name = ?'),
    symlink: select<[Ino]>('symlink', 'WHERE ino = ?'),
    putSymlink: put('symlink'),
    deleteSymlink: db.prepare<[Ino]>('DELETE FROM symlink WHERE ino = ?'),
    anyXattr: db.prepare<[], One>('SELECT 1 AS one FROM xattr LIMIT 1'),
    xattrs: select<[Ino]>('xattr', 'WHERE ino = ? ORDER BY name'),
    xattr: select<[Ino, Buffer]>('xattr', 'WHERE ino = ? AND name = ?'),
    putXattr: put('xattr'),
    deleteXattr: db.prepare<[Ino, Buffer]>('DELETE FROM xattr WHERE ino = ? AND name = ?'),
    firstExtents: select<[Ino, number]>('extent', 'WHERE ino = ? ORDER BY offset LIMIT ? + 0'),
    // Extents do not overlap, so only the last one that begins at or before the offset can reach into the range.
    extents: select<[Ino, number, Ino, number, number]>(
      'extent',
      `WHERE ino = ? AND offset < ? AND offset >= coalesce((SELECT max(offset) FROM extent WHERE ino = ? AND offset <= ?), 0)
         AND offset + length > ? ORDER BY offset`,
    ),
    extentAt: select<[Ino, number]>('extent', 'WHERE ino = ? AND offset = ?'),
    segmentsOf: db.prepare<[Ino], { segment: number }>('SELECT DISTINCT segment FROM extent WHERE ino = ?'),
    liveBytes: db.prepare('SELECT segment, SUM(length) FROM extent WHERE segment >= 0 GROUP BY segment'),
    putExtent: put('extent'),
    deleteExtent: db.prepare<[Ino, number]>('DELETE FROM extent WHERE ino = ? AND offset = ?'),
    deleteExtents: db.prepare<[Ino]>('DELETE FROM extent WHERE ino = ?'),
  };
}
