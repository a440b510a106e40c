/** A commit that was not finished by then is given up: as long as what was uploaded for it is kept. */
export const COMMIT_TERM_MS = 24 * 3_600_000;

/** A version in the making: what it is to change, while its blocks are uploaded. */
export interface OpenCommit {
  id: string;
  workspace: string;
  /** Chosen by who commits: with one key one version is made. */
  key: string;
  /** 0: the first version. */
  baseSeq: number;
  author: string;
  message: string;
  /** SHA-256 of what was asked for: the same key with something else is another's mistake. */
  digest: Buffer;
  expiresAtMs: number;
  /** The version it became. */
  seq?: number;
}

/**
 * Commits that are open, so that whichever process of the service is asked knows them, and a client goes on after any failure. A finished one is
 * remembered, without its changes, until its term is over.
 */
export interface CommitRegister {
  /** Remembers a commit and its changes (in the caller's form). One of this workspace and key that is there stays, and is returned. Throws `not-found`: no such workspace. */
  open(commit: Omit<OpenCommit, 'id' | 'seq'>, changes: Buffer): Promise<OpenCommit>;
  find(workspace: string, id: string): Promise<OpenCommit | undefined>;
  findByKey(workspace: string, key: string): Promise<OpenCommit | undefined>;
  /** What was given with `open`; empty after it was finished. */
  changes(id: string): Promise<Buffer>;
  /** It became this version. Again: changes nothing. */
  finished(id: string, seq: number): Promise<void>;
  /** Gives it up. No error when there is none. */
  remove(id: string): Promise<void>;
  /** Forgets those whose term is over. */
  expire(nowMs: number): Promise<void>;
}
