import type { Generated } from 'kysely';

/**
 * The catalog's tables as queries see them, the same in every dialect. Bytes are BLOB or bytea, times are milliseconds since the
 * epoch, sizes are bytes, ids are the 32 bytes they stand for.
 */
export interface CatalogSchema {
  workspace: WorkspaceTable;
  version: VersionTable;
  tag: TagTable;
  content: ContentTable;
  block: BlockTable;
  file: FileTable;
  lease: LeaseTable;
  token: TokenTable;
  audit: AuditTable;
}

interface WorkspaceTable {
  id: Generated<number>;
  name: string;
  /** 0 while there is no version. */
  head_seq: number;
  created_at_ms: number;
  /** Inode numbers and cookies from here on were given to nobody. */
  next_number: Generated<number>;
}

interface VersionTable {
  workspace_id: number;
  seq: number;
  parent_seq: number;
  root: Buffer;
  author: string;
  message: string;
  created_at_ms: number;
  files: number;
  bytes: number;
  publish_id: string;
}

interface TagTable {
  workspace_id: number;
  name: string;
  seq: number;
  created_at_ms: number;
}

interface ContentTable {
  hash: Buffer;
  size: number;
  /** As `packExtents` lays them out. */
  extents: Buffer;
}

interface BlockTable {
  id: Buffer;
  raw_bytes: number;
  stored_bytes: number;
}

/** One row of one path: that of the versions `from_seq` to `to_seq` - 1, or to the head while `to_seq` is NULL. */
interface FileTable {
  workspace_id: number;
  path: Buffer;
  hash: Buffer | null;
  size: number;
  mode: number;
  from_seq: number;
  to_seq: number | null;
  /** `forkNode` of the row's versions, by which listings find it; OPEN_FORK while `to_seq` is NULL. */
  fork: number;
}

/** Who holds a name until when. A holder shows its epoch with what it does, and one that was overtaken is refused by it. */
interface LeaseTable {
  name: string;
  /** The version gc must keep while the lease lasts; NULL for a lease of the whole store. */
  workspace_id: number | null;
  seq: number | null;
  holder: string;
  epoch: number;
  expires_at_ms: number;
}

interface TokenTable {
  id: string;
  /** SHA-256 of the secret, which is not stored. */
  hash: Buffer;
  /** The only workspace it opens; NULL for all. */
  workspace_id: number | null;
  holder: string;
  permission: string;
  created_at_ms: number;
  expires_at_ms: number | null;
  revoked_at_ms: number | null;
}

/** Rows outlive what they speak of, hence a workspace's name and no reference. */
interface AuditTable {
  id: Generated<number>;
  at_ms: number;
  actor: string;
  action: string;
  workspace: string | null;
  seq: number | null;
  detail: string;
}
