import fs from 'node:fs';
import path from 'node:path';
import Database from 'better-sqlite3';
import { messageOf, S_IFMT, type Ino } from '../core/index.js';
import { OWN_FILE, ZEROS } from './data-store.js';
import { damagedRecords, isSetAside } from './journal.js';
import { addChecksumFunction, damagedRows, LAYER_TABLES } from './layer-schema.js';
import { UpperLayer } from './upper-layer.js';

/** Something wrong with a layer; `ino`: what it concerns, where that is one inode. */
export interface LayerProblem {
  what: string;
  ino?: Ino;
}

const INTEGRITY_MESSAGES_MAX = 20;
const METADATA = /^(?:upper\.sqlite(?:-wal)?|journal-\d+)$/;
const SAFE_MAX = String(Number.MAX_SAFE_INTEGER);

/** Each selects a text and an inode number for every row that cannot be. */
const RULES: readonly string[] = [
  `SELECT 'inode ' || ino || ' has a mode, owner, size or link count out of bounds', ino FROM inode
   WHERE ino < 1 OR ino > ${SAFE_MAX} OR (mode & ${String(S_IFMT)}) NOT IN (0x1000, 0x2000, 0x4000, 0x6000, 0x8000, 0xA000, 0xC000)
      OR mode NOT BETWEEN 0 AND 0xFFFF OR uid NOT BETWEEN 0 AND 4294967295 OR gid NOT BETWEEN 0 AND 4294967295
      OR size NOT BETWEEN 0 AND ${SAFE_MAX} OR nlink NOT BETWEEN 0 AND 4294967295`,
  `SELECT 'an entry of inode ' || parent || ' has an impossible name', ino FROM dentry
   WHERE typeof(name) <> 'blob' OR length(name) NOT BETWEEN 1 AND 255 OR instr(name, x'00') > 0 OR instr(name, x'2f') > 0
      OR name IN (x'2e', x'2e2e') OR cookie < 3 OR ino < 0`,
  `SELECT 'symbolic link ' || ino || ' has an impossible target', ino FROM symlink
   WHERE typeof(target) <> 'blob' OR length(target) NOT BETWEEN 1 AND 4095`,
  `SELECT 'the extent at ' || offset || ' of inode ' || ino || ' is impossible', ino FROM extent
   WHERE offset < 0 OR length < 1 OR offset > ${SAFE_MAX} - length OR position < 0 OR segment < ${String(ZEROS)}`,
  `SELECT 'the extent at ' || offset || ' of inode ' || ino || ' overlaps the one before', ino FROM
     (SELECT ino, offset, lag(offset + length) OVER (PARTITION BY ino ORDER BY offset) AS before FROM extent)
   WHERE offset < before`,
];

/**
 * Checks a layer nobody has open, and makes in `scratch` what it comes to: its database with all that its journals hold, for
 * `UpperLayer.open`. Nothing of the layer itself changes. The bytes of files are not checked: nothing says what they should be.
 */
export function* auditLayer(dir: string, scratch: string): IterableIterator<LayerProblem> {
  fs.mkdirSync(scratch, { recursive: true, mode: 0o700 });
  const names = fs.existsSync(dir) ? fs.readdirSync(dir) : [];
  for (const name of names.filter((name) => METADATA.test(name)))
    fs.copyFileSync(path.join(dir, name), path.join(scratch, name), fs.constants.COPYFILE_FICLONE);
  for (const name of names.filter(isSetAside)) {
    yield {
      what: `${path.join(dir, name)} holds operations that could not be applied, because one before them was damaged`,
    };
  }
  if (!names.includes('upper.sqlite')) {
    yield {
      what: `${dir} has no upper.sqlite: the names of its files are lost, their bytes are still in data/ and log-*`,
    };
    return;
  }
  try {
    for (const { file, position, operations } of damagedRecords(scratch, unfoldedGeneration(scratch))) {
      yield {
        what: `record at byte ${String(position)} of ${path.join(dir, path.basename(file))} does not verify: it and ${String(operations)} operations after it are lost`,
      };
    }
    UpperLayer.open(scratch, true).close();
    yield* databaseProblems(scratch);
    yield* dataProblems(dir, scratch);
  } catch (error) {
    yield { what: `${path.join(dir, 'upper.sqlite')} cannot be read: ${messageOf(error)}` };
  }
}

/** The first journal the database does not hold. */
function unfoldedGeneration(scratch: string): number {
  const database = openScratch(scratch);
  try {
    const row = database.prepare<[], { generation: number }>('SELECT generation FROM state').get();
    return row?.generation ?? 0;
  } finally {
    database.close();
  }
}

function* databaseProblems(scratch: string): IterableIterator<LayerProblem> {
  const database = openScratch(scratch);
  try {
    const integrity = `PRAGMA integrity_check(${String(INTEGRITY_MESSAGES_MAX)})`;
    for (const [message] of database.prepare(integrity).raw().iterate() as Iterable<unknown[]>)
      if (message !== 'ok') yield { what: String(message) };
    addChecksumFunction(database);
    for (const rule of [...LAYER_TABLES.map(damagedRows), ...RULES]) {
      for (const [what, ino] of database.prepare(rule).raw().iterate() as Iterable<unknown[]>)
        yield { what: String(what), ino: Number(ino) };
    }
  } finally {
    database.close();
  }
}

/** Extents must lie within the files that hold them: what is beyond the end would read as zeros. */
function* dataProblems(dir: string, scratch: string): IterableIterator<LayerProblem> {
  const database = openScratch(scratch);
  try {
    const ends = database
      .prepare(
        `SELECT ino, segment, max(position + length) FROM extent WHERE segment <> ${String(ZEROS)} GROUP BY ino, segment`,
      )
      .raw()
      .iterate() as Iterable<[Ino, number, number]>;
    for (const [ino, segment, end] of ends) {
      const file = path.join(dir, segment === OWN_FILE ? `data/${String(ino)}` : `log-${String(segment)}`);
      const size = fs.statSync(file, { throwIfNoEntry: false })?.size;
      if (size === undefined)
        yield { what: `${file} is missing, and with it bytes of inode ${String(ino)}`, ino };
      else if (size < end) {
        yield {
          what: `${file} ends at ${String(size)}, before byte ${String(end)} that inode ${String(ino)} has there: the rest reads as zeros`,
          ino,
        };
      }
    }
  } finally {
    database.close();
  }
}

function openScratch(scratch: string): Database.Database {
  return new Database(path.join(scratch, 'upper.sqlite'), { readonly: true, fileMustExist: true });
}
