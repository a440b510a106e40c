import type { Version } from '../../catalog/index.js';
import {
  fetchManifest,
  localManifestPath,
  openManifest,
  publishManifest,
  type ManifestStep,
} from '../../manifest/index.js';
import type { MergeConflict } from '../../merge/index.js';
import type { BaseVersion } from '../../upper/index.js';
import { applyLayer } from './apply-layer.js';
import { publishMerged } from './publish-merged.js';
import type { PublishOptions } from './publish-options.js';
import { publicationOf, publishVersion } from './publish-version.js';
import type { StoredLayer } from './stored-layer.js';
import { touchedInodes } from './touched-inodes.js';

export interface PublishedLayer {
  version: Version;
  /** What shows the same tree as the layer on its base: the version, unless others' work was merged into that. */
  equal: BaseVersion;
  conflicts: readonly MergeConflict[];
  /** From the base's manifest to the equal one; undefined where it was published before. */
  step: ManifestStep | undefined;
  changedFiles: number;
  newBlocks: number;
  storedBytes: number;
}

/**
 * Makes the next version out of a sealed layer: blocks, then the manifest, then the version's row (law 1), which moves the head by
 * compare-and-swap (law 7). The manifest the mount is to stand on is a local one then. Changes nothing else locally, so that after any failure, or the
 * death of the process, it is simply called again: what is stored already is not stored twice, and a version that was published already is returned.
 *
 * Throws `conflict` when the head is not the base any more, or cannot be merged with; `unreachable` when the store or the catalog is.
 */
export async function publishLayer(options: PublishOptions): Promise<PublishedLayer> {
  const { sealed, base, catalog, objects, blocks, manifestDir, mayRebase } = options;
  const already = options.isFirstAttempt
    ? undefined
    : await catalog.published(base.workspace, sealed.publishId);
  if (already?.parentSeq === base.seq) {
    await fetchManifest({ root: already.root, dir: manifestDir, blocks, objects });
    const nothing = { step: undefined, changedFiles: 0, newBlocks: 0, storedBytes: 0 };
    return { version: already, equal: baseOf(already), conflicts: [], ...nothing };
  }

  const stored = await storeLayer(options);
  const { step, changedFiles, blocks: newBlocks } = stored;
  const costs = {
    step,
    changedFiles,
    newBlocks: newBlocks.length,
    storedBytes: newBlocks.reduce((sum, block) => sum + block.storedBytes, 0),
  };
  const ours = { ...base, root: step.to };
  // Merged before this was called again: what it was merged into is on its way to the mount.
  if (already !== undefined) return { version: already, equal: ours, conflicts: [], ...costs };
  const head = mayRebase ? await catalog.version(base.workspace) : undefined;
  if (head === undefined || head.seq === base.seq) {
    const version = await publishVersion(
      { ...publicationOf(options), ...stored, parent: base, root: step.to },
      options,
    );
    return { version, equal: baseOf(version), conflicts: [], ...costs };
  }
  const { version, conflicts } = await publishMerged(stored, head, options);
  return { version, equal: ours, conflicts, ...costs };
}

/** Applies the layer to its base's manifest, and stores what comes of it. */
async function storeLayer(options: PublishOptions): Promise<StoredLayer> {
  const { layer, base, objects, blocks, manifestDir, workingCopy } = options;
  const childPath = await workingCopy.take(base.root);
  const parent = openManifest(localManifestPath(manifestDir, base.root));
  try {
    const { changedFiles, writtenPieces, packer } = await applyLayer(options, childPath, parent);
    const contentStored = packer.stored();
    // It is waited for there; where that fails before, nobody is surprised.
    contentStored.catch(() => undefined);
    const manifest = await publishManifest({
      path: childPath,
      dir: manifestDir,
      parent: { root: base.root, writtenPieces },
      blocks,
      objects,
      contentStored,
    });
    return {
      step: { from: base.root, to: manifest.root, writtenPieces },
      changedFiles,
      blocks: [...packer.newBlocks, ...manifest.newBlocks],
      contents: packer.newContents,
      touched: touchedInodes(layer, parent),
    };
  } finally {
    parent.close();
  }
}

function baseOf({ workspace, seq, root }: Version): BaseVersion {
  return { workspace, seq, root };
}
