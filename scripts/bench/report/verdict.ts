import { summarize, type Summary } from '../measure/samples.js';
import { CAIRN } from '../systems/place.js';
import type { Row } from './results.js';

/** Undefined where the row has no such system. */
export function summaryOf(row: Row, system: string): Summary | undefined {
  const series = row.series.find((one) => one.system === system);
  return series === undefined || series.samples.length === 0 ? undefined : summarize(series.samples);
}

/** How many times the median of the reference a system's median is. */
export function ratioOf(row: Row, system: string, reference = row.reference): number | undefined {
  if (reference === undefined) return undefined;
  const [value, base] = [summaryOf(row, system), summaryOf(row, reference)];
  return value === undefined || base === undefined ? undefined : value.median / base.median;
}

export type Verdict = 'met' | 'missed' | 'not measured';

/** Undefined where the row has no goal. By the medians. */
export function verdictOf(row: Row): Verdict | undefined {
  const { goal } = row;
  if (goal === undefined) return undefined;
  const value = goal.of === undefined ? summaryOf(row, CAIRN)?.median : ratioOf(row, CAIRN, goal.of);
  if (value === undefined) return 'not measured';
  return value <= goal.atMost ? 'met' : 'missed';
}
