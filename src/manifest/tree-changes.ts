import type { Ino } from '../core/index.js';
import { ManifestComparison } from './manifest-comparison.js';
import type { ManifestReader } from './manifest-reader.js';

/** What somebody who knows one tree by its numbers has to learn anew to know another. */
export interface TreeChanges {
  /** Inodes of both trees of which anything differs: attributes, content, xattrs, or what a directory holds. */
  inodes: Ino[];
  /** Inodes the later tree does not have. */
  removed: Ino[];
  /** Inodes the earlier tree does not have. */
  added: Ino[];
  /** Names that stand for something else, for nothing any more, or for something now. `removed`: what one stood for, if the later tree does not have that. */
  names: { parent: Ino; name: Buffer; removed: Ino | undefined }[];
}

/**
 * From one tree to another of the same workspace, in which a number stands for one inode. At the cost of a comparison of all rows; holds in memory
 * what differs. Throws `CairnError('corrupt')`.
 */
export function treeChanges(earlier: ManifestReader, later: ManifestReader): TreeChanges {
  const comparison = new ManifestComparison(earlier, later);
  try {
    const gone = [...comparison.entriesGone()];
    const names = [...gone, ...comparison.entriesAdded()];
    const differing = new Set(comparison.changedInodes({ allTimes: true }));
    // What a directory holds, and how many names an inode has.
    for (const { parent, ino } of names) differing.add(parent).add(ino);
    const found = [...differing].map((ino) => ({
      ino,
      before: earlier.inode(ino) !== undefined,
      after: later.inode(ino) !== undefined,
    }));
    const inosOf = (before: boolean, after: boolean): Ino[] =>
      found.filter((one) => one.before === before && one.after === after).map(({ ino }) => ino);
    const removed = inosOf(true, false);
    const isRemoved = new Set(removed);
    return {
      inodes: inosOf(true, true),
      removed,
      added: inosOf(false, true),
      names: names.map(({ parent, name, ino }) => ({
        parent,
        name,
        removed: isRemoved.has(ino) ? ino : undefined,
      })),
    };
  } finally {
    comparison.close();
  }
}
