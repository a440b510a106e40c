import fs from 'node:fs';
import path from 'node:path';
import Database from 'better-sqlite3';
import { CairnError, PACKED_FILE_MAX_BYTES, type Ino, type InodeAttributes } from '../core/index.js';
import type { DentryRow, XattrRow } from '../manifest/index.js';
import { DataStore, OWN_FILE, ZEROS } from './data-store.js';

const SCHEMA_VERSION = 1;

/** The write-ahead log is folded into the database when it has this many pages (16 MiB). */
const CHECKPOINT_PAGES = 4096;

const SCHEMA = `
CREATE TABLE state (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  next_ino INTEGER NOT NULL, next_cookie INTEGER NOT NULL,
  last_unique TEXT NOT NULL, last_reply BLOB NOT NULL
);
CREATE TABLE inode (
  ino INTEGER PRIMARY KEY,
  mode INTEGER NOT NULL, uid INTEGER NOT NULL, gid INTEGER NOT NULL, size INTEGER NOT NULL, nlink INTEGER NOT NULL,
  rdev INTEGER NOT NULL, mtime INTEGER NOT NULL, mtime_nsec INTEGER NOT NULL, ctime INTEGER NOT NULL,
  ctime_nsec INTEGER NOT NULL, btime INTEGER NOT NULL, btime_nsec INTEGER NOT NULL,
  created INTEGER NOT NULL, content_changed INTEGER NOT NULL, below_limit INTEGER NOT NULL,
  own_file INTEGER NOT NULL, owns_xattrs INTEGER NOT NULL
);
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
  below_limit AS belowLimit, own_file AS ownFile, owns_xattrs AS ownsXattrs`;

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
}

/** `length` bytes at `offset` of an inode are at `position` of a log segment, of its own file, or zeros. */
export interface LayerExtent {
  offset: number;
  length: number;
  segment: number;
  position: number;
}

/** A dentry of a layer; `ino` 0 is a whiteout: the name is gone. */
export interface LayerDentry extends DentryRow {
  parent: Ino;
}

/**
 * One layer. Changes run between `begin` and `commit`; a commit is in the write-ahead log when it returns, where it survives the
 * process, and power loss once `filesToSync` were synced.
 */
export class UpperLayer {
  readonly dir: string;
  readonly #db: Database.Database;
  readonly #data: DataStore;
  readonly #statements: ReturnType<typeof prepareStatements>;
  #nextIno: Ino;
  #nextCookie: number;
  #committedNextIno: Ino;
  #committedNextCookie: number;

  private constructor(dir: string, db: Database.Database, writable: boolean) {
    this.dir = dir;
    this.#db = db;
    this.#statements = prepareStatements(db);
    const live = db
      .prepare('SELECT segment, SUM(length) FROM extent WHERE segment >= 0 GROUP BY segment')
      .raw();
    this.#data = new DataStore(dir, writable, live.all() as [number, number][]);
    const state = this.#statements.state.get();
    if (state === undefined) throw new CairnError('corrupt', `upper layer ${dir} has no state`);
    this.#nextIno = this.#committedNextIno = state.nextIno;
    this.#nextCookie = this.#committedNextCookie = state.nextCookie;
  }

  /** Makes an empty layer; inode numbers and cookies below the given ones are taken. */
  static create(
    dir: string,
    next: { ino: Ino; cookie: number; lastUnique: string; lastReply: Buffer },
  ): void {
    fs.rmSync(dir, { recursive: true, force: true });
    fs.mkdirSync(dir, { recursive: true, mode: 0o700 });
    const db = new Database(path.join(dir, 'upper.sqlite'));
    db.pragma('page_size = 4096');
    db.pragma('synchronous = OFF');
    db.exec(`BEGIN; ${SCHEMA} COMMIT;`);
    db.prepare('INSERT INTO state VALUES (1, ?, ?, ?, ?)').run(
      next.ino,
      next.cookie,
      next.lastUnique,
      next.lastReply,
    );
    db.pragma('journal_mode = WAL');
    db.close();
    // What is committed later counts on this file and its name being there after power loss.
    for (const file of [path.join(dir, 'upper.sqlite'), dir, path.dirname(dir)]) syncPath(file);
  }

  /** Opens a layer; `writable` false for a sealed one, or for a second look at the active one. */
  static open(dir: string, writable: boolean): UpperLayer {
    const file = path.join(dir, 'upper.sqlite');
    let db: Database.Database | undefined;
    try {
      db = new Database(file, { readonly: !writable, fileMustExist: true });
      if (db.pragma('user_version', { simple: true }) !== SCHEMA_VERSION) {
        throw new CairnError('unsupported', `upper layer ${dir} was written by another release`);
      }
      if (writable) {
        // NORMAL: a commit is in the WAL file, in the kernel's hands; fsync is what the programs ask for.
        db.pragma('synchronous = NORMAL');
        db.pragma(`wal_autocheckpoint = ${String(CHECKPOINT_PAGES)}`);
      }
      return new UpperLayer(dir, db, writable);
    } catch (error) {
      db?.close();
      if (error instanceof CairnError) throw error;
      throw new CairnError('corrupt', `upper layer ${dir} cannot be opened: ${String(error)}`, {
        cause: error,
      });
    }
  }

  get nextIno(): Ino {
    return this.#nextIno;
  }

  get nextCookie(): number {
    return this.#nextCookie;
  }

  allocateIno(): Ino {
    return this.#nextIno++;
  }

  allocateCookie(): number {
    return this.#nextCookie++;
  }

  begin(): void {
    this.#statements.begin.run();
  }

  commit(unique: string, reply: Buffer): void {
    this.#statements.setState.run(this.#nextIno, this.#nextCookie, unique, reply);
    this.#statements.commit.run();
    this.#committedNextIno = this.#nextIno;
    this.#committedNextCookie = this.#nextCookie;
    this.#data.settle();
  }

  rollback(): void {
    if (this.#db.inTransaction) this.#statements.rollback.run();
    this.#nextIno = this.#committedNextIno;
    this.#nextCookie = this.#committedNextCookie;
    this.#data.forgetPending();
  }

  /** The last committed change's `unique` and reply. */
  last(): { lastUnique: string; lastReply: Buffer } {
    const row = this.#statements.state.get();
    return { lastUnique: row?.lastUnique ?? '', lastReply: row?.lastReply ?? Buffer.alloc(0) };
  }

  inode(ino: Ino): LayerInode | undefined {
    return this.#statements.inode.get(ino);
  }

  *inodes(): IterableIterator<LayerInode> {
    yield* this.#statements.inodes.iterate();
  }

  dentry(parent: Ino, name: Buffer): DentryRow | undefined {
    return this.#statements.dentry.get(parent, name);
  }

  *dentries(): IterableIterator<LayerDentry> {
    yield* this.#statements.dentries.iterate();
  }

  /** True when the layer changes the entries of any directory. */
  hasDentries(): boolean {
    return this.#statements.anyDentryAtAll.get() !== undefined;
  }

  /** True when the layer changes anything in the directory itself. */
  hasDentriesIn(parent: Ino): boolean {
    return this.#statements.anyDentry.get(parent) !== undefined;
  }

  /** Live entries with cookies above `afterCookie`, in cookie order. */
  list(parent: Ino, afterCookie: number, limit: number): DentryRow[] {
    return this.#statements.list.all(parent, afterCookie, limit);
  }

  namesOf(ino: Ino): { parent: Ino; name: Buffer }[] {
    return this.#statements.namesOf.all(ino);
  }

  symlink(ino: Ino): Buffer | undefined {
    return this.#statements.symlink.get(ino)?.target;
  }

  xattrs(ino: Ino): XattrRow[] {
    return this.#statements.xattrs.all(ino);
  }

  xattr(ino: Ino, name: Buffer): Buffer | undefined {
    return this.#statements.xattr.get(ino, name)?.value;
  }

  /** Inodes without a name: removed, and perhaps still open. */
  unlinkedInos(): Ino[] {
    return this.#statements.unlinked.all().map((row) => row.ino);
  }

  /** Extents that overlap [offset, offset + length), in order, whole. */
  extents(ino: Ino, offset: number, length: number): LayerExtent[] {
    return this.#statements.extents.all(ino, offset + length, ino, offset, offset);
  }

  /** Fills `target` with an extent's bytes from `offset` of the file on. */
  readExtent(ino: Ino, extent: LayerExtent, offset: number, target: Buffer): void {
    if (extent.segment === ZEROS) target.fill(0);
    else this.#data.read(ino, extent.segment, extent.position + (offset - extent.offset), target);
  }

  putInode(inode: LayerInode): void {
    this.#statements.putInode.run(inode);
  }

  /** Removes an inode this layer created, with all that belongs to it. */
  deleteInode(inode: LayerInode): void {
    this.#dropExtents(inode, 0, Number.MAX_SAFE_INTEGER);
    if (inode.ownFile === 1) this.#data.removeOwnFile(inode.ino);
    this.#statements.deleteInode.run(inode.ino);
    this.#statements.deleteSymlink.run(inode.ino);
    if (inode.ownsXattrs === 1) this.#statements.deleteXattrs.run(inode.ino);
  }

  putDentry(parent: Ino, name: Buffer, cookie: number, ino: Ino): void {
    this.#statements.putDentry.run(parent, name, cookie, ino);
  }

  deleteDentry(parent: Ino, name: Buffer): void {
    this.#statements.deleteDentry.run(parent, name);
  }

  setSymlink(ino: Ino, target: Buffer): void {
    this.#statements.setSymlink.run(ino, target);
  }

  putXattr(ino: Ino, name: Buffer, value: Buffer): void {
    this.#statements.putXattr.run(ino, name, value);
  }

  deleteXattr(ino: Ino, name: Buffer): void {
    this.#statements.deleteXattr.run(ino, name);
  }

  /**
   * Takes data into the layer. Changes `inode.ownFile` (never its size); the caller puts the inode. Small files written once go
   * to the log, everything else to a file of its own: the log would keep what a rewrite replaced.
   */
  writeData(inode: LayerInode, offset: number, data: Buffer): void {
    const end = offset + data.length;
    if (inode.ownFile === 0) {
      const overlapped = this.extents(inode.ino, offset, data.length).some((extent) => extent.segment >= 0);
      if (end <= PACKED_FILE_MAX_BYTES && !overlapped) {
        this.#dropExtents(inode, offset, data.length);
        const { segment, position } = this.#data.append(data);
        this.#statements.putExtent.run(inode.ino, offset, data.length, segment, position);
        return;
      }
      this.#promote(inode);
    }
    this.#data.writeOwnFile(inode.ino, offset, data);
    this.#coverOwnFile(inode, offset, end);
  }

  /** Drops data at and beyond `size`. Changes `inode.belowLimit`. */
  truncateData(inode: LayerInode, size: number): void {
    this.#dropExtents(inode, size, Number.MAX_SAFE_INTEGER - size);
    if (inode.belowLimit > size) inode.belowLimit = size;
    if (inode.ownFile === 1) this.#data.truncateOwnFile(inode.ino, size);
  }

  /** Makes [offset, offset + length) read as zeros. */
  zeroData(inode: LayerInode, offset: number, length: number): void {
    this.#dropExtents(inode, offset, length);
    const hidden = Math.min(offset + length, inode.belowLimit) - offset;
    if (hidden > 0) this.#statements.putExtent.run(inode.ino, offset, hidden, ZEROS, 0);
  }

  /** What fdatasync must cover for an inode's data and all metadata to survive power loss. */
  filesToSync(ino: Ino): string[] {
    const segments = this.#statements.segmentsOf.all(ino).map((row) => row.segment);
    const files = segments
      .filter((segment) => segment !== ZEROS)
      .map((segment) => this.#data.pathOf(ino, segment));
    if (files.length > 0) files.push(segments.includes(OWN_FILE) ? path.join(this.dir, 'data') : this.dir);
    files.push(path.join(this.dir, 'upper.sqlite-wal'));
    return files;
  }

  /** What the layer takes on the disk. */
  diskBytes(): number {
    return this.#data.diskBytes();
  }

  close(): void {
    this.#data.close();
    this.#db.close();
  }

  /** Moves an inode's data from the log to a file of its own. */
  #promote(inode: LayerInode): void {
    this.#data.createOwnFile(inode.ino);
    for (const extent of this.extents(inode.ino, 0, Number.MAX_SAFE_INTEGER)) {
      if (extent.segment === ZEROS) continue;
      const bytes = Buffer.allocUnsafe(extent.length);
      this.#data.read(inode.ino, extent.segment, extent.position, bytes);
      this.#data.writeOwnFile(inode.ino, extent.offset, bytes);
      this.#data.release(extent.segment, extent.length);
      this.#statements.putExtent.run(inode.ino, extent.offset, extent.length, OWN_FILE, extent.offset);
    }
    inode.ownFile = 1;
  }

  /** Records that the own file holds [offset, end), as one extent with those it touches. */
  #coverOwnFile(inode: LayerInode, offset: number, end: number): void {
    let from = offset;
    let to = end;
    // One byte more on each side finds the neighbours that become part of the same extent.
    const reach = Math.max(0, offset - 1);
    const touched = this.extents(inode.ino, reach, end + 1 - reach);
    const holds = (extent: LayerExtent): boolean =>
      extent.offset <= offset && extent.offset + extent.length >= end;
    if (touched.some((extent) => extent.segment === OWN_FILE && holds(extent))) return;
    for (const extent of touched) {
      if (extent.segment === OWN_FILE) {
        from = Math.min(from, extent.offset);
        to = Math.max(to, extent.offset + extent.length);
        this.#statements.deleteExtent.run(inode.ino, extent.offset);
      } else {
        this.#cut(inode.ino, extent, offset, end);
      }
    }
    this.#statements.putExtent.run(inode.ino, from, to - from, OWN_FILE, from);
  }

  #dropExtents(inode: LayerInode, offset: number, length: number): void {
    for (const extent of this.extents(inode.ino, offset, length)) {
      this.#cut(inode.ino, extent, offset, offset + length);
    }
  }

  /** Takes [from, to) out of an extent, leaving what stands before and after it. */
  #cut(ino: Ino, extent: LayerExtent, from: number, to: number): void {
    const extentEnd = extent.offset + extent.length;
    const cutFrom = Math.max(from, extent.offset);
    const cutTo = Math.min(to, extentEnd);
    if (cutTo <= cutFrom) return;
    this.#data.release(extent.segment, cutTo - cutFrom);
    if (cutFrom > extent.offset) {
      this.#statements.putExtent.run(
        ino,
        extent.offset,
        cutFrom - extent.offset,
        extent.segment,
        extent.position,
      );
    } else {
      this.#statements.deleteExtent.run(ino, extent.offset);
    }
    if (cutTo < extentEnd) {
      const position = extent.position + (cutTo - extent.offset);
      this.#statements.putExtent.run(ino, cutTo, extentEnd - cutTo, extent.segment, position);
    }
  }
}

function syncPath(file: string): void {
  const fd = fs.openSync(file, 'r');
  try {
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}

interface StateRow {
  nextIno: number;
  nextCookie: number;
  lastUnique: string;
  lastReply: Buffer;
}

function prepareStatements(db: Database.Database) {
  const names = 'mode uid gid size nlink rdev mtimeSec mtimeNsec ctimeSec ctimeNsec btimeSec btimeNsec'.split(
    ' ',
  );
  const flags = 'created contentChanged belowLimit ownFile ownsXattrs'.split(' ');
  const values = ['ino', ...names, ...flags].map((name) => `@${name}`).join(', ');
  return {
    begin: db.prepare('BEGIN IMMEDIATE'),
    commit: db.prepare('COMMIT'),
    rollback: db.prepare('ROLLBACK'),
    state: db.prepare<[], StateRow>(
      `SELECT next_ino AS nextIno, next_cookie AS nextCookie, last_unique AS lastUnique, last_reply AS lastReply FROM state`,
    ),
    setState: db.prepare<[number, number, string, Buffer]>(
      'UPDATE state SET next_ino = ?, next_cookie = ?, last_unique = ?, last_reply = ?',
    ),
    inode: db.prepare<[Ino], LayerInode>(`SELECT ${INODE_COLUMNS} FROM inode WHERE ino = ?`),
    inodes: db.prepare<[], LayerInode>(`SELECT ${INODE_COLUMNS} FROM inode ORDER BY ino`),
    unlinked: db.prepare<[], { ino: Ino }>('SELECT ino FROM inode WHERE nlink = 0'),
    putInode: db.prepare<[LayerInode]>(`INSERT OR REPLACE INTO inode VALUES (${values})`),
    deleteInode: db.prepare<[Ino]>('DELETE FROM inode WHERE ino = ?'),
    dentry: db.prepare<[Ino, Buffer], DentryRow>(
      'SELECT name, cookie, ino FROM dentry WHERE parent = ? AND name = ?',
    ),
    dentries: db.prepare<[], LayerDentry>(
      'SELECT parent, name, cookie, ino FROM dentry ORDER BY parent, name',
    ),
    anyDentryAtAll: db.prepare<[], { one: number }>('SELECT 1 AS one FROM dentry LIMIT 1'),
    anyDentry: db.prepare<[Ino], { one: number }>('SELECT 1 AS one FROM dentry WHERE parent = ? LIMIT 1'),
    list: db.prepare<[Ino, number, number], DentryRow>(
      'SELECT name, cookie, ino FROM dentry WHERE parent = ? AND cookie > ? AND ino > 0 ORDER BY cookie LIMIT ?',
    ),
    namesOf: db.prepare<[Ino], { parent: Ino; name: Buffer }>(
      'SELECT parent, name FROM dentry WHERE ino = ? AND ino > 0',
    ),
    putDentry: db.prepare<[Ino, Buffer, number, Ino]>(
      'INSERT OR REPLACE INTO dentry (parent, name, cookie, ino) VALUES (?, ?, ?, ?)',
    ),
    deleteDentry: db.prepare<[Ino, Buffer]>('DELETE FROM dentry WHERE parent = ? AND name = ?'),
    symlink: db.prepare<[Ino], { target: Buffer }>('SELECT target FROM symlink WHERE ino = ?'),
    setSymlink: db.prepare<[Ino, Buffer]>('INSERT OR REPLACE INTO symlink VALUES (?, ?)'),
    deleteSymlink: db.prepare<[Ino]>('DELETE FROM symlink WHERE ino = ?'),
    xattrs: db.prepare<[Ino], XattrRow>('SELECT name, value FROM xattr WHERE ino = ? ORDER BY name'),
    xattr: db.prepare<[Ino, Buffer], { value: Buffer }>('SELECT value FROM xattr WHERE ino = ? AND name = ?'),
    putXattr: db.prepare<[Ino, Buffer, Buffer]>('INSERT OR REPLACE INTO xattr VALUES (?, ?, ?)'),
    deleteXattr: db.prepare<[Ino, Buffer]>('DELETE FROM xattr WHERE ino = ? AND name = ?'),
    deleteXattrs: db.prepare<[Ino]>('DELETE FROM xattr WHERE ino = ?'),
    // Extents do not overlap, so only the last one that begins at or before the offset can reach into the range.
    extents: db.prepare<[Ino, number, Ino, number, number], LayerExtent>(
      `SELECT offset, length, segment, position FROM extent
       WHERE ino = ? AND offset < ? AND offset >= coalesce((SELECT max(offset) FROM extent WHERE ino = ? AND offset <= ?), 0)
         AND offset + length > ? ORDER BY offset`,
    ),
    putExtent: db.prepare<[Ino, number, number, number, number]>(
      'INSERT OR REPLACE INTO extent VALUES (?, ?, ?, ?, ?)',
    ),
    deleteExtent: db.prepare<[Ino, number]>('DELETE FROM extent WHERE ino = ? AND offset = ?'),
    segmentsOf: db.prepare<[Ino], { segment: number }>('SELECT DISTINCT segment FROM extent WHERE ino = ?'),
  };
}
