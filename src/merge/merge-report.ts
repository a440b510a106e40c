import type { Ino } from '../core/index.js';

/**
 * What the two sides did not agree on:
 * - `content`: both changed a file's content. Ours is where it was; theirs stands beside it.
 * - `name`: both gave one name to different things. Ours has it; theirs' stands beside it.
 * - `metadata`: both changed an attribute, an extended attribute or a link's target. Ours is taken.
 * - `deleted-changed`: one deleted what the other changed. It stays, as the other has it.
 * - `renamed-twice`: both moved it, to different places. It is where ours moved it.
 * - `renamed-changed`: theirs moved it, or took away one of its names, while ours changed its content. It is where ours has it.
 * - `cycle`: each moved one directory into the other. What theirs moved is where ours has it.
 */
export type ConflictKind =
  'content' | 'name' | 'metadata' | 'deleted-changed' | 'renamed-twice' | 'renamed-changed' | 'cycle';

export interface MergeConflict {
  kind: ConflictKind;
  /** In the result: what was kept, of ours unless `kept` says otherwise. */
  path: Buffer;
  kept: 'ours' | 'theirs' | 'both';
  /** In the result: what theirs has, where both were kept. */
  beside?: Buffer;
}

export interface MergeReport {
  /** In order of path (bytes), then kind. */
  conflicts: readonly MergeConflict[];
  /** Pairs of inodes, one of each side, of which the result has one: new directories of one name, and new files of one name and content. */
  joined: number;
  /**
   * Inodes of theirs or of the result of which a path, a content or an attribute is another one; a directory that was moved counts
   * with all that is below it.
   */
  touched: ReadonlySet<Ino>;
}
