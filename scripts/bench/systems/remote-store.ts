import { readdir } from 'node:fs/promises';
import path from 'node:path';
import type { LineSpeed } from '../measure/line.js';
import { ObjectServer } from '../measure/object-server.js';
import type { TimedCommands } from '../measure/timed-commands.js';
import { countTree } from '../measure/tree-counts.js';
import { CairnHome } from './cairn-home.js';

export const REMOTE_WORKSPACE = 'remote';
const STORE_BUCKET = 'store';

/** The tree in a store at the far end of a line, for machines that have nothing of it. */
export class RemoteStore {
  readonly server: ObjectServer;
  readonly #commands: TimedCommands;
  readonly #folder: string;
  readonly #owner: CairnHome;
  #machines = 0;

  private constructor(commands: TimedCommands, folder: string, server: ObjectServer, owner: CairnHome) {
    this.#commands = commands;
    this.#folder = folder;
    this.server = server;
    this.#owner = owner;
  }

  /** Imports the tree, serves the store for as long as `work` takes, and takes all of it away again. */
  static async serve(
    commands: TimedCommands,
    options: { folder: string; tree: string; speed: LineSpeed },
    work: (remote: RemoteStore) => Promise<void>,
  ): Promise<void> {
    const { folder, tree, speed } = options;
    const owner = new CairnHome(commands, path.join(folder, 'owner'));
    const server = await ObjectServer.start(speed);
    try {
      await owner.import(tree, REMOTE_WORKSPACE);
      server.addBucket(STORE_BUCKET, owner.storeFolder);
      await work(new RemoteStore(commands, folder, server, owner));
    } finally {
      await server.close();
      await owner.close();
    }
  }

  /** Another machine, with nothing cached, for as long as `work` takes. */
  async newMachine<Result>(work: (home: CairnHome) => Promise<Result>): Promise<Result> {
    this.#machines += 1;
    const home = new CairnHome(this.#commands, path.join(this.#folder, `machine-${this.#machines}`), {
      store: `s3://${STORE_BUCKET}`,
      catalog: this.#owner.catalogUrl,
      env: this.server.env,
    });
    try {
      return await work(home);
    } finally {
      await home.close();
    }
  }

  /** URLs of all objects, and how many bytes they are together. */
  async objects(): Promise<{ urls: string[]; bytes: number }> {
    const folder = this.#owner.storeFolder;
    const entries = await readdir(folder, { recursive: true, withFileTypes: true });
    const urls = entries
      .filter((entry) => entry.isFile())
      .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)))
      .map((key) => `${this.server.endpoint}/${STORE_BUCKET}/${key}`);
    return { urls, bytes: (await countTree(folder)).size_bytes };
  }
}
