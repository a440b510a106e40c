import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import type { MountedAs } from '../../../src/daemon/index.js';
import type { ImportResult } from '../../../src/snapshot/index.js';
import { removeFolder } from '../measure/remove-folder.js';
import type { TimedCommands, TimedOutput } from '../measure/timed-commands.js';
import { CairnCommand } from './cairn-command.js';
import { CairnMount } from './cairn-mount.js';

const MOUNT_LIMIT_SECONDS = 300;
const IMPORT_LIMIT_SECONDS = 1800;

/** Where to find what is not in the home folder: URLs, and what the SDK needs to know of a server. */
export interface Elsewhere {
  store?: string;
  catalog?: string;
  env?: Readonly<Record<string, string>>;
}

/** CairnFS as a user of one machine has it: the `cairn` command with a home folder of its own. */
export class CairnHome {
  readonly folder: string;
  readonly #cairn: CairnCommand;
  readonly #mounts = new Set<CairnMount>();

  constructor(
    commands: TimedCommands,
    folder: string,
    { store = '', catalog = '', env = {} }: Elsewhere = {},
  ) {
    this.folder = folder;
    this.#cairn = new CairnCommand(commands, {
      ...env,
      CAIRN_HOME: path.join(folder, 'home'),
      CAIRN_STORE: store,
      CAIRN_CATALOG: catalog,
    });
  }

  get storeFolder(): string {
    return path.join(this.folder, 'home', 'store');
  }

  get catalogUrl(): string {
    return `sqlite://${path.join(this.folder, 'home', 'catalog.sqlite')}`;
  }

  async import(tree: string, workspace: string): Promise<TimedOutput & { result: ImportResult }> {
    await mkdir(this.folder, { recursive: true });
    const words = ['import', tree, '--workspace', workspace, '--json'];
    const output = await this.#cairn.run(words, { limitSeconds: IMPORT_LIMIT_SECONDS });
    return { ...output, result: JSON.parse(output.stdout) as ImportResult };
  }

  /** Of the head. The caller may close the mount; the home closes what is left. */
  async mount(workspace: string): Promise<TimedOutput & { mount: CairnMount }> {
    const mountpoint = path.join(this.folder, `mnt-${workspace}`);
    await mkdir(mountpoint, { recursive: true });
    const mount = new CairnMount(this.#cairn, workspace, mountpoint);
    // Before there is anything to unmount: the command may fail half-way.
    this.#mounts.add(mount);
    const output = await this.#cairn.runUninterrupted(['mount', workspace, mountpoint, '--json'], {
      limitSeconds: MOUNT_LIMIT_SECONDS,
    });
    mount.mounted(JSON.parse(output.stdout) as MountedAs);
    return { ...output, mount };
  }

  async changedPaths(workspace: string, fromSeq: number, toSeq: number): Promise<number> {
    const { stdout } = await this.#cairn.run(['diff', `${workspace}@${fromSeq}`, String(toSeq), '--json']);
    return stdout.split('\n').filter((line) => line !== '').length;
  }

  async closeMounts(): Promise<void> {
    for (const mount of this.#mounts) await mount.close();
    this.#mounts.clear();
  }

  /** Unmounts, by force where it must be, and removes the folder. */
  async close(): Promise<void> {
    await this.closeMounts();
    await removeFolder(this.folder);
  }
}
