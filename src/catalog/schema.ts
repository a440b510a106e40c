import type { Generated } from 'kysely';

/**
 * The catalog's tables as queries see them, the same in every dialect. Bytes are BLOB or bytea, times are milliseconds since the
 * epoch, sizes are bytes, ids are the 32 bytes they stand for. What belongs to a workspace refers to it with
 * ON DELETE CASCADE, or is deleted with it by trash.ts.
 */
export interface CatalogSchema {
  workspace: WorkspaceTable;
  version: VersionTable;
  tag: TagTable;
  content: ContentTable;
  block: BlockTable;
  workspace_block: WorkspaceBlockTable;
  upload: UploadTable;
  open_commit: OpenCommitTable;
  commit_part: CommitPartTable;
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
  /** Another one for every workspace that ever had the name. */
  generation: string;
  /** 1: it takes no version. */
  read_only: Generated<number>;
  /** What the files of a version may have together. */
  quota_bytes: number | null;
  /** Since when it is in the trash. */
  trashed_at_ms: number | null;
  /** Inode numbers and cookies from here on were given to nobody. */
  next_number: Generated<number>;
  /** The newest version whose blocks are all in `workspace_block`. */
  recorded_seq: Generated<number>;
  /** Of a fork: paths of which `file` has no row of its own are as in version `base_seq` of this workspace. */
  base_workspace_id: number | null;
  base_seq: number | null;
  /** 1: it was deleted for good. What forks are based on is left, and a name that nobody can give. */
  purged: Generated<number>;
  /** As row-checksum.ts makes it. */
  checksum: Generated<number>;
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
  /** As row-checksum.ts makes it. */
  checksum: number;
}

interface TagTable {
  workspace_id: number;
  name: string;
  seq: number;
  created_at_ms: number;
  checksum: number;
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

/** A version of the workspace needs the block. */
interface WorkspaceBlockTable {
  block: Buffer;
  workspace_id: number;
}

/** A block, or the index of a manifest, that was stored for a version to be. */
interface UploadTable {
  id: Buffer;
  workspace_id: number;
  at_ms: number;
}

/** A version in the making. */
interface OpenCommitTable {
  id: string;
  workspace_id: number;
  key: string;
  base_seq: number;
  author: string;
  message: string;
  digest: Buffer;
  expires_at_ms: number;
  /** The version it became. */
  seq: number | null;
}

/** What a commit is to change, in parts. */
interface CommitPartTable {
  commit_id: string;
  ordinal: number;
  bytes: Buffer;
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
  /** Of the Ed25519 key whose other half is the token's secret, which is not stored. */
  public_key: Buffer;
  holder: string;
  /** Of names of workspaces. */
  workspace_glob: string;
  /** Empty for every path. */
  path: Buffer;
  /** Rights, with commas between. */
  can: string;
  created_at_ms: number;
  expires_at_ms: number | null;
  revoked_at_ms: number | null;
}

/** Rows outlive what they speak of, hence a workspace's name and no reference. */
interface AuditTable {
  id: Generated<number>;
  at_ms: number;
  /** The token's id; NULL where nobody was known. */
  token_id: string | null;
  /** Whom the token was made for. */
  actor: string;
  action: string;
  workspace: string | null;
  /** What of it, as far as that is one thing: a path, a version, a tag. */
  target: string | null;
  /** Of the answer; NULL while there is none. */
  status: number | null;
  /** How often, where several are one row. */
  count: number;
  request_id: string;
}
