/** snapshot: versions made from a directory or a sealed layer, and given back as files. */
export {
  importDirectory,
  type ImportOptions,
  type ImportProgress,
  type ImportResult,
} from './import-directory.js';
export { publishLayer, type PublishedLayer, type PublishOptions } from './publish-layer.js';
export { readContent, type ContentRange } from './read-content.js';
export {
  restoreTree,
  type RestoreOptions,
  type RestoreProgress,
  type RestoreResult,
} from './restore-tree.js';
