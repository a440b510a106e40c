import type { Access, Right } from '../wire/index.js';
import type { BlockAccess } from './block-access.js';
import type { Catalog } from './catalog.js';

/** A token as its register knows it: what it may, never its secret. */
export interface TokenRecord {
  id: string;
  /** Whom it was made for. */
  holder: string;
  /** Of names of workspaces. */
  workspace: string;
  /** A file, or a folder with all below it; empty for every path. */
  path: Buffer;
  can: readonly Right[];
  createdAtMs: number;
  expiresAtMs?: number;
  revokedAtMs?: number;
}

/** Making and ending tokens: by who can open the catalog, or by who administers a service. */
export interface TokenAdministration {
  /** The token's text is told this once. */
  create(token: {
    holder: string;
    workspace: string;
    path: Buffer;
    can: readonly Right[];
    expiresAtMs?: number | undefined;
  }): Promise<{ token: string; record: TokenRecord }>;
  /** Newest first, those that ended too. */
  list(): Promise<TokenRecord[]>;
  /** Ends a token and all that were derived from it. Again: changes nothing. Throws `not-found`. */
  revoke(id: string): Promise<TokenRecord>;
}

/**
 * Who may what. Keeps of each token the public half of its key: who reads the catalog can make none.
 *
 * A token that was revoked opens nothing two seconds later, whichever process revoked it.
 */
export interface TokenRegister extends TokenAdministration {
  /** What the bearer of `token` may do; undefined for one that is unknown, forged, revoked, or ended. */
  verify(token: string): Promise<Access | undefined>;
}

/** What somebody did, or tried to. Rows outlive what they speak of. */
export interface AuditEntry {
  atMs: number;
  /** Absent where no token was known. */
  tokenId?: string | undefined;
  /** Whom the token was made for. */
  actor: string;
  action: string;
  workspace?: string | undefined;
  /** What of the workspace, or of the service: a path, a version, a tag, a token’s id. */
  target?: string | undefined;
  /** HTTP's, of the answer; absent while there is none, and for ever where the service died before. */
  status?: number | undefined;
  /** How often; more than 1 for what is counted by the minute. */
  count: number;
  /** Of the request, or the first of them. */
  requestId: string;
}

export interface AuditQuery {
  workspace?: string | undefined;
  /** A token's id, or whom it was made for. */
  actor?: string | undefined;
  /** The whole of it, or up to a dot: `version` for `version.list` as well. */
  action?: string | undefined;
  sinceMs?: number | undefined;
  /** Only entries with a lower id: the next page. */
  before?: number | undefined;
  limit: number;
}

/** Who did what, for good. Nothing deletes from it. */
export interface AuditLog {
  /** Resolves with the entry's id when it is durable. */
  add(entry: AuditEntry): Promise<number>;
  /** What became of it. */
  complete(
    id: number,
    outcome: { status: number; target?: string | undefined; count?: number },
  ): Promise<void>;
  /** Newest first. */
  query(query: AuditQuery): Promise<(AuditEntry & { id: number })[]>;
}

/** One catalog, and what a service keeps in the same database. Closing it closes all of it. */
export interface ServiceCatalog {
  readonly catalog: Catalog;
  readonly tokens: TokenRegister;
  readonly audit: AuditLog;
  /** Deletes for good what has been in the trash for its term. Returns the names. */
  emptyTrash(nowMs: number): Promise<string[]>;
  readonly blockAccess: BlockAccess;
  close(): Promise<void>;
}
