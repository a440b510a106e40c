import type { Costs } from '../measure/costs.js';

/** The name of the system that the benchmark is about: the others are its peers. */
export const CAIRN = 'CairnFS';

/** A system that shows the tree as files, for as long as it is mounted. */
export interface Place {
  readonly system: string;
  /** Where it shows the tree. */
  readonly tree: string;
  /** Whether the tree's symbolic links are there. */
  readonly symlinks: boolean;
  /** So slow that it is measured in the first round only. */
  readonly once: boolean;
  /** What `work` costs, where the system tells. */
  costsOf?<Result>(work: () => Promise<Result>): Promise<{ result: Result; costs: Costs }>;
}

/** One that can be written to as well. */
export interface WritablePlace extends Place {
  /** A folder beside the tree. */
  readonly work: string;
}
