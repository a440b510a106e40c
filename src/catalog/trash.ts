import type { Kysely, Transaction } from 'kysely';
import { CairnError } from '../core/index.js';
import { isSoundWorkspace, type WorkspaceRow } from './row-checksum.js';
import type { CatalogSchema } from './schema.js';
import { findWorkspaceRow, lockWorkspace, updateWorkspace } from './workspace-row.js';

/** How long a workspace that was deleted can be had back. */
const TRASH_TERM_MS = 30 * 24 * 60 * 60 * 1000;

export function trashEndMs(trashedAtMs: number): number {
  return trashedAtMs + TRASH_TERM_MS;
}

/** Throws `conflict` where a workspace of the name is there, or can be had back. One whose term is over makes place. */
export async function makePlaceFor(transaction: Transaction<CatalogSchema>, name: string): Promise<void> {
  const row = await findWorkspaceRow(transaction, name);
  if (row === undefined) return;
  if (row.trashed_at_ms === null) throw new CairnError('conflict', `there is a workspace "${name}" already`);
  if (await purge(transaction, row.id, Date.now())) return;
  throw new CairnError('conflict', `a workspace "${name}" is in the trash`, {
    hint: `cairn workspace undelete ${name} brings it back; or choose another name`,
  });
}

/** Deletes what has been in the trash for its term, and says so in a row that verifies. Returns the names. */
export async function emptyTrash(db: Kysely<CatalogSchema>, nowMs: number): Promise<string[]> {
  const due = await db
    .selectFrom('workspace')
    .selectAll()
    .where('trashed_at_ms', '<=', nowMs - TRASH_TERM_MS)
    .where('purged', '=', 0)
    .execute();
  const deleted: string[] = [];
  for (const { id, name } of due.filter(isSoundWorkspace)) {
    if (await db.transaction().execute((transaction) => purge(transaction, id, nowMs))) deleted.push(name);
  }
  return deleted;
}

/**
 * Deletes a workspace whose term is over; false when somebody has undeleted it. Contents and blocks stay: other workspaces may have them, and what is
 * stored is not the catalog's to delete.
 */
async function purge(transaction: Transaction<CatalogSchema>, id: number, nowMs: number): Promise<boolean> {
  // From here on nobody undeletes it.
  const row = await lockWorkspace(transaction, { id });
  if (row === undefined || row.trashed_at_ms === null || row.purged !== 0) return false;
  if (row.trashed_at_ms > nowMs - TRASH_TERM_MS) return false;
  for (const table of ['workspace_block', 'upload', 'open_commit', 'tag', 'lease', 'version'] as const) {
    await transaction.deleteFrom(table).where('workspace_id', '=', id).execute();
  }
  if (!(await deleteUnlessBase(transaction, row))) await keepAsBase(transaction, row);
  return true;
}

/** A workspace without forks goes, and with it the one it is based on, where that was purged and has no other fork. */
async function deleteUnlessBase(
  transaction: Transaction<CatalogSchema>,
  { id, base_workspace_id: base }: WorkspaceRow,
): Promise<boolean> {
  const fork = await transaction
    .selectFrom('workspace')
    .select('id')
    .where('base_workspace_id', '=', id)
    .limit(1)
    .executeTakeFirst();
  if (fork !== undefined) return false;
  await transaction.deleteFrom('file').where('workspace_id', '=', id).execute();
  await transaction.deleteFrom('workspace').where('id', '=', id).execute();
  await deletePurgedBase(transaction, base);
  return true;
}

/** What was kept of a workspace for its forks goes with the last of them. */
export async function deletePurgedBase(
  transaction: Transaction<CatalogSchema>,
  id: number | null,
): Promise<void> {
  if (id === null) return;
  // Of two that let go of it at a time the later one sees that the other has.
  const row = await lockWorkspace(transaction, { id });
  if (row?.purged === 1) await deleteUnlessBase(transaction, row);
}

/**
 * Forks need the rows of the versions they were forked from. Where the workspace is a fork itself, a path that it has no row of would be as in its base:
 * its first rows stay, which each path has that the base has as well.
 */
async function keepAsBase(transaction: Transaction<CatalogSchema>, row: WorkspaceRow): Promise<void> {
  const { id, base_workspace_id: base } = row;
  await updateWorkspace(transaction, row, { name: `~${String(id)}`, purged: 1, head_seq: 0 });
  let unneeded = transaction
    .deleteFrom('file')
    .where('workspace_id', '=', id)
    .where((where) =>
      where.not(
        where.exists(
          where
            .selectFrom('workspace as forked')
            .select('forked.id')
            .where('forked.base_workspace_id', '=', id)
            .whereRef('forked.base_seq', '>=', 'file.from_seq')
            .where((of) =>
              of.or([of('file.to_seq', 'is', null), of('forked.base_seq', '<', of.ref('file.to_seq'))]),
            ),
        ),
      ),
    );
  if (base !== null) unneeded = unneeded.where('from_seq', '>', 1);
  await unneeded.execute();
}
