import { mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { MountedAs, MountStats, SnapshotResult } from '../../../src/daemon/index.js';
import type { ImportResult } from '../../../src/snapshot/index.js';
import { expectCount, type Archiver } from './archiver.js';
import type { ChangedFiles } from './changed-files.js';
import { removeFolder } from './remove-folder.js';
import { TimedCommands, type TimedOutput } from './timed-commands.js';
import type { TreeCounts } from './tree-counts.js';

const CAIRN = path.resolve(import.meta.dirname, '../../../../bin/cairn');
const WORKSPACE = 'bench';
const MOUNT_LIMIT_SECONDS = 120;
const UNMOUNT_LIMIT_SECONDS = 30;
const UNMOUNT_ATTEMPTS = 5;
const UNMOUNT_PAUSE_MS = 200;

/** What a step cost: requests and bytes of the store, requests of the kernel. */
export interface MountCosts {
  storeRequests: number;
  storeBytesIn: number;
  storeBytesOut: number;
  fuseRequests: Record<string, number>;
}

/** Of the supervisor and the daemon together. */
export interface MountMemory {
  residentBytes: number;
  /** Pages that several processes share count in parts (proc_pid_smaps(5), Pss). */
  proportionalBytes: number;
}

/** CairnFS as a user has it: the `cairn` command with a home folder of its own. One mount at a time. */
export class CairnHome {
  readonly folder: string;
  readonly mountpoint: string;
  readonly #commands: TimedCommands;
  readonly #env: Record<string, string>;
  /** For mounting and unmounting: a mount that is cut short could appear when all has been unmounted. */
  readonly #uninterrupted = new TimedCommands(new AbortController().signal);
  #mounted: { pids: number[] } | undefined;

  /** `store` and `catalog` are URLs; empty means those in the home folder. */
  constructor(
    commands: TimedCommands,
    folder: string,
    {
      store = '',
      catalog = '',
      env = {},
    }: { store?: string; catalog?: string; env?: Record<string, string> } = {},
  ) {
    this.#commands = commands;
    this.folder = folder;
    this.mountpoint = path.join(folder, 'mnt');
    this.#env = { ...env, CAIRN_HOME: path.join(folder, 'home'), CAIRN_STORE: store, CAIRN_CATALOG: catalog };
  }

  get storeFolder(): string {
    return path.join(this.folder, 'home', 'store');
  }

  get catalogUrl(): string {
    return `sqlite://${path.join(this.folder, 'home', 'catalog.sqlite')}`;
  }

  async import(tree: string): Promise<TimedOutput & { result: ImportResult }> {
    const output = await this.#cairn(['import', tree, '--workspace', WORKSPACE, '--json']);
    return { ...output, result: JSON.parse(output.stdout) as ImportResult };
  }

  /** From the start of `cairn mount` until `ls` of the mount's root is done. */
  async mountAndList(): Promise<TimedOutput> {
    await mkdir(this.mountpoint, { recursive: true });
    this.#mounted = { pids: [] };
    const mount = await this.#cairn(['mount', WORKSPACE, this.mountpoint, '--json'], {
      commands: this.#uninterrupted,
      limitSeconds: MOUNT_LIMIT_SECONDS,
    });
    const { supervisorPid, daemonPid } = JSON.parse(mount.stdout) as MountedAs;
    // The supervisor first, where they have to be ended: it would start another daemon.
    this.#mounted.pids.push(supervisorPid, daemonPid);
    const list = await this.#commands.run('ls', [this.mountpoint], { limitSeconds: MOUNT_LIMIT_SECONDS });
    if (list.stdout === '') throw new Error(`${this.mountpoint} is empty`);
    const shown = `cairn mount ${WORKSPACE} mnt && ls mnt`;
    return { stdout: list.stdout, tookMs: mount.tookMs + list.tookMs, shown };
  }

  async snapshot(): Promise<TimedOutput & { result: SnapshotResult }> {
    const output = await this.#cairn(['snapshot', this.mountpoint, '--json']);
    return { ...output, result: JSON.parse(output.stdout) as SnapshotResult };
  }

  async changedPaths(fromSeq: number, toSeq: number): Promise<number> {
    const words = ['diff', `${WORKSPACE}@${fromSeq}`, String(toSeq), '--json'];
    return (await this.#cairn(words)).stdout.split('\n').filter((line) => line !== '').length;
  }

  async stats(): Promise<MountStats> {
    return JSON.parse((await this.#cairn(['stats', this.mountpoint, '--json'])).stdout) as MountStats;
  }

  /** What `work` costs in the mount that is there before and after it. */
  async costsOf<Result>(work: () => Promise<Result>): Promise<{ result: Result; costs: MountCosts }> {
    const before = await this.stats();
    const result = await work();
    return { result, costs: costsBetween(await this.stats(), before) };
  }

  async memory(): Promise<MountMemory> {
    const { supervisor, daemon } = await this.stats();
    const memory: MountMemory = { residentBytes: 0, proportionalBytes: 0 };
    for (const { pid } of [supervisor, daemon]) {
      const rollup = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8');
      const sizeOf = (name: string) =>
        1024 * Number(new RegExp(`^${name}: +(\\d+) kB`, 'm').exec(rollup)?.[1]);
      memory.residentBytes += sizeOf('Rss');
      memory.proportionalBytes += sizeOf('Pss');
    }
    return memory;
  }

  async unmount(): Promise<void> {
    await this.#cairn(['unmount', this.mountpoint], {
      commands: this.#uninterrupted,
      limitSeconds: UNMOUNT_LIMIT_SECONDS,
    });
    this.#mounted = undefined;
  }

  /** Unmounts, by force where it must be, and removes the folder. */
  async close(): Promise<void> {
    for (let attempt = 0; this.#mounted !== undefined && attempt < UNMOUNT_ATTEMPTS; attempt++) {
      await this.unmount().catch(() => delay(UNMOUNT_PAUSE_MS));
    }
    if (this.#mounted !== undefined) await this.#unmountByForce(this.#mounted.pids);
    await removeFolder(this.folder);
  }

  async #unmountByForce(pids: readonly number[]): Promise<void> {
    for (const pid of pids) endProcess(pid);
    const [command, ...flags] = process.getuid?.() === 0 ? ['umount', '-l'] : ['fusermount3', '-u', '-z'];
    const words = [...flags, this.mountpoint];
    // Fails where nothing is mounted.
    await this.#uninterrupted
      .run(command, words, { limitSeconds: UNMOUNT_LIMIT_SECONDS })
      .catch(() => undefined);
    this.#mounted = undefined;
  }

  async #cairn(
    words: readonly string[],
    { commands = this.#commands, limitSeconds }: { commands?: TimedCommands; limitSeconds?: number } = {},
  ): Promise<TimedOutput> {
    const output = await commands.run(process.execPath, [CAIRN, ...words], {
      env: this.#env,
      ...(limitSeconds !== undefined && { limitSeconds }),
    });
    return { ...output, shown: output.shown.replace(`${process.execPath} ${CAIRN}`, 'cairn') };
  }
}

/** All that a mount has cost since it began. */
export function costsSinceMount(stats: MountStats): MountCosts {
  return {
    storeRequests: Object.values(stats.store.requests).reduce((sum, count) => sum + count, 0),
    storeBytesIn: stats.store.bytesIn,
    storeBytesOut: stats.store.bytesOut,
    fuseRequests: stats.fuse.requests,
  };
}

function costsBetween(after: MountStats, before: MountStats): MountCosts {
  const [end, start] = [costsSinceMount(after), costsSinceMount(before)];
  const fuseRequests: Record<string, number> = {};
  for (const [opcode, count] of Object.entries(end.fuseRequests)) {
    const more = count - (start.fuseRequests[opcode] ?? 0);
    if (more > 0) fuseRequests[opcode] = more;
  }
  return {
    storeRequests: end.storeRequests - start.storeRequests,
    storeBytesIn: end.storeBytesIn - start.storeBytesIn,
    storeBytesOut: end.storeBytesOut - start.storeBytesOut,
    fuseRequests,
  };
}

function endProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}

/** What a snapshot says of itself: of the daemon, without the start of the command. */
export interface SnapshotReport {
  result: SnapshotResult;
  costs: MountCosts;
}

/** CairnFS beside its peers. It changes the files in a mount, where a user would. */
export class Cairn implements Archiver {
  readonly name: string;
  readonly home: CairnHome;
  readonly snapshots: SnapshotReport[] = [];
  readonly #commands: TimedCommands;
  readonly #tree: string;
  readonly #counts: TreeCounts;
  readonly #files: ChangedFiles;

  constructor(
    name: string,
    commands: TimedCommands,
    home: CairnHome,
    tree: string,
    counts: TreeCounts,
    files: ChangedFiles,
  ) {
    this.name = name;
    this.home = home;
    this.#commands = commands;
    this.#tree = tree;
    this.#counts = counts;
    this.#files = files;
  }

  async firstVersion(): Promise<TimedOutput> {
    await mkdir(this.home.folder, { recursive: true });
    const output = await this.home.import(this.#tree);
    expectCount('cairn: files', output.result.files, this.#counts.files);
    expectCount('cairn: bytes', output.result.bytes, this.#counts.size_bytes);
    return output;
  }

  async unchanged(): Promise<TimedOutput> {
    const output = await this.home.import(this.#tree);
    if (output.result.created) throw new Error('cairn: an unchanged tree became a version');
    return output;
  }

  async changed(line: string): Promise<TimedOutput> {
    const { mountpoint } = this.home;
    await this.#files.change(this.#commands, mountpoint, line);
    const { result: output, costs } = await this.home.costsOf(() => this.home.snapshot());
    const { result } = output;
    expectCount('cairn: changed files', result.changedFiles, this.#files.count);
    expectCount(
      'cairn: changed paths',
      await this.home.changedPaths(result.seq - 1, result.seq),
      this.#files.count,
    );
    this.snapshots.push({ result, costs });
    return output;
  }

  async close(): Promise<void> {
    await this.home.close();
  }
}
