import { existsSync } from 'node:fs';
import { mkdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { copyTree } from '../measure/private-tree.js';
import type { TimedOutput } from '../measure/timed-commands.js';
import type { Row } from '../report/results.js';
import { CairnHome } from '../systems/cairn-home.js';
import type { CairnMount } from '../systems/cairn-mount.js';
import { GIT_ENVIRONMENT } from '../systems/git.js';
import { localDisk } from '../systems/local-disk.js';
import { CAIRN, type Place } from '../systems/place.js';
import type { Bench } from './bench.js';
import { addKernelRequests, addSample, type JobRun } from './job-run.js';
import type { Job } from './job.js';

const WORKSPACE = 'repository';

/** The tree as a git repository, all of it committed and packed; made once. */
export async function makeRepository(bench: Bench, run: JobRun): Promise<string> {
  const repository = path.join(bench.folder, WORKSPACE);
  if (existsSync(path.join(repository, '.git', 'HEAD'))) return repository;
  const { root } = await bench.tree(run);
  await mkdir(repository, { recursive: true });
  await copyTree(bench.commands, root, repository);
  const steps = [
    'git init -q',
    'git -c core.compression=1 add -A -f',
    'git commit -q -m tree',
    'git -c pack.window=0 repack -a -d -q',
  ];
  await bench.commands.shell(steps.join(' && '), [], { cwd: repository, env: GIT_ENVIRONMENT });
  return repository;
}

/** Nothing has changed, and git says so. */
async function gitStatus(bench: Bench, root: string, env: Record<string, string> = {}): Promise<TimedOutput> {
  const output = await bench.commands.run('git', ['-C', root, 'status', '--porcelain'], {
    env: { ...GIT_ENVIRONMENT, ...env },
  });
  if (output.stdout !== '') throw new Error(`git status finds changes: ${output.stdout.slice(0, 200)}`);
  return output;
}

function placeOf(mount: CairnMount): Place {
  return {
    system: CAIRN,
    tree: mount.mountpoint,
    symlinks: true,
    once: false,
    costsOf: mount.costsOf.bind(mount),
  };
}

/** A home that has only the store and the catalog in common with the first one, as another machine would. */
async function measureElsewhere(
  bench: Bench,
  run: JobRun,
  options: { home: CairnHome; local: Place; rows: { time: Row; compared: Row } },
): Promise<void> {
  const { home, local, rows } = options;
  const folder = await bench.jobFolder('git-status');
  await bench.inRounds([local.system, CAIRN], async (system, round) => {
    if (system === local.system) {
      await bench.time(rows.time, local, () => gitStatus(bench, local.tree));
      return;
    }
    const elsewhere = new CairnHome(bench.commands, path.join(folder, `home-${round}`), {
      store: pathToFileURL(home.storeFolder).href,
      catalog: home.catalogUrl,
    });
    const trace = path.join(folder, 'trace');
    try {
      const { mount } = await elsewhere.mount(WORKSPACE);
      const place = placeOf(mount);
      await bench.time(rows.time, place, () => gitStatus(bench, place.tree, { GIT_TRACE2_EVENT: trace }));
      addSample(rows.compared, CAIRN, await contentsCompared(trace));
    } finally {
      await elsewhere.close();
      await rm(trace, { force: true });
    }
  });
}

/** Of how many files git read the content since their attributes were not those of its index: git counts them (trace2). */
async function contentsCompared(trace: string): Promise<number> {
  const [, count] = /"key":"refresh\/sum_scan","value":"(\d+)"/.exec(await readFile(trace, 'utf8')) ?? [];
  if (count === undefined)
    throw new Error('this git does not say how many files it read: 2.33 or later does');
  return Number(count);
}

export const gitStatusJob: Job = {
  name: 'git-status',
  title: 'git status, here and on another machine',
  needs: ['git'],
  async measure(bench, run) {
    const repository = await makeRepository(bench, run);
    const home = await bench.home(run);
    await home.import(repository, WORKSPACE);
    const local = localDisk(bench.local, repository, bench.folder);
    const rowsOf = (what: string) => ({
      time: run.row({
        title: `git status, first on another machine, ${what}`,
        unit: 'ms',
        reference: bench.local,
        goal: { atMost: 1.5, of: bench.local },
        note: `${bench.local}: warm`,
      }),
      compared: run.row({
        title: `files whose content git read, ${what}`,
        unit: 'count',
        goal: { atMost: 0 },
      }),
    });
    await gitStatus(bench, local.tree);
    await measureElsewhere(bench, run, { home, local, rows: rowsOf('as imported') });

    const { mount } = await home.mount(WORKSPACE);
    const cairn = placeOf(mount);
    const warm = run.row({
      title: 'git status, warm',
      unit: 'ms',
      reference: bench.local,
      goal: { atMost: 1.1, of: bench.local },
    });
    await gitStatus(bench, cairn.tree);
    await bench.inRounds([local, cairn], async (place) => {
      await bench.time(warm, place, () => gitStatus(bench, place.tree));
    });
    // By itself it makes a lock file and removes it: so that something has changed.
    const statusUnlocked = () => gitStatus(bench, cairn.tree, { GIT_OPTIONAL_LOCKS: '0' });
    await statusUnlocked();
    const unlocked = await mount.costsOf(statusUnlocked);
    addKernelRequests(run, 'git --no-optional-locks status, warm', unlocked.costs);
    const commit = 'echo >> package.json && git commit -q -a -m another';
    await bench.commands.shell(commit, [], { cwd: cairn.tree, env: GIT_ENVIRONMENT });
    await mount.snapshot();
    await mount.close();
    await measureElsewhere(bench, run, { home, local, rows: rowsOf('after a commit and a snapshot') });
  },
};
