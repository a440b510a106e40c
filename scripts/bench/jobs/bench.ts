import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import prettyBytes from 'pretty-bytes';
import { copyFirstFiles, copyTree } from '../measure/private-tree.js';
import { dropCaches, fileSystemName } from '../measure/machine.js';
import type { Costs } from '../measure/costs.js';
import type { LineSpeed } from '../measure/line.js';
import { digestTree } from '../measure/scans.js';
import type { TimedCommands, TimedOutput } from '../measure/timed-commands.js';
import { countTree, type TreeCounts } from '../measure/tree-counts.js';
import type { Row } from '../report/results.js';
import { CairnHome } from '../systems/cairn-home.js';
import type { CairnMount } from '../systems/cairn-mount.js';
import { NOT_INSTALLED, type Installed } from '../systems/installed.js';
import { localDisk } from '../systems/local-disk.js';
import { CAIRN, type Place, type WritablePlace } from '../systems/place.js';
import { RcloneMount } from '../systems/rclone.js';
import { SquashfuseMount } from '../systems/squashfuse.js';
import { addTime, oneLine, say, type JobRun } from './job-run.js';

/** How much there is to do. */
export interface Scale {
  rounds: number;
  /** Of the tree. */
  filesMax: number;
  largeFileBytes: number;
}

export interface Tree {
  root: string;
  counts: TreeCounts;
  /** Of all names and contents. */
  digest(): Promise<string>;
}

const MAIN = 'main';

/** What the jobs of one run share. All of it is made when the first job asks for it, and is in `folder`. */
export class Bench {
  readonly commands: TimedCommands;
  readonly folder: string;
  /** Kept from run to run: what comes from the network. */
  readonly keptFolder: string;
  readonly installed: Installed;
  readonly scale: Scale;
  readonly speed: LineSpeed;
  /** What the goals are measured by: the name of the local disk's file system. */
  readonly local: string;
  /** The jobs that the shared mount has lived through. */
  readonly livedThrough = new Set<string>();
  readonly #findSource: () => Promise<string>;
  #tree: Promise<Tree> | undefined;
  #home: Promise<CairnHome> | undefined;
  #mount: Promise<CairnMount> | undefined;
  #peers: Promise<{ places: Place[]; leftOut: Map<string, string> }> | undefined;
  readonly #closers: (() => Promise<void>)[] = [];

  constructor(options: {
    commands: TimedCommands;
    folder: string;
    keptFolder: string;
    installed: Installed;
    scale: Scale;
    speed: LineSpeed;
    findSource: () => Promise<string>;
  }) {
    this.commands = options.commands;
    this.folder = options.folder;
    this.keptFolder = options.keptFolder;
    this.installed = options.installed;
    this.scale = options.scale;
    this.speed = options.speed;
    this.local = fileSystemName(options.folder);
    this.#findSource = options.findSource;
  }

  /** A private copy: jobs change files. */
  async tree(run: JobRun): Promise<Tree> {
    this.#tree ??= this.#makeTree();
    const tree = await this.#tree;
    const { files, directories, symlinks, size_bytes } = tree.counts;
    run.tree =
      `${files.toLocaleString('en')} files, ${directories.toLocaleString('en')} directories, ` +
      `${symlinks.toLocaleString('en')} symlinks, ${prettyBytes(size_bytes, { binary: true })}`;
    return tree;
  }

  /** A home with the tree imported, for any more workspaces. */
  async home(run: JobRun): Promise<CairnHome> {
    const tree = await this.tree(run);
    this.#home ??= this.#makeHome(tree);
    return await this.#home;
  }

  /** The local disk and one mount, which lives as long as nothing goes wrong: the memory it takes is that after all jobs. */
  async places(run: JobRun): Promise<[local: WritablePlace, cairn: WritablePlace]> {
    const tree = await this.tree(run);
    const mount = await this.mount(run);
    const cairn = {
      system: CAIRN,
      tree: path.join(mount.mountpoint, path.basename(tree.root)),
      work: path.join(mount.mountpoint, 'work'),
      symlinks: true,
      once: false,
      costsOf: mount.costsOf.bind(mount),
    };
    return [localDisk(this.local, tree.root, path.join(this.folder, 'work')), cairn];
  }

  async mount(run: JobRun): Promise<CairnMount> {
    const home = await this.home(run);
    this.#mount ??= home.mount(MAIN).then(({ mount }) => mount);
    this.livedThrough.add(run.name);
    return await this.#mount;
  }

  /** Those that show a tree as files, and are installed. They stay mounted until the end. */
  async peers(run: JobRun): Promise<readonly Place[]> {
    const { root } = await this.tree(run);
    this.#peers ??= this.#mountPeers(root);
    const { places, leftOut } = await this.#peers;
    for (const [name, reason] of leftOut) run.leftOut.set(name, reason);
    return places;
  }

  /** In every round each place, or whatever it is, has its turn; who begins changes. */
  async inRounds<Item>(
    items: readonly Item[],
    work: (item: Item, round: number) => Promise<void>,
  ): Promise<void> {
    for (let round = 0; round < this.scale.rounds; round++) {
      const first = round % items.length;
      for (const item of [...items.slice(first), ...items.slice(0, first)]) await work(item, round);
    }
  }

  /** Times `work` on a place. Before it, all that was written goes to the disk. Returns what it cost where the place tells. */
  async time<Output extends TimedOutput>(
    row: Row,
    place: Place,
    work: () => Promise<Output>,
  ): Promise<{ output: Output; costs: Costs | undefined }> {
    await this.settle();
    const { result: output, costs } =
      place.costsOf === undefined ? { result: await work(), costs: undefined } : await place.costsOf(work);
    addTime(row, place.system, output, costs);
    return { output, costs };
  }

  /** Nothing that an earlier step wrote is to be written back during the next one. */
  async settle(): Promise<void> {
    await this.commands.run('sync', []);
  }

  async dropCaches(): Promise<void> {
    await this.settle();
    await dropCaches();
  }

  /** An empty folder on a place. */
  async emptyFolder(folder: string): Promise<string> {
    await this.commands.shell('rm -rf "$1" && mkdir -p "$1"', [folder]);
    return folder;
  }

  /** A path of its own for a job. */
  async jobFolder(name: string): Promise<string> {
    const folder = path.join(this.folder, name);
    await mkdir(folder, { recursive: true });
    return folder;
  }

  /** After a job that failed: what the mounts do is not to be relied on. The next job gets new ones. */
  async renewMounts(): Promise<void> {
    await (await this.#home?.catch(() => undefined))?.closeMounts();
    this.#mount = undefined;
    this.livedThrough.clear();
  }

  /** Unmounts all that is shared. */
  async close(): Promise<void> {
    for (const close of this.#closers.reverse()) await close();
  }

  async #makeTree(): Promise<Tree> {
    const source = await this.#findSource();
    const root = path.join(this.folder, 'source', 'tree');
    say(`copying ${source}`);
    const { filesMax } = this.scale;
    if (filesMax === Infinity) await copyTree(this.commands, source, root);
    else await copyFirstFiles(this.commands, source, root, filesMax);
    let digest: Promise<string> | undefined;
    return {
      root,
      counts: await countTree(root),
      digest: () => (digest ??= digestTree(this.commands, root)),
    };
  }

  async #makeHome({ root }: Tree): Promise<CairnHome> {
    const home = new CairnHome(this.commands, path.join(this.folder, 'shared'));
    this.#closers.push(() => home.closeMounts());
    say('importing the tree');
    await home.import(path.dirname(root), MAIN);
    return home;
  }

  async #mountPeers(tree: string): Promise<{ places: Place[]; leftOut: Map<string, string> }> {
    const folder = await this.jobFolder('peers');
    const peers = [new SquashfuseMount(this.commands, folder), new RcloneMount(folder)];
    const places: Place[] = [];
    const leftOut = new Map<string, string>();
    for (const peer of peers) {
      if (this.installed[peer.system] === undefined) {
        leftOut.set(peer.system, NOT_INSTALLED);
        continue;
      }
      this.#closers.push(() => peer.mount.close());
      try {
        places.push(await peer.mountFolder(tree));
      } catch (error) {
        leftOut.set(peer.system, oneLine(error));
      }
    }
    return { places, leftOut };
  }
}
