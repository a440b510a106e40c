import { copyFileSync, existsSync, mkdirSync, rmSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import Database from 'better-sqlite3';
import { Kysely, SqliteDialect, type Selectable } from 'kysely';
import { CairnError, contentIdOf, messageOf, type ContentId, type ManifestRoot } from '../core/index.js';
import type { FileRow, Version } from './catalog.js';
import { isSoundContent } from './extent-record.js';
import type { Level } from './file-queries.js';
import { BASES_MAX } from './fork-base.js';
import { mendedWorkspace } from './mend-workspace.js';
import { isMigrated } from './migrations.js';
import { placeOf, shownUrl } from './open-catalog.js';
import { isSoundTag, isSoundVersion, isSoundWorkspace, type WorkspaceRow } from './row-checksum.js';
import type { CatalogSchema } from './schema.js';
import { sqliteSchemaDialect } from './sqlite-database.js';

/** What mends a problem of a catalog; undefined: nothing that is known here. */
export type CatalogRemedy =
  | { kind: 'reindex' }
  | { kind: 'head'; workspace: string }
  | { kind: 'row'; row: WorkspaceRow }
  | { kind: 'paths'; workspace: string }
  | { kind: 'content'; id: ContentId };

export interface CatalogProblem {
  what: string;
  workspace?: string;
  remedy?: CatalogRemedy;
}

/** A version as the audit reads it. */
export type AuditedVersion = Pick<Version, 'workspace' | 'seq' | 'root' | 'files' | 'bytes'>;

/** One message of SQLite's for each damaged place; a file that is damaged everywhere need not be told place by place. */
const INTEGRITY_MESSAGES_MAX = 20;

type VersionRow = { workspace: string; seq: number; root: Buffer; files: number; bytes: number };

/**
 * A catalog of one moment, read only to be checked. Not a byte of its files changes: a database nobody has open is read from a copy in `scratch`,
 * because SQLite would leave files beside it; one that is in use is read where it is. Of one in PostgreSQL the rows are copied.
 */
export class CatalogAudit {
  readonly #path: string;
  readonly #database: Database.Database;
  /** Rows that do not verify, by name. */
  readonly #damagedWorkspaces: ReadonlyMap<string, WorkspaceRow>;
  readonly #block: Database.Statement<unknown[], { rawBytes: number; storedBytes: number }>;

  private constructor(path: string, database: Database.Database) {
    this.#path = path;
    this.#database = database;
    const rows = database.prepare<[], WorkspaceRow>('SELECT * FROM workspace').all();
    this.#damagedWorkspaces = new Map(
      rows.filter((row) => !isSoundWorkspace(row)).map((row) => [row.name, row]),
    );
    this.#block = database.prepare(
      'SELECT raw_bytes AS rawBytes, stored_bytes AS storedBytes FROM block WHERE id = ?',
    );
  }

  /** Undefined when there is no catalog yet. Throws `CairnError`: `corrupt`, `unsupported`, and as the URL is read. */
  static async open(url: string, scratch: string): Promise<CatalogAudit | undefined> {
    const place = placeOf(url);
    if (place.kind === 'sqlite') {
      const { path } = place;
      return existsSync(path) ? await CatalogAudit.#read(path, copyUnlessInUse(scratch, path)) : undefined;
    }
    const shown = shownUrl(place, url);
    const copy = join(scratch, 'catalog.sqlite');
    const { copyPostgresCatalog } = await import('./catalog-copy.js');
    return (await copyPostgresCatalog(url, shown, copy)) ? await CatalogAudit.#read(shown, copy) : undefined;
  }

  /** `file`: where the catalog called `path` can be read. */
  static async #read(path: string, file: string): Promise<CatalogAudit> {
    let database: Database.Database | undefined;
    try {
      database = new Database(file, { readonly: true });
      database.pragma('query_only = ON');
      database.pragma('trusted_schema = OFF');
      database.pragma('cell_size_check = ON');
      database.exec('BEGIN');
      const db = new Kysely<CatalogSchema>({ dialect: new SqliteDialect({ database }) });
      await isMigrated(db, sqliteSchemaDialect, path);
      return new CatalogAudit(path, database);
    } catch (error) {
      database?.close();
      if (error instanceof CairnError) throw error;
      throw unreadable(path, error);
    }
  }

  /** Whatever is wrong with the catalog in itself. */
  *problems(): IterableIterator<CatalogProblem> {
    for (const message of this.#texts(`PRAGMA integrity_check(${String(INTEGRITY_MESSAGES_MAX)})`)) {
      if (message !== 'ok') yield { what: message, remedy: { kind: 'reindex' } };
    }
    for (const row of this.#database.prepare('PRAGMA foreign_key_check').raw().iterate() as Iterable<
      unknown[]
    >)
      yield { what: `a row of ${String(row[0])} names a row of ${String(row[2])} that is not there` };
    yield* this.#headProblems();
    yield* this.#workspaceProblems();
    yield* this.#baseProblems();
    yield* this.#versionProblems();
    yield* this.#checksumProblems();
    yield* this.#pathProblems();
    yield* this.#contentProblems();
  }

  /** Runs `work` on the catalog; what SQLite says of its pages then is `corrupt`. */
  async reading<Result>(work: () => Promise<Result>): Promise<Result> {
    try {
      return await work();
    } catch (error) {
      throw error instanceof Database.SqliteError ? unreadable(this.#path, error) : error;
    }
  }

  /** Versions, oldest first: of all workspaces, or of one. */
  versions(workspace?: string): AuditedVersion[] {
    const rows = this.#database
      .prepare<unknown[], VersionRow>(
        `SELECT w.name AS workspace, v.seq, v.root, v.files, v.bytes FROM version v JOIN workspace w ON w.id = v.workspace_id
         WHERE @workspace IS NULL OR w.name = @workspace ORDER BY w.name, v.seq`,
      )
      .all({ workspace: workspace ?? null });
    return rows.map((row) => ({ ...row, root: row.root.toString('hex') as ManifestRoot }));
  }

  hasWorkspace(name: string): boolean {
    return this.#database.prepare('SELECT 1 FROM workspace WHERE name = ?').get(name) !== undefined;
  }

  /** The `seq` a tag names. */
  taggedSeq(workspace: string, tag: string): number | undefined {
    const row = this.#database
      .prepare<unknown[], { seq: number }>(
        'SELECT t.seq FROM tag t JOIN workspace w ON w.id = t.workspace_id WHERE w.name = ? AND t.name = ?',
      )
      .get(workspace, tag);
    return row?.seq;
  }

  /** Whether what the workspace's row says, as on which other it is based, is what was written there. */
  hasSoundRow(workspace: string): boolean {
    return !this.#damagedWorkspaces.has(workspace);
  }

  /** `path → hash` of one version, for as many questions as there are paths. */
  pathsOf({ workspace, seq }: AuditedVersion): AuditedPaths {
    return new AuditedPaths(this.#database, workspace, seq);
  }

  /** Every block the catalog counts on. */
  *blocks(): IterableIterator<{ id: Buffer; rawBytes: number; storedBytes: number }> {
    yield* this.#database
      .prepare('SELECT id, raw_bytes AS rawBytes, stored_bytes AS storedBytes FROM block')
      .iterate() as IterableIterator<{ id: Buffer; rawBytes: number; storedBytes: number }>;
  }

  /** What the catalog says of a block. */
  block(id: Buffer): { rawBytes: number; storedBytes: number } | undefined {
    return this.#block.get(id);
  }

  close(): void {
    this.#database.close();
  }

  *#texts(sql: string): IterableIterator<string> {
    for (const [text] of this.#database.prepare(sql).raw().iterate() as Iterable<unknown[]>)
      yield String(text);
  }

  *#headProblems(): IterableIterator<CatalogProblem> {
    const rows = this.#database
      .prepare<[], { name: string; head: number; newest: number }>(
        `SELECT * FROM (SELECT name, head_seq AS head,
           coalesce((SELECT max(seq) FROM version v WHERE v.workspace_id = w.id), 0) AS newest FROM workspace w)
         WHERE head <> newest`,
      )
      .all();
    for (const { name, head, newest } of rows) {
      yield {
        what: `the head of workspace "${name}" is version ${String(head)}, the newest version is ${String(newest)}`,
        workspace: name,
        remedy: { kind: 'head', workspace: name },
      };
    }
  }

  *#workspaceProblems(): IterableIterator<CatalogProblem> {
    for (const row of this.#damagedWorkspaces.values()) {
      const what = `workspace "${row.name}": its row (name, quota, read-only, base or another value) does not verify`;
      const canBeMended = mendedWorkspace(row) !== undefined;
      yield { what, workspace: row.name, ...(canBeMended && { remedy: { kind: 'row', row } }) };
    }
  }

  *#baseProblems(): IterableIterator<CatalogProblem> {
    const rows = this.#database
      .prepare<[], { name: string }>(
        `SELECT fork.name FROM workspace fork LEFT JOIN workspace base ON base.id = fork.base_workspace_id
         WHERE (fork.base_workspace_id IS NULL) <> (fork.base_seq IS NULL) OR fork.base_seq < 1
            OR (NOT base.purged AND fork.base_seq > base.head_seq) OR (fork.purged AND fork.head_seq <> 0)`,
      )
      .all();
    for (const { name } of rows) {
      if (this.#damagedWorkspaces.has(name)) continue;
      yield {
        what: `workspace "${name}" is based on a version that cannot be`,
        workspace: name,
        remedy: { kind: 'paths', workspace: name },
      };
    }
  }

  *#versionProblems(): IterableIterator<CatalogProblem> {
    const rows = this.#database
      .prepare<[], { name: string; seq: number; fault: string }>(
        `SELECT name, seq, CASE WHEN seq <> position THEN 'versions before it are missing'
           WHEN parent_seq <> seq - 1 THEN 'it does not follow the version before it'
           WHEN typeof(root) <> 'blob' OR length(root) <> 32 THEN 'its manifest root is no 32 bytes'
           ELSE 'its counters are negative' END AS fault
         FROM (SELECT w.name, v.*, row_number() OVER (PARTITION BY v.workspace_id ORDER BY v.seq) AS position
               FROM version v JOIN workspace w ON w.id = v.workspace_id)
         WHERE seq <> position OR parent_seq <> seq - 1 OR typeof(root) <> 'blob' OR length(root) <> 32
            OR files < 0 OR bytes < 0`,
      )
      .all();
    for (const { name, seq, fault } of rows)
      yield { what: `version ${name}@${String(seq)}: ${fault}`, workspace: name };
  }

  *#checksumProblems(): IterableIterator<CatalogProblem> {
    const versions = this.#database
      .prepare('SELECT v.*, w.name AS workspace FROM version v JOIN workspace w ON w.id = v.workspace_id')
      .iterate() as Iterable<Selectable<CatalogSchema['version']> & { workspace: string }>;
    for (const { workspace, ...row } of versions) {
      if (isSoundVersion(row)) continue;
      const what = `version ${workspace}@${String(row.seq)}: its author, message, time or another value is not what was published`;
      yield { what, workspace };
    }
    const tags = this.#database
      .prepare('SELECT t.*, w.name AS workspace FROM tag t JOIN workspace w ON w.id = t.workspace_id')
      .iterate() as Iterable<Selectable<CatalogSchema['tag']> & { workspace: string }>;
    for (const { workspace, ...row } of tags) {
      if (!isSoundTag(row))
        yield { what: `tag ${workspace}@${row.name}: its row does not verify`, workspace };
    }
  }

  *#pathProblems(): IterableIterator<CatalogProblem> {
    const rows = this.#database
      .prepare<[], { name: string; count: number }>(
        `WITH RECURSIVE wrong AS MATERIALIZED (
           SELECT w.id, count(*) AS count FROM file f JOIN workspace w ON w.id = f.workspace_id
           WHERE f.from_seq < 1 OR f.to_seq <= f.from_seq
              OR (NOT w.purged AND (f.from_seq > w.head_seq OR f.to_seq > w.head_seq))
              OR (f.hash IS NOT NULL AND (typeof(f.hash) <> 'blob' OR length(f.hash) <> 32))
              OR typeof(f.path) <> 'blob' OR (f.fork = 0) <> (f.to_seq IS NULL)
           GROUP BY w.id),
         -- What is left of a workspace for its forks is theirs to make anew.
         concerned (id, count) AS (
           SELECT id, count FROM wrong
           UNION SELECT fork.id, count FROM concerned
           JOIN workspace base ON base.id = concerned.id AND base.purged
           JOIN workspace fork ON fork.base_workspace_id = base.id)
         SELECT name, sum(count) AS count FROM concerned JOIN workspace USING (id) WHERE NOT purged GROUP BY id`,
      )
      .all();
    for (const { name, count } of rows) {
      yield {
        what: `${String(count)} paths of workspace "${name}" have a row that holds for impossible versions or no content id`,
        workspace: name,
        remedy: { kind: 'paths', workspace: name },
      };
    }
  }

  *#contentProblems(): IterableIterator<CatalogProblem> {
    const isKnown = this.#database.prepare('SELECT 1 FROM block WHERE id = ?');
    const rows = this.#database.prepare('SELECT hash, size, extents FROM content').iterate() as Iterable<{
      hash: Buffer;
      size: number;
      extents: Buffer;
    }>;
    for (const row of rows) {
      if (!Buffer.isBuffer(row.hash) || row.hash.length !== 32) {
        yield { what: 'a content has an id that is no 32 bytes' };
        continue;
      }
      const sound = isSoundContent(row, (block) => isKnown.get(block) !== undefined);
      if (sound) continue;
      const id = contentIdOf(row.hash);
      yield {
        what: `where content ${id} is stored does not verify, or is a block the catalog does not know`,
        remedy: { kind: 'content', id },
      };
    }
  }
}

type RawFileRow = { hash: Buffer | null; size: number; mode: number; toSeq: number | null };

/** The paths of one version. */
export class AuditedPaths {
  readonly #at: Database.Statement<unknown[], RawFileRow>;
  readonly #database: Database.Database;
  /** As `levelsOf` reads them. */
  readonly #levels: Level[];

  constructor(database: Database.Database, workspace: string, seq: number) {
    this.#database = database;
    this.#levels = database
      .prepare<unknown[], Level>(
        `WITH RECURSIVE level (id, seq, number) AS (
           SELECT id, @seq, 0 FROM workspace WHERE name = @workspace
           UNION ALL
           SELECT w.base_workspace_id, w.base_seq, number + 1 FROM level JOIN workspace w ON w.id = level.id
           WHERE w.base_workspace_id IS NOT NULL AND number < ${String(BASES_MAX)})
         SELECT id AS workspaceId, seq FROM level ORDER BY number`,
      )
      .all({ workspace, seq });
    this.#at = database.prepare(
      `SELECT hash, size, mode, to_seq AS toSeq FROM file WHERE workspace_id = ? AND path = ? AND from_seq <= ?
       ORDER BY from_seq DESC LIMIT 1`,
    );
  }

  /** Whether the catalog has this very row for its path. */
  has({ path, hash, size, mode }: FileRow): boolean {
    for (const { workspaceId, seq } of this.#levels) {
      const row = this.#at.get(workspaceId, path, seq);
      if (row === undefined) continue;
      if (row.toSeq !== null && row.toSeq <= seq) return false;
      const sameHash = row.hash === null ? hash === undefined : row.hash.toString('hex') === hash;
      return sameHash && row.size === size && row.mode === mode;
    }
    return false;
  }

  count(): number {
    let count = 0;
    for (const [at, level] of this.#levels.entries()) {
      const nearer = this.#levels.slice(0, at).map(({ workspaceId }) => workspaceId);
      const row = this.#database
        .prepare<unknown[], { count: number }>(
          `SELECT count(*) AS count FROM file NOT INDEXED WHERE workspace_id = @workspaceId AND from_seq <= @seq
           AND (to_seq IS NULL OR to_seq > @seq)
           AND NOT EXISTS (SELECT 1 FROM file n WHERE n.workspace_id IN (${nearer.join()}) AND n.path = file.path)`,
        )
        .get(level);
      count += row?.count ?? 0;
    }
    return count;
  }
}

function unreadable(path: string, error: unknown): CairnError {
  return new CairnError('corrupt', `catalog ${path} cannot be read: ${messageOf(error)}`, {
    hint: 'restore the file from a backup: it alone says which versions there are',
    cause: error,
  });
}

/** What an audit reads: the database where it is, or a copy of it, and of its log where a process that died has left one. */
function copyUnlessInUse(scratch: string, path: string): string {
  const isInUse = (): boolean => existsSync(`${path}-shm`);
  if (isInUse()) return path;
  mkdirSync(scratch, { recursive: true, mode: 0o700 });
  const copy = join(scratch, basename(path));
  const before = statSync(path, { bigint: true });
  copyFileSync(path, copy);
  if (existsSync(`${path}-wal`)) copyFileSync(`${path}-wal`, `${copy}-wal`);
  // Somebody may have come meanwhile, and gone again: then the copy is of more than one moment.
  if (isInUse() || statSync(path, { bigint: true }).mtimeNs !== before.mtimeNs) {
    rmSync(`${copy}-wal`, { force: true });
    return copyUnlessInUse(scratch, path);
  }
  return copy;
}
