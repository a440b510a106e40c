import type { Version } from '../catalog/index.js';
import type { ManifestRoot, Ino } from '../core/index.js';
import { localManifestPath, openManifest } from '../manifest/index.js';
import { publicationRows } from './publication-rows.js';
import type { PublishOptions } from './publish-options.js';
import type { StoredLayer } from './stored-layer.js';

/**
 * Publishes a manifest that is stored, and here, as the version after `parent`, whose manifest is here as well. What the seal settled of it is the
 * layer's: message, author, time, publish id. Throws `conflict` when the parent is not the head.
 */
export async function publishVersion(
  { parent, root, blocks, contents, touched }: NewVersion,
  { base, sealed, catalog, manifestDir }: PublishOptions,
): Promise<Version> {
  const before = openManifest(localManifestPath(manifestDir, parent.root));
  try {
    const after = openManifest(localManifestPath(manifestDir, root));
    try {
      return await catalog.publish({
        workspace: base.workspace,
        parentSeq: parent.seq,
        root,
        author: sealed.author,
        message: sealed.message,
        publishId: sealed.publishId,
        createdAtMs: sealed.sealedAtMs,
        files: after.counters.files,
        bytes: after.counters.bytes,
        blocks,
        contents,
        ...publicationRows(before, after, touched),
      });
    } finally {
      after.close();
    }
  } finally {
    before.close();
  }
}

interface NewVersion extends Pick<StoredLayer, 'blocks' | 'contents'> {
  parent: { seq: number; root: ManifestRoot };
  root: ManifestRoot;
  /** Inodes whose rows in the catalog may differ from the parent's. */
  touched: ReadonlySet<Ino>;
}
