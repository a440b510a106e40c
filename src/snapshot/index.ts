/**
 * snapshot: versions made from a directory, from a mount's sealed layer or from changes of paths, and given back as files.
 *
 * `import/` reads a live file system, so that bytes and attributes belong together, with a pool of hashing threads; `publish/` makes versions
 * of layers, merges and changes of paths; `restore/` gives files and archives back.
 *
 * Invariants: blocks are stored before the manifest, the manifest before the version's row (law 1), which follows the head it was
 * made from or is not written (law 7). Content the store has is not stored again. Memory in flight is bounded, whatever the size of a
 * file. What fails or is killed leaves blocks that nothing refers to, and nothing else.
 *
 * Never deletes an object, never changes a directory it imports or a layer it publishes, never writes over what is there.
 */
export { tarTree, zipTree, type ArchiveOptions } from './restore/archive-tree.js';
export { ContentPacker, type ContentPackerOptions } from './publish/content-packer.js';
export {
  importDirectory,
  type ImportOptions,
  type ImportProgress,
  type ImportResult,
} from './import/import-directory.js';
export type { EntryAttributes, PathChange } from './publish/path-change.js';
export {
  publishChanges,
  type PublishChangesOptions,
  type PublishedChanges,
} from './publish/publish-changes.js';
export { publishLayer, type PublishedLayer } from './publish/publish-layer.js';
export type { PublishOptions } from './publish/publish-options.js';
export { storeContent, type StoredContent } from './publish/store-content.js';
export { RecentBlocks } from './restore/recent-blocks.js';
export { readContent, type ContentRange } from './restore/read-content.js';
export {
  restoreTree,
  type RestoreOptions,
  type RestoreProgress,
  type RestoreResult,
} from './restore/restore-tree.js';
