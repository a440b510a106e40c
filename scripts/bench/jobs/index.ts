/**
 * jobs: what is measured. Owns the order, the goals, and the checks that each job did its work. A job says what is run on which
 * system, never how a system is set up (systems/), nor how a result is shown (report/).
 */
import { gitStatusJob } from './git-status.js';
import type { Job } from './job.js';
import { largeFile } from './large-file.js';
import { firstListing, manyFiles, memory } from './mount.js';
import { remoteTool } from './remote-tool.js';
import { remoteFirstByte, remoteSearch } from './remote.js';
import { find, pack, search } from './scans.js';
import { gitClone, npmCi, tsc } from './tools.js';
import { versions } from './versions.js';
import { writeTree } from './write-tree.js';

export { Bench, type Scale } from './bench.js';
export { JobRun, oneLine, say } from './job-run.js';
export type { Job } from './job.js';

/** In this order: those on the shared mount first, the memory it takes then, and those with homes of their own after it. */
export const JOBS: readonly Job[] = [
  find,
  search,
  pack,
  gitStatusJob,
  largeFile,
  writeTree,
  npmCi,
  gitClone,
  tsc,
  memory,
  firstListing,
  versions,
  ...manyFiles,
  remoteFirstByte,
  remoteSearch,
  remoteTool,
];
