import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type { MountedAs, MountStats, SnapshotResult } from '../../../src/daemon/index.js';
import { costsBetween, type Costs } from '../measure/costs.js';
import type { TimedOutput } from '../measure/timed-commands.js';
import type { CairnCommand } from './cairn-command.js';
import { unmountLazily } from './peer-mount.js';

const UNMOUNT_LIMIT_SECONDS = 60;
const UNMOUNT_ATTEMPTS = 5;
const UNMOUNT_PAUSE_MS = 500;

/** Of the supervisor and the daemon together. */
export interface MountMemory {
  residentBytes: number;
  /** Pages that several processes share count in parts (proc_pid_smaps(5), Pss). */
  proportionalBytes: number;
}

/** One mount of a workspace. Asking it for its counters makes no request of the kernel. */
export class CairnMount {
  readonly workspace: string;
  readonly mountpoint: string;
  readonly #cairn: CairnCommand;
  /** The supervisor first, where they have to be ended: it would start another daemon. */
  #pids: number[] = [];
  #isThere = true;

  constructor(cairn: CairnCommand, workspace: string, mountpoint: string) {
    this.#cairn = cairn;
    this.workspace = workspace;
    this.mountpoint = mountpoint;
  }

  mounted({ supervisorPid, daemonPid }: MountedAs): void {
    this.#pids = [supervisorPid, daemonPid];
  }

  async snapshot(): Promise<TimedOutput & { result: SnapshotResult }> {
    const output = await this.#cairn.run(['snapshot', this.mountpoint, '--json']);
    return { ...output, result: JSON.parse(output.stdout) as SnapshotResult };
  }

  /** All that the mount has cost since it began. */
  async costs(): Promise<Costs> {
    const { fuse, store } = await this.#stats();
    const requests = Object.values(store.requests).reduce((sum, count) => sum + count, 0);
    return { fuse: fuse.requests, store: { requests, bytesIn: store.bytesIn, bytesOut: store.bytesOut } };
  }

  async costsOf<Result>(work: () => Promise<Result>): Promise<{ result: Result; costs: Costs }> {
    const before = await this.costs();
    const result = await work();
    return { result, costs: costsBetween(before, await this.costs()) };
  }

  async memory(): Promise<MountMemory> {
    const { supervisor, daemon } = await this.#stats();
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

  /** Unmounts, by force where it must be. */
  async close(): Promise<void> {
    for (let attempt = 0; this.#isThere && attempt < UNMOUNT_ATTEMPTS; attempt++) {
      await this.#unmount().catch(() => delay(UNMOUNT_PAUSE_MS));
    }
    if (!this.#isThere) return;
    for (const pid of this.#pids) endProcess(pid);
    await unmountLazily(this.mountpoint);
    this.#isThere = false;
  }

  async #unmount(): Promise<void> {
    const limitSeconds = UNMOUNT_LIMIT_SECONDS;
    await this.#cairn.runUninterrupted(['unmount', this.mountpoint], { limitSeconds });
    this.#isThere = false;
  }

  async #stats(): Promise<MountStats> {
    return JSON.parse((await this.#cairn.run(['stats', this.mountpoint, '--json'])).stdout) as MountStats;
  }
}

function endProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}
