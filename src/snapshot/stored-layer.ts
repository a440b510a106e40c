import type { StoredBlock } from '../blocks/index.js';
import type { ContentRow, Publication } from '../catalog/index.js';
import type { Ino } from '../core/index.js';
import type { ManifestStep } from '../manifest/index.js';
import type { SealedLayer } from '../upper/index.js';

/** A layer that was applied to its base: everything is in the store but a version that names it. */
export interface StoredLayer {
  step: ManifestStep;
  changedFiles: number;
  blocks: readonly StoredBlock[];
  contents: readonly ContentRow[];
  /** Inodes whose rows in the catalog may differ from the base's. */
  touched: ReadonlySet<Ino>;
}

/** What the seal settled of the version to come. */
export function signature(
  sealed: SealedLayer,
): Pick<Publication, 'author' | 'message' | 'publishId' | 'createdAtMs'> {
  const { author, message, publishId, sealedAtMs } = sealed;
  return { author, message, publishId, createdAtMs: sealedAtMs };
}
