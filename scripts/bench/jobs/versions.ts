import path from 'node:path';
import { ChangedFiles } from '../measure/changed-files.js';
import type { Archiver } from '../systems/archiver.js';
import { Borg, BORG } from '../systems/borg.js';
import { CairnArchiver } from '../systems/cairn-archiver.js';
import { Git, GIT } from '../systems/git.js';
import { NOT_INSTALLED } from '../systems/installed.js';
import { CAIRN } from '../systems/place.js';
import { Restic, RESTIC } from '../systems/restic.js';
import type { Bench } from './bench.js';
import { addSample, addTime, type JobRun } from './job-run.js';
import type { Job } from './job.js';

export const CHANGED_FILES = 10;
/** In every round, as they are quick. */
export const CHANGES = 3;
export const SNAPSHOT_GOAL_MS = 100;
export const SEAL_GOAL_MS = 10;

const PEERS = { [RESTIC]: Restic, [BORG]: Borg, [GIT]: Git } as const;

async function measureRound(bench: Bench, run: JobRun, round: number): Promise<void> {
  const { root: tree, counts } = await bench.tree(run);
  const files = await ChangedFiles.choose(tree, CHANGED_FILES);
  const taskIn = (folder: string) => ({ commands: bench.commands, folder, tree, counts, files });
  const folder = path.join(bench.folder, 'versions');
  const cairn = new CairnArchiver(taskIn(path.join(folder, CAIRN)));
  const archivers: Archiver[] = [cairn];
  for (const name of [RESTIC, BORG, GIT] as const) {
    if (bench.installed[name] === undefined) run.leftOut.set(name, NOT_INSTALLED);
    else archivers.push(new PEERS[name](taskIn(path.join(folder, name))));
  }
  const first = round % archivers.length;
  const inTurn = [...archivers.slice(first), ...archivers.slice(0, first)];

  const importing = { unit: 'ms', reference: RESTIC, goal: { atMost: 1, of: RESTIC } } as const;
  const step = async (
    row: Parameters<JobRun['row']>[0],
    work: (archiver: Archiver) => ReturnType<Archiver['unchanged']>,
  ) => {
    for (const archiver of inTurn) {
      await bench.settle();
      addTime(run.row(row), archiver.system, await work(archiver));
    }
  };
  try {
    await step({ title: 'first import, empty store', ...importing }, (one) => one.firstVersion());
    await step({ title: 'import again, unchanged', ...importing }, (one) => one.unchanged());
    const snapshot = {
      title: `snapshot after ${CHANGED_FILES} changed files`,
      unit: 'ms',
      reference: RESTIC,
      goal: { atMost: SNAPSHOT_GOAL_MS },
    } as const;
    for (let change = 0; change < CHANGES; change++) {
      await step(snapshot, (one) => one.changed(`round ${round}, change ${change}`));
    }
    for (const { result, costs } of cairn.snapshots) {
      addSample(run.row({ title: 'of it, until published', unit: 'ms' }), CAIRN, result.totalMs, { costs });
      const seal = { title: 'of it, until sealed', unit: 'ms', goal: { atMost: SEAL_GOAL_MS } } as const;
      addSample(run.row(seal), CAIRN, result.sealMs);
    }
  } finally {
    for (const archiver of archivers) await archiver.close();
    await files.restore();
  }
}

export const versions: Job = {
  name: 'versions',
  title: 'Versions of the tree',
  async measure(bench, run) {
    for (let round = 0; round < bench.scale.rounds; round++) await measureRound(bench, run, round);
  },
};
