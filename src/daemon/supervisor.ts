import { spawn, type ChildProcess } from 'node:child_process';
import fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import { CairnError, messageOf } from '../core/index.js';
import { mountFuse, unmountFuse } from '../fuse/index.js';
import { isDead, releaseMemory } from '../posix/index.js';
import { errorFromRecord } from './error-record.js';
import { MALLOC_VARIABLES } from './memory-settings.js';
import type { MountedAs, MountRequest } from './mount-control.js';
import type { MountFolder } from './mount-folder.js';
import {
  FOLDER_VARIABLE,
  RESTARTS_VARIABLE,
  SUPERVISOR_VARIABLE,
  type StartReport,
} from './supervisor-protocol.js';

/** A daemon that lived this long was healthy: the next death counts as a first one. */
const HEALTHY_MS = 10_000;
const QUICK_DEATHS_MAX = 10;
const BACKOFF_FIRST_MS = 20;
const BACKOFF_MAX_MS = 2_000;
/** How often to look whether the daemon is dead and still does not end. */
const DEATH_CHECK_MS = 1_000;

const DAEMON = fileURLToPath(new URL('./daemon-main.js', import.meta.url));

/**
 * Holds the mount's descriptor and does nothing else that could fail: while it lives, the mount lives (law 5). It starts the daemon, and
 * starts it again when it dies; programs on the mount see a pause. A daemon that ends with status 0 was unmounted.
 */
export class Supervisor {
  readonly #folder: MountFolder;
  readonly #request: MountRequest;
  #fd = -1;
  #daemon: ChildProcess | undefined;
  #restarts = 0;
  #quickDeaths = 0;
  #startedAtMs = 0;
  #finish: (error: CairnError | undefined) => void = () => undefined;
  /** Resolves when the mount is gone; rejects when the daemon cannot be kept alive. */
  readonly ended: Promise<void>;

  constructor(folder: MountFolder, request: MountRequest) {
    this.#folder = folder;
    this.#request = request;
    this.ended = new Promise((resolve, reject) => {
      this.#finish = (error) => {
        if (error === undefined) resolve();
        else reject(error);
      };
    });
    this.ended.catch(() => undefined);
  }

  /** Mounts and waits until the daemon answers; on failure nothing stays mounted. */
  async start(): Promise<MountedAs> {
    const { workspace, seq, mountpoint, readOnly, allowOther } = this.#request;
    const fsname = `cairn:${workspace}${seq === undefined ? '' : `@${String(seq)}`}`;
    const { fd } = await mountFuse({ mountpoint, fsname, subtype: 'cairn', readOnly, allowOther });
    this.#fd = fd;
    try {
      const as = await this.#startDaemon();
      return { ...as, supervisorPid: process.pid };
    } catch (error) {
      await this.#giveUp();
      throw error;
    }
  }

  /** Passes a termination signal on as an orderly unmount; programs that use the mount keep it. */
  async unmount(): Promise<void> {
    await unmountFuse(this.#request.mountpoint);
  }

  async #startDaemon(): Promise<Omit<MountedAs, 'supervisorPid'>> {
    const log = fs.openSync(this.#folder.logPath, 'a', 0o600);
    const daemon = spawn(process.execPath, [...process.execArgv, DAEMON], {
      stdio: ['ignore', log, log, this.#fd, 'ipc'],
      env: {
        ...MALLOC_VARIABLES,
        ...process.env,
        [FOLDER_VARIABLE]: this.#folder.dir,
        [RESTARTS_VARIABLE]: String(this.#restarts),
        [SUPERVISOR_VARIABLE]: String(process.pid),
      },
    });
    fs.closeSync(log);
    this.#daemon = daemon;
    this.#startedAtMs = performance.now();
    return await new Promise((resolve, reject) => {
      let mounted = false;
      daemon.on('message', (report: StartReport) => {
        if (report.kind === 'failed') {
          reject(errorFromRecord(report.error));
          return;
        }
        mounted = true;
        this.#watch(daemon);
        resolve(report.as);
      });
      daemon.on('error', reject);
      daemon.on('exit', (status, signal) => {
        if (mounted) return;
        const how = signal ?? `status ${String(status)}`;
        const hint = `see ${this.#folder.logPath}`;
        reject(
          new CairnError('failed', `the daemon of ${this.#request.mountpoint} ended with ${how}`, { hint }),
        );
      });
    });
  }

  /**
   * A dead daemon does not end while its feeder waits in the kernel for a page that a READ has locked: only the next daemon will answer that.
   * So that is started although the last is still there, which then overwrites nothing: without its memory it has nothing to push.
   */
  #watch(daemon: ChildProcess): void {
    const check = setInterval(() => {
      if (daemon.pid === undefined || !isDead(daemon.pid)) return;
      try {
        if (!releaseMemory(daemon.pid)) return;
      } catch (error) {
        this.#note(`a dead daemon does not end: ${messageOf(error)}`);
        return;
      }
      daemon.off('exit', onExit);
      clearInterval(check);
      this.#ended(null, null);
    }, DEATH_CHECK_MS);
    const onExit = (status: number | null, signal: NodeJS.Signals | null): void => {
      clearInterval(check);
      this.#ended(status, signal);
    };
    daemon.on('exit', onExit);
  }

  #ended(status: number | null, signal: NodeJS.Signals | null): void {
    if (status === 0) {
      this.#finish(undefined);
      return;
    }
    void this.#restart(signal);
  }

  async #restart(signal: NodeJS.Signals | null): Promise<void> {
    // Nothing in a daemon that answers kills it: somebody else did, who may do so as often as they like.
    let wasHealthy = signal === 'SIGKILL' || performance.now() - this.#startedAtMs > HEALTHY_MS;
    for (;;) {
      this.#restarts += 1;
      this.#quickDeaths = wasHealthy ? 0 : this.#quickDeaths + 1;
      wasHealthy = false;
      if (this.#quickDeaths > QUICK_DEATHS_MAX) {
        await this.#giveUp();
        const hint = `see ${this.#folder.logPath}; edits are kept, mount again to go on`;
        const what = `the daemon of ${this.#request.mountpoint} died ${String(this.#quickDeaths)} times`;
        this.#finish(new CairnError('failed', what, { hint }));
        return;
      }
      if (this.#quickDeaths > 1)
        await delay(Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** this.#quickDeaths));
      try {
        await this.#startDaemon();
        return;
      } catch (error) {
        this.#note(messageOf(error));
        this.#daemon?.kill('SIGKILL');
      }
    }
  }

  /** Into the log, where there is space for it. */
  #note(text: string): void {
    try {
      fs.appendFileSync(this.#folder.logPath, `${JSON.stringify({ supervisor: text })}\n`);
    } catch {
      // The mount matters more.
    }
  }

  /** Closing the descriptor ends the connection: whoever waits gets an error instead of waiting for ever. */
  async #giveUp(): Promise<void> {
    this.#daemon?.kill('SIGKILL');
    fs.closeSync(this.#fd);
    await unmountFuse(this.#request.mountpoint).catch(() => undefined);
  }
}

async function delay(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}
