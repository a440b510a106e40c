import fs from 'node:fs';
import type { Ino } from '../core/index.js';
import type { DentryRow, XattrRow } from '../manifest/index.js';
import { openingError } from './layer-database.js';
import { hasJournal, Journal, replayJournals, type Replayed } from './journal.js';
import {
  LayerDatabase,
  type LayerDentry,
  type LayerExtent,
  type LayerInode,
  type LayerState,
} from './layer-database.js';
import { isFull } from './reserve.js';
import { RowCache } from './row-cache.js';
import { syncPath } from './sync-path.js';

/** Rows that are only in memory and the journal, at most: what a seal has to write to the database before it can go on. */
const DIRTY_ROWS_MAX = 2048;

/** The journal is folded into the database when it has grown to this. */
const JOURNAL_MAX_BYTES = 1024 * 1024;

/** Every so many folds the database's own log is synced and moved into it, and the journals it then holds are deleted. */
const FOLDS_PER_CHECKPOINT = 8;

/** An inode with more extents than this has them in the database alone. */
const EXTENTS_IN_MEMORY_MAX = 32;

/** All extents of an inode; `stored`: the database has some of it. Never changed, only replaced. */
interface ExtentList {
  readonly extents: readonly LayerExtent[];
  readonly stored: boolean;
}

/** Stands for the extents of an inode that has too many to keep: they are in the database. */
const MANY: ExtentList = { extents: [], stored: true };

const NONE: ExtentList = { extents: [], stored: false };

type Undo = () => void;

/**
 * The rows of one layer. An operation ends with `commit`, which appends its changes to the journal, or `rollback`; the database gets the rows of many
 * operations at once. Until then point look-ups are answered from memory, and queries over many rows write what is dirty first, within
 * the transaction that is always open: so no statement takes a lock of its own.
 *
 * Objects given to `put…` belong to this class from then on, and those it returns are not to be changed.
 */
export class LayerRows {
  readonly #dir: string;
  readonly #makeRoom: () => boolean;
  #writable: boolean;
  readonly #database: LayerDatabase;
  #journal: Journal;
  /** The first generation that the database does not hold. */
  #unfolded: number;
  readonly #inodes = new RowCache<Ino, LayerInode>();
  readonly #dentries = new RowCache<string, LayerDentry>();
  readonly #extents = new RowCache<Ino, ExtentList>();
  /** Whether any inode has xattrs here: hardly ever, and every first write to a file asks. */
  #hasXattrs = false;
  #state: LayerState;
  /** As of the last commit. */
  #committed: LayerState;
  /** How to take back what the operation did so far, the last first. */
  #undo: Undo[] = [];
  #foldsSinceCheckpoint = 0;
  #isDurable = false;
  /** Where to try again when there was no space to fold. */
  #foldAtBytes = JOURNAL_MAX_BYTES;

  private constructor(dir: string, database: LayerDatabase, writable: boolean, makeRoom: () => boolean) {
    this.#dir = dir;
    this.#makeRoom = makeRoom;
    this.#writable = writable;
    this.#database = database;
    const { generation, ...state } = database.state();
    this.#journal = new Journal(dir, { generation, bytes: 0, bytesBefore: undefined });
    this.#unfolded = generation;
    this.#state = state;
    this.#committed = { ...state };
    if (writable) this.#journal = new Journal(dir, this.#replay());
    this.#hasXattrs = database.hasXattrs();
  }

  static create(dir: string, state: LayerState): void {
    LayerDatabase.create(dir, state);
  }

  /** For reading only, the journal is not looked at: whoever writes has folded it before. */
  static open(dir: string, writable: boolean, makeRoom: () => boolean = nothingToGive): LayerRows {
    const database = LayerDatabase.open(dir, writable);
    try {
      return new LayerRows(dir, database, writable, makeRoom);
    } catch (error) {
      database.close();
      throw openingError(dir, error);
    }
  }

  /** Moves what a dead process left in the journal into the database. Nobody may have the layer open. */
  static recover(dir: string): void {
    const database = LayerDatabase.open(dir, false);
    let generation: number;
    try {
      ({ generation } = database.state());
    } catch (error) {
      throw openingError(dir, error);
    } finally {
      database.close();
    }
    if (hasJournal(dir, generation)) LayerRows.open(dir, true).close();
  }

  get state(): Readonly<LayerState> {
    return this.#state;
  }

  allocateIno(): Ino {
    return this.#state.nextIno++;
  }

  allocateCookie(): number {
    return this.#state.nextCookie++;
  }

  /** The journals that the database does not hold, and its log: what a sync must cover. */
  get filesToSync(): string[] {
    return [...this.#journal.pathsFrom(this.#unfolded), this.#database.logPath];
  }

  /** True when the database has all that is committed, and is on the disk. */
  get isDurable(): boolean {
    return this.#isDurable;
  }

  /** Puts all that is committed on the disk. */
  sync(): void {
    if (this.#isDurable) return;
    for (const file of this.filesToSync) if (fs.existsSync(file)) syncPath(file);
    syncPath(this.#dir);
  }

  // Operations.

  /** Ends an operation. Throws what the disk says; then the operation is to be rolled back. */
  commit(unique: string, reply: Buffer): void {
    this.#state.lastUnique = unique;
    this.#state.lastReply = Buffer.from(reply);
    this.#journal.append(this.#state);
    this.#isDurable = false;
    this.#committed = { ...this.#state };
    this.#undo.length = 0;
    const dirty = this.#inodes.dirtyCount + this.#dentries.dirtyCount + this.#extents.dirtyCount;
    if (this.#journal.bytes >= this.#foldAtBytes) this.#foldOrLater();
    else if (dirty >= DIRTY_ROWS_MAX) this.#flushOrLater();
  }

  rollback(): void {
    this.#journal.discard();
    this.#writing(() => {
      for (let undo = this.#undo.pop(); undo !== undefined; undo = this.#undo.pop()) undo();
    });
    this.#state = { ...this.#committed };
  }

  /** Commits everything to the database: afterwards it stands for itself, and others can read it. */
  fold(): void {
    if (this.#journal.generation === this.#unfolded && this.#journal.bytes === 0) return;
    for (;;) {
      try {
        this.#foldOnce();
        return;
      } catch (error) {
        if (!isFull(error) || !this.#makeRoom()) throw error;
      }
    }
  }

  #foldOnce(): void {
    this.#writing(() => {
      this.#flushRows();
      this.#journal.nextGeneration();
      this.#database.putState(this.#committed, this.#journal.generation);
      this.#database.commit();
    });
    this.#unfolded = this.#journal.generation;
    this.#foldAtBytes = JOURNAL_MAX_BYTES;
    this.#foldsSinceCheckpoint += 1;
    if (this.#foldsSinceCheckpoint >= FOLDS_PER_CHECKPOINT) this.#checkpoint();
    this.#database.begin();
  }

  /** Folds, and gives back to the disk what is not needed. Between operations only. */
  compact(): void {
    this.fold();
    this.#writing(() => {
      this.#database.commit();
      if (this.#database.compact()) this.#journal.deleteEarlier();
      this.#database.begin();
    });
  }

  /** From now on there is only reading. */
  freeze(): void {
    if (!this.#writable) return;
    try {
      this.fold();
    } finally {
      // Nothing is lost where it failed: the journal has it.
      this.#writable = false;
      this.#database.rollback();
      this.#journal.close();
    }
  }

  close(): void {
    try {
      this.freeze();
    } finally {
      this.#database.close();
    }
  }

  // Inodes.

  inode(ino: Ino): LayerInode | undefined {
    const known = this.#inodes.get(ino);
    if (known !== undefined) return known ?? undefined;
    const row = this.#database.inode(ino);
    this.#inodes.learn(ino, row ?? null);
    if (this.#inodes.isFull) this.#flush();
    return row;
  }

  inodes(): IterableIterator<LayerInode> {
    this.#flush();
    return this.#database.inodes();
  }

  unlinkedInos(): Ino[] {
    this.#flush();
    return this.#database.unlinkedInos();
  }

  putInode(inode: LayerInode): void {
    this.#learnNew(inode);
    this.#setInode(inode.ino, inode);
    this.#journal.putInode(inode);
  }

  deleteInode(ino: Ino): void {
    this.#setInode(ino, null);
    this.#journal.deleteInode(ino);
  }

  // Dentries.

  dentry(parent: Ino, name: Buffer): DentryRow | undefined {
    const key = dentryKey(parent, name);
    const known = this.#dentries.get(key);
    if (known !== undefined) return known ?? undefined;
    const row = this.#database.dentry(parent, name);
    this.#dentries.learn(key, row === undefined ? null : { ...row, parent });
    if (this.#dentries.isFull) this.#flush();
    return row;
  }

  dentries(): IterableIterator<LayerDentry> {
    this.#flush();
    return this.#database.dentries();
  }

  hasDentries(): boolean {
    this.#flush();
    return this.#database.hasDentries();
  }

  hasDentriesIn(parent: Ino): boolean {
    this.#flush();
    return this.#database.hasDentriesIn(parent);
  }

  list(parent: Ino, afterCookie: number, limit: number): DentryRow[] {
    this.#flush();
    return this.#database.list(parent, afterCookie, limit);
  }

  namesOf(ino: Ino): { parent: Ino; name: Buffer }[] {
    this.#flush();
    return this.#database.namesOf(ino);
  }

  putDentry(parent: Ino, name: Buffer, cookie: number, ino: Ino): void {
    // The name is the request's, whose buffer is used again.
    const row = { parent, name: Buffer.from(name), cookie, ino };
    this.#setDentry(parent, name, row);
    this.#journal.putDentry(parent, name, cookie, ino);
  }

  deleteDentry(parent: Ino, name: Buffer): void {
    this.#setDentry(parent, name, null);
    this.#journal.deleteDentry(parent, name);
  }

  // Symlinks and xattrs: too rare to be kept in memory.

  symlink(ino: Ino): Buffer | undefined {
    return this.#database.symlink(ino);
  }

  putSymlink(ino: Ino, target: Buffer): void {
    this.#writing(() => {
      this.#database.putSymlink(ino, target);
    });
    this.#undo.push(() => {
      this.#database.deleteSymlink(ino);
    });
    this.#journal.putSymlink(ino, target);
  }

  deleteSymlink(ino: Ino): void {
    const before = this.#database.symlink(ino);
    if (before === undefined) return;
    this.#writing(() => {
      this.#database.deleteSymlink(ino);
    });
    this.#undo.push(() => {
      this.#database.putSymlink(ino, before);
    });
    this.#journal.deleteSymlink(ino);
  }

  xattrs(ino: Ino): XattrRow[] {
    return this.#hasXattrs ? this.#database.xattrs(ino) : [];
  }

  xattr(ino: Ino, name: Buffer): Buffer | undefined {
    return this.#hasXattrs ? this.#database.xattr(ino, name) : undefined;
  }

  putXattr(ino: Ino, name: Buffer, value: Buffer): void {
    const before = this.#database.xattr(ino, name);
    this.#hasXattrs = true;
    this.#writing(() => {
      this.#database.putXattr(ino, name, value);
    });
    const kept = Buffer.from(name);
    this.#undo.push(() => {
      if (before === undefined) this.#database.deleteXattr(ino, kept);
      else this.#database.putXattr(ino, kept, before);
    });
    this.#journal.putXattr(ino, name, value);
  }

  deleteXattr(ino: Ino, name: Buffer): void {
    const before = this.#database.xattr(ino, name);
    if (before === undefined) return;
    this.#writing(() => {
      this.#database.deleteXattr(ino, name);
    });
    const kept = Buffer.from(name);
    this.#undo.push(() => {
      this.#database.putXattr(ino, kept, before);
    });
    this.#journal.deleteXattr(ino, name);
  }

  // Extents.

  /** Those that overlap [offset, offset + length), in order, whole. */
  extents(ino: Ino, offset: number, length: number): readonly LayerExtent[] {
    const list = this.#extentList(ino);
    if (list === MANY) return this.#database.extents(ino, offset, length);
    const end = offset + length;
    const all = list.extents;
    if (all.every((extent) => extent.offset < end && extent.offset + extent.length > offset)) return all;
    return all.filter((extent) => extent.offset < end && extent.offset + extent.length > offset);
  }

  segmentsOf(ino: Ino): number[] {
    const list = this.#extentList(ino);
    if (list === MANY) return this.#database.segmentsOf(ino);
    return [...new Set(list.extents.map((extent) => extent.segment))];
  }

  liveBytes(): [segment: number, bytes: number][] {
    this.#flush();
    return this.#database.liveBytes();
  }

  putExtent(ino: Ino, extent: LayerExtent): void {
    const list = this.#extentList(ino);
    if (list === MANY) {
      this.#putStoredExtent(ino, extent);
    } else {
      const others = list.extents.filter((other) => other.offset !== extent.offset);
      const at = others.findIndex((other) => other.offset > extent.offset);
      const extents = others.toSpliced(at === -1 ? others.length : at, 0, extent);
      this.#setExtents(ino, list, { extents, stored: list.stored });
      if (extents.length > EXTENTS_IN_MEMORY_MAX) this.#storeExtents(ino);
    }
    this.#journal.putExtent(ino, extent);
  }

  deleteExtent(ino: Ino, offset: number): void {
    const list = this.#extentList(ino);
    if (list === MANY) {
      this.#deleteStoredExtent(ino, offset);
    } else {
      const extents = list.extents.filter((extent) => extent.offset !== offset);
      this.#setExtents(ino, list, { extents, stored: list.stored });
    }
    this.#journal.deleteExtent(ino, offset);
  }

  // Below the rows.

  /** The database cannot have extents of an inode that is only now made: its first write need not ask. */
  #learnNew({ ino, created }: LayerInode): void {
    if (created === 1 && this.inode(ino) === undefined && this.#extents.get(ino) === undefined) {
      this.#extents.learn(ino, NONE);
    }
  }

  #setInode(ino: Ino, row: LayerInode | null): void {
    const before = this.inode(ino) ?? null;
    this.#inodes.put(ino, row);
    this.#undo.push(() => {
      this.#inodes.put(ino, before);
    });
  }

  #setDentry(parent: Ino, name: Buffer, row: LayerDentry | null): void {
    const key = dentryKey(parent, name);
    this.dentry(parent, name);
    const before = this.#dentries.get(key) ?? null;
    this.#dentries.put(key, row);
    this.#undo.push(() => {
      this.#dentries.put(key, before);
    });
  }

  #extentList(ino: Ino): ExtentList {
    const known = this.#extents.get(ino);
    if (known !== undefined && known !== null) return known;
    const rows = this.#database.firstExtents(ino, EXTENTS_IN_MEMORY_MAX + 1);
    const list = rows.length > EXTENTS_IN_MEMORY_MAX ? MANY : { extents: rows, stored: rows.length > 0 };
    this.#extents.learn(ino, list);
    if (this.#extents.isFull) this.#flush();
    return list;
  }

  #setExtents(ino: Ino, before: ExtentList, list: ExtentList): void {
    this.#extents.put(ino, list);
    this.#undo.push(() => {
      // What was written to the database meanwhile is replaced by the next flush.
      this.#extents.put(ino, { extents: before.extents, stored: true });
    });
  }

  /** From now on the database alone has the extents of this inode. */
  #storeExtents(ino: Ino): void {
    this.#flush();
    this.#extents.learn(ino, MANY);
  }

  #putStoredExtent(ino: Ino, extent: LayerExtent): void {
    const before = this.#database.extentAt(ino, extent.offset);
    this.#writing(() => {
      this.#database.putExtent(ino, extent);
    });
    this.#undo.push(() => {
      if (before === undefined) this.#database.deleteExtent(ino, extent.offset);
      else this.#database.putExtent(ino, before);
    });
  }

  #deleteStoredExtent(ino: Ino, offset: number): void {
    const before = this.#database.extentAt(ino, offset);
    if (before === undefined) return;
    this.#writing(() => {
      this.#database.deleteExtent(ino, offset);
    });
    this.#undo.push(() => {
      this.#database.putExtent(ino, before);
    });
  }

  /** Writes what is dirty to the database, into the open transaction. */
  #flush(): void {
    this.#writing(() => {
      this.#flushRows();
    });
  }

  #flushRows(): void {
    this.#inodes.flush(this.#writeInode);
    this.#dentries.flush(this.#writeDentry);
    this.#extents.flush(this.#writeExtents);
  }

  readonly #writeInode = (ino: Ino, row: LayerInode | null): void => {
    if (row === null) this.#database.deleteInode(ino);
    else this.#database.putInode(row);
  };

  readonly #writeDentry = (key: string, row: LayerDentry | null): void => {
    if (row !== null) {
      this.#database.putDentry(row.parent, row.name, row.cookie, row.ino);
      return;
    }
    const { parent, name } = dentryOf(key);
    this.#database.deleteDentry(parent, name);
  };

  readonly #writeExtents = (ino: Ino, list: ExtentList | null): void => {
    if (list === null || list === MANY) return;
    if (list.stored) this.#database.deleteExtents(ino);
    for (const extent of list.extents) this.#database.putExtent(ino, extent);
    this.#extents.learn(ino, { extents: list.extents, stored: list.extents.length > 0 });
  };

  /** Runs writes to the database. After a failure, mostly of a full disk, all is as after the last commit: the operation is gone. */
  #writing(write: () => void): void {
    try {
      write();
    } catch (error) {
      this.#rebuild();
      throw error;
    }
  }

  /** Folds, or, where the disk is full, does so later: the journal has what was committed. */
  #foldOrLater(): void {
    try {
      this.fold();
    } catch {
      this.#foldAtBytes = this.#journal.bytes + JOURNAL_MAX_BYTES;
    }
  }

  /** The operation is done, whatever becomes of the rows: the journal has them. */
  #flushOrLater(): void {
    try {
      this.#flush();
    } catch (error) {
      if (!isFull(error)) throw error;
    }
  }

  /** Where the disk is full, later: the log has what was folded. */
  #checkpoint(): void {
    try {
      if (!this.#database.checkpoint()) return;
    } catch (error) {
      if (isFull(error)) return;
      throw error;
    }
    this.#foldsSinceCheckpoint = 0;
    this.#isDurable = true;
    this.#journal.deleteEarlier();
  }

  /** Makes memory and the open transaction anew from the database and the journals it does not hold. */
  #rebuild(): void {
    this.#inodes.clear();
    this.#dentries.clear();
    this.#extents.clear();
    this.#undo.length = 0;
    try {
      this.#database.rollback();
      this.#replay();
    } catch (error) {
      // Better no answer than an old one: every statement fails from now on, until another process reads the journal.
      this.#database.close();
      throw error;
    }
  }

  /** Begins the transaction that stays open, with what the journals hold beyond the database. */
  #replay(): Replayed {
    this.#database.begin();
    const { generation, ...state } = this.#database.state();
    const replayed = replayJournals(this.#dir, generation, this.#database);
    this.#state = { ...(replayed.state ?? state) };
    this.#committed = { ...this.#state };
    return replayed;
  }
}

function nothingToGive(): boolean {
  return false;
}

/** One string for a name in a directory, which stands for its bytes. */
function dentryKey(parent: Ino, name: Buffer): string {
  return `${String(parent)}/${name.toString('latin1')}`;
}

function dentryOf(key: string): { parent: Ino; name: Buffer } {
  const slash = key.indexOf('/');
  return { parent: Number(key.slice(0, slash)), name: Buffer.from(key.slice(slash + 1), 'latin1') };
}
