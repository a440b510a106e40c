/**
 * merge: one manifest out of three: what two sides made of the version both come from.
 *
 * Owns the rules by which names, attributes and contents of two versions become one tree, and what counts as a conflict.
 *
 * Invariants: what ours edited keeps its inode number, its content and its names; every content that a side added or changed is in
 * the result; the result is a tree that satisfies FORMAT.md; everything is decided before anything is written.
 *
 * Never reads a file's bytes, embedded ones excepted; never knows a store, a mount or a version's number; never asks a person.
 */
export { mergeManifests, type MergeOptions } from './merge-manifests.js';
export type { ConflictKind, MergeConflict, MergeReport } from './merge-report.js';
export type { MergeSides } from './merge-plan.js';
export type { ConflictNames, NumberSource } from './settle-clashes.js';
