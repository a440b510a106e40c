import { parseArgs } from 'node:util';
import type { Job } from './jobs/index.js';
import type { LineSpeed } from './measure/line.js';

export interface Options {
  jobs: readonly Job[];
  quick: boolean;
  rounds: number | undefined;
  tree: string | undefined;
  speed: LineSpeed;
  json: string | undefined;
  write: boolean;
}

const BIT_UNITS: Readonly<Record<string, number>> = { k: 1e3, m: 1e6, g: 1e9 };

/** @throws Error for what cannot be meant. */
export function parseOptions(words: readonly string[], jobs: readonly Job[]): Options {
  const { values } = parseArgs({
    args: [...words],
    options: {
      quick: { type: 'boolean', default: false },
      rounds: { type: 'string' },
      only: { type: 'string' },
      tree: { type: 'string' },
      latency: { type: 'string', default: '30ms' },
      bandwidth: { type: 'string', default: '1Gbit' },
      json: { type: 'string' },
      write: { type: 'boolean', default: false },
    },
  });
  const { quick, write, tree, json } = values;
  if (quick && write)
    throw new Error('--quick is no measurement for the document: leave out --write, or use --json');
  return {
    jobs: chooseJobs(values.only, quick, jobs),
    quick,
    rounds: values.rounds === undefined ? undefined : parseRounds(values.rounds),
    tree,
    speed: {
      latencyMs: parseLatency(values.latency),
      bytesPerSecond: parseBandwidth(values.bandwidth),
    },
    json,
    write,
  };
}

function chooseJobs(only: string | undefined, quick: boolean, jobs: readonly Job[]): readonly Job[] {
  if (only === undefined) return jobs.filter(({ long = false }) => !(quick && long));
  const names = only.split(',');
  const unknown = names.filter((name) => !jobs.some((job) => job.name === name));
  if (unknown.length === 0) return jobs.filter(({ name }) => names.includes(name));
  throw new Error(
    `no job is named ${unknown.join(', ')}; there are ${jobs.map(({ name }) => name).join(', ')}`,
  );
}

function parseRounds(text: string): number {
  if (/^[1-9]\d*$/.test(text)) return Number(text);
  throw new Error(`--rounds ${text} is not a number of 1 or more`);
}

function parseLatency(text: string): number {
  const [, value] = /^(\d+(?:\.\d+)?)(?:ms)?$/.exec(text) ?? [];
  if (value === undefined) throw new Error(`--latency ${text} is not a time as 30ms`);
  return Number(value);
}

function parseBandwidth(text: string): number {
  const [, value, unit] = /^(\d+(?:\.\d+)?)([kmg])bit$/i.exec(text) ?? [];
  if (value === undefined || unit === undefined) throw new Error(`--bandwidth ${text} is not one as 1Gbit`);
  return (Number(value) * (BIT_UNITS[unit.toLowerCase()] ?? NaN)) / 8;
}
