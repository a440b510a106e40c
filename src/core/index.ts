/**
 * core: the words every layer shares: ids, inode attributes, extents, errors with errno and exit code, limits, clock, log.
 *
 * Owns no state and does no input or output but the log's. Imports nothing of this project.
 */
export * from './clock.js';
export * from './errno.js';
export * from './errors.js';
export * from './extent.js';
export * from './ids.js';
export * from './inode.js';
export * from './limits.js';
export * from './log.js';
