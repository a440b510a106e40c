import Database from 'better-sqlite3';
import { bytesOfId, type BlockId, type ContentId } from '../core/index.js';
import type { ContentRow, FileRow } from './catalog.js';
import { packExtents } from './extent-record.js';
import { forkNode, OPEN_FORK } from './fork-node.js';
import { sqlitePath } from './sqlite-path.js';

/** How long somebody else's transaction is waited for. */
const BUSY_MS = 60_000;

/** A version's paths, as its manifest has them. */
export interface VersionPaths {
  seq: number;
  rows: Iterable<FileRow>;
}

/**
 * Makes rows of a catalog anew that follow from manifests and store. Each call is one transaction; versions, their roots and the names of
 * workspaces are never touched: nothing else knows them. Errors are SQLite's own.
 */
export class CatalogRepair {
  readonly #database: Database.Database;

  constructor(url: string) {
    this.#database = new Database(sqlitePath(url), { fileMustExist: true, timeout: BUSY_MS });
    this.#database.pragma('synchronous = FULL');
    this.#database.function('fork_node', { deterministic: true }, (from, to) =>
      forkNode(from as number, to as number),
    );
  }

  /** Makes all indexes anew from the tables. */
  reindex(): void {
    this.#database.exec('REINDEX');
  }

  /** The newest version is the head again. */
  restoreHead(workspace: string): void {
    this.#database
      .prepare(
        `UPDATE workspace SET head_seq = coalesce((SELECT max(seq) FROM version v WHERE v.workspace_id = workspace.id), 0)
         WHERE name = ?`,
      )
      .run(workspace);
  }

  /** Makes `path → hash` of a workspace anew. `versions`: all of them, oldest first; each is read once, before the next. */
  async rebuildPaths(workspace: string, versions: AsyncIterable<VersionPaths>): Promise<void> {
    const id = this.#workspaceId(workspace);
    this.#database.exec('BEGIN IMMEDIATE');
    try {
      this.#database.prepare('DELETE FROM file WHERE workspace_id = ?').run(id);
      this.#database.exec(
        `CREATE TEMP TABLE now (path BLOB PRIMARY KEY, hash BLOB, size INTEGER NOT NULL, mode INTEGER NOT NULL) WITHOUT ROWID`,
      );
      // The rows are whole, whatever a base has.
      this.#database
        .prepare('UPDATE workspace SET base_workspace_id = NULL, base_seq = NULL WHERE id = ?')
        .run(id);
      for await (const version of versions) this.#addVersion(id, version);
      this.#database.exec('DROP TABLE now; COMMIT');
    } catch (error) {
      if (this.#database.inTransaction) this.#database.exec('ROLLBACK');
      throw error;
    }
  }

  /** The row of a content as a manifest has it. */
  putContent({ id, size, extents }: ContentRow): void {
    const hash = bytesOfId(id);
    this.#database
      .prepare('INSERT OR REPLACE INTO content (hash, size, extents) VALUES (?, ?, ?)')
      .run(hash, size, packExtents(hash, size, extents));
  }

  /** The content is not known any more: who has a file of it stores it again. */
  forgetContent(id: ContentId): void {
    this.#database.prepare('DELETE FROM content WHERE hash = ?').run(bytesOfId(id));
  }

  putBlock(id: BlockId, rawBytes: number, storedBytes: number): void {
    this.#database
      .prepare('INSERT OR REPLACE INTO block (id, raw_bytes, stored_bytes) VALUES (?, ?, ?)')
      .run(bytesOfId(id), rawBytes, storedBytes);
  }

  /** The catalog counts on the block no more, nor on the contents that are in it: who has files of them stores them again. */
  forgetBlock(id: BlockId): void {
    this.#database.transaction(() => {
      this.#database.prepare('DELETE FROM content WHERE instr(extents, ?) > 0').run(bytesOfId(id));
      this.#database.prepare('DELETE FROM block WHERE id = ?').run(bytesOfId(id));
    })();
  }

  close(): void {
    this.#database.close();
  }

  #workspaceId(name: string): number {
    const row = this.#database
      .prepare<unknown[], { id: number }>('SELECT id FROM workspace WHERE name = ?')
      .get(name);
    if (row === undefined) throw new Error(`no workspace ${name} to repair`);
    return row.id;
  }

  /** As publishing the version would: rows that are not in it end, and what is new begins. */
  #addVersion(workspaceId: number, { seq, rows }: VersionPaths): void {
    this.#database.exec('DELETE FROM now');
    const add = this.#database.prepare('INSERT INTO now VALUES (?, ?, ?, ?)');
    for (const { path, hash, size, mode } of rows)
      add.run(path, hash === undefined ? null : bytesOfId(hash), size, mode);
    const open = `workspace_id = @workspaceId AND fork = ${String(OPEN_FORK)}`;
    const same = 'n.path = file.path AND n.hash IS file.hash AND n.size = file.size AND n.mode = file.mode';
    this.#database
      .prepare(
        `UPDATE file SET to_seq = @seq, fork = fork_node(from_seq, @seq)
         WHERE ${open} AND NOT EXISTS (SELECT 1 FROM now n WHERE ${same})`,
      )
      .run({ workspaceId, seq });
    this.#database
      .prepare(
        `INSERT INTO file (workspace_id, path, hash, size, mode, from_seq, fork)
         SELECT @workspaceId, path, hash, size, mode, @seq, ${String(OPEN_FORK)} FROM now n
         WHERE NOT EXISTS (SELECT 1 FROM file WHERE ${open} AND file.path = n.path)`,
      )
      .run({ workspaceId, seq });
  }
}
