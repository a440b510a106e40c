/**
 * check: fsck: whether everything a home folder, a catalog and a store hold is what it should be, and what of it can be put right.
 *
 * Owns the rules between the parts: catalog, manifests, blocks, cache and layers must agree. The rules within a part are that part's.
 *
 * Invariants: a check changes nothing, not a byte and not a time of anything it looks at; what it needs on the disk is in a folder of its
 * own, which goes with it. A repair writes only what verifies, by a hash that stands somewhere else. Memory does not grow with the store.
 *
 * Never deletes what could matter to anybody: of what does not verify only copies go (cached blocks, local manifests). Never touches upper
 * layers, and never a mount that is in use.
 */
export { checkAll, type CheckOptions, type CheckProgress, type CheckSummary } from './check-all.js';
export type { Finding } from './finding.js';
