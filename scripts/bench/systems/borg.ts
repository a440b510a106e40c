import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { removeFolder } from '../measure/remove-folder.js';
import { expectCount } from '../measure/scans.js';
import type { TimedOutput } from '../measure/timed-commands.js';
import type { Archiver, ArchiverTask } from './archiver.js';

export const BORG = 'borg';

/** borg with its own defaults, without encryption. */
export class Borg implements Archiver {
  readonly system = BORG;
  readonly #task: ArchiverTask;
  #archives = 0;

  constructor(task: ArchiverTask) {
    this.#task = task;
  }

  async firstVersion(): Promise<TimedOutput> {
    await mkdir(this.#task.folder, { recursive: true });
    const output = await this.#create('borg init -e none && ');
    const { archive } = JSON.parse(output.stdout) as { archive: { stats: { nfiles: number } } };
    expectCount('borg: files', archive.stats.nfiles, this.#task.counts.files);
    return output;
  }

  async unchanged(): Promise<TimedOutput> {
    const output = await this.#create();
    expectCount('borg: changed files', await this.#changedFiles(), 0);
    return output;
  }

  async changed(line: string): Promise<TimedOutput> {
    const { commands, tree, files } = this.#task;
    await files.change(commands, tree, line);
    const output = await this.#create();
    expectCount('borg: changed files', await this.#changedFiles(), files.count);
    return output;
  }

  async close(): Promise<void> {
    await removeFolder(this.#task.folder);
  }

  async #create(before = ''): Promise<TimedOutput> {
    this.#archives += 1;
    return await this.#borg(`${before}borg create --json ::${this.#archives} .`);
  }

  /** Between the last two archives. */
  async #changedFiles(): Promise<number> {
    const { stdout } = await this.#borg(`borg diff ::${this.#archives - 1} ${this.#archives} | wc -l`);
    return Number(stdout);
  }

  async #borg(line: string): Promise<TimedOutput> {
    const { commands, folder, tree } = this.#task;
    return await commands.shell(line, [], {
      cwd: tree,
      env: {
        BORG_REPO: path.join(folder, 'repository'),
        BORG_BASE_DIR: folder,
        BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK: 'yes',
      },
    });
  }
}
