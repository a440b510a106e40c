import { format } from 'prettier';
import { CAIRN } from '../systems/place.js';
import { bytes, count, goalText, ratio, spread } from './quantities.js';
import type { JobResult, Results, Row } from './results.js';
import { ratioOf, summaryOf, verdictOf } from './verdict.js';

/** Parts that this document only keeps: one that a person wrote, and one that `npm run bench:service` writes. */
const KEPT_PARTS = {
  techniques: '## What each technique gave',
  service: '## The central service',
} as const;
type KeptPart = keyof typeof KEPT_PARTS;

const KEPT = Object.keys(KEPT_PARTS) as KeptPart[];
const beginOf = (part: KeptPart): string => `<!-- ${part} -->`;
const endOf = (part: KeptPart): string => `<!-- /${part} -->`;

/** A kept part of an earlier document. */
function keptPart(document: string, part: KeptPart): string {
  const [begin, end] = [document.indexOf(beginOf(part)), document.indexOf(endOf(part))];
  return begin < 0 || end < begin ? '' : document.slice(begin + beginOf(part).length, end).trim();
}

/** The document with another text in a kept part, which is added at its end where it has none. */
export async function withKeptPart(document: string, part: KeptPart, text: string): Promise<string> {
  const [begin, end] = [document.indexOf(beginOf(part)), document.indexOf(endOf(part))];
  const changed =
    begin < 0 || end < begin
      ? [document, ...keptSection(part, text)].join('\n\n')
      : `${document.slice(0, begin)}${beginOf(part)}\n\n${text}\n\n${document.slice(end)}`;
  return await format(changed, { parser: 'markdown' });
}

function keptSection(part: KeptPart, text: string): string[] {
  return [KEPT_PARTS[part], beginOf(part), text, endOf(part)];
}

/** The whole document, with the kept parts of an earlier one; on a terminal it reads as well. */
export async function renderMarkdown(results: Results, earlier: string): Promise<string> {
  const { jobs } = results;
  const parts = [
    '# Benchmarks',
    'Written by `npm run bench -- --write`, but for the parts on techniques and on the service. What each job does is in `scripts/bench/jobs`.',
    about(results),
    '![CairnFS and its peers beside the local disk](benchmarks.svg)',
    '## Goals',
    ...goals(jobs),
    '## Beside the peers',
    'Wall time of the command as its user waits for it: median (shortest–longest). *÷*: how many times what the first system of the row took; below 1 is faster.',
    ...jobs.filter(({ rows, leftOut }) => rows.length + leftOut.length > 0).flatMap(jobSection),
    '## What it cost',
    'Counted, so that it does not depend on the machine: requests of the kernel to the mount, and of the mount to its store.',
    table(
      ['', 'requests of the kernel', 'requests to the store', 'bytes from it', 'bytes to it'],
      jobs.flatMap(({ rows }) => rows.flatMap(costRows)),
    ),
    ...KEPT.flatMap((part) => keptSection(part, keptPart(earlier, part))),
    '## Which run',
    table(['job', 'date', 'commit', 'rounds', 'load before, after', 'tree', ''], jobs.map(runRow)),
    '## Commands',
    table(
      ['', 'system', 'command'],
      jobs.flatMap(({ rows }) => rows.flatMap(commandRows)),
    ),
  ];
  return await format(parts.join('\n\n'), { parser: 'markdown' });
}

function about({ versions, jobs }: Results): string {
  const distinct = (values: readonly string[]) => [...new Set(values)].join('; ');
  const lines = [
    `Machine: ${distinct(jobs.map(({ machine, fileSystem }) => `${machine}, ${fileSystem}`))}.`,
    `Systems: ${Object.entries(versions)
      .map(([name, version]) => `${name} ${version}`.trim())
      .join(', ')}.`,
    'In each round every system has its turn, and who begins changes. Before each turn all that was written goes to the disk. *cold* is after the kernel dropped its caches, with all blocks in the disk cache; *warm* after the same command has run before. Everything is on one disk.',
    'Each job checks that it did its work: counts of files and entries, sizes of archives, digests of contents, what the tools say themselves.',
    'Noise: the load average before and after each job is in the last but one table; the benchmark itself makes about 2.',
  ];
  return lines.map((line) => `- ${line}`).join('\n');
}

function goals(jobs: readonly JobResult[]): string[] {
  const rows = jobs.flatMap((job) => job.rows).filter(({ goal }) => goal !== undefined);
  const verdicts = rows.map(verdictOf);
  const counted = (verdict: string) => verdicts.filter((one) => one === verdict).length;
  const unmeasured = counted('not measured');
  return [
    `${counted('met')} of ${rows.length} met, ${counted('missed')} missed${unmeasured > 0 ? `, ${unmeasured} not measured` : ''}.`,
    table(
      ['', CAIRN, 'goal', 'reached', ''],
      rows.map((row) => {
        const { goal } = row;
        const summary = summaryOf(row, CAIRN);
        const reached = goal?.of === undefined ? undefined : ratioOf(row, CAIRN, goal.of);
        const verdict = verdictOf(row);
        return [
          row.title,
          summary === undefined ? '' : spread(summary, row),
          goal === undefined ? '' : goalText(goal, row.unit),
          reached === undefined ? '' : `${ratio(reached)} ×`,
          verdict === 'met' ? 'met' : `**${verdict ?? ''}**`,
        ];
      }),
    ),
  ];
}

function jobSection(job: JobResult): string[] {
  const leftOut = job.leftOut.length === 0 ? [] : [`Left out: ${job.leftOut.join('; ')}.`];
  const rows = job.rows.flatMap((row) =>
    systemsInOrder(row).map((system, at) => resultCells(row, system, at === 0)),
  );
  return [
    `### ${job.title}`,
    ...leftOut,
    table(['', 'system', 'median (shortest–longest)', '÷', 'times'], rows),
  ];
}

/** The reference first, then CairnFS. */
function systemsInOrder(row: Row): string[] {
  const rank = (system: string) => (system === row.reference ? 0 : system === CAIRN ? 1 : 2);
  return row.series.map(({ system }) => system).sort((a, b) => rank(a) - rank(b));
}

function resultCells(row: Row, system: string, isFirst: boolean): string[] {
  const summary = summaryOf(row, system);
  const times = ratioOf(row, system);
  const samples = row.series.find((one) => one.system === system)?.samples.length ?? 0;
  const title = row.note === undefined ? row.title : `${row.title} (${row.note})`;
  return [
    isFirst ? title : '',
    system === CAIRN ? `**${system}**` : system,
    summary === undefined ? '' : spread(summary, row),
    times === undefined || system === row.reference ? '' : ratio(times),
    count(samples),
  ];
}

function costRows(row: Row): string[][] {
  return row.series.flatMap(({ system, costs }) => {
    if (costs === undefined) return [];
    const kernel = Object.entries(costs.fuse).sort(([, a], [, b]) => b - a);
    const shown = kernel.map(([opcode, requests]) => `${opcode} ${count(requests)}`).join(', ');
    const { requests, bytesIn, bytesOut } = costs.store;
    const title = system === CAIRN ? row.title : `${row.title}, ${system}`;
    const fuse = shown === '' ? (system === CAIRN ? 'none' : '') : shown;
    return [[title, fuse, count(requests), bytes(bytesIn), bytes(bytesOut)]];
  });
}

function runRow(job: JobResult): string[] {
  const load = `${job.load.start.toFixed(1)}, ${job.load.end.toFixed(1)}`;
  const outcome = job.status === 'measured' ? '' : `**${job.status}**: ${job.message ?? ''}`;
  return [
    job.name,
    job.date,
    job.commit,
    count(job.rounds),
    load,
    job.tree ?? '',
    outcome.replaceAll('|', '\\|'),
  ];
}

function commandRows(row: Row): string[][] {
  return row.series.flatMap(({ system, command }) =>
    command === undefined ? [] : [[row.title, system, `\`${command.replaceAll('|', '\\|')}\``]],
  );
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}
