import type { Kysely, Transaction } from 'kysely';
import { CairnError } from '../core/index.js';
import { isSoundWorkspace, sealedWorkspace, type WorkspaceRow } from './row-checksum.js';
import type { CatalogSchema } from './schema.js';

/**
 * The row of a workspace, wherever it is read or written: what reads it checks it, and what changes it has checked it before, so that damage is never
 * sealed. `head_seq` alone is changed without this: the newest version is what it is held against.
 */

/** The row beside those of other tables, in one query. */
export const JOINED_WORKSPACE = [
  'workspace.id as ws_id',
  'workspace.name as ws_name',
  'workspace.head_seq as ws_head_seq',
  'workspace.created_at_ms as ws_created_at_ms',
  'workspace.generation as ws_generation',
  'workspace.read_only as ws_read_only',
  'workspace.quota_bytes as ws_quota_bytes',
  'workspace.trashed_at_ms as ws_trashed_at_ms',
  'workspace.next_number as ws_next_number',
  'workspace.recorded_seq as ws_recorded_seq',
  'workspace.base_workspace_id as ws_base_workspace_id',
  'workspace.base_seq as ws_base_seq',
  'workspace.purged as ws_purged',
  'workspace.checksum as ws_checksum',
] as const;

/** What JOINED_WORKSPACE selects. */
export type JoinedWorkspace = { [Column in keyof WorkspaceRow as `ws_${Column}`]: WorkspaceRow[Column] };

export function workspaceRowOf(row: JoinedWorkspace): WorkspaceRow {
  return {
    id: row.ws_id,
    name: row.ws_name,
    head_seq: row.ws_head_seq,
    created_at_ms: row.ws_created_at_ms,
    generation: row.ws_generation,
    read_only: row.ws_read_only,
    quota_bytes: row.ws_quota_bytes,
    trashed_at_ms: row.ws_trashed_at_ms,
    next_number: row.ws_next_number,
    recorded_seq: row.ws_recorded_seq,
    base_workspace_id: row.ws_base_workspace_id,
    base_seq: row.ws_base_seq,
    purged: row.ws_purged,
    checksum: row.ws_checksum,
  };
}

/** Throws `corrupt` for a row that does not verify, or that an index gave for another name than `name`. */
export function soundWorkspace(row: WorkspaceRow, name = row.name): WorkspaceRow {
  if (isSoundWorkspace(row) && row.name === name) return row;
  throw damagedWorkspace(`workspace "${name}"`);
}

/** `what`: the workspace, as a person names it. */
export function damagedWorkspace(what: string): CairnError {
  return new CairnError('corrupt', `the catalog's row of ${what} does not verify`, {
    hint: 'cairn fsck --repair puts it back where a byte of it has changed',
  });
}

/** The row of a name, in the trash or not. */
export async function findWorkspaceRow(
  db: Kysely<CatalogSchema>,
  name: string,
): Promise<WorkspaceRow | undefined> {
  const row = await db.selectFrom('workspace').selectAll().where('name', '=', name).executeTakeFirst();
  return row === undefined ? undefined : soundWorkspace(row, name);
}

/** An update that changes nothing holds the row in every dialect: who else would change it waits until this transaction is over. */
export async function lockWorkspace(
  transaction: Transaction<CatalogSchema>,
  which: { name: string } | { id: number },
): Promise<WorkspaceRow | undefined> {
  const update = transaction
    .updateTable('workspace')
    .set((column) => ({ head_seq: column.ref('head_seq') }))
    .returningAll();
  const row = await (
    'name' in which ? update.where('name', '=', which.name) : update.where('id', '=', which.id)
  ).executeTakeFirst();
  return row === undefined ? undefined : soundWorkspace(row, 'name' in which ? which.name : row.name);
}

/** Changes a row that the transaction holds. */
export async function updateWorkspace(
  transaction: Transaction<CatalogSchema>,
  row: WorkspaceRow,
  change: Partial<Omit<WorkspaceRow, 'id' | 'checksum'>>,
): Promise<WorkspaceRow> {
  const changed = sealedWorkspace({ ...row, ...change });
  await transaction
    .updateTable('workspace')
    .set({ ...change, checksum: changed.checksum })
    .where('id', '=', row.id)
    .execute();
  return changed;
}
