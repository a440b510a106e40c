import type { StoredBlock } from '../../blocks/index.js';
import type { ContentRow } from '../../catalog/index.js';
import type { Ino } from '../../core/index.js';
import type { ManifestStep } from '../../manifest/index.js';

/** A layer that was applied to its base: everything is in the store but a version that names it. */
export interface StoredLayer {
  step: ManifestStep;
  changedFiles: number;
  blocks: readonly StoredBlock[];
  contents: readonly ContentRow[];
  /** Inodes whose rows in the catalog may differ from the base's. */
  touched: ReadonlySet<Ino>;
}
