import type { BlockId, ContentId, Extent, ManifestRoot } from '../core/index.js';
import type { WaitOptions } from './head-watch.js';

export interface Workspace {
  name: string;
  /** `seq` of the newest version; 0 while there is none. */
  headSeq: number;
  createdAtMs: number;
  /** Another one: what was known of the workspace was of another that had this name. */
  generation: string;
  /** It takes no version. */
  readOnly: boolean;
  /** What the files of a version may have together. */
  quotaBytes?: number | undefined;
}

export interface Version {
  workspace: string;
  seq: number;
  /** 0 for a first version. */
  parentSeq: number;
  root: ManifestRoot;
  author: string;
  message: string;
  createdAtMs: number;
  files: number;
  bytes: number;
  /** Chosen by whoever publishes; publishing twice with one id makes one version. */
  publishId: string;
}

/** A name for a version, which may be given to another one. */
export interface Tag {
  workspace: string;
  name: string;
  seq: number;
  createdAtMs: number;
}

/** What a person decides about a workspace; what is absent stays. */
export interface WorkspaceChange {
  name?: string;
  readOnly?: boolean;
  /** null: none. */
  quotaBytes?: number | null;
}

/** One path of a version. `hash` is undefined for what has no bytes (directories, devices, fifos). */
export interface FileRow {
  /** Relative, `/`-separated, raw bytes: no leading slash. */
  path: Buffer;
  hash: ContentId | undefined;
  size: number;
  mode: number;
}

/** Content the store holds in full: what import and snapshot need not store again. */
export interface ContentRow {
  id: ContentId;
  size: number;
  /** Empty where the content is embedded in manifests or is all holes. */
  extents: readonly Extent[];
}

export interface Publication {
  workspace: string;
  /** Must be the head's `seq` (0 for none), else `conflict`. */
  parentSeq: number;
  root: ManifestRoot;
  author: string;
  message: string;
  publishId: string;
  createdAtMs: number;
  files: number;
  bytes: number;
  /** Blocks first stored for this version, with their sizes in bytes. */
  blocks: readonly { id: BlockId; rawBytes: number; storedBytes: number }[];
  /** Content first stored for this version. */
  contents: Iterable<ContentRow>;
  /** Paths that are gone or have another row in this version, in any order. A path the parent does not have is passed over. */
  removed: Iterable<Buffer>;
  /** Paths that are new or changed. A changed path stands in both. Read after `removed`, both once and lazily. */
  added: Iterable<FileRow>;
}

/** One path whose row differs between two versions: `before` in the first, `after` in the second, absent where the path is. */
export interface FileChange {
  path: Buffer;
  before?: FileRow;
  after?: FileRow;
}

/**
 * The system of record: workspaces, versions, `path → hash` of every version, and which content the store holds.
 *
 * - `publish` is one serialisable transaction: the version's row, its file rows and the head move together or not at all
 *   (law 7). It throws `conflict` when `parentSeq` is not the head. A `publishId` seen before returns that version unchanged.
 * - A version, once there, never changes.
 * - Errors are `CairnError`: `not-found` with the workspace's or version's name, `conflict`, `unreachable`, `corrupt`.
 */
export interface Catalog {
  readonly url: string;

  /** Creates the workspace when it is not there. Names: [a-z0-9][a-z0-9._-]{0,62}, else `usage`. */
  ensureWorkspace(name: string): Promise<Workspace>;
  workspace(name: string): Promise<Workspace>;
  workspaces(): Promise<Workspace[]>;
  /** A name that is taken, in the trash too, is `conflict`. */
  changeWorkspace(name: string, change: WorkspaceChange): Promise<Workspace>;
  /** For every other call it is gone then; until the moment that is returned it can be had back, and nobody else gets its name. */
  trashWorkspace(name: string): Promise<{ untilMs: number }>;
  /** Has a workspace back as it was. `not-found` when none of that name is in the trash. */
  undeleteWorkspace(name: string): Promise<Workspace>;
  /**
   * A new workspace `name`, whose first version has the files of this one: the same manifest, nothing is stored again. `conflict` when there is one of
   * that name, unless it is what the same `publishId` made.
   */
  forkWorkspace(fork: {
    workspace: string;
    seq: number;
    name: string;
    author: string;
    publishId: string;
  }): Promise<Version>;

  /** `seq` undefined: the head. */
  version(workspace: string, seq?: number): Promise<Version>;
  /** The version a tag names. */
  taggedVersion(workspace: string, tag: string): Promise<Version>;
  /** In order of name. */
  tags(workspace: string): Promise<Tag[]>;
  /** Names a version, `seq`; the tag leaves the one it named. Tags: a letter, then up to 99 of [A-Za-z0-9._-], not `head`, else `usage`. */
  setTag(workspace: string, tag: string, seq: number): Promise<Tag>;
  deleteTag(workspace: string, tag: string): Promise<void>;
  /** Newest first, those below `beforeSeq`, at most `limit` (default 1000). */
  versions(workspace: string, options?: { limit?: number; beforeSeq?: number }): Promise<Version[]>;

  /**
   * The head, as soon as it is a version after `afterSeq`: also of those that others publish, within half a second. Undefined when there is none in
   * `waitMs`. Rejects with the signal's reason when that is aborted.
   */
  newerVersion(workspace: string, afterSeq: number, options: WaitOptions): Promise<Version | undefined>;

  /** Throws `access-denied` where the workspace is read-only, `no-space` where the version's files are more than its quota. */
  publish(publication: Publication): Promise<Version>;
  published(workspace: string, publishId: string): Promise<Version | undefined>;

  /**
   * Reserves `RESERVED_NUMBERS` inode numbers, and as many cookies, for one writer: two that work on a workspace at a time never give the same
   * number to two things, so that their versions can be merged. Returns the first; none is below `atLeast`, what the writer's own version uses.
   */
  reserveNumbers(workspace: string, atLeast: number): Promise<number>;

  /** `path → hash`: one path of one version. */
  file(workspace: string, seq: number, path: Buffer): Promise<FileRow | undefined>;
  /**
   * All paths of a version that begin with the bytes of `prefix`, in byte order, in pages: at most `limit` (default 1000) of
   * those above `after`. A page shorter than the limit is the last.
   */
  files(
    workspace: string,
    seq: number,
    options?: { prefix?: Buffer; after?: Buffer; limit?: number },
  ): Promise<FileRow[]>;
  /**
   * Paths whose row differs between two versions, in byte order. Either may be 0, the empty tree before the first version. With a `limit` those
   * first above `after`, about as many as the limit; a page without any is the last.
   */
  changes(
    workspace: string,
    fromSeq: number,
    toSeq: number,
    page?: { after?: Buffer; limit: number },
  ): Promise<FileChange[]>;

  /** Those of `ids` that the store holds, as far as versions of the workspace may be built on them. */
  knownContents(workspace: string, ids: readonly ContentId[]): Promise<ContentRow[]>;
  /** The same of blocks. */
  knownBlocks(workspace: string, ids: readonly BlockId[]): Promise<Set<BlockId>>;
  /** True when not one content is known: a first import need not ask. */
  isEmpty(): Promise<boolean>;

  close(): Promise<void>;
}
