import type { BlockId, ManifestRoot } from '../core/index.js';
import type { Version } from './catalog.js';

/** An upload that no version holds after a day was given up. */
export const UPLOAD_TERM_MS = 24 * 3_600_000;

/**
 * Which blocks and manifests belong to which workspace: those that a version of it needs, and those that were uploaded for it in the last day. Knowing an id
 * is not a right: who may read a workspace may have what it holds, and no version may refer to anything else.
 *
 * What a version needs is written down once, by who knows its manifest (`record`). Versions that others have published into the same database are
 * written down when they are first needed: until then the blocks that they brought seem not to be there (`unrecorded`).
 */
export interface BlockAccess {
  /** Those of `ids` that the workspace holds. A name that is no workspace holds nothing. */
  held(workspace: string, ids: readonly BlockId[]): Promise<Set<BlockId>>;
  /** Workspaces that hold the block, in order of name, those after `after`, at most `limit`. */
  holders(id: BlockId, page: { after: string; limit: number }): Promise<string[]>;
  /** Whether a version of the workspace is this manifest, or it was uploaded for it. */
  holdsManifest(workspace: string, root: ManifestRoot): Promise<boolean>;
  /** As `holders`. */
  manifestHolders(root: ManifestRoot, page: { after: string; limit: number }): Promise<string[]>;

  /** Something is stored that a version of the workspace may come to hold. Again: counts from now. */
  uploaded(workspace: string, ids: readonly (BlockId | ManifestRoot)[]): Promise<void>;
  /** Forgets uploads whose term is over. */
  expire(nowMs: number): Promise<void>;

  /** Names of workspaces with versions that are not written down. */
  unrecordedWorkspaces(): Promise<string[]>;
  /** Versions of the workspace that are not written down, oldest first, each with the root of the one that was written down before it. */
  unrecorded(workspace: string): Promise<{ version: Version; earlier: ManifestRoot | undefined }[]>;
  /** Writes down what a version holds that the versions before it do not. Again: changes nothing. */
  record(workspace: string, seq: number, blocks: Iterable<BlockId>): Promise<void>;
}
