/**
 * Times the main job beside its peers: import, import again, snapshot after ten changes, mount, full scan; with what each step costs
 * on the store and in requests of the kernel, and the memory of a mount. Everything through the `cairn` command, as a user would.
 *
 *     npm run bench -- main-job [--workspace dir] [--files n] [--rounds n] [--s3] [--quick] [--json file] [--write]
 *
 * The tree is that of `npm run bench -- workspace`, or the first `n` files of it. `--quick`: some thousand files of this
 * project's node_modules, to see that the benchmark works. `--write` puts the report into docs/BENCHMARKS.md. It works in
 * $CAIRN_BENCH_DIR (default: `cairn-bench` below the system's folder for temporary files), and takes away what it made.
 */
import { access, mkdir, mkdtemp, realpath, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { pathToFileURL } from 'node:url';
import { readFileSync } from 'node:fs';
import { expectCount, type Archiver } from './measure/archiver.js';
import { Cairn, CairnHome, costsSinceMount, type MountCosts, type MountMemory } from './measure/cairn.js';
import { ChangedFiles } from './measure/changed-files.js';
import { Git } from './measure/git.js';
import { describeMachine, dropCaches, loadAverage, mayDropCaches } from './measure/machine.js';
import { copyTree } from './measure/private-tree.js';
import { removeFolder } from './measure/remove-folder.js';
import { renderReport, type Results } from './measure/report.js';
import { Restic } from './measure/restic.js';
import { measureS3 } from './measure/s3.js';
import { Step } from './measure/samples.js';
import { countEntries, digestTree, readAll } from './measure/scans.js';
import { TimedCommands, type TimedOutput } from './measure/timed-commands.js';
import { countTree, type TreeCounts } from './measure/tree-counts.js';

const PROJECT = path.resolve(import.meta.dirname, '../../..');
const ROUNDS = 3;
const QUICK_FILES = 2000;
const QUICK_ROUNDS = 2;
const CHANGED_FILES = 10;
/** In every round, as they are quick. */
const CHANGES = 3;
const MOUNTS = 3;

const FIRST_IMPORT = 'first import, empty store';
const UNCHANGED = 'import again, unchanged';
const SNAPSHOT = `snapshot after ${CHANGED_FILES} changed files`;
const WARM_MOUNT = 'mount to first listing, manifest local';
const EMPTY_MOUNT = 'mount to first listing, empty home';
const FIND_COLD = 'find -ls, cold';
const FIND_AGAIN = 'find -ls, again';
const FIND_WARM = 'find -ls, warm';
const READ_COLD = 'read of every file, cold';
const READ_AGAIN = 'read of every file, again';
const READ_WARM = 'read of every file, warm';
const EMPTY_FIND = 'find -ls, first, empty home';
const EMPTY_READ = 'read of every file, first, empty home';
/** In the order of the report; with the goal for CairnFS where there is one. */
const newSteps = (): Step[] => [
  new Step(FIRST_IMPORT),
  new Step(UNCHANGED),
  new Step(SNAPSHOT, 150),
  new Step(WARM_MOUNT, 300),
  new Step(EMPTY_MOUNT),
  new Step(FIND_COLD),
  new Step(FIND_AGAIN),
  new Step(FIND_WARM),
  new Step(READ_COLD),
  new Step(READ_AGAIN),
  new Step(READ_WARM),
  new Step(EMPTY_FIND),
  new Step(EMPTY_READ),
];

interface Peers {
  restic: string | undefined;
  git: string | undefined;
}

/** One run, in a folder of its own. */
class MainJob {
  readonly results: Results;
  readonly #commands: TimedCommands;
  readonly #folder: string;
  readonly #tree: string;
  readonly #counts: TreeCounts;
  readonly #files: ChangedFiles;
  readonly #peers: Peers;
  readonly #digest: string;
  readonly #steps = new Map(newSteps().map((step) => [step.title, step]));
  readonly #costs = new Map<string, MountCosts>();
  readonly #memory = new Map<string, MountMemory[]>();

  constructor(options: {
    results: Results;
    commands: TimedCommands;
    folder: string;
    tree: string;
    files: ChangedFiles;
    peers: Peers;
    digest: string;
  }) {
    this.results = options.results;
    this.#commands = options.commands;
    this.#folder = options.folder;
    this.#tree = options.tree;
    this.#counts = options.results.tree.counts;
    this.#files = options.files;
    this.#peers = options.peers;
    this.#digest = options.digest;
  }

  async round(round: number): Promise<void> {
    const folder = path.join(this.#folder, `round-${round}`);
    const cairn = this.#cairn(path.join(folder, 'cairn'));
    const archivers = rotated([cairn, ...this.#installedPeers(folder)], round);
    try {
      for (const one of archivers) await this.#time(FIRST_IMPORT, one.name, () => one.firstVersion());
      const stored = await countTree(cairn.home.storeFolder);
      this.results.store = { objects: stored.files, size_bytes: stored.size_bytes };
      for (const one of archivers) await this.#time(UNCHANGED, one.name, () => one.unchanged());

      await this.#mounts(cairn);
      await this.#scans(cairn, round);
      await this.#emptyHome(cairn, folder);

      for (let change = 0; change < CHANGES; change++) {
        const line = `round ${round}, change ${change}`;
        for (const one of archivers) await this.#time(SNAPSHOT, one.name, () => one.changed(line));
      }
      for (const { result, costs } of cairn.snapshots) {
        this.results.snapshot.sealMs.push(result.sealMs);
        this.results.snapshot.totalMs.push(result.totalMs);
        this.#costs.set(SNAPSHOT, costs);
      }
    } finally {
      for (const one of archivers) await one.close();
      await this.#files.restore();
      await removeFolder(folder);
    }
    this.results.steps = [...this.#steps.values()].filter(({ series }) => series.length > 0);
    this.results.costs = [...this.#steps.keys()].flatMap((title) => {
      const costs = this.#costs.get(title);
      return costs === undefined ? [] : [{ title, costs }];
    });
    this.results.memory = [...this.#memory].map(([title, samples]) => ({ title, samples }));
  }

  #cairn(folder: string): Cairn {
    const home = new CairnHome(this.#commands, folder);
    return new Cairn(this.results.reference, this.#commands, home, this.#tree, this.#counts, this.#files);
  }

  #installedPeers(folder: string): Archiver[] {
    const shared = [this.#tree, this.#counts, this.#files] as const;
    const { restic, git } = this.#peers;
    return [
      ...(restic === undefined
        ? []
        : [new Restic(restic, this.#commands, path.join(folder, 'restic'), ...shared)]),
      ...(git === undefined ? [] : [new Git(git, this.#commands, path.join(folder, 'git'), ...shared)]),
    ];
  }

  /** The last one stays. */
  async #mounts({ name, home }: Cairn): Promise<void> {
    for (let at = 0; at < MOUNTS; at++) {
      if (at > 0) await home.unmount();
      await this.#time(WARM_MOUNT, name, () => home.mountAndList());
    }
    this.#costs.set(WARM_MOUNT, costsSinceMount(await home.stats()));
  }

  async #scans({ name, home }: Cairn, round: number): Promise<void> {
    const places = rotated([name, this.results.machine.fileSystem], round);
    const scan = async (title: string, work: typeof countEntries): Promise<string[]> => {
      const printed: string[] = [];
      for (const place of places) {
        const root = place === name ? home.mountpoint : this.#tree;
        if (title === FIND_COLD || title === READ_COLD) {
          await this.#settle();
          await dropCaches();
        }
        const run = async () => await this.#time(title, place, () => work(this.#commands, root));
        if (place !== name) {
          printed.push((await run()).stdout);
          continue;
        }
        const { result, costs } = await home.costsOf(run);
        this.#costs.set(title, costs);
        printed.push(result.stdout);
      }
      return printed;
    };
    // The first read fetches blocks into the disk cache: that is timed where the home is empty.
    await readAll(this.#commands, home.mountpoint);
    if (mayDropCaches) this.#expectEntries(await scan(FIND_COLD, countEntries));
    this.#expectEntries(await scan(FIND_AGAIN, countEntries));
    this.#expectEntries(await scan(FIND_WARM, countEntries));
    if (mayDropCaches) await scan(READ_COLD, readAll);
    await scan(READ_AGAIN, readAll);
    await scan(READ_WARM, readAll);
    this.#remember('a full scan', await home.memory());
    this.#expectDigest(await digestTree(this.#commands, home.mountpoint), 'the mount');
  }

  /** Another machine's view: the same store and catalog, and nothing local. */
  async #emptyHome(cairn: Cairn, folder: string): Promise<void> {
    for (let at = 0; at < MOUNTS; at++) {
      const home = new CairnHome(this.#commands, path.join(folder, `empty-${at}`), {
        store: pathToFileURL(cairn.home.storeFolder).href,
        catalog: cairn.home.catalogUrl,
      });
      try {
        await this.#time(EMPTY_MOUNT, cairn.name, () => home.mountAndList());
        this.#costs.set(EMPTY_MOUNT, costsSinceMount(await home.stats()));
        if (at === MOUNTS - 1) await this.#firstScan(cairn.name, home);
      } finally {
        await home.close();
      }
    }
  }

  async #firstScan(name: string, home: CairnHome): Promise<void> {
    const find = await home.costsOf(() =>
      this.#time(EMPTY_FIND, name, () => countEntries(this.#commands, home.mountpoint)),
    );
    this.#expectEntries([find.result.stdout]);
    this.#costs.set(EMPTY_FIND, find.costs);
    const read = await home.costsOf(() =>
      this.#time(EMPTY_READ, name, () => readAll(this.#commands, home.mountpoint)),
    );
    this.#costs.set(EMPTY_READ, read.costs);
    this.#remember('a full scan that fetched everything', await home.memory());
    this.#expectDigest(await digestTree(this.#commands, home.mountpoint), 'the mount of an empty home');
  }

  #expectEntries(printed: readonly string[]): void {
    const { files, directories, symlinks } = this.#counts;
    for (const text of printed)
      expectCount('find: entries', Number(text), files + directories + symlinks + 1);
  }

  #expectDigest(digest: string, what: string): void {
    if (digest !== this.#digest) throw new Error(`${what} has other content than the tree`);
  }

  #remember(title: string, memory: MountMemory): void {
    this.#memory.set(title, [...(this.#memory.get(title) ?? []), memory]);
  }

  async #time<Output extends TimedOutput>(
    title: string,
    system: string,
    work: () => Promise<Output>,
  ): Promise<Output> {
    await this.#settle();
    const output = await work();
    this.#steps.get(title)?.add(system, output);
    say(`${title}, ${system}: ${(output.tookMs / 1000).toFixed(3)} s`);
    return output;
  }

  /** Nothing that an earlier step wrote is to be written back during the next one. */
  async #settle(): Promise<void> {
    await this.#commands.run('sync', []);
  }
}

function rotated<Item>(items: readonly Item[], by: number): Item[] {
  const at = by % items.length;
  return [...items.slice(at), ...items.slice(0, at)];
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

function positiveNumber(name: string, text: string | undefined, fallback: number): number {
  const value = text === undefined ? fallback : Number(text);
  if (value >= 1) return value;
  throw new Error(`--${name} ${text ?? ''} is not a number of 1 or more`);
}

async function main(signal: AbortSignal): Promise<void> {
  const { values } = parseArgs({
    options: {
      workspace: { type: 'string' },
      files: { type: 'string' },
      rounds: { type: 'string' },
      json: { type: 'string' },
      quick: { type: 'boolean', default: false },
      s3: { type: 'boolean', default: false },
      write: { type: 'boolean', default: false },
    },
  });
  const rounds = positiveNumber('rounds', values.rounds, values.quick ? QUICK_ROUNDS : ROUNDS);
  const wantedFiles = positiveNumber('files', values.files, values.quick ? QUICK_FILES : Infinity);
  const benchFolder = process.env['CAIRN_BENCH_DIR'] ?? path.join(tmpdir(), 'cairn-bench');
  const source = path.resolve(
    values.workspace ?? path.join(...(values.quick ? [PROJECT, 'node_modules'] : [benchFolder, 'workspace'])),
  );
  await access(source).catch(() => {
    throw new Error(`there is no ${source}: npm run bench -- workspace`);
  });
  await mkdir(benchFolder, { recursive: true });
  const folder = await mkdtemp(path.join(await realpath(benchFolder), 'main-job-'));
  try {
    const load = { start: loadAverage(), end: NaN };
    const commands = new TimedCommands(signal, [
      [`${folder}/`, ''],
      [/\S+\/mnt\b/g, 'mnt'],
    ]);
    say(`copying ${source} into ${folder}`);
    const tree = await copyTree(commands, source, folder, wantedFiles);
    const counts = await countTree(tree);
    const peers: Peers = { restic: await Restic.version(commands), git: await Git.version(commands) };
    const results: Results = {
      date: new Date().toISOString().slice(0, 16).replace('T', ' '),
      command: ['npm run bench -- main-job', ...process.argv.slice(2)].join(' '),
      machine: describeMachine(folder),
      load,
      tree: {
        what: values.quick ? "a part of this project's node_modules" : 'popular npm packages, installed',
        counts,
      },
      rounds,
      leftOut: [
        ...(peers.restic === undefined ? ['restic (not installed)'] : []),
        ...(peers.git === undefined ? ['git (not installed)'] : []),
        ...(mayDropCaches ? [] : ['cold scans (only root may drop caches)']),
      ],
      reference: `CairnFS ${projectVersion()}`,
      steps: [],
      snapshot: { sealMs: [], totalMs: [] },
      costs: [],
      store: { objects: 0, size_bytes: 0 },
      memory: [],
      checks: [
        'every system took in all files, found nothing changed in the unchanged tree, and exactly the changed files afterwards',
        'the mounts showed as many names as the tree has, and a digest over all names and contents was that of the tree, also on a mount that fetched everything from the store',
      ],
    };
    const job = new MainJob({
      results,
      commands,
      folder,
      tree,
      files: await ChangedFiles.choose(tree, CHANGED_FILES),
      peers,
      digest: await digestTree(commands, tree),
    });
    for (let round = 0; round < rounds; round++) {
      say(`round ${round + 1} of ${rounds}`);
      await job.round(round);
    }
    if (values.s3) {
      say('S3');
      results.s3 = await measureS3(commands, folder, tree, signal);
    }
    load.end = loadAverage();
    const report = await renderReport(results);
    process.stdout.write(report);
    const json = values.json ?? path.join(benchFolder, 'main-job.json');
    await writeFile(json, `${JSON.stringify(results, undefined, 2)}\n`);
    say(`all samples: ${json}`);
    if (values.write) await writeFile(path.join(PROJECT, 'docs', 'BENCHMARKS.md'), report);
  } finally {
    await removeFolder(folder);
  }
}

function projectVersion(): string {
  const { version } = JSON.parse(readFileSync(path.join(PROJECT, 'package.json'), 'utf8')) as {
    version: string;
  };
  return version;
}

const interruption = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    interruption.abort();
  });
}
try {
  await main(interruption.signal);
} catch (error) {
  say(interruption.signal.aborted ? 'interrupted' : error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}
