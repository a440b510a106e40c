import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import type { ChangedFiles } from './changed-files.js';
import { expectCount, type Archiver } from './archiver.js';
import type { TimedCommands, TimedOutput } from './timed-commands.js';
import type { TreeCounts } from './tree-counts.js';

const ADD_AND_COMMIT = 'git add -A -f && git commit -q --allow-empty -m version';

/** git with its own defaults, the repository in `folder`, the tree as its work tree; files that .gitignore names are added too. */
export class Git implements Archiver {
  readonly name: string;
  readonly #commands: TimedCommands;
  readonly #folder: string;
  readonly #tree: string;
  readonly #counts: TreeCounts;
  readonly #files: ChangedFiles;

  constructor(
    version: string,
    commands: TimedCommands,
    folder: string,
    tree: string,
    counts: TreeCounts,
    files: ChangedFiles,
  ) {
    this.name = `git ${version}`;
    this.#commands = commands;
    this.#folder = folder;
    this.#tree = tree;
    this.#counts = counts;
    this.#files = files;
  }

  static async version(commands: TimedCommands): Promise<string | undefined> {
    const output = await commands.run('git', ['--version']).catch(() => undefined);
    return /^git version (\S+)/.exec(output?.stdout ?? '')?.[1];
  }

  async firstVersion(): Promise<TimedOutput> {
    await mkdir(this.#folder, { recursive: true });
    const output = await this.#git(`git init -q && ${ADD_AND_COMMIT}`);
    const { stdout } = await this.#git('git ls-tree -r HEAD | wc -l');
    expectCount('git: files', Number(stdout), this.#counts.files + this.#counts.symlinks);
    return output;
  }

  async unchanged(): Promise<TimedOutput> {
    const output = await this.#git(ADD_AND_COMMIT);
    expectCount('git: changed files', await this.#changedFiles(), 0);
    return output;
  }

  async changed(line: string): Promise<TimedOutput> {
    await this.#files.change(this.#commands, this.#tree, line);
    const output = await this.#git(ADD_AND_COMMIT);
    expectCount('git: changed files', await this.#changedFiles(), this.#files.count);
    return output;
  }

  async close(): Promise<void> {
    await rm(this.#folder, { recursive: true, force: true });
  }

  async #changedFiles(): Promise<number> {
    const { stdout } = await this.#git('git diff --name-only HEAD~1 HEAD | wc -l');
    return Number(stdout);
  }

  async #git(line: string): Promise<TimedOutput> {
    return await this.#commands.shell(line, [], {
      cwd: this.#tree,
      env: {
        GIT_DIR: path.join(this.#folder, 'git'),
        GIT_WORK_TREE: this.#tree,
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
      },
    });
  }
}
