import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { ChangedFiles } from '../measure/changed-files.js';
import { makeManyFiles, pathOfFile } from '../measure/many-files.js';
import { countEntries, expectCount } from '../measure/scans.js';
import type { TimedOutput } from '../measure/timed-commands.js';
import { CairnHome } from '../systems/cairn-home.js';
import type { CairnMount, MountMemory } from '../systems/cairn-mount.js';
import { CAIRN } from '../systems/place.js';
import type { Bench } from './bench.js';
import { addSample, addTime, say, type JobRun } from './job-run.js';
import type { Job } from './job.js';
import { CHANGED_FILES, CHANGES, SEAL_GOAL_MS, SNAPSHOT_GOAL_MS } from './versions.js';

const WORKSPACE = 'files';
const MEMORY_GOAL_BYTES = 250_000_000;
const FIRST_LISTING_GOAL_MS = 300;
const MILLION_MOUNT_GOAL_MS = 1000;
/** In every round, as they are quick. */
const MOUNTS = 3;

/** From the start of `cairn mount` until `ls` of the mount's root is done. */
async function mountAndList(
  bench: Bench,
  home: CairnHome,
  workspace: string,
): Promise<TimedOutput & { mount: CairnMount }> {
  await bench.settle();
  const { mount, tookMs, shown } = await home.mount(workspace);
  const list = await bench.commands.run('ls', [mount.mountpoint]);
  if (list.stdout === '') throw new Error(`${mount.mountpoint} is empty`);
  return { mount, stdout: '', tookMs: tookMs + list.tookMs, shown: `${shown} && ${list.shown}` };
}

function addMemory(run: JobRun, when: string, { residentBytes, proportionalBytes }: MountMemory): void {
  const goal = { atMost: MEMORY_GOAL_BYTES };
  addSample(run.row({ title: `memory (RSS) ${when}`, unit: 'bytes', goal }), CAIRN, residentBytes);
  addSample(run.row({ title: `memory (PSS) ${when}`, unit: 'bytes' }), CAIRN, proportionalBytes);
}

export const firstListing: Job = {
  name: 'mount',
  title: 'From nothing mounted to the first listing',
  async measure(bench, run) {
    const { root } = await bench.tree(run);
    const folder = await bench.jobFolder('mount');
    const here = new CairnHome(bench.commands, path.join(folder, 'here'));
    const goal = { atMost: FIRST_LISTING_GOAL_MS };
    const local = run.row({ title: 'mount to first listing, manifest local', unit: 'ms', goal });
    const empty = run.row({ title: 'mount to first listing, empty home', unit: 'ms' });
    try {
      await here.import(root, WORKSPACE);
      for (let at = 0; at < bench.scale.rounds * MOUNTS; at++) {
        const elsewhere = new CairnHome(bench.commands, path.join(folder, `empty-${at}`), {
          store: pathToFileURL(here.storeFolder).href,
          catalog: here.catalogUrl,
        });
        for (const [row, home] of [
          [local, here],
          [empty, elsewhere],
        ] as const) {
          const output = await mountAndList(bench, home, WORKSPACE);
          addTime(row, CAIRN, output, await output.mount.costs());
          await output.mount.close();
        }
        await elsewhere.close();
      }
    } finally {
      await here.close();
    }
  },
};

/** A tree of small files: how mounting, scanning and snapshots depend on how many there are. */
async function measureFiles(bench: Bench, run: JobRun, files: number): Promise<void> {
  const shown = files.toLocaleString('en');
  const folder = await bench.jobFolder(`files-${files}`);
  const root = await bench.emptyFolder(path.join(folder, 'tree'));
  const home = new CairnHome(bench.commands, path.join(folder, 'cairn'));
  run.tree = `${shown} files of 100 bytes`;
  say(`  making ${shown} files`);
  const directories = await makeManyFiles(root, files, bench.commands.signal);
  try {
    const imported = await home.import(root, WORKSPACE);
    expectCount('cairn: files', imported.result.files, files);
    addTime(run.row({ title: `first import of ${shown} files`, unit: 'ms' }), CAIRN, imported);

    const goal = { atMost: MILLION_MOUNT_GOAL_MS };
    const mounting = run.row({ title: `mount to first listing, ${shown} files`, unit: 'ms', goal });
    let mount: CairnMount | undefined;
    for (let at = 0; at < MOUNTS; at++) {
      await mount?.close();
      const output = await mountAndList(bench, home, WORKSPACE);
      addTime(mounting, CAIRN, output);
      mount = output.mount;
    }
    if (mount === undefined) return;
    await measureScanAndChanges(bench, run, { home, mount, root, files, directories });
  } finally {
    await home.close();
    await bench.commands.run('rm', ['-rf', folder]);
  }
}

async function measureScanAndChanges(
  bench: Bench,
  run: JobRun,
  options: { home: CairnHome; mount: CairnMount; root: string; files: number; directories: number },
): Promise<void> {
  const { mount, root, files, directories } = options;
  const shown = files.toLocaleString('en');
  const scan = await mount.costsOf(() => countEntries(bench.commands, mount.mountpoint));
  expectCount('find: entries', Number(scan.result.stdout), files + directories + 1);
  addTime(run.row({ title: `find -ls, first, ${shown} files`, unit: 'ms' }), CAIRN, scan.result, scan.costs);
  addMemory(run, `after find, ${shown} files`, await mount.memory());

  const every = Math.floor(files / CHANGED_FILES);
  const names = Array.from({ length: CHANGED_FILES }, (_, at) => pathOfFile(at * every));
  const changed = await ChangedFiles.of(root, names);
  const title = `snapshot after ${CHANGED_FILES} changed files, of ${shown}`;
  for (let change = 0; change < CHANGES * bench.scale.rounds; change++) {
    await changed.change(bench.commands, mount.mountpoint, `change ${change}`);
    await bench.settle();
    const { result: output, costs } = await mount.costsOf(() => mount.snapshot());
    const { changedFiles, totalMs, sealMs } = output.result;
    expectCount('cairn: changed files', changedFiles, CHANGED_FILES);
    addTime(run.row({ title, unit: 'ms', goal: { atMost: SNAPSHOT_GOAL_MS } }), CAIRN, output, costs);
    addSample(run.row({ title: `of it, until published, ${shown} files`, unit: 'ms' }), CAIRN, totalMs);
    const seal = {
      title: `of it, until sealed, ${shown} files`,
      unit: 'ms',
      goal: { atMost: SEAL_GOAL_MS },
    } as const;
    addSample(run.row(seal), CAIRN, sealMs);
  }
}

export const manyFiles: readonly Job[] = [
  { name: 'files-10k', files: 10_000 },
  { name: 'files-100k', files: 100_000, long: true },
  { name: 'files-1m', files: 1_000_000, long: true },
].map(({ files, ...job }) => ({
  ...job,
  title: `${files.toLocaleString('en')} small files`,
  measure: (bench, run) => measureFiles(bench, run, files),
}));

export const memory: Job = {
  name: 'memory',
  title: 'Memory of a mount, supervisor and daemon together',
  async measure(bench, run) {
    const jobs = [...bench.livedThrough];
    const [, cairn] = await bench.places(run);
    await countEntries(bench.commands, cairn.tree);
    const when = jobs.length === 0 ? 'after find' : `after all of: ${jobs.join(', ')}`;
    addMemory(run, when, await (await bench.mount(run)).memory());
  },
};
