import prettyBytes from 'pretty-bytes';
import { format } from 'prettier';
import type { MountCosts, MountMemory } from './cairn.js';
import type { Machine } from './machine.js';
import type { S3Results } from './s3.js';
import { summarize, type Step, type Summary } from './samples.js';
import type { TreeCounts } from './tree-counts.js';

/** All that one run has found. Times are in milliseconds. */
export interface Results {
  date: string;
  command: string;
  machine: Machine;
  /** Average of the last minute, before and after. */
  load: { start: number; end: number };
  tree: { what: string; counts: TreeCounts };
  rounds: number;
  /** Peers that are not installed, and steps that need root. */
  leftOut: string[];
  /** What the others are compared with. */
  reference: string;
  steps: Step[];
  /** Of the daemon, without the start of the command. */
  snapshot: { sealMs: number[]; totalMs: number[] };
  /** What the last round's steps cost. */
  costs: { title: string; costs: MountCosts }[];
  store: { objects: number; size_bytes: number };
  memory: { title: string; samples: MountMemory[] }[];
  /** What was found to be right, in every round. */
  checks: string[];
  s3?: S3Results;
}

const MEMORY_GOAL_BYTES = 250_000_000;

/** As a document; on a terminal it reads as well. */
export async function renderReport(results: Results): Promise<string> {
  const parts = [
    '# Benchmarks',
    `Written by \`${results.command}\` on ${results.date}.`,
    about(results),
    '## Beside its peers',
    'Wall time of the command as its user waits for it: median (shortest–longest). *CairnFS ÷ it*: below 1, CairnFS is faster.',
    table(
      ['step', 'system', 'time', 'CairnFS ÷ it', 'goal'],
      results.steps.flatMap((step) => stepRows(step, results.reference)),
    ),
    ...snapshotLines(results),
    '## What the steps cost',
    `After the first import the store has ${count(results.store.objects)} objects, ${bytes(results.store.size_bytes)}.`,
    table(
      ['step', 'store requests', 'store bytes in', 'store bytes out', 'FUSE requests'],
      results.costs.map(({ title, costs }) => costRow(title, costs)),
    ),
    '## Memory of a mount',
    'Supervisor and daemon together. Shared pages count in parts in PSS, and once per process in RSS.',
    table(['after', 'RSS', 'PSS', 'goal'], results.memory.map(memoryRow)),
    ...s3Lines(results),
    '## Checked in every round',
    results.checks.map((check) => `- ${check}`).join('\n'),
    '## Commands',
    table(
      ['step', 'system', 'command'],
      results.steps.flatMap(({ title, series }) =>
        series.map(({ system, command }) => [title, system, `\`${command.replaceAll('|', '\\|')}\``]),
      ),
    ),
  ];
  return await format(parts.join('\n\n'), { parser: 'markdown' });
}

function about({ machine, load, tree, rounds, leftOut }: Results): string {
  const { files, directories, symlinks, size_bytes } = tree.counts;
  const lines = [
    `Machine: ${machine.cores} cores (${machine.processor}), ${bytes(machine.memory_bytes)}, Linux ${machine.kernel}, Node ${machine.node}, ${machine.fileSystem}.`,
    `Tree: ${tree.what}: ${count(files)} files, ${count(directories)} directories, ${count(symlinks)} symlinks, ${bytes(size_bytes)}.`,
    `Rounds: ${rounds}, each with new stores; who begins changes from round to round. The tree is in the kernel's page cache; *cold* is after the kernel's caches were dropped, with all blocks in the disk cache; *again* is right after that, *warm* once more. Everything is on one disk, and written back before each step.`,
    `Noise: load average ${load.start.toFixed(2)} at the start, ${load.end.toFixed(2)} at the end (of itself, the benchmark makes about ${Math.min(2, machine.cores)}).`,
    ...(leftOut.length > 0 ? [`Left out: ${leftOut.join('; ')}.`] : []),
  ];
  return lines.map((line) => `- ${line}`).join('\n');
}

function stepRows({ title, goalMs, series }: Step, reference: string): string[][] {
  const own = series.find(({ system }) => system === reference);
  const ordered = own === undefined ? series : [own, ...series.filter((one) => one !== own)];
  return ordered.map(({ system, samplesMs }, at) => {
    const summary = summarize(samplesMs);
    const ratio =
      own === undefined || system === reference
        ? ''
        : (summarize(own.samplesMs).median / summary.median).toFixed(2);
    const goal =
      system === reference && goalMs !== undefined ? goalText(summary.median, goalMs, time(goalMs)) : '';
    return [at === 0 ? title : '', system, spread(summary, time), ratio, goal];
  });
}

function snapshotLines({ snapshot: { sealMs, totalMs } }: Results): string[] {
  if (sealMs.length === 0) return [];
  const [seal, total] = [summarize(sealMs), summarize(totalMs)];
  return [
    `Of a snapshot the daemon itself reports: sealed after ${spread(seal, time)}, published after ${spread(total, time)}.`,
  ];
}

function costRow(title: string, costs: MountCosts): string[] {
  const fuse = Object.entries(costs.fuseRequests).sort(([, a], [, b]) => b - a);
  return [
    title,
    count(costs.storeRequests),
    bytes(costs.storeBytesIn),
    bytes(costs.storeBytesOut),
    fuse.map(([opcode, requests]) => `${opcode} ${count(requests)}`).join(', '),
  ];
}

function memoryRow({ title, samples }: Results['memory'][number]): string[] {
  const resident = summarize(samples.map(({ residentBytes }) => residentBytes));
  const proportional = summarize(samples.map(({ proportionalBytes }) => proportionalBytes));
  const goal = goalText(resident.median, MEMORY_GOAL_BYTES, '250 MB');
  return [title, spread(resident, bytes), spread(proportional, bytes), goal];
}

function s3Lines({ s3 }: Results): string[] {
  if (s3 === undefined) return [];
  return [
    '## With S3',
    `A server on this machine, behind a proxy that counts and answers no sooner than after ${s3.latencyMs} ms. Once.`,
    table(
      ['step', 'time', 'requests', 'at once, at most', 'bytes up', 'bytes down'],
      s3.steps.map(({ title, tookMs, counts }) => [
        title,
        time(tookMs),
        Object.entries(counts.requests)
          .map(([method, requests]) => `${method} ${count(requests)}`)
          .join(', '),
        count(counts.mostAtOnce),
        bytes(counts.requestBytes),
        bytes(counts.responseBytes),
      ]),
    ),
  ];
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

function spread({ median, min, max }: Summary, show: (value: number) => string): string {
  return min === max ? show(median) : `${show(median)} (${show(min)}–${show(max)})`;
}

function goalText(value: number, goal: number, shown: string): string {
  return `< ${shown}: ${value < goal ? 'met' : '**missed**'}`;
}

const time = (ms: number): string => (ms < 1000 ? `${ms.toPrecision(3)} ms` : `${(ms / 1000).toFixed(2)} s`);
const bytes = (size: number): string => prettyBytes(size, { binary: true });
const count = (value: number): string => value.toLocaleString('en');
