import { readFile, writeFile } from 'node:fs/promises';
import { format } from 'prettier';
import type { Costs } from '../measure/costs.js';

export type Unit = 'ms' | 'bytes' | 'count';

/** What CairnFS is to reach: at most this much of what another system took in the same run, or at most this value. */
export interface Goal {
  atMost: number;
  of?: string;
  /** Shown as the speed to reach, which is the inverse. */
  asSpeed?: boolean;
}

/** One system's values of a row, one for each time it was measured. */
export interface Series {
  system: string;
  command?: string;
  samples: number[];
  /** Of the last time. */
  costs?: Costs;
}

/** One thing that is measured, on every system that does it. */
export interface Row {
  title: string;
  unit: Unit;
  /** The system that the others are compared with. */
  reference?: string;
  goal?: Goal;
  /** Where it is the speed that is of interest. */
  workBytes?: number;
  note?: string;
  series: Series[];
}

/** The last result of a job. */
export interface JobResult {
  name: string;
  title: string;
  status: 'measured' | 'skipped' | 'failed';
  /** Why it was skipped, or how it failed: what was measured until then is in `rows`. */
  message?: string;
  date: string;
  /** Of the checkout; with a `+` where files differed from it. */
  commit: string;
  machine: string;
  fileSystem: string;
  /** What it worked on. */
  tree?: string;
  rounds: number;
  /** Average of the last minute, before and after. */
  load: { start: number; end: number };
  /** Peers that the job would have measured too, with the reason. */
  leftOut: string[];
  rows: Row[];
}

export interface Results {
  /** Of all systems. */
  versions: Record<string, string>;
  jobs: JobResult[];
}

/** What a file holds of earlier runs; nothing where there is no file. */
export async function readResults(file: string): Promise<Results> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as Results;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT')
      return { versions: {}, jobs: [] };
    throw error;
  }
}

export async function writeResults(file: string, results: Results): Promise<void> {
  await writeFile(file, await format(JSON.stringify(results), { parser: 'json', printWidth: 110 }));
}

/** Each job's newer result in the place of its older one, in the order of `names`; jobs that are no more are dropped. */
export function mergeResults(older: Results, newer: Results, names: readonly string[]): Results {
  const jobs = names.flatMap(
    (name) =>
      newer.jobs.find((job) => job.name === name) ?? older.jobs.find((job) => job.name === name) ?? [],
  );
  return { versions: { ...older.versions, ...newer.versions }, jobs };
}
