import type { Kysely, Transaction } from 'kysely';
import { CairnError } from '../core/index.js';
import type { CatalogSchema } from './schema.js';

/** How long a workspace that was deleted can be had back. */
const TRASH_TERM_MS = 30 * 24 * 60 * 60 * 1000;

export function trashEndMs(trashedAtMs: number): number {
  return trashedAtMs + TRASH_TERM_MS;
}

/** Throws `conflict` where a workspace of the name is there, or can be had back. One whose term is over makes place. */
export async function makePlaceFor(transaction: Transaction<CatalogSchema>, name: string): Promise<void> {
  const row = await transaction
    .selectFrom('workspace')
    .select(['id', 'trashed_at_ms'])
    .where('name', '=', name)
    .executeTakeFirst();
  if (row === undefined) return;
  if (row.trashed_at_ms === null) throw new CairnError('conflict', `there is a workspace "${name}" already`);
  if (Date.now() < trashEndMs(row.trashed_at_ms)) {
    throw new CairnError('conflict', `a workspace "${name}" is in the trash`, {
      hint: `cairn workspace undelete ${name} brings it back; or choose another name`,
    });
  }
  await deleteWorkspaceRows(transaction, row.id);
}

/** Deletes what has been in the trash for its term. Returns the names. */
export async function emptyTrash(db: Kysely<CatalogSchema>, nowMs: number): Promise<string[]> {
  const due = await db
    .selectFrom('workspace')
    .select(['id', 'name'])
    .where('trashed_at_ms', '<=', nowMs - TRASH_TERM_MS)
    .execute();
  for (const { id } of due) {
    await db.transaction().execute((transaction) => deleteWorkspaceRows(transaction, id));
  }
  return due.map(({ name }) => name);
}

/** Contents and blocks stay: other workspaces may have them, and what is stored is not the catalog's to delete. */
async function deleteWorkspaceRows(transaction: Transaction<CatalogSchema>, id: number): Promise<void> {
  for (const table of ['workspace_block', 'upload', 'tag', 'lease', 'file', 'version'] as const) {
    await transaction.deleteFrom(table).where('workspace_id', '=', id).execute();
  }
  await transaction.deleteFrom('workspace').where('id', '=', id).execute();
}
