import type { Access, Right } from '../wire/index.js';
import type { BlockAccess } from './block-access.js';
import type { Catalog } from './catalog.js';
import type { CommitRegister } from './commit-register.js';

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

/**
 * Who may what. Keeps of each token the public half of its key: who reads the catalog can make none.
 *
 * A token that was revoked opens nothing two seconds later, whichever process revoked it.
 */
export interface TokenRegister {
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
  /** What the bearer of `token` may do; undefined for one that is unknown, forged, revoked, or ended. */
  verify(token: string): Promise<Access | undefined>;
}

/** One catalog, and what a service keeps in the same database. Closing it closes all of it. */
export interface ServiceCatalog {
  readonly catalog: Catalog;
  readonly tokens: TokenRegister;
  /** Deletes for good what has been in the trash for its term. Returns the names. */
  emptyTrash(nowMs: number): Promise<string[]>;
  readonly blockAccess: BlockAccess;
  readonly commits: CommitRegister;
  close(): Promise<void>;
}
