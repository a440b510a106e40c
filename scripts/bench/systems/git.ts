import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { removeFolder } from '../measure/remove-folder.js';
import { expectCount } from '../measure/scans.js';
import type { TimedOutput } from '../measure/timed-commands.js';
import type { Archiver, ArchiverTask } from './archiver.js';

export const GIT = 'git';

const ADD_AND_COMMIT = 'git add -A -f && git commit -q --allow-empty -m version';

/** git with its own defaults, whatever this machine or user has configured, but for what would disturb a measurement. */
export const GIT_ENVIRONMENT: Readonly<Record<string, string>> = {
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_AUTHOR_NAME: 'bench',
  GIT_AUTHOR_EMAIL: 'bench@localhost',
  GIT_COMMITTER_NAME: 'bench',
  GIT_COMMITTER_EMAIL: 'bench@localhost',
  // No repacking goes on in the background while something else is timed; and line ends stay as they are.
  GIT_CONFIG_COUNT: '3',
  GIT_CONFIG_KEY_0: 'gc.auto',
  GIT_CONFIG_VALUE_0: '0',
  GIT_CONFIG_KEY_1: 'maintenance.auto',
  GIT_CONFIG_VALUE_1: 'false',
  GIT_CONFIG_KEY_2: 'core.safecrlf',
  GIT_CONFIG_VALUE_2: 'false',
};

/** git with the repository in a folder of its own, the tree as its work tree; files that .gitignore names are added too. */
export class Git implements Archiver {
  readonly system = GIT;
  readonly #task: ArchiverTask;

  constructor(task: ArchiverTask) {
    this.#task = task;
  }

  async firstVersion(): Promise<TimedOutput> {
    await mkdir(this.#task.folder, { recursive: true });
    const output = await this.#git(`git init -q && ${ADD_AND_COMMIT}`);
    const { stdout } = await this.#git('git ls-tree -r HEAD | wc -l');
    expectCount('git: files', Number(stdout), this.#task.counts.files + this.#task.counts.symlinks);
    return output;
  }

  async unchanged(): Promise<TimedOutput> {
    const output = await this.#git(ADD_AND_COMMIT);
    expectCount('git: changed files', await this.#changedFiles(), 0);
    return output;
  }

  async changed(line: string): Promise<TimedOutput> {
    const { commands, tree, files } = this.#task;
    await files.change(commands, tree, line);
    const output = await this.#git(ADD_AND_COMMIT);
    expectCount('git: changed files', await this.#changedFiles(), files.count);
    return output;
  }

  async close(): Promise<void> {
    await removeFolder(this.#task.folder);
  }

  async #changedFiles(): Promise<number> {
    const { stdout } = await this.#git('git diff --name-only HEAD~1 HEAD | wc -l');
    return Number(stdout);
  }

  async #git(line: string): Promise<TimedOutput> {
    const { commands, folder, tree } = this.#task;
    const env = { ...GIT_ENVIRONMENT, GIT_DIR: path.join(folder, 'git'), GIT_WORK_TREE: tree };
    return await commands.shell(line, [], { cwd: tree, env });
  }
}
