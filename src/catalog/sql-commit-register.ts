import { randomUUID } from 'node:crypto';
import type { Kysely, Selectable } from 'kysely';
import type { CommitRegister, OpenCommit } from './commit-register.js';
import type { CatalogSchema } from './schema.js';
import { noWorkspace } from './sql-catalog.js';
import {
  findWorkspaceRow,
  JOINED_WORKSPACE,
  soundWorkspace,
  workspaceRowOf,
  type JoinedWorkspace,
} from './workspace-row.js';

/** A row holds so much of a commit's changes. */
const PART_BYTES = 1024 * 1024;

type Row = Selectable<CatalogSchema['open_commit']> & JoinedWorkspace;

/** Open commits in the catalog's database. */
export class SqlCommitRegister implements CommitRegister {
  readonly #db: Kysely<CatalogSchema>;

  constructor(db: Kysely<CatalogSchema>) {
    this.#db = db;
  }

  async open(commit: Omit<OpenCommit, 'id' | 'seq'>, changes: Buffer): Promise<OpenCommit> {
    const { workspace, key } = commit;
    const id = randomUUID();
    await this.#db.transaction().execute(async (transaction) => {
      const found = await findWorkspaceRow(transaction, workspace);
      if (found?.trashed_at_ms !== null) throw noWorkspace(workspace);
      const inserted = await transaction
        .insertInto('open_commit')
        .values({
          id,
          workspace_id: found.id,
          key,
          base_seq: commit.baseSeq,
          author: commit.author,
          message: commit.message,
          digest: commit.digest,
          expires_at_ms: commit.expiresAtMs,
        })
        .onConflict((conflict) => conflict.doNothing())
        .returning('id')
        .executeTakeFirst();
      if (inserted === undefined) return;
      for (let at = 0; at < changes.length; at += PART_BYTES) {
        const bytes = changes.subarray(at, at + PART_BYTES);
        await transaction
          .insertInto('commit_part')
          .values({ commit_id: id, ordinal: at / PART_BYTES, bytes })
          .execute();
      }
    });
    const opened = await this.findByKey(workspace, key);
    if (opened === undefined) throw noWorkspace(workspace);
    return opened;
  }

  async find(workspace: string, id: string): Promise<OpenCommit | undefined> {
    return commitOf(await this.#rowsOf(workspace).where('open_commit.id', '=', id).executeTakeFirst());
  }

  async findByKey(workspace: string, key: string): Promise<OpenCommit | undefined> {
    return commitOf(await this.#rowsOf(workspace).where('open_commit.key', '=', key).executeTakeFirst());
  }

  async changes(id: string): Promise<Buffer> {
    const rows = await this.#db
      .selectFrom('commit_part')
      .select('bytes')
      .where('commit_id', '=', id)
      .orderBy('ordinal')
      .execute();
    return Buffer.concat(rows.map(({ bytes }) => bytes));
  }

  async finished(id: string, seq: number): Promise<void> {
    await this.#db.transaction().execute(async (transaction) => {
      await transaction.updateTable('open_commit').set({ seq }).where('id', '=', id).execute();
      await transaction.deleteFrom('commit_part').where('commit_id', '=', id).execute();
    });
  }

  async remove(id: string): Promise<void> {
    await this.#db.deleteFrom('open_commit').where('id', '=', id).execute();
  }

  async expire(nowMs: number): Promise<void> {
    await this.#db.deleteFrom('open_commit').where('expires_at_ms', '<=', nowMs).execute();
  }

  #rowsOf(workspace: string) {
    return this.#db
      .selectFrom('open_commit')
      .innerJoin('workspace', 'workspace.id', 'open_commit.workspace_id')
      .selectAll('open_commit')
      .select(JOINED_WORKSPACE)
      .where('workspace.name', '=', workspace);
  }
}

function commitOf(row: Row | undefined): OpenCommit | undefined {
  if (row === undefined) return undefined;
  const workspace = soundWorkspace(workspaceRowOf(row));
  if (workspace.trashed_at_ms !== null) return undefined;
  return {
    id: row.id,
    workspace: workspace.name,
    key: row.key,
    baseSeq: row.base_seq,
    author: row.author,
    message: row.message,
    digest: row.digest,
    expiresAtMs: row.expires_at_ms,
    ...(row.seq !== null && { seq: row.seq }),
  };
}
