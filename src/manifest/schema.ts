/** `application_id` of a manifest: the ASCII bytes `CRNM` (FORMAT.md M-1). */
export const APPLICATION_ID = 0x43524e4d;
export const SCHEMA_VERSION = 1;
export const PAGE_BYTES = 4096;

/** The first cookie an entry may have; smaller ones are the kernel's view of `.` and `..` (M-4). */
export const FIRST_COOKIE = 3;

/**
 * FORMAT.md lists these statements; a manifest is only opened when its schema is exactly they, white space
 * aside.
 */
export const TABLES: readonly string[] = [
  'CREATE TABLE inode(ino INTEGER PRIMARY KEY, mode INTEGER NOT NULL, uid INTEGER NOT NULL, gid INTEGER NOT NULL, ' +
    'size INTEGER NOT NULL, nlink INTEGER NOT NULL, rdev INTEGER NOT NULL, mtime INTEGER NOT NULL, ' +
    'mtime_nsec INTEGER NOT NULL, ctime INTEGER NOT NULL, ctime_nsec INTEGER NOT NULL, btime INTEGER NOT NULL, ' +
    'btime_nsec INTEGER NOT NULL, content BLOB) STRICT',
  'CREATE TABLE dentry(parent INTEGER NOT NULL, cookie INTEGER NOT NULL, name BLOB NOT NULL, ino INTEGER NOT NULL, ' +
    'PRIMARY KEY(parent, cookie)) STRICT, WITHOUT ROWID',
  'CREATE TABLE symlink(ino INTEGER PRIMARY KEY, target BLOB NOT NULL) STRICT',
  'CREATE TABLE xattr(ino INTEGER NOT NULL, name BLOB NOT NULL, value BLOB NOT NULL, PRIMARY KEY(ino, name)) ' +
    'STRICT, WITHOUT ROWID',
  'CREATE TABLE block(idx INTEGER PRIMARY KEY, id BLOB NOT NULL) STRICT',
  'CREATE TABLE extent(ino INTEGER NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL, ' +
    'block INTEGER NOT NULL, block_offset INTEGER NOT NULL, PRIMARY KEY(ino, offset)) STRICT, WITHOUT ROWID',
  'CREATE TABLE embedded(ino INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT',
  'CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID',
  'CREATE UNIQUE INDEX block_id ON block(id)',
];

/** Cheaper to make once all entries are in. */
export const DENTRY_INDEXES: readonly string[] = [
  'CREATE UNIQUE INDEX dentry_name ON dentry(parent, name)',
  'CREATE INDEX dentry_ino ON dentry(ino)',
];

export const META_KEYS = ['next_ino', 'next_cookie', 'files', 'directories', 'others', 'bytes'] as const;
export type MetaKey = (typeof META_KEYS)[number];
export type Meta = Record<MetaKey, number>;

/** The columns of `inode`, less `content`, in the order `inodeOfRow` reads them. */
export const INODE_COLUMNS = [
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
] as const;
