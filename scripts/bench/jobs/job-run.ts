import type { Costs } from '../measure/costs.js';
import type { TimedOutput } from '../measure/timed-commands.js';
import { CAIRN } from '../systems/place.js';
import type { Row } from '../report/results.js';

/** What a job has measured so far. */
export class JobRun {
  readonly name: string;
  readonly rows: Row[] = [];
  /** Peers that are not installed or do not work here, with the reason. */
  readonly leftOut = new Map<string, string>();
  /** What the job worked on, for the report. */
  tree: string | undefined;

  constructor(name: string) {
    this.name = name;
  }

  /** A row of the report, in the order of the calls. The same title again is the same row. */
  row(row: Omit<Row, 'series'>): Row {
    const known = this.rows.find(({ title }) => title === row.title);
    if (known !== undefined) return known;
    const added = { ...row, series: [] };
    this.rows.push(added);
    return added;
  }
}

export function addSample(
  row: Row,
  system: string,
  value: number,
  { command, costs }: { command?: string; costs?: Costs } = {},
): void {
  let series = row.series.find((one) => one.system === system);
  if (series === undefined) {
    series = { system, samples: [] };
    row.series.push(series);
  }
  series.samples.push(value);
  if (command !== undefined) series.command = command;
  if (costs !== undefined) series.costs = costs;
}

/** For the report: a peer that does not do its work here is no failure of the benchmark. */
export function oneLine(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { shortMessage, stderr } = error as Error & { shortMessage?: string; stderr?: string };
  const text =
    shortMessage === undefined ? error.message : `${shortMessage.slice(0, 300)} ${stderr?.slice(-300) ?? ''}`;
  return text.replaceAll(/\s+/g, ' ').trim();
}

/** Says so, too: the next one may take minutes. */
export function addTime(row: Row, system: string, { tookMs, shown }: TimedOutput, costs?: Costs): void {
  say(`  ${row.title}, ${system}: ${(tookMs / 1000).toFixed(3)} s`);
  addSample(row, system, tookMs, { command: shown, ...(costs !== undefined && { costs }) });
}

/** For what is done again where nothing has changed. STATFS is not counted, which no file system in user space can keep from coming. */
export function addKernelRequests(run: JobRun, what: string, { fuse }: Costs): void {
  const row = run.row({
    title: `${what}: requests of the kernel`,
    unit: 'count',
    goal: { atMost: 0 },
    note: 'STATFS is not counted',
  });
  const counted = Object.entries(fuse).filter(([opcode]) => opcode !== 'STATFS');
  const requests = counted.reduce((sum, [, count]) => sum + count, 0);
  say(
    `  ${row.title}: ${counted.map(([opcode, count]) => `${opcode} ${String(count)}`).join(', ') || 'none'}`,
  );
  addSample(row, CAIRN, requests, { costs: { fuse, store: { requests: 0, bytesIn: 0, bytesOut: 0 } } });
}

export function say(line: string): void {
  process.stderr.write(`${line}\n`);
}
