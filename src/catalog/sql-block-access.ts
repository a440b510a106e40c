import type { Kysely } from 'kysely';
import { blockIdOf, bytesOfId, type BlockId, type ManifestRoot } from '../core/index.js';
import { UPLOAD_TERM_MS, type BlockAccess } from './block-access.js';
import { chunksOf, insertRows } from './row-chunks.js';
import { isSoundWorkspace } from './row-checksum.js';
import type { CatalogSchema } from './schema.js';
import { versionOf } from './sql-catalog.js';
import {
  findWorkspaceRow,
  JOINED_WORKSPACE,
  lockWorkspace,
  soundWorkspace,
  updateWorkspace,
  workspaceRowOf,
  type JoinedWorkspace,
} from './workspace-row.js';

interface Holders {
  after: string;
  limit: number;
}

export class SqlBlockAccess implements BlockAccess {
  readonly #db: Kysely<CatalogSchema>;

  constructor(db: Kysely<CatalogSchema>) {
    this.#db = db;
  }

  async held(workspace: string, ids: readonly BlockId[]): Promise<Set<BlockId>> {
    const held = new Set<BlockId>();
    for (const chunk of chunksOf(ids)) {
      const digests = chunk.map(bytesOfId);
      const rows = await this.#db
        .selectFrom('workspace')
        .innerJoin('workspace_block', 'workspace_block.workspace_id', 'workspace.id')
        .select('workspace_block.block as id')
        .select(JOINED_WORKSPACE)
        .where('workspace.name', '=', workspace)
        .where('workspace_block.block', 'in', digests)
        .unionAll(
          this.#db
            .selectFrom('workspace')
            .innerJoin('upload', 'upload.workspace_id', 'workspace.id')
            .select('upload.id')
            .select(JOINED_WORKSPACE)
            .where('workspace.name', '=', workspace)
            .where('upload.id', 'in', digests)
            .where('upload.at_ms', '>', Date.now() - UPLOAD_TERM_MS),
        )
        .execute();
      // All are of one workspace.
      const [first] = rows;
      if (first === undefined) continue;
      if (soundWorkspace(workspaceRowOf(first), workspace).trashed_at_ms !== null) return new Set();
      for (const { id } of rows) held.add(blockIdOf(id));
    }
    return held;
  }

  async holders(id: BlockId, { after, limit }: Holders): Promise<string[]> {
    const rows = await this.#db
      .selectFrom('workspace_block')
      .innerJoin('workspace', 'workspace.id', 'workspace_block.workspace_id')
      .select(JOINED_WORKSPACE)
      .where('workspace_block.block', '=', bytesOfId(id))
      .where('workspace.name', '>', after)
      .where('workspace.trashed_at_ms', 'is', null)
      .union(this.#uploaders(id, after))
      .orderBy('ws_name')
      .limit(limit)
      .execute();
    return soundNames(rows);
  }

  async holdsManifest(workspace: string, root: ManifestRoot): Promise<boolean> {
    const workspaceId = await this.#idOf(workspace);
    if (workspaceId === undefined) return false;
    const version = await this.#db
      .selectFrom('version')
      .select('seq')
      .where('root', '=', bytesOfId(root))
      .where('workspace_id', '=', workspaceId)
      .limit(1)
      .executeTakeFirst();
    return version !== undefined || (await this.held(workspace, [root as string as BlockId])).size > 0;
  }

  async manifestHolders(root: ManifestRoot, { after, limit }: Holders): Promise<string[]> {
    const rows = await this.#db
      .selectFrom('version')
      .innerJoin('workspace', 'workspace.id', 'version.workspace_id')
      .select(JOINED_WORKSPACE)
      .where('version.root', '=', bytesOfId(root))
      .where('workspace.name', '>', after)
      .where('workspace.trashed_at_ms', 'is', null)
      .union(this.#uploaders(root, after))
      .orderBy('ws_name')
      .limit(limit)
      .execute();
    return soundNames(rows);
  }

  async uploaded(workspace: string, ids: readonly (BlockId | ManifestRoot)[]): Promise<void> {
    const workspaceId = await this.#idOf(workspace);
    if (workspaceId === undefined) return;
    for (const chunk of chunksOf(ids.toSorted())) {
      await this.#db
        .insertInto('upload')
        .values(chunk.map((id) => ({ id: bytesOfId(id), workspace_id: workspaceId, at_ms: Date.now() })))
        .onConflict((conflict) =>
          conflict.columns(['id', 'workspace_id']).doUpdateSet((to) => ({ at_ms: to.ref('excluded.at_ms') })),
        )
        .execute();
    }
  }

  async expire(nowMs: number): Promise<void> {
    await this.#db
      .deleteFrom('upload')
      .where('at_ms', '<=', nowMs - UPLOAD_TERM_MS)
      .execute();
  }

  async unrecordedWorkspaces(): Promise<string[]> {
    const rows = await this.#db
      .selectFrom('workspace')
      .select('name')
      .whereRef('head_seq', '>', 'recorded_seq')
      .execute();
    return rows.map(({ name }) => name);
  }

  async unrecorded(workspace: string): ReturnType<BlockAccess['unrecorded']> {
    const row = await findWorkspaceRow(this.#db, workspace);
    if (row === undefined || row.head_seq <= row.recorded_seq) return [];
    // From the last that was written down on: it is what the next is compared with.
    const versions = await this.#db
      .selectFrom('version')
      .selectAll()
      .where('workspace_id', '=', row.id)
      .where('seq', '>=', row.recorded_seq)
      .orderBy('seq')
      .execute();
    const known = versions.map((version) => versionOf(workspace, version));
    return known.flatMap((version, at) =>
      version.seq <= row.recorded_seq ? [] : [{ version, earlier: known[at - 1]?.root }],
    );
  }

  async record(workspace: string, seq: number, blocks: Iterable<BlockId>): Promise<void> {
    const workspaceId = await this.#idOf(workspace);
    if (workspaceId === undefined) return;
    await this.#db.transaction().execute(async (transaction) => {
      // In one order, whoever writes: two that wait for each other would wait for ever.
      const rows = [...blocks]
        .sort()
        .map((block) => ({ block: bytesOfId(block), workspace_id: workspaceId }));
      await insertRows(
        rows,
        (chunk) =>
          transaction
            .insertInto('workspace_block')
            .values(chunk)
            .onConflict((conflict) => conflict.doNothing())
            .compile(),
        (query) => transaction.executeQuery(query),
      );
      const row = await lockWorkspace(transaction, { id: workspaceId });
      if (row !== undefined && row.recorded_seq < seq)
        await updateWorkspace(transaction, row, { recorded_seq: seq });
    });
  }

  #uploaders(id: BlockId | ManifestRoot, after: string) {
    return this.#db
      .selectFrom('upload')
      .innerJoin('workspace', 'workspace.id', 'upload.workspace_id')
      .select(JOINED_WORKSPACE)
      .where('upload.id', '=', bytesOfId(id))
      .where('upload.at_ms', '>', Date.now() - UPLOAD_TERM_MS)
      .where('workspace.name', '>', after)
      .where('workspace.trashed_at_ms', 'is', null);
  }

  async #idOf(workspace: string): Promise<number | undefined> {
    const row = await findWorkspaceRow(this.#db, workspace);
    return row?.trashed_at_ms === null ? row.id : undefined;
  }
}

/** A row that does not verify opens nothing to anybody, and is not named to those who may know nothing of it. */
function soundNames(rows: readonly JoinedWorkspace[]): string[] {
  return rows
    .map(workspaceRowOf)
    .filter(isSoundWorkspace)
    .map(({ name }) => name);
}
