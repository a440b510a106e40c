import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { removeFolder } from '../measure/remove-folder.js';
import { expectCount } from '../measure/scans.js';
import type { TimedOutput } from '../measure/timed-commands.js';
import type { Archiver, ArchiverTask } from './archiver.js';

export const RESTIC = 'restic';

/** What `restic backup --json` ends with. */
interface Summary {
  files_changed: number;
  total_files_processed: number;
}

/** restic with its own defaults. */
export class Restic implements Archiver {
  readonly system = RESTIC;
  readonly #task: ArchiverTask;

  constructor(task: ArchiverTask) {
    this.#task = task;
  }

  async firstVersion(): Promise<TimedOutput> {
    await mkdir(this.#task.folder, { recursive: true });
    const output = await this.#backup('restic init -q && restic backup --json .');
    expectCount('restic: files', summaryOf(output).total_files_processed, this.#task.counts.files);
    return output;
  }

  async unchanged(): Promise<TimedOutput> {
    const output = await this.#backup('restic backup --json .');
    expectCount('restic: changed files', summaryOf(output).files_changed, 0);
    return output;
  }

  async changed(line: string): Promise<TimedOutput> {
    const { commands, tree, files } = this.#task;
    await files.change(commands, tree, line);
    const output = await this.#backup('restic backup --json .');
    expectCount('restic: changed files', summaryOf(output).files_changed, files.count);
    return output;
  }

  async close(): Promise<void> {
    await removeFolder(this.#task.folder);
  }

  async #backup(line: string): Promise<TimedOutput> {
    const { commands, folder, tree } = this.#task;
    return await commands.shell(line, [], {
      cwd: tree,
      env: {
        RESTIC_REPOSITORY: path.join(folder, 'repository'),
        RESTIC_CACHE_DIR: path.join(folder, 'cache'),
        RESTIC_PASSWORD: 'benchmark',
        // Progress is a line of JSON each time.
        RESTIC_PROGRESS_FPS: '0.1',
      },
    });
  }
}

function summaryOf({ stdout }: TimedOutput): Summary {
  return JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as Summary;
}
