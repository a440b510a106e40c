import prettyBytes from 'pretty-bytes';
import type { Summary } from '../measure/samples.js';
import type { Goal, Row, Unit } from './results.js';

function quantity(value: number, unit: Unit): string {
  switch (unit) {
    case 'ms':
      return time(value);
    case 'bytes':
      return bytes(value);
    case 'count':
      return Number.isInteger(value) ? count(value) : value.toFixed(1);
  }
}

/** Median and range; and the speed where that is of interest. */
export function spread({ median, min, max }: Summary, { unit, workBytes }: Row): string {
  const show = (value: number) => quantity(value, unit);
  const text = min === max ? show(median) : `${show(median)} (${show(min)}–${show(max)})`;
  return workBytes === undefined ? text : `${text}, ${speed(workBytes, median)}`;
}

export function goalText({ atMost, of, asSpeed = false }: Goal, unit: Unit): string {
  if (of === undefined) return `≤ ${quantity(atMost, unit)}`;
  if (asSpeed) return `≥ ${ratio(1 / atMost)} × the speed of ${of}`;
  return `≤ ${ratio(atMost)} × ${of}`;
}

export function ratio(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

export const bytes = (size: number): string => prettyBytes(size, { maximumFractionDigits: 1 });
export const count = (value: number): string => value.toLocaleString('en');
export const time = (ms: number): string =>
  ms < 1000 ? `${ms < 10 ? ms.toFixed(2) : ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(2)} s`;
const speed = (size: number, ms: number): string => `${(size / 1000 / ms).toFixed(0)} MB/s`;
