import type { Catalog, Publication, Version } from '../../catalog/index.js';
import type { ManifestRoot, Ino } from '../../core/index.js';
import { localManifestPath, openManifest } from '../../manifest/index.js';
import { publicationRows } from './publication-rows.js';
import type { PublishOptions } from './publish-options.js';
import type { StoredLayer } from './stored-layer.js';

/** What the author of a version settles. */
type Authored = Pick<Publication, 'workspace' | 'author' | 'message' | 'publishId' | 'createdAtMs'>;

/** Of a sealed layer's version what the seal settled. */
export function publicationOf({ base, sealed }: Pick<PublishOptions, 'base' | 'sealed'>): Authored {
  return {
    workspace: base.workspace,
    author: sealed.author,
    message: sealed.message,
    publishId: sealed.publishId,
    createdAtMs: sealed.sealedAtMs,
  };
}

/**
 * Publishes a manifest that is stored, and here, as the version after `parent`, whose manifest is here as well. Throws `conflict` when the parent is
 * not the head.
 */
export async function publishVersion(
  { workspace, author, message, publishId, createdAtMs, parent, root, blocks, contents, touched }: NewVersion,
  { catalog, manifestDir }: { catalog: Catalog; manifestDir: string },
): Promise<Version> {
  const before = parent === undefined ? undefined : openManifest(localManifestPath(manifestDir, parent.root));
  try {
    const after = openManifest(localManifestPath(manifestDir, root));
    try {
      return await catalog.publish({
        workspace,
        parentSeq: parent?.seq ?? 0,
        root,
        author,
        message,
        publishId,
        createdAtMs,
        files: after.counters.files,
        bytes: after.counters.bytes,
        blocks,
        contents: contents.toSorted((a, b) => (a.id < b.id ? -1 : 1)),
        ...publicationRows(before, after, touched),
      });
    } finally {
      after.close();
    }
  } finally {
    before?.close();
  }
}

interface NewVersion extends Authored, Pick<StoredLayer, 'blocks' | 'contents'> {
  /** Undefined for a first version. */
  parent: { seq: number; root: ManifestRoot } | undefined;
  root: ManifestRoot;
  /** Inodes whose rows in the catalog may differ from the parent's. */
  touched: ReadonlySet<Ino>;
}
