import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { prepareNpmProject } from '../measure/npm-project.js';
import { PROJECT } from '../measure/project.js';
import { copyTree } from '../measure/private-tree.js';
import { digestTree } from '../measure/scans.js';
import { CAIRN, type WritablePlace } from '../systems/place.js';
import { GIT_ENVIRONMENT } from '../systems/git.js';
import { localDisk } from '../systems/local-disk.js';
import { makeRepository } from './git-status.js';
import type { Bench } from './bench.js';
import type { Job } from './job.js';

const GOAL = 1.5;

/** Every place came to the same files. */
class SameResult {
  #digest: string | undefined;

  async check(bench: Bench, system: string, folder: string): Promise<void> {
    const digest = await digestTree(bench.commands, folder);
    this.#digest ??= digest;
    if (digest !== this.#digest) throw new Error(`${system}: other files than elsewhere`);
  }
}

export const npmCi: Job = {
  name: 'npm-ci',
  title: 'npm packages, installed from a warm cache',
  async measure(bench, run) {
    const project = await prepareNpmProject(bench.commands, path.join(bench.keptFolder, 'npm-project'));
    const row = run.row({
      title: 'npm ci, offline',
      unit: 'ms',
      reference: bench.local,
      goal: { atMost: GOAL, of: bench.local },
    });
    const same = new SameResult();
    const places = await bench.places(run);
    for (const { work } of places) {
      await bench.emptyFolder(path.join(work, 'npm'));
      for (const file of project.files) await bench.commands.run('cp', [file, path.join(work, 'npm')]);
    }
    await bench.inRounds(places, async (place, round) => {
      const cwd = path.join(place.work, 'npm');
      await bench.commands.run('rm', ['-rf', path.join(cwd, 'node_modules')]);
      const command = 'npm ci --offline --ignore-scripts --no-audit --no-fund --logs-max=0 --cache "$1"';
      await bench.time(row, place, () => bench.commands.shell(command, [project.cache], { cwd }));
      if (round === 0) await same.check(bench, place.system, cwd);
    });
    for (const { work } of places) await bench.commands.run('rm', ['-rf', path.join(work, 'npm')]);
  },
};

export const gitClone: Job = {
  name: 'git-clone',
  title: 'git clone of the tree',
  needs: ['git'],
  async measure(bench, run) {
    const repository = await makeRepository(bench, run);
    const row = run.row({
      title: 'git clone, from the local disk',
      unit: 'ms',
      reference: bench.local,
      goal: { atMost: GOAL, of: bench.local },
      note: 'all files of the tree',
    });
    const places = await bench.places(run);
    await bench.inRounds(places, async (place) => {
      const clone = path.join(await bench.emptyFolder(place.work), 'clone');
      await bench.time(row, place, () =>
        bench.commands.shell('git clone -q --no-hardlinks "$1" "$2"', [repository, clone], {
          env: GIT_ENVIRONMENT,
        }),
      );
      const env = GIT_ENVIRONMENT;
      const status = await bench.commands.run('git', ['-C', clone, 'status', '--porcelain'], { env });
      if (status.stdout !== '') throw new Error(`${place.system}: the clone is not what was cloned`);
      await bench.commands.run('rm', ['-rf', clone]);
    });
  },
};

export const tsc: Job = {
  name: 'tsc',
  long: true,
  title: 'A build of this project by its compiler',
  async measure(bench, run) {
    const project = path.join(bench.folder, 'project');
    for (const part of ['src', 'test', 'scripts', 'node_modules']) {
      await copyTree(bench.commands, path.join(PROJECT, part), path.join(project, part));
    }
    for (const file of ['package.json', 'tsconfig.json']) {
      await bench.commands.run('cp', [path.join(PROJECT, file), project]);
    }
    const home = await bench.home(run);
    await home.import(project, 'project');
    const { mount } = await home.mount('project');
    const cairn: WritablePlace = {
      ...localDisk(CAIRN, mount.mountpoint, mount.mountpoint),
      costsOf: mount.costsOf.bind(mount),
    };
    const row = run.row({
      title: 'tsc',
      unit: 'ms',
      reference: bench.local,
      goal: { atMost: GOAL, of: bench.local },
    });
    const same = new SameResult();
    const build = (cwd: string) =>
      bench.commands.shell('node node_modules/typescript/lib/tsc.js --project .', [], { cwd });
    const places = [localDisk(bench.local, project, project), cairn];
    // What the compiler reads is in memory, then, on both.
    for (const { work } of places) await build(work);
    await bench.inRounds(places, async (place, round) => {
      const output = path.join(place.work, 'dist');
      await bench.commands.run('rm', ['-rf', output]);
      await bench.time(row, place, () => build(place.work));
      await readFile(path.join(output, 'src', 'cli', 'main.js'));
      if (round === 0) await same.check(bench, place.system, path.join(output, 'src'));
    });
    await mount.close();
  },
};
