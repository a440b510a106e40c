/**
 * upper: the writable side of a mount. A stack of layers over a manifest: the active one takes every change, sealed ones wait
 * to be published. A layer is `upper.sqlite` (what differs from below), the journal in front of it, and the data written, in log segments and own
 * files.
 *
 * Invariants: a committed change survives the process; a sealed layer never changes; cookies and inode numbers of what a layer makes are
 * nobody else's. Never talks to the network, never decides permissions.
 */
export * from './data-store.js';
export type { LayerDentry, LayerExtent, LayerInode, LayerState } from './layer-database.js';
export { auditLayer, type LayerProblem } from './layer-audit.js';
export * from './layer-set.js';
export * from './merged-view.js';
export * from './reserve.js';
export * from './upper-layer.js';
