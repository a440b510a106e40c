import type { TimedOutput } from './timed-commands.js';

export interface Series {
  system: string;
  command: string;
  samplesMs: number[];
}

export interface Summary {
  median: number;
  min: number;
  max: number;
}

/** Of at least one value. */
export function summarize(values: readonly number[]): Summary {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (index: number) => sorted[index] ?? NaN;
  const middle = Math.floor(sorted.length / 2);
  return {
    median: sorted.length % 2 === 1 ? at(middle) : (at(middle - 1) + at(middle)) / 2,
    min: at(0),
    max: at(sorted.length - 1),
  };
}

/** One thing that is timed, on every system that does it: the first is what the others are compared with. */
export class Step {
  readonly title: string;
  readonly goalMs: number | undefined;
  readonly series: Series[] = [];

  constructor(title: string, goalMs?: number) {
    this.title = title;
    this.goalMs = goalMs;
  }

  add(system: string, { tookMs, shown }: TimedOutput): void {
    let series = this.series.find((one) => one.system === system);
    if (series === undefined) {
      series = { system, command: shown, samplesMs: [] };
      this.series.push(series);
    }
    series.samplesMs.push(tookMs);
  }
}
