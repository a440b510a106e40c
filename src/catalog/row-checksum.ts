import { crc32 } from 'node:zlib';
import type { Selectable } from 'kysely';
import { CairnError } from '../core/index.js';
import type { CatalogSchema } from './schema.js';

/**
 * Rows that nothing else says again have a CRC-32 of all their values: SQLite does not notice when a byte of a row changes.
 */

type VersionRow = Selectable<CatalogSchema['version']>;
type TagRow = Selectable<CatalogSchema['tag']>;
export type WorkspaceRow = Selectable<CatalogSchema['workspace']>;

/** The row with its checksum. Text becomes what a database gives back of it, where it is not well-formed. */
export function sealedVersion(row: Omit<VersionRow, 'checksum'>): VersionRow {
  const stored = { ...row, author: wellFormed(row.author), message: wellFormed(row.message) };
  return { ...stored, checksum: versionChecksum(stored) };
}

export function sealedTag(row: Omit<TagRow, 'checksum'>): TagRow {
  return { ...row, checksum: tagChecksum(row) };
}

/** All but the head: the newest version says that again. */
export function sealedWorkspace(row: Omit<WorkspaceRow, 'checksum'>): WorkspaceRow {
  return { ...row, checksum: workspaceChecksum(row) };
}

export function isSoundVersion(row: VersionRow): boolean {
  return Buffer.isBuffer(row.root) && row.checksum === versionChecksum(row);
}

export function isSoundTag(row: TagRow): boolean {
  return row.checksum === tagChecksum(row);
}

export function isSoundWorkspace(row: WorkspaceRow): boolean {
  return row.checksum === workspaceChecksum(row);
}

/** `what`: the version or tag, as a person names it. */
export function damagedRow(what: string): CairnError {
  return new CairnError('corrupt', `the catalog's row of ${what} does not verify`, {
    hint: 'restore the catalog from a backup: nothing else knows what the row says',
  });
}

function versionChecksum(row: Omit<VersionRow, 'checksum'>): number {
  return checksumOf([
    row.workspace_id,
    row.seq,
    row.parent_seq,
    row.root.toString('hex'),
    row.author,
    row.message,
    row.created_at_ms,
    row.files,
    row.bytes,
    row.publish_id,
  ]);
}

function tagChecksum(row: Omit<TagRow, 'checksum'>): number {
  return checksumOf([row.workspace_id, row.name, row.seq, row.created_at_ms]);
}

function workspaceChecksum(row: Omit<WorkspaceRow, 'checksum'>): number {
  // As JSON, which keeps nothing, 0 and '0' apart: SQLite stores a value of any type in any column.
  return crc32(
    JSON.stringify([
      row.id,
      row.name,
      row.created_at_ms,
      row.generation,
      row.read_only,
      row.quota_bytes,
      row.trashed_at_ms,
      row.next_number,
      row.recorded_seq,
      row.base_workspace_id,
      row.base_seq,
      row.purged,
    ]),
  );
}

function checksumOf(values: readonly (string | number)[]): number {
  return crc32(values.join('\0'));
}

function wellFormed(text: string): string {
  return Buffer.from(text).toString();
}
