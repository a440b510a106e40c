import type { TimedOutput } from './timed-commands.js';

/** One way to keep versions of a tree: CairnFS, or one of its peers. The steps come in this order, in a folder of its own. */
export interface Archiver {
  /** With its version. */
  readonly name: string;
  /** All of the tree, into a store with nothing in it. Throws when not all of it is there afterwards. */
  firstVersion(): Promise<TimedOutput>;
  /** The same tree again. */
  unchanged(): Promise<TimedOutput>;
  /** Changes a few files, which is not timed, and makes the next version. Throws when it is not those that were found changed. */
  changed(line: string): Promise<TimedOutput>;
  close(): Promise<void>;
}

export function expectCount(what: string, found: number, expected: number): void {
  if (found !== expected) throw new Error(`${what}: ${found} instead of ${expected}`);
}
