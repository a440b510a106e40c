import { sql, type Kysely, type Transaction } from 'kysely';
import { bytesOfId, CairnError, type BlockId, type ContentId } from '../core/index.js';
import type { ContentRow, FileRow } from './catalog.js';
import { packExtents } from './extent-record.js';
import { forkNode, OPEN_FORK } from './fork-node.js';
import { mendedWorkspace } from './mend-workspace.js';
import { openDatabase, placeOf } from './open-catalog.js';
import { insertRows } from './row-chunks.js';
import type { WorkspaceRow } from './row-checksum.js';
import type { CatalogSchema } from './schema.js';
import { noWorkspace } from './sql-catalog.js';
import { deletePurgedBase } from './trash.js';
import { damagedWorkspace, lockWorkspace, updateWorkspace } from './workspace-row.js';

/** A version's paths, as its manifest has them. */
export interface VersionPaths {
  seq: number;
  rows: Iterable<FileRow>;
}

/** Keeps rows that end in a version until each has its fork node: no node has this number. */
const ENDING_FORK = -1;

/** The paths of one version, while a workspace's rows are made anew. */
type RepairTables = {
  version_path: { path: Buffer; hash: Buffer | null; size: number; mode: number };
};

/**
 * Makes rows of a catalog anew that follow from manifests and store. Each call is one transaction; versions, their roots and the names of
 * workspaces are never touched: nothing else knows them.
 */
export class CatalogRepair {
  readonly #db: Kysely<CatalogSchema>;
  readonly #kind: 'sqlite' | 'postgres';

  private constructor(db: Kysely<CatalogSchema>, kind: 'sqlite' | 'postgres') {
    this.#db = db;
    this.#kind = kind;
  }

  /** Opens a catalog that is there, and of this release. Throws as `openCatalog` does. */
  static async open(url: string): Promise<CatalogRepair> {
    const place = placeOf(url);
    const { db } = await openDatabase(place, url);
    return new CatalogRepair(db, place.kind);
  }

  /** Makes all indexes of a database of SQLite's anew from the tables. */
  async reindex(): Promise<void> {
    await sql`REINDEX`.execute(this.#db);
  }

  /** The newest version is the head again. */
  async restoreHead(workspace: string): Promise<void> {
    await this.#db
      .updateTable('workspace')
      .set((column) => ({
        head_seq: column.fn.coalesce(
          column
            .selectFrom('version')
            .select((version) => version.fn.max('seq').as('newest'))
            .whereRef('version.workspace_id', '=', 'workspace.id'),
          sql.lit(0),
        ),
      }))
      .where('name', '=', workspace)
      .execute();
  }

  /** Puts a workspace's row back, as `mendedWorkspace` has it. */
  async restoreRow(row: WorkspaceRow): Promise<void> {
    const mended = mendedWorkspace(row);
    if (mended === undefined) throw damagedWorkspace(`workspace "${row.name}"`);
    // Its head is not what is mended, and may be another by now.
    const changed = Object.entries(mended).filter(
      ([column, value]) => value !== row[column as keyof WorkspaceRow],
    );
    await this.#db
      .updateTable('workspace')
      .set(Object.fromEntries(changed))
      .where('id', '=', row.id)
      .where('checksum', '=', row.checksum)
      .execute();
  }

  /**
   * Makes `path → hash` of a workspace anew; it is based on no other then. `versions`: all of them up to `newestSeq`, oldest first; each is read once,
   * before the next. Throws `conflict` when somebody has published since; who would meanwhile waits.
   */
  async rebuildPaths(
    workspace: string,
    newestSeq: number,
    versions: AsyncIterable<VersionPaths>,
  ): Promise<void> {
    await this.#db.transaction().execute(async (transaction) => {
      const row = await lockAt(transaction, workspace, newestSeq);
      const { id } = row;
      await transaction.deleteFrom('file').where('workspace_id', '=', id).execute();
      const rebuilding = transaction.withTables<RepairTables>();
      const bytes = sql.raw(this.#kind === 'sqlite' ? 'BLOB' : 'bytea');
      await sql`CREATE TEMPORARY TABLE version_path (path ${bytes} PRIMARY KEY, hash ${bytes}, size bigint NOT NULL, mode integer NOT NULL)`.execute(
        transaction,
      );
      for await (const version of versions) await addVersion(rebuilding, id, version);
      await sql`DROP TABLE version_path`.execute(transaction);
      await updateWorkspace(transaction, row, { base_workspace_id: null, base_seq: null });
      await deletePurgedBase(transaction, row.base_workspace_id);
    });
  }

  /** The row of a content as a manifest has it. */
  async putContent({ id, size, extents }: ContentRow): Promise<void> {
    const hash = bytesOfId(id);
    const row = { size, extents: packExtents(hash, size, extents) };
    await this.#db
      .insertInto('content')
      .values({ hash, ...row })
      .onConflict((conflict) => conflict.column('hash').doUpdateSet(row))
      .execute();
  }

  /** The content is not known any more: who has a file of it stores it again. */
  async forgetContent(id: ContentId): Promise<void> {
    await this.#db.deleteFrom('content').where('hash', '=', bytesOfId(id)).execute();
  }

  async putBlock(id: BlockId, rawBytes: number, storedBytes: number): Promise<void> {
    const row = { raw_bytes: rawBytes, stored_bytes: storedBytes };
    await this.#db
      .insertInto('block')
      .values({ id: bytesOfId(id), ...row })
      .onConflict((conflict) => conflict.column('id').doUpdateSet(row))
      .execute();
  }

  /** The catalog counts on the block no more, nor on the contents that are in it: who has files of them stores them again. */
  async forgetBlock(id: BlockId): Promise<void> {
    const digest = bytesOfId(id);
    const place =
      this.#kind === 'sqlite'
        ? sql<number>`instr(extents, ${digest})`
        : sql<number>`position(${digest} in extents)`;
    await this.#db.transaction().execute(async (transaction) => {
      await transaction.deleteFrom('content').where(place, '>', 0).execute();
      await transaction.deleteFrom('block').where('id', '=', digest).execute();
    });
  }

  async close(): Promise<void> {
    await this.#db.destroy();
  }
}

/** Holds the workspace, so that nobody publishes, after making sure that nobody has. */
async function lockAt(
  transaction: Transaction<CatalogSchema>,
  workspace: string,
  newestSeq: number,
): Promise<WorkspaceRow> {
  const row = await lockWorkspace(transaction, { name: workspace });
  if (row?.purged !== 0) throw noWorkspace(workspace);
  const { newest } = await transaction
    .selectFrom('version')
    .select((version) => version.fn.max<number | null>('seq').as('newest'))
    .where('workspace_id', '=', row.id)
    .executeTakeFirstOrThrow();
  if ((newest ?? 0) === newestSeq) return row;
  throw new CairnError(
    'conflict',
    `somebody has published in workspace "${workspace}" since the check began`,
    {
      hint: 'run cairn fsck --repair again',
    },
  );
}

/** As publishing the version would: rows that are not in it end, and what is new begins. */
async function addVersion(
  transaction: Kysely<CatalogSchema & RepairTables>,
  workspaceId: number,
  { seq, rows }: VersionPaths,
): Promise<void> {
  await transaction.deleteFrom('version_path').execute();
  await insertRows(
    pathRowsOf(rows),
    (chunk) => transaction.insertInto('version_path').values(chunk).compile(),
    (query) => transaction.executeQuery(query),
  );
  await sql`
    UPDATE file SET to_seq = ${sql.lit(seq)}, fork = ${sql.lit(ENDING_FORK)}
    WHERE workspace_id = ${sql.lit(workspaceId)} AND fork = ${sql.lit(OPEN_FORK)} AND NOT EXISTS (
      SELECT 1 FROM version_path now
      WHERE now.path = file.path AND now.hash IS NOT DISTINCT FROM file.hash AND now.size = file.size AND now.mode = file.mode)
  `.execute(transaction);
  const ending = transaction
    .selectFrom('file')
    .select('from_seq')
    .where('workspace_id', '=', workspaceId)
    .where('fork', '=', ENDING_FORK);
  for (const { from_seq } of await ending.distinct().execute()) {
    await transaction
      .updateTable('file')
      .set({ fork: forkNode(from_seq, seq) })
      .where('workspace_id', '=', workspaceId)
      .where('fork', '=', ENDING_FORK)
      .where('from_seq', '=', from_seq)
      .execute();
  }
  await sql`
    INSERT INTO file (workspace_id, path, hash, size, mode, from_seq, fork)
    SELECT ${sql.lit(workspaceId)}, path, hash, size, mode, ${sql.lit(seq)}, ${sql.lit(OPEN_FORK)} FROM version_path now
    WHERE NOT EXISTS (
      SELECT 1 FROM file WHERE workspace_id = ${sql.lit(workspaceId)} AND fork = ${sql.lit(OPEN_FORK)} AND file.path = now.path)
  `.execute(transaction);
}

function* pathRowsOf(rows: Iterable<FileRow>): Generator<RepairTables['version_path']> {
  for (const { path, hash, size, mode } of rows)
    yield { path, hash: hash === undefined ? null : bytesOfId(hash), size, mode };
}
