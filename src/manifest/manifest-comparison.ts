import Database from 'better-sqlite3';
import { resolve } from 'node:path';
import { ROOT_INO, S_IFBLK, S_IFCHR, type Ino } from '../core/index.js';
import { ManifestQuery, corruptManifest, readingError } from './manifest-database.js';
import type { ManifestReader } from './manifest-reader.js';
import { dentryFault, isInodeNumber } from './row-rules.js';

/** A dentry: where it stands, and what it names. */
export interface NamedInode {
  parent: Ino;
  name: Buffer;
  ino: Ino;
}

/**
 * Inodes that are in both versions. A number that was given out twice, as unrelated versions do, is told by
 * type or birth.
 */
const SAME_INODE = `((a.mode & 0xF000) = (b.mode & 0xF000) AND a.btime = b.btime AND a.btime_nsec = b.btime_nsec
  OR a.ino = ${String(ROOT_INO)})`;

const REUSED_NUMBERS = `SELECT a.ino FROM main.inode a JOIN later.inode b USING (ino) WHERE NOT ${SAME_INODE}`;

const CHANGED_ROWS = `SELECT a.ino FROM main.inode a JOIN later.inode b USING (ino)
     WHERE a.content IS NOT b.content OR a.mode <> b.mode OR a.uid <> b.uid OR a.gid <> b.gid
        OR (a.rdev <> b.rdev AND (a.mode & 0xF000) IN (${String(S_IFCHR)}, ${String(S_IFBLK)}))
        OR a.mtime <> b.mtime OR a.mtime_nsec <> b.mtime_nsec
   UNION SELECT a.ino FROM main.symlink a JOIN later.symlink b USING (ino) WHERE a.target <> b.target
   UNION SELECT a.ino FROM main.xattr a LEFT JOIN later.xattr b USING (ino, name)
     WHERE b.value IS NOT a.value AND a.ino IN (SELECT ino FROM later.inode)
   UNION SELECT b.ino FROM later.xattr b LEFT JOIN main.xattr a USING (ino, name)
     WHERE b.value IS NOT a.value AND b.ino IN (SELECT ino FROM main.inode)`;

/** What no program sets: when an inode was made and changed last, and where it was imported from. */
const ORIGINS = `SELECT a.ino FROM main.inode a JOIN later.inode b USING (ino)
     WHERE a.rdev <> b.rdev OR a.ctime <> b.ctime OR a.ctime_nsec <> b.ctime_nsec OR a.btime <> b.btime OR a.btime_nsec <> b.btime_nsec`;

const entriesOnlyIn = (one: string, other: string): string =>
  `SELECT d.parent, d.cookie, d.name, d.ino FROM ${one}.dentry d
     LEFT JOIN ${other}.dentry e ON e.parent = d.parent AND e.cookie = d.cookie
   WHERE (e.ino IS NOT d.ino OR e.name IS NOT d.name)`;

/** An entry keeps its cookie, so nearly all meet at their own place; the rest are looked up by name. */
const namesOnlyIn = (one: string, other: string): string =>
  `${entriesOnlyIn(one, other)}
     AND NOT EXISTS (SELECT 1 FROM ${other}.dentry f WHERE f.parent = d.parent AND f.name = d.name AND f.ino = d.ino)`;

/** Looks through the later version's new entries only once: nothing finds an entry by its cookie alone. */
const REUSED_COOKIES = `WITH fresh AS MATERIALIZED (SELECT parent, cookie, name FROM later.dentry WHERE cookie >= ?)
   SELECT a.cookie FROM main.dentry a JOIN fresh b USING (cookie)
   WHERE a.cookie >= ? AND (a.parent <> b.parent OR a.name <> b.name)`;

/**
 * Which rows of two versions' manifests differ, found by SQLite in one connection to both: at the cost of reading both
 * through, but without a word of it leaving SQLite for what is the same. Throws `CairnError('corrupt')`.
 */
export class ManifestComparison {
  readonly #database: Database.Database;
  readonly #earlierPath: string;
  readonly #path: string;

  constructor(earlier: ManifestReader, later: ManifestReader) {
    this.#earlierPath = earlier.path;
    this.#path = later.path;
    this.#database = new Database(resolve(earlier.path), { readonly: true });
    try {
      this.#database.pragma('query_only = ON');
      this.#database.pragma('trusted_schema = OFF');
      this.#database.pragma('cell_size_check = ON');
      this.#database.prepare('ATTACH ? AS later').run(resolve(later.path));
    } catch (error) {
      this.#database.close();
      throw readingError(later.path, error);
    }
  }

  /** Numbers that stand for one inode in the earlier version and for another in the later one. */
  reusedNumbers(): Ino[] {
    return this.#numbers(REUSED_NUMBERS);
  }

  /** Cookies from `firstCookie` on that are those of one entry in the earlier version and of another in the later one. */
  reusedCookies(firstCookie: number): number[] {
    return new ManifestQuery<[number, number]>(this.#database, this.#path, REUSED_COOKIES)
      .all(firstCookie, firstCookie)
      .map(([cookie]) => cookie as number);
  }

  /**
   * Inodes of both versions that differ in content, target, mode, owner, device, mtime or extended attributes. ctime and btime
   * follow from the rest, and count only with `allTimes`.
   */
  changedInodes({ allTimes = false }: { allTimes?: boolean } = {}): Ino[] {
    return this.#numbers(allTimes ? `${CHANGED_ROWS} UNION ${ORIGINS}` : CHANGED_ROWS);
  }

  /** Names (parent, name, inode) of the earlier version that the later one does not have. */
  namesGone(): IterableIterator<NamedInode> {
    return this.#names(this.#earlierPath, namesOnlyIn('main', 'later'));
  }

  /** Names (parent, name, inode) of the later version that the earlier one does not have. */
  namesAdded(): IterableIterator<NamedInode> {
    return this.#names(this.#path, namesOnlyIn('later', 'main'));
  }

  /** As `namesGone`, and names that have another cookie. */
  entriesGone(): IterableIterator<NamedInode> {
    return this.#names(this.#earlierPath, entriesOnlyIn('main', 'later'));
  }

  /** As `namesAdded`, and names that have another cookie. */
  entriesAdded(): IterableIterator<NamedInode> {
    return this.#names(this.#path, entriesOnlyIn('later', 'main'));
  }

  close(): void {
    this.#database.close();
  }

  #numbers(sql: string): Ino[] {
    return this.#query(sql)
      .all()
      .map(([ino]) => ino as Ino);
  }

  /** `path`: the manifest whose rows these are. */
  *#names(path: string, sql: string): IterableIterator<NamedInode> {
    for (const [parent, cookie, name, ino] of this.#query(sql).each()) {
      // These rows come past the readers, which hold them to the rules.
      const fault = isInodeNumber(parent)
        ? dentryFault(parent, cookie, name, ino)
        : `parent ${String(parent)} of an entry`;
      if (fault !== undefined) throw corruptManifest(path, fault);
      yield { parent: parent as Ino, name: name as Buffer, ino: ino as Ino };
    }
  }

  #query(sql: string): ManifestQuery<[]> {
    return new ManifestQuery<[]>(this.#database, this.#path, sql);
  }
}
