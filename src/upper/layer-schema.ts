import Database from 'better-sqlite3';
import { rowChecksum } from './row-checksum.js';

/** 3 has no checksums, 2 no access times either. */
const VERSION = 4;
const WITHOUT_CHECKSUMS = 3;
const WITHOUT_ATIME = 2;

/** Of each table, in their order, but for `checksum`, which is the last and is `rowChecksum` of them. */
export const COLUMNS = {
  state: ['id', 'next_ino', 'next_cookie', 'last_unique', 'last_reply', 'generation'],
  inode: [
    'ino',
    'mode',
    'uid',
    'gid',
    'size',
    'nlink',
    'rdev',
    'mtime',
    'mtime_nsec',
    'ctime',
    'ctime_nsec',
    'btime',
    'btime_nsec',
    'created',
    'content_changed',
    'below_limit',
    'own_file',
    'owns_xattrs',
    'atime',
    'atime_nsec',
  ],
  dentry: ['parent', 'name', 'cookie', 'ino'],
  symlink: ['ino', 'target'],
  xattr: ['ino', 'name', 'value'],
  extent: ['ino', 'offset', 'length', 'segment', 'position'],
} as const;

export type LayerTable = keyof typeof COLUMNS;

export const LAYER_TABLES = Object.keys(COLUMNS) as LayerTable[];

/** An SQL function of a row's values, for whoever checks or writes many rows at once. */
const CHECKSUM_FUNCTION = 'row_checksum';

const SCHEMA = `
CREATE TABLE state (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  next_ino INTEGER NOT NULL, next_cookie INTEGER NOT NULL,
  last_unique TEXT NOT NULL, last_reply BLOB NOT NULL,
  generation INTEGER NOT NULL, checksum INTEGER NOT NULL
);
CREATE TABLE inode (
  ino INTEGER PRIMARY KEY,
  mode INTEGER NOT NULL, uid INTEGER NOT NULL, gid INTEGER NOT NULL, size INTEGER NOT NULL, nlink INTEGER NOT NULL,
  rdev INTEGER NOT NULL, mtime INTEGER NOT NULL, mtime_nsec INTEGER NOT NULL, ctime INTEGER NOT NULL,
  ctime_nsec INTEGER NOT NULL, btime INTEGER NOT NULL, btime_nsec INTEGER NOT NULL,
  created INTEGER NOT NULL, content_changed INTEGER NOT NULL, below_limit INTEGER NOT NULL,
  own_file INTEGER NOT NULL, owns_xattrs INTEGER NOT NULL, atime INTEGER NOT NULL, atime_nsec INTEGER NOT NULL,
  checksum INTEGER NOT NULL
);
CREATE INDEX inode_unlinked ON inode (ino) WHERE nlink = 0;
CREATE TABLE dentry (
  parent INTEGER NOT NULL, name BLOB NOT NULL, cookie INTEGER NOT NULL, ino INTEGER NOT NULL, checksum INTEGER NOT NULL,
  PRIMARY KEY (parent, name)
) WITHOUT ROWID;
CREATE INDEX dentry_cookie ON dentry (parent, cookie);
CREATE INDEX dentry_ino ON dentry (ino) WHERE ino > 0;
CREATE TABLE symlink (ino INTEGER PRIMARY KEY, target BLOB NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE xattr (
  ino INTEGER NOT NULL, name BLOB NOT NULL, value BLOB NOT NULL, checksum INTEGER NOT NULL, PRIMARY KEY (ino, name)
) WITHOUT ROWID;
CREATE TABLE extent (
  ino INTEGER NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL, segment INTEGER NOT NULL,
  position INTEGER NOT NULL, checksum INTEGER NOT NULL, PRIMARY KEY (ino, offset)
) WITHOUT ROWID;
PRAGMA user_version = ${String(VERSION)};
`;

const ADD_ATIME = `
ALTER TABLE inode ADD COLUMN atime INTEGER NOT NULL DEFAULT 0;
ALTER TABLE inode ADD COLUMN atime_nsec INTEGER NOT NULL DEFAULT 0;
UPDATE inode SET atime = mtime, atime_nsec = mtime_nsec;
`;

const ADD_CHECKSUMS = LAYER_TABLES.map(
  (table) => `
ALTER TABLE ${table} ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;
UPDATE ${table} SET checksum = ${checksumOf(table)};`,
).join('');

export function createSchema(db: Database.Database): void {
  db.exec(`BEGIN; ${SCHEMA} COMMIT;`);
}

/** Upgrades a layer of an earlier release. False when the layer in `db` is of another that cannot be. */
export function bringSchemaUpToDate(db: Database.Database): boolean {
  if (isUpgradable(db)) upgrade(db.name);
  return versionOf(db) === VERSION;
}

/** Selects what is not as it was written: a text and an inode number for each row. */
export function damagedRows(table: LayerTable): string {
  const ino = table === 'state' ? '0' : 'ino';
  return `SELECT 'a row of inode ' || ${ino} || ' in ${table} is not as it was written', ${ino} FROM ${table}
    WHERE checksum IS NOT ${checksumOf(table)}`;
}

/** For a connection that runs `damagedRows`. */
export function addChecksumFunction(db: Database.Database): void {
  db.function(CHECKSUM_FUNCTION, { deterministic: true, varargs: true }, (...values) => rowChecksum(values));
}

function checksumOf(table: LayerTable): string {
  return `${CHECKSUM_FUNCTION}(${COLUMNS[table].join(', ')})`;
}

function versionOf(db: Database.Database): unknown {
  return db.pragma('user_version', { simple: true });
}

function isUpgradable(db: Database.Database): boolean {
  const version = versionOf(db);
  return version === WITHOUT_ATIME || version === WITHOUT_CHECKSUMS;
}

/** In a connection of its own: a sealed layer is opened for reading. Another thread may have been first. */
function upgrade(file: string): void {
  const db = new Database(file, { fileMustExist: true });
  try {
    addChecksumFunction(db);
    db.transaction(() => {
      if (!isUpgradable(db)) return;
      if (versionOf(db) === WITHOUT_ATIME) db.exec(ADD_ATIME);
      db.exec(ADD_CHECKSUMS);
      db.pragma(`user_version = ${String(VERSION)}`);
    }).immediate();
  } finally {
    db.close();
  }
}
