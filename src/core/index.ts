/**
 * core: the words every layer shares: ids, inode attributes, extents, errors with errno and exit code, limits, clock.
 *
 * Owns no state and does no input or output. Imports nothing of this project.
 */
export * from './byte-path.js';
export * from './checked-line.js';
export * from './clock.js';
export * from './errno.js';
export * from './errors.js';
export * from './extent.js';
export * from './home-layout.js';
export * from './ids.js';
export * from './inode.js';
export * from './json-path.js';
export * from './json-shape.js';
export * from './limits.js';
