import type Database from 'better-sqlite3';
import {
  EMBEDDED_FILE_MAX_BYTES,
  FILE_MAX_BYTES,
  NAME_MAX_BYTES,
  ROOT_INO,
  S_IFMT,
  S_IFREG,
  SYMLINK_MAX_BYTES,
  XATTR_LIST_MAX_BYTES,
  XATTR_VALUE_MAX_BYTES,
  blockIdOf,
  contentIdOf,
  isDirectory,
  type BlockId,
  type CairnError,
  type ContentId,
  type Extent,
  type Ino,
  type InodeAttributes,
} from '../core/index.js';
import { ListingAhead } from './listing-ahead.js';
import { ManifestQuery, corruptManifest, openManifestDatabase, type Row } from './manifest-database.js';
import {
  LISTING_PAGE_ROWS,
  type DentryRow,
  type DentryWithInode,
  type StoredFile,
  type ManifestCounters,
  type ManifestReader,
  type XattrRow,
} from './manifest-reader.js';
import {
  dentryFault,
  extentFault,
  inodeFault,
  isDigest,
  isInodeNumber,
  symlinkFault,
  xattrFault,
} from './row-rules.js';
import { INODE_COLUMNS, type Meta } from './schema.js';

/** Rows fetched at once by whole-tree passes. */
const INODE_PAGE_ROWS = 512;

/**
 * Opens the manifest at `path` for reading. Throws `CairnError`: `not-found`, or `corrupt` naming the path
 * and what breaks M-1 or M-8; other rules are held row by row as they are read. The file must not be written
 * to while it is open. `pageCacheKib`: pages kept in memory; less where a reader goes through the tree only once.
 */
export function openManifest(path: string, options: { pageCacheKib?: number } = {}): ManifestReader {
  const { database, meta } = openManifestDatabase(path, options);
  try {
    return new SqliteManifestReader(path, database, meta);
  } catch (error) {
    database.close();
    throw error;
  }
}

const inodeColumns = INODE_COLUMNS.join(', ');

/** SQL for bytes that rules allow no more than `max` of: NULL, which no rule allows, for longer ones, so that they are never in memory. */
const atMost = (column: string, max: number): string =>
  `CASE WHEN length(${column}) <= ${String(max)} THEN ${column} END`;

const xattrColumns = `${atMost('name', NAME_MAX_BYTES)}, ${atMost('value', XATTR_VALUE_MAX_BYTES)}`;
const DENTRY_NAME = atMost('name', NAME_MAX_BYTES);

/** Extents in a range of so many bytes, at most: those that writers make are at least 256 KiB apart, but for the last of a file. */
const extentsMax = (length: number): number => 64 + Math.ceil(length / 1024);

class SqliteManifestReader implements ManifestReader {
  readonly path: string;
  readonly counters: ManifestCounters;
  readonly nextIno: Ino;
  readonly nextCookie: number;

  readonly #database: Database.Database;
  readonly #ahead = new ListingAhead((parent) => this.#fetchListing(parent, 0, LISTING_PAGE_ROWS));
  readonly #inode: ManifestQuery<[Ino]>;
  readonly #inodes: ManifestQuery<[Ino, number]>;
  readonly #lookup: ManifestQuery<[Ino, Buffer]>;
  readonly #list: ManifestQuery<[Ino, number, number]>;
  readonly #listWithInodes: ManifestQuery<[Ino, number, number]>;
  readonly #contents: ManifestQuery<[Ino, number, number, number]>;
  readonly #names: ManifestQuery<[Ino]>;
  readonly #symlink: ManifestQuery<[Ino]>;
  readonly #xattrs: ManifestQuery<[Ino]>;
  readonly #xattr: ManifestQuery<[Ino, Buffer]>;
  readonly #content: ManifestQuery<[Ino]>;
  readonly #embedded: ManifestQuery<[Ino]>;
  readonly #extents: ManifestQuery<[Ino, Ino, Ino, number, number, number]>;
  readonly #storedBytes: ManifestQuery<[Ino, Ino]>;
  readonly #blocks: ManifestQuery<[]>;

  constructor(path: string, database: Database.Database, meta: Meta) {
    this.path = path;
    this.#database = database;
    this.counters = {
      files: meta.files,
      directories: meta.directories,
      others: meta.others,
      bytes: meta.bytes,
    };
    this.nextIno = meta.next_ino;
    this.nextCookie = meta.next_cookie;

    const query = <Parameters extends unknown[]>(sql: string): ManifestQuery<Parameters> =>
      new ManifestQuery(database, path, sql);
    this.#inode = query(`SELECT ${inodeColumns} FROM inode WHERE ino = ?`);
    this.#inodes = query(`SELECT ${inodeColumns} FROM inode WHERE ino > ? ORDER BY ino LIMIT ? + 0`);
    this.#lookup = query('SELECT cookie, ino FROM dentry WHERE parent = ? AND name = ?');
    this.#list = query(
      `SELECT cookie, ${DENTRY_NAME}, ino FROM dentry WHERE parent = ? AND cookie > ? ORDER BY cookie LIMIT ? + 0`,
    );
    // A left join: an entry of an inode that is not there is to be found out, not left out.
    this.#listWithInodes = query(
      `SELECT d.cookie, ${DENTRY_NAME}, d.ino, ${INODE_COLUMNS.slice(1).join(', ')} FROM dentry d
       LEFT JOIN inode i ON i.ino = d.ino WHERE d.parent = ? AND d.cookie > ? ORDER BY d.cookie LIMIT ? + 0`,
    );
    this.#contents = query(
      `SELECT d.cookie, d.ino, i.mode, i.size, iif(length(m.bytes) = i.size, m.bytes, m.ino), e.offset, e.length, e.block_offset, b.id FROM dentry d
       CROSS JOIN inode i ON i.ino = d.ino LEFT JOIN embedded m ON m.ino = d.ino LEFT JOIN extent e ON e.ino = d.ino
       LEFT JOIN block b ON b.idx = e.block
       WHERE d.parent = ? AND d.cookie >= ? AND (i.mode & ${String(S_IFMT)}) = ${String(S_IFREG)} AND i.size BETWEEN 1 AND ?
       ORDER BY d.cookie, e.offset LIMIT ? + 0`,
    );
    this.#names = query(
      `SELECT parent, cookie, ${DENTRY_NAME} FROM dentry WHERE ino = ? ORDER BY parent, cookie`,
    );
    this.#symlink = query(`SELECT ${atMost('target', SYMLINK_MAX_BYTES)} FROM symlink WHERE ino = ?`);
    this.#xattrs = query(`SELECT ${xattrColumns} FROM xattr WHERE ino = ? ORDER BY xattr.name`);
    this.#xattr = query(`SELECT ${xattrColumns} FROM xattr WHERE ino = ? AND name = ?`);
    this.#content = query('SELECT mode, content FROM inode WHERE ino = ?');
    this.#embedded = query(
      `SELECT iif(length(bytes) = (SELECT size FROM inode i WHERE i.ino = e.ino),
         ${atMost('bytes', EMBEDDED_FILE_MAX_BYTES)}, NULL) FROM embedded e WHERE ino = ?`,
    );
    // Extents do not overlap, so of those that begin before the range only the last can reach into it.
    this.#extents = query(
      `SELECT e.offset, e.length, e.block_offset, b.id, (SELECT size FROM inode WHERE ino = ?) FROM extent e
       LEFT JOIN block b ON b.idx = e.block
       WHERE e.ino = ? AND e.offset >= coalesce((SELECT max(offset) FROM extent WHERE ino = ? AND offset <= ?), 0)
         AND e.offset < ? ORDER BY e.offset LIMIT ? + 0`,
    );
    this.#storedBytes = query(
      'SELECT coalesce((SELECT length(bytes) FROM embedded WHERE ino = ?), (SELECT total(length) FROM extent WHERE ino = ?))',
    );
    this.#blocks = query('SELECT id FROM block WHERE idx IN (SELECT block FROM extent) ORDER BY idx');

    const root = this.inode(ROOT_INO);
    if (root === undefined || !isDirectory(root.mode)) throw this.#corrupt('inode 1 is not a directory');
  }

  inode(ino: Ino): InodeAttributes | undefined {
    const row = this.#inode.get(ino);
    return row === undefined ? undefined : this.#checkedInode(row, 0);
  }

  lookup(parent: Ino, name: Buffer): DentryRow | undefined {
    const row = this.#lookup.get(parent, name);
    if (row === undefined) return undefined;
    this.#check(dentryFault(parent, row[0], name, row[1]));
    return { cookie: row[0] as number, name, ino: row[1] as Ino };
  }

  list(parent: Ino, afterCookie: number, limit: number): DentryRow[] {
    const entries: DentryRow[] = [];
    for (const row of this.#list.all(parent, afterCookie, limit)) {
      this.#checkEntry(parent, row, entries.at(-1)?.cookie ?? afterCookie);
      entries.push({ cookie: row[0] as number, name: row[1] as Buffer, ino: row[2] as Ino });
    }
    return entries;
  }

  listWithInodes(parent: Ino, afterCookie: number, limit: number): DentryWithInode[] {
    if (afterCookie !== 0 || limit !== LISTING_PAGE_ROWS)
      return this.#fetchListing(parent, afterCookie, limit);
    return this.#ahead.take(parent);
  }

  listAhead(): boolean {
    return this.#ahead.work();
  }

  #fetchListing(parent: Ino, afterCookie: number, limit: number): DentryWithInode[] {
    const entries: DentryWithInode[] = [];
    for (const row of this.#listWithInodes.all(parent, afterCookie, limit)) {
      this.#checkEntry(parent, row, entries.at(-1)?.cookie ?? afterCookie);
      const inode = this.#checkedInode(row, 2);
      entries.push({ cookie: row[0] as number, name: row[1] as Buffer, ino: inode.ino, inode });
    }
    return entries;
  }

  contents(parent: Ino, fromCookie: number, maxBytes: number, limit: number): StoredFile[] {
    const files: StoredFile[] = [];
    let notBefore = 0;
    const rows = this.#contents.all(parent, fromCookie, maxBytes, limit);
    for (const [cookie, ino, , size, bytes, offset, length, blockOffset, id] of rows) {
      let file = files.at(-1);
      if (file === undefined || file.cookie !== cookie) {
        if (!isInodeNumber(ino)) throw this.#corrupt(`an entry of directory ${String(parent)}`);
        file = { cookie: cookie as number, ino, size: size as number, embedded: undefined, extents: [] };
        files.push(file);
        notBefore = 0;
      }
      if (bytes !== null) {
        if (!Buffer.isBuffer(bytes) || bytes.length !== size)
          throw this.#corrupt(`embedded bytes of inode ${String(ino)}`);
        file.embedded = bytes;
      }
      if (offset === null) continue;
      this.#check(extentFault(file.ino, offset, length, blockOffset, notBefore, file.size));
      if (!isDigest(id)) throw this.#corrupt(`block of an extent of inode ${String(ino)}`);
      notBefore = (offset as number) + (length as number);
      file.extents.push({
        offset: offset as number,
        length: length as number,
        block: blockIdOf(id),
        blockOffset: blockOffset as number,
      });
    }
    // Of the last there may be more.
    if (rows.length === limit) files.pop();
    return files;
  }

  namesOf(ino: Ino): { parent: Ino; name: Buffer }[] {
    return this.#names.all(ino).map(([parent, cookie, name]) => {
      if (!isInodeNumber(parent)) throw this.#corrupt(`parent ${String(parent)} of inode ${String(ino)}`);
      this.#check(dentryFault(parent, cookie, name, ino));
      return { parent, name: name as Buffer };
    });
  }

  symlink(ino: Ino): Buffer | undefined {
    const row = this.#symlink.get(ino);
    if (row === undefined) return undefined;
    this.#check(symlinkFault(ino, row[0]));
    return row[0] as Buffer;
  }

  xattrs(ino: Ino): XattrRow[] {
    const xattrs: XattrRow[] = [];
    let namesBytes = 0;
    for (const row of this.#xattrs.each(ino)) {
      const xattr = this.#checkedXattr(ino, row);
      namesBytes += xattr.name.length + 1;
      if (namesBytes > XATTR_LIST_MAX_BYTES)
        throw this.#corrupt(`too many extended attributes of inode ${String(ino)}`);
      xattrs.push(xattr);
    }
    return xattrs;
  }

  xattr(ino: Ino, name: Buffer): Buffer | undefined {
    const row = this.#xattr.get(ino, name);
    return row === undefined ? undefined : this.#checkedXattr(ino, row).value;
  }

  content(ino: Ino): ContentId | undefined {
    const row = this.#content.get(ino);
    if (row === undefined || ((row[0] as number) & S_IFMT) !== S_IFREG) return undefined;
    if (!isDigest(row[1])) throw this.#corrupt(`content id of inode ${String(ino)}`);
    return contentIdOf(row[1]);
  }

  embedded(ino: Ino): Buffer | undefined {
    const row = this.#embedded.get(ino);
    if (row === undefined) return undefined;
    const [bytes] = row;
    if (!Buffer.isBuffer(bytes)) {
      throw this.#corrupt(`embedded bytes of inode ${String(ino)}`);
    }
    return bytes;
  }

  extents(ino: Ino, offset: number, length: number): Extent[] {
    const end = Math.min(offset + length, FILE_MAX_BYTES);
    const extents: Extent[] = [];
    let notBefore = 0;
    const limit = extentsMax(end - offset);
    const rows = this.#extents.all(ino, ino, ino, offset, end, limit);
    if (rows.length === limit) throw this.#corrupt(`more extents of inode ${String(ino)} than a file has`);
    for (const [at, extentLength, blockOffset, id, size] of rows) {
      this.#check(extentFault(ino, at, extentLength, blockOffset, notBefore, size as number));
      if (!isDigest(id)) throw this.#corrupt(`block of an extent of inode ${String(ino)}`);
      notBefore = (at as number) + (extentLength as number);
      if (notBefore <= offset) continue;
      extents.push({
        offset: at as number,
        length: extentLength as number,
        block: blockIdOf(id),
        blockOffset: blockOffset as number,
      });
    }
    return extents;
  }

  storedBytes(ino: Ino): number {
    return this.#storedBytes.get(ino, ino)?.[0] as number;
  }

  *inodes(): IterableIterator<InodeAttributes> {
    let after = 0;
    for (;;) {
      const rows = this.#inodes.all(after, INODE_PAGE_ROWS);
      for (const row of rows) {
        const inode = this.#checkedInode(row, 0);
        after = inode.ino;
        yield inode;
      }
      if (rows.length < INODE_PAGE_ROWS) return;
    }
  }

  *blocks(): IterableIterator<BlockId> {
    for (const [id] of this.#blocks.each()) {
      if (!isDigest(id)) throw this.#corrupt('id of a block');
      yield blockIdOf(id);
    }
  }

  close(): void {
    this.#database.close();
  }

  #checkedInode(row: Row, at: number): InodeAttributes {
    const inode = {
      ino: row[at],
      mode: row[at + 1],
      uid: row[at + 2],
      gid: row[at + 3],
      size: row[at + 4],
      nlink: row[at + 5],
      rdev: row[at + 6],
      mtimeSec: row[at + 7],
      mtimeNsec: row[at + 8],
      ctimeSec: row[at + 9],
      ctimeNsec: row[at + 10],
      btimeSec: row[at + 11],
      btimeNsec: row[at + 12],
    } as InodeAttributes;
    this.#check(inodeFault(inode));
    return inode;
  }

  /** An entry of a listing: a damaged page may have one out of order, and who goes on from there would never come to the end. */
  #checkEntry(parent: Ino, [cookie, name, ino]: Row, after: number): void {
    this.#check(dentryFault(parent, cookie, name, ino));
    if ((cookie as number) <= after)
      throw this.#corrupt(`cookie ${String(cookie)} after ${String(after)} in inode ${String(parent)}`);
  }

  #checkedXattr(ino: Ino, [name, value]: Row): XattrRow {
    this.#check(xattrFault(ino, name, value));
    return { name: name as Buffer, value: value as Buffer };
  }

  #check(fault: string | undefined): void {
    if (fault !== undefined) throw this.#corrupt(fault);
  }

  #corrupt(reason: string): CairnError {
    return corruptManifest(this.path, reason);
  }
}
