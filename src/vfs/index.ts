/**
 * vfs: POSIX by inode, as the session thread asks for it: the merged view of an upper layer over a manifest.
 *
 * Synchronous, and owned by one thread. Never waits for the network: what has to be fetched is named in the answer (`ReadPart`),
 * and someone else fetches it. Never checks permissions: the kernel did.
 */
export * from './file-system.js';
export type { RetainedInode } from './layer-stack.js';
export * from './overlay-file-system.js';
