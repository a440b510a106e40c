import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import type { ChangedFiles } from './changed-files.js';
import { expectCount, type Archiver } from './archiver.js';
import type { TimedCommands, TimedOutput } from './timed-commands.js';
import type { TreeCounts } from './tree-counts.js';

/** What `restic backup --json` ends with. */
interface Summary {
  files_changed: number;
  total_files_processed: number;
}

/** restic with its own defaults, its repository and its cache in `folder`. */
export class Restic implements Archiver {
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
    this.name = `restic ${version}`;
    this.#commands = commands;
    this.#folder = folder;
    this.#tree = tree;
    this.#counts = counts;
    this.#files = files;
  }

  static async version(commands: TimedCommands): Promise<string | undefined> {
    const output = await commands.run('restic', ['version']).catch(() => undefined);
    return /^restic (\S+)/.exec(output?.stdout ?? '')?.[1];
  }

  async firstVersion(): Promise<TimedOutput> {
    await mkdir(this.#folder, { recursive: true });
    const output = await this.#backup('restic init -q && restic backup --json .');
    expectCount('restic: files', this.#summary(output).total_files_processed, this.#counts.files);
    return output;
  }

  async unchanged(): Promise<TimedOutput> {
    const output = await this.#backup('restic backup --json .');
    expectCount('restic: changed files', this.#summary(output).files_changed, 0);
    return output;
  }

  async changed(line: string): Promise<TimedOutput> {
    await this.#files.change(this.#commands, this.#tree, line);
    const output = await this.#backup('restic backup --json .');
    expectCount('restic: changed files', this.#summary(output).files_changed, this.#files.count);
    return output;
  }

  async close(): Promise<void> {
    await rm(this.#folder, { recursive: true, force: true });
  }

  async #backup(line: string): Promise<TimedOutput> {
    return await this.#commands.shell(line, [], {
      cwd: this.#tree,
      env: {
        RESTIC_REPOSITORY: path.join(this.#folder, 'repository'),
        RESTIC_CACHE_DIR: path.join(this.#folder, 'cache'),
        RESTIC_PASSWORD: 'benchmark',
        // Progress is a line of JSON each time.
        RESTIC_PROGRESS_FPS: '0.1',
      },
    });
  }

  #summary({ stdout }: TimedOutput): Summary {
    return JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as Summary;
  }
}
