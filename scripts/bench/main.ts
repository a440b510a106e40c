/**
 * Measures CairnFS beside the local disk and its peers, and says which goals are met.
 *
 *     npm run bench -- [--quick] [--rounds n] [--only job,job] [--tree dir] [--latency 30ms] [--bandwidth 1Gbit]
 *                      [--json file] [--write]
 *
 * `--quick`: a small tree and one round, to see that it works. `--only`: these jobs. `--tree`: instead of the workspace of some
 * hundred npm packages that is installed the first time. `--json`: keeps results in this file; a job replaces its own earlier result.
 * `--write`: keeps them in docs/benchmarks.json, and makes docs/BENCHMARKS.md and docs/benchmarks.svg of all that is in it.
 *
 * It works in $CAIRN_BENCH_DIR (default: `cairn-bench` below the system's folder for temporary files), unmounts what it mounted and
 * removes what it made; what comes from the network is kept there. Exit status: 0 when every job ran or was skipped for something that
 * is not installed, 1 when one failed.
 */
import { mkdir, mkdtemp, readFile, realpath, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Bench, JOBS, JobRun, oneLine, say, type Job, type Scale } from './jobs/index.js';
import { parseOptions, type Options } from './options.js';
import { describeMachine, loadAverage } from './measure/machine.js';
import { PROJECT, projectCommit, projectVersion } from './measure/project.js';
import { removeFolder } from './measure/remove-folder.js';
import { TimedCommands } from './measure/timed-commands.js';
import { ensureWorkspace } from './measure/workspace.js';
import { renderMarkdown } from './report/markdown.js';
import { renderPlot } from './report/plot.js';
import { mergeResults, readResults, writeResults, type JobResult, type Results } from './report/results.js';
import { findInstalled } from './systems/installed.js';
import { CAIRN } from './systems/place.js';

const DOCUMENT = path.join(PROJECT, 'docs', 'BENCHMARKS.md');
const PLOT = path.join(PROJECT, 'docs', 'benchmarks.svg');
const KEPT_RESULTS = path.join(PROJECT, 'docs', 'benchmarks.json');

const WHOLE: Scale = { rounds: 3, filesMax: Infinity, largeFileBytes: 1024 ** 3 };
const QUICK: Scale = { rounds: 1, filesMax: 3000, largeFileBytes: 64 * 1024 ** 2 };

async function findSource(options: Options, benchFolder: string, signal: AbortSignal): Promise<string> {
  if (options.tree !== undefined) return path.resolve(options.tree);
  // What is there in any case: no network, no minute of installing.
  if (options.quick) return path.join(PROJECT, 'node_modules');
  const workspace = path.join(benchFolder, 'workspace');
  await ensureWorkspace(workspace, signal);
  return workspace;
}

/** Whatever becomes of it, there is a result. */
async function runJob(job: Job, bench: Bench): Promise<JobResult> {
  const run = new JobRun(job.name);
  const result: JobResult = {
    name: job.name,
    title: job.title,
    status: 'measured',
    date: new Date().toISOString().slice(0, 16).replace('T', ' '),
    commit: projectCommit(),
    machine: describeMachine(),
    fileSystem: bench.local,
    rounds: bench.scale.rounds,
    load: { start: loadAverage(), end: NaN },
    leftOut: [],
    rows: run.rows,
  };
  const missing = (job.needs ?? []).filter((program) => bench.installed[program] === undefined);
  say(`${job.name}: ${job.title}`);
  try {
    if (missing.length === 0) await job.measure(bench, run);
    else Object.assign(result, { status: 'skipped', message: `not installed: ${missing.join(', ')}` });
  } catch (error) {
    bench.commands.signal.throwIfAborted();
    Object.assign(result, { status: 'failed', message: bench.commands.shorten(oneLine(error)) });
    say(`  FAILED: ${result.message ?? ''}`);
    await bench.renewMounts();
  }
  result.load.end = loadAverage();
  result.leftOut = [...run.leftOut].map(([name, reason]) => bench.commands.shorten(`${name}: ${reason}`));
  if (run.tree !== undefined) result.tree = run.tree;
  return result;
}

async function keep(file: string | undefined, results: Results): Promise<Results> {
  if (file === undefined) return results;
  const names = JOBS.map(({ name }) => name);
  const merged = mergeResults(await readResults(file), results, names);
  await writeResults(file, merged);
  return merged;
}

async function main(signal: AbortSignal): Promise<number> {
  const options = parseOptions(process.argv.slice(2), JOBS);
  const benchFolder = process.env['CAIRN_BENCH_DIR'] ?? path.join(tmpdir(), 'cairn-bench');
  await mkdir(benchFolder, { recursive: true });
  const keptFolder = await realpath(benchFolder);
  const folder = await mkdtemp(path.join(keptFolder, 'run-'));
  const commands = new TimedCommands(signal, [
    [`${folder}/`, ''],
    [`${keptFolder}/`, ''],
    [/\S+\/mnt-\w+/g, 'mnt'],
    [/\btimeout -s KILL \d+ /g, ''],
    [`${PROJECT}/`, ''],
  ]);
  const installed = await findInstalled(commands);
  const scale = options.quick ? QUICK : WHOLE;
  const bench = new Bench({
    commands,
    folder,
    keptFolder,
    installed,
    scale: { ...scale, rounds: options.rounds ?? scale.rounds },
    speed: options.speed,
    findSource: () => findSource(options, keptFolder, signal),
  });
  const results: Results = { versions: { [CAIRN]: projectVersion(), ...installed }, jobs: [] };
  const file = options.json ?? (options.write ? KEPT_RESULTS : undefined);
  let merged = results;
  try {
    for (const job of options.jobs) {
      results.jobs.push(await runJob(job, bench));
      merged = await keep(file, results);
    }
  } finally {
    await bench.close();
    await removeFolder(folder);
  }
  const earlier = await readFile(DOCUMENT, 'utf8').catch(() => '');
  const document = await renderMarkdown(merged, earlier);
  process.stdout.write(document);
  if (options.write) {
    await writeFile(DOCUMENT, document);
    await writeFile(PLOT, renderPlot(merged));
  }
  const failed = results.jobs.filter(({ status }) => status === 'failed');
  for (const { name, message } of failed) say(`failed: ${name}: ${message ?? ''}`);
  return failed.length === 0 ? 0 : 1;
}

const interruption = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    interruption.abort();
  });
}
try {
  process.exitCode = await main(interruption.signal);
} catch (error) {
  say(interruption.signal.aborted ? 'interrupted' : oneLine(error));
  process.exitCode = 1;
}
