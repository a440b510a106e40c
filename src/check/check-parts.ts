import type { CatalogAudit, AuditedVersion } from '../catalog/index.js';
import type { ObjectStore } from '../objects/index.js';
import type { BlockSource } from './block-source.js';
import type { ManifestShelf } from './manifest-shelf.js';
import type { Reporter } from './reporter.js';
import type { Scratch } from './scratch.js';

/** What the checks of one pass share. */
export interface CheckParts {
  home: string;
  catalogUrl: string;
  manifestDir: string;
  cacheDir: string;
  readData: boolean;
  scratch: Scratch;
  reporter: Reporter;
  objects: ObjectStore;
  source: BlockSource;
  shelf: ManifestShelf;
  /** Undefined while there is no catalog, or it cannot be read. */
  catalog: CatalogAudit | undefined;
  /** Those to check. */
  versions: readonly AuditedVersion[];
  /** One more thing was looked at, and so many bytes read. Gives others a turn; throws when the check is to end. */
  step: (bytes?: number) => Promise<void>;
}

export const nameOf = ({ workspace, seq }: AuditedVersion): string => `${workspace}@${String(seq)}`;
