import fs from 'node:fs';
import path from 'node:path';
import { crc32 } from 'node:zlib';
import { CairnError, type Ino } from '../core/index.js';
import { syncPath } from './sync-path.js';
import {
  INODE_FIELDS,
  type LayerExtent,
  type LayerInode,
  type LayerState,
  type RowSink,
} from './layer-database.js';

const HEADER_BYTES = 8;
const BUFFER_BYTES = 64 * 1024;
const FILE_NAME = /^journal-(\d+)$/;
const SET_ASIDE_NAME = /^damaged-\d+-\d+$/;

const Change = {
  /** As earlier releases wrote it: without access times. */
  putInodeWithoutAtime: 1,
  deleteInode: 2,
  putDentry: 3,
  deleteDentry: 4,
  putSymlink: 5,
  deleteSymlink: 6,
  putXattr: 7,
  deleteXattr: 8,
  putExtent: 9,
  deleteExtent: 10,
  /** The last of a record. */
  state: 11,
  putInode: 12,
  /** The first of a generation: how many bytes the one before has. */
  follows: 13,
} as const;

const FIELDS_WITHOUT_ATIME = INODE_FIELDS.filter((field) => field !== 'atimeSec' && field !== 'atimeNsec');

/**
 * What was done to a layer and is not in its database yet: one record for each committed operation, appended by one write(2) before the operation
 * is answered. It survives the process from then on (law 3), and power loss once the file was synced. Folding the rows of many operations into
 * the database at once is what makes an operation cheap.
 *
 * A record: its length and CRC-32 (u32 each), then row changes, the last of which is the layer's state. A generation is one file, `journal-<n>`;
 * the database says which is the first that it does not hold. Reading ends at the first record that is not whole, or that belongs behind one that
 * is not there: a crash or power loss cut it off, or it was damaged. A file that grew and whose last page was not written ends with zeros. What follows
 * builds on what was lost, and is not applied; where whole records follow, their file is set aside, not deleted. A record that is whole and makes no sense
 * is `corrupt`: nobody's crash writes that.
 */
export class Journal implements RowSink {
  readonly #dir: string;
  #generation: number;
  #fd = -1;
  #bytes = 0;
  /** The record in the making. */
  #buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  #length = HEADER_BYTES;
  /** The bytes of the generation before; undefined when the database holds it. */
  #bytesBefore: number | undefined;
  /** The highest generation of which there may be a file. */
  #highest: number;

  /** Goes on where reading ended; what is there of later generations, and behind these bytes, goes. */
  constructor(dir: string, end: JournalEnd) {
    this.#dir = dir;
    this.#generation = end.generation;
    this.#bytes = end.bytes;
    this.#bytesBefore = end.bytesBefore;
    this.#highest = Math.max(end.generation, ...generationsIn(dir));
    this.discard();
  }

  get generation(): number {
    return this.#generation;
  }

  /** Of the current generation. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The files of the generations from `first` to the current one. */
  pathsFrom(first: number): string[] {
    const paths: string[] = [];
    for (let next = first; next <= this.#generation; next += 1) paths.push(journalPath(this.#dir, next));
    return paths;
  }

  /** Ends the record with `state` and writes it. A failure leaves the journal as it was. */
  append(state: LayerState): void {
    this.#putState(state);
    const length = this.#length;
    this.#buffer.writeUInt32LE(length - HEADER_BYTES, 0);
    this.#buffer.writeUInt32LE(crc32(this.#buffer.subarray(HEADER_BYTES, length)), 4);
    if (this.#fd === -1) this.#open();
    try {
      for (let done = 0; done < length;) {
        done += fs.writeSync(this.#fd, this.#buffer, done, length - done, this.#bytes + done);
      }
    } catch (error) {
      // What a full disk took of the record would end the reading there.
      fs.ftruncateSync(this.#fd, this.#bytes);
      throw error;
    }
    this.#bytes += length;
    this.discard();
  }

  /** Drops the record in the making. */
  discard(): void {
    this.#length = HEADER_BYTES;
    if (this.#bytes > 0 || this.#bytesBefore === undefined) return;
    this.#begin(Change.follows, 8);
    this.#number(this.#bytesBefore);
  }

  /**
   * Begins the next generation: the database holds this one. Its file stays until `deleteEarlier`, and so may files of later ones whose
   * predecessor was cut off: the number is above theirs, or they would be read as what follows.
   */
  nextGeneration(): void {
    this.close();
    this.#bytesBefore = this.#bytes;
    this.#highest += 1;
    this.#generation = this.#highest;
    this.#bytes = 0;
    this.discard();
  }

  /** Deletes the files of all earlier generations. Only when the database holds them beyond power loss. */
  deleteEarlier(): void {
    for (const generation of generationsIn(this.#dir)) {
      if (generation < this.#generation) fs.rmSync(journalPath(this.#dir, generation), { force: true });
    }
  }

  close(): void {
    if (this.#fd !== -1) fs.closeSync(this.#fd);
    this.#fd = -1;
  }

  putInode(inode: LayerInode): void {
    this.#begin(Change.putInode, INODE_FIELDS.length * 8);
    for (const field of INODE_FIELDS) this.#number(inode[field]);
  }

  deleteInode(ino: Ino): void {
    this.#begin(Change.deleteInode, 8);
    this.#number(ino);
  }

  putDentry(parent: Ino, name: Buffer, cookie: number, ino: Ino): void {
    this.#begin(Change.putDentry, 28 + name.length);
    this.#number(parent);
    this.#bytesOf(name);
    this.#number(cookie);
    this.#number(ino);
  }

  deleteDentry(parent: Ino, name: Buffer): void {
    this.#begin(Change.deleteDentry, 12 + name.length);
    this.#number(parent);
    this.#bytesOf(name);
  }

  putSymlink(ino: Ino, target: Buffer): void {
    this.#begin(Change.putSymlink, 12 + target.length);
    this.#number(ino);
    this.#bytesOf(target);
  }

  deleteSymlink(ino: Ino): void {
    this.#begin(Change.deleteSymlink, 8);
    this.#number(ino);
  }

  putXattr(ino: Ino, name: Buffer, value: Buffer): void {
    this.#begin(Change.putXattr, 16 + name.length + value.length);
    this.#number(ino);
    this.#bytesOf(name);
    this.#bytesOf(value);
  }

  deleteXattr(ino: Ino, name: Buffer): void {
    this.#begin(Change.deleteXattr, 12 + name.length);
    this.#number(ino);
    this.#bytesOf(name);
  }

  putExtent(ino: Ino, { offset, length, segment, position }: LayerExtent): void {
    this.#begin(Change.putExtent, 40);
    this.#number(ino);
    this.#number(offset);
    this.#number(length);
    this.#number(segment);
    this.#number(position);
  }

  deleteExtent(ino: Ino, offset: number): void {
    this.#begin(Change.deleteExtent, 16);
    this.#number(ino);
    this.#number(offset);
  }

  #putState({ nextIno, nextCookie, lastUnique, lastReply }: LayerState): void {
    const unique = Buffer.from(lastUnique, 'latin1');
    this.#begin(Change.state, 24 + unique.length + lastReply.length);
    this.#number(nextIno);
    this.#number(nextCookie);
    this.#bytesOf(unique);
    this.#bytesOf(lastReply);
  }

  /**
   * Only power loss or damage leaves anything behind what was read: records cut short, and files whose predecessor is gone. They must not be
   * read again; what holds whole records is kept beside, for a person.
   */
  #open(): void {
    this.#setAside(this.#generation, this.#bytes);
    this.#fd = fs.openSync(
      journalPath(this.#dir, this.#generation),
      fs.constants.O_RDWR | fs.constants.O_CREAT,
      0o600,
    );
    if (fs.fstatSync(this.#fd).size > this.#bytes) {
      fs.ftruncateSync(this.#fd, this.#bytes);
      // Else the next power loss might bring them back, behind what is written now.
      fs.fsyncSync(this.#fd);
    }
    const later = [...generationsIn(this.#dir)].filter((generation) => generation > this.#generation);
    for (const generation of later) {
      this.#setAside(generation, 0);
      fs.rmSync(journalPath(this.#dir, generation), { force: true });
    }
    if (later.length > 0) syncPath(this.#dir);
    this.#highest = this.#generation;
  }

  #setAside(generation: number, from: number): void {
    const file = journalPath(this.#dir, generation);
    if (wholeRecordsAfter(file, from) === 0) return;
    const target = path.join(this.#dir, `damaged-${String(generation)}-${String(from)}`);
    fs.copyFileSync(file, target, fs.constants.COPYFILE_FICLONE);
  }

  /** Room for a change of so many bytes, and its kind. */
  #begin(kind: number, bytes: number): void {
    const needed = this.#length + 1 + bytes;
    if (needed > this.#buffer.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(needed, this.#buffer.length * 2));
      this.#buffer.copy(larger, 0, 0, this.#length);
      this.#buffer = larger;
    }
    this.#buffer[this.#length] = kind;
    this.#length += 1;
  }

  #number(value: number): void {
    this.#length = this.#buffer.writeDoubleLE(value, this.#length);
  }

  #bytesOf(bytes: Buffer): void {
    this.#length = this.#buffer.writeUInt32LE(bytes.length, this.#length);
    this.#length += bytes.copy(this.#buffer, this.#length);
  }
}

/** Where the journals end. */
interface JournalEnd {
  generation: number;
  bytes: number;
  /** Of the generation before; undefined when the database holds that. */
  bytesBefore: number | undefined;
}

/** Where the journals end, and the layer's state there; undefined when there was no record. */
export interface Replayed extends JournalEnd {
  state: LayerState | undefined;
}

/** Applies to `sink` what journals from `generation` on hold. Throws `corrupt`; `sink` then has a part of a record. */
export function replayJournals(dir: string, generation: number, sink: RowSink): Replayed {
  const present = generationsIn(dir);
  const replayed: Replayed = { generation, bytes: 0, bytesBefore: undefined, state: undefined };
  for (let next = generation; present.has(next); next += 1) {
    const replay = new Replay(journalPath(dir, next));
    // Whatever follows builds on what was lost.
    if (next > generation && !replay.follows(replayed.bytes)) break;
    for (let state = replay.record(sink); state !== undefined; state = replay.record(sink))
      replayed.state = state;
    replayed.bytesBefore = next > generation ? replayed.bytes : undefined;
    replayed.generation = next;
    replayed.bytes = replay.recordBytes;
    if (!replay.isWhole) break;
  }
  return replayed;
}

/** A place where reading the journals ends before their end, and how many operations that costs. */
export interface DamagedRecord {
  file: string;
  position: number;
  /** Whole ones that follow, in this file and in later ones. */
  operations: number;
}

/** Where the journals from `generation` on cannot be read to their end; a record cut short at the very end is none. */
export function damagedRecords(dir: string, generation: number): DamagedRecord[] {
  const present = generationsIn(dir);
  for (let next = generation; present.has(next); next += 1) {
    const file = journalPath(dir, next);
    const replay = new Replay(file);
    while (replay.skip());
    if (replay.isWhole) continue;
    const later = [...present].filter((other) => other > next);
    const operations = later.reduce(
      (sum, other) => sum + wholeRecordsAfter(journalPath(dir, other), 0),
      wholeRecordsAfter(file, replay.recordBytes),
    );
    return operations > 0 || !replay.isCutShort ? [{ file, position: replay.recordBytes, operations }] : [];
  }
  return [];
}

/** Whether a file of a layer's folder is a journal that was set aside. */
export function isSetAside(name: string): boolean {
  return SET_ASIDE_NAME.test(name);
}

/** How many whole records a file has from `position` on, wherever the first of them begins. */
function wholeRecordsAfter(file: string, position: number): number {
  const bytes = fs.statSync(file, { throwIfNoEntry: false })?.size ?? 0;
  if (bytes <= position) return 0;
  const replay = new Replay(file);
  let count = 0;
  for (let at = position; at < bytes;) {
    replay.seek(at);
    if (replay.skip()) {
      count += 1;
      at = replay.recordBytes;
    } else at += 1;
  }
  return count;
}

/** Whether a layer's folder has a journal of that generation or a later one. */
export function hasJournal(dir: string, generation: number): boolean {
  for (const present of generationsIn(dir)) if (present >= generation) return true;
  return false;
}

/** Reads the records of one file. */
class Replay {
  readonly #path: string;
  readonly #file: Buffer;
  #at = 0;
  /** Where the record at hand ends. */
  #end = 0;

  constructor(path: string) {
    this.#path = path;
    this.#file = fs.readFileSync(path);
  }

  /** What all whole records take. */
  get recordBytes(): number {
    return this.#at;
  }

  get isWhole(): boolean {
    return this.#at === this.#file.length;
  }

  /** Whether the first record belongs behind a generation of so many bytes. Those of earlier releases do not say. */
  follows(bytesBefore: number): boolean {
    if (this.#recordEnd() === undefined || this.#file[HEADER_BYTES] !== Change.follows) return true;
    return this.#file.readDoubleLE(HEADER_BYTES + 1) === bytesBefore;
  }

  /** The file ends within the next record, as far as that says how long it is. */
  get isCutShort(): boolean {
    const start = this.#at + HEADER_BYTES;
    return start > this.#file.length || start + this.#file.readUInt32LE(this.#at) > this.#file.length;
  }

  seek(position: number): void {
    this.#at = position;
  }

  /** Passes over the next record; false when there is no whole one there. */
  skip(): boolean {
    const end = this.#recordEnd();
    if (end !== undefined) this.#at = end;
    return end !== undefined;
  }

  #recordEnd(): number | undefined {
    if (this.isCutShort) return undefined;
    const start = this.#at + HEADER_BYTES;
    const end = start + this.#file.readUInt32LE(this.#at);
    // Zeros among them: the CRC of nothing is 0.
    if (end === start) return undefined;
    return crc32(this.#file.subarray(start, end)) === this.#file.readUInt32LE(this.#at + 4) ? end : undefined;
  }

  /** Applies the next record; undefined when there is no whole one any more. */
  record(sink: RowSink): LayerState | undefined {
    const end = this.#recordEnd();
    if (end === undefined) return undefined;
    this.#at += HEADER_BYTES;
    this.#end = end;
    for (;;) {
      const kind = this.#file.readUInt8(this.#take(1));
      if (kind === Change.state) break;
      this.#apply(kind, sink);
    }
    const state = this.#state();
    if (this.#at !== end) throw this.#corrupt();
    return state;
  }

  #apply(kind: number, sink: RowSink): void {
    switch (kind) {
      case Change.follows:
        this.#number();
        break;
      case Change.putInode:
        sink.putInode(this.#fields(INODE_FIELDS) as LayerInode);
        break;
      case Change.putInodeWithoutAtime: {
        const inode = this.#fields(FIELDS_WITHOUT_ATIME) as Omit<LayerInode, 'atimeSec' | 'atimeNsec'>;
        sink.putInode({ ...inode, atimeSec: inode.mtimeSec, atimeNsec: inode.mtimeNsec });
        break;
      }
      case Change.deleteInode:
        sink.deleteInode(this.#number());
        break;
      case Change.putDentry:
        sink.putDentry(this.#number(), this.#bytes(), this.#number(), this.#number());
        break;
      case Change.deleteDentry:
        sink.deleteDentry(this.#number(), this.#bytes());
        break;
      case Change.putSymlink:
        sink.putSymlink(this.#number(), this.#bytes());
        break;
      case Change.deleteSymlink:
        sink.deleteSymlink(this.#number());
        break;
      case Change.putXattr:
        sink.putXattr(this.#number(), this.#bytes(), this.#bytes());
        break;
      case Change.deleteXattr:
        sink.deleteXattr(this.#number(), this.#bytes());
        break;
      case Change.putExtent:
        sink.putExtent(this.#number(), {
          offset: this.#number(),
          length: this.#number(),
          segment: this.#number(),
          position: this.#number(),
        });
        break;
      case Change.deleteExtent:
        sink.deleteExtent(this.#number(), this.#number());
        break;
      default:
        throw this.#corrupt();
    }
  }

  #fields(fields: readonly string[]): unknown {
    return Object.fromEntries(fields.map((field) => [field, this.#number()]));
  }

  #state(): LayerState {
    return {
      nextIno: this.#number(),
      nextCookie: this.#number(),
      lastUnique: this.#bytes().toString('latin1'),
      lastReply: this.#bytes(),
    };
  }

  #number(): number {
    const value = this.#file.readDoubleLE(this.#take(8));
    if (!Number.isSafeInteger(value)) throw this.#corrupt();
    return value;
  }

  #bytes(): Buffer {
    const length = this.#file.readUInt32LE(this.#take(4));
    const start = this.#take(length);
    return this.#file.subarray(start, start + length);
  }

  /** Where the next `length` bytes of the record are. */
  #take(length: number): number {
    const start = this.#at;
    if (start + length > this.#end) throw this.#corrupt();
    this.#at = start + length;
    return start;
  }

  #corrupt(): CairnError {
    return new CairnError(
      'corrupt',
      `${this.#path} has a record that makes no sense, near byte ${String(this.#at)}`,
      {
        hint: 'nothing was changed; was it written by a newer release?',
      },
    );
  }
}

function journalPath(dir: string, generation: number): string {
  return path.join(dir, `journal-${String(generation)}`);
}

function generationsIn(dir: string): Set<number> {
  const generations = new Set<number>();
  for (const name of fs.readdirSync(dir)) {
    const digits = FILE_NAME.exec(name)?.[1];
    if (digits !== undefined) generations.add(Number(digits));
  }
  return generations;
}
