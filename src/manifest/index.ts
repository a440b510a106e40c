/**
 * manifest: one version's tree in one SQLite file: built, read, checked, compared, stored as blocks and
 * fetched.
 *
 * Owns the schema and the rules M-* of FORMAT.md, the index object, and a folder of assembled manifests
 * (`<root>.sqlite`).
 *
 * Invariants: a manifest is trusted by its root only; before SQLite reads a byte its header is checked,
 * before a row leaves here the row is. A manifest that has a root never changes, and its file is replaced by
 * renaming only; the file of one that lost its name, and that nobody has open, may become another's. Whatever is stored is stored before the index that names it (law 1).
 *
 * Never reads or writes a file's bytes, embedded ones excepted; never knows a workspace, a version's number
 * or the catalog; never deletes an object or a manifest others may use.
 */
export { BlockOrder } from './block-order.js';
export { checkManifest, type Violation } from './check-manifest.js';
export { changeManifest, createManifest, createManifestFrom } from './create-manifest.js';
export { diffManifests, type ManifestDifference } from './diff-manifests.js';
export { fetchManifest, type FetchManifestOptions } from './fetch-manifest.js';
export { auditLocalManifests, pieceOfLocal, type AuditedLocalManifest } from './local-audit.js';
export { dropLocalManifest, findLocal, findLocalIndex, localManifestPath } from './local-manifests.js';
export type { FileContent, ManifestBuilder } from './manifest-builder.js';
export {
  decodeIndex,
  encodeIndex,
  manifestKey,
  type IndexStore,
  type ManifestIndex,
} from './manifest-index.js';
export { ManifestComparison, type NamedInode } from './manifest-comparison.js';
export { PathFinder, entriesOf, pathOf, resolvePath, walk, type WalkedEntry } from './manifest-paths.js';
export {
  LISTING_PAGE_ROWS,
  type DentryRow,
  type DentryWithInode,
  type ManifestCounters,
  type ManifestReader,
  type StoredFile,
  type XattrRow,
} from './manifest-reader.js';
export { openManifest } from './open-manifest.js';
export { publishManifest, type PublishManifestOptions, type PublishedManifest } from './publish-manifest.js';
export { FIRST_COOKIE } from './schema.js';
export { treeChanges, type TreeChanges } from './tree-changes.js';
export { WorkingCopy, type ManifestStep, type WorkingCopyOptions } from './working-copy.js';
