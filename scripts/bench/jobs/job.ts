import type { Program } from '../systems/installed.js';
import type { Bench } from './bench.js';
import type { JobRun } from './job-run.js';

/** One part of the benchmark, which runs by itself or after others. */
export interface Job {
  /** For `--only`. */
  name: string;
  title: string;
  /** Programs it cannot do without. */
  needs?: readonly Program[];
  /** Not part of `--quick`. */
  long?: boolean;
  /** Adds what it measures to `run` as it goes. Throws when something fails, or a check does not hold. */
  measure(bench: Bench, run: JobRun): Promise<void>;
}
