import type { ChangedFiles } from '../measure/changed-files.js';
import type { TimedCommands, TimedOutput } from '../measure/timed-commands.js';
import type { TreeCounts } from '../measure/tree-counts.js';

/** One way to keep versions of a tree: CairnFS, or one of its peers. The steps come in this order, in a folder of its own. */
export interface Archiver {
  readonly system: string;
  /** All of the tree, into a store with nothing in it. Throws when not all of it is there afterwards. */
  firstVersion(): Promise<TimedOutput>;
  /** The same tree again. Throws when something was found changed. */
  unchanged(): Promise<TimedOutput>;
  /** Changes a few files, which is not timed, and makes the next version. Throws when it is not those that were found changed. */
  changed(line: string): Promise<TimedOutput>;
  /** Removes the folder. */
  close(): Promise<void>;
}

/** What an archiver works on, and where. */
export interface ArchiverTask {
  commands: TimedCommands;
  /** Its own: for the store, the cache and all else it keeps. */
  folder: string;
  tree: string;
  counts: TreeCounts;
  files: ChangedFiles;
}
