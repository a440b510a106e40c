import { spawn, type ChildProcess } from 'node:child_process';
import fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import { CairnError, messageOf } from '../core/index.js';
import { isDead, memoryBytes, releaseMemory, threadState } from '../posix/index.js';
import { errorFromRecord } from './error-record.js';
import { BEATS_MISSED_MAX, beatMs, BUSY_BEATS_MAX, isHeld } from './heartbeat.js';
import { MALLOC_VARIABLES, memoryLimitBytes } from './memory-settings.js';
import type { MountedAs } from './mount-control.js';
import type { MountFolder } from './mount-folder.js';
import {
  FOLDER_VARIABLE,
  RESTARTS_VARIABLE,
  STAND_BY_VARIABLE,
  SUPERVISOR_VARIABLE,
  TOOK_OVER_VARIABLE,
  type DaemonReport,
  type YourTurn,
} from './supervisor-protocol.js';

const DAEMON = fileURLToPath(new URL('./daemon-main.js', import.meta.url));

/** How often to look whether it is dead and still does not end. */
const DEATH_CHECK_MS = 1_000;

/** How a daemon ended. */
export interface DaemonEnd {
  /** The mount is gone, and nothing is left to be done. */
  unmounted: boolean;
  /** The supervisor whose daemon goes on, if it comes up. */
  yieldedTo: number | undefined;
  /** In words, for a person. */
  how: string;
  /** Somebody else killed it: that says nothing about the next one. */
  killedByOthers: boolean;
  /** From its start to the last time it was seen to work. */
  workedMs: number;
}

/** One daemon, from its start to its end. What hangs, or takes more memory than it may, is killed. */
export class DaemonProcess {
  readonly #child: ChildProcess;
  readonly #startedAtMs = performance.now();
  readonly #checks: NodeJS.Timeout[];
  #lastBeatAtMs = this.#startedAtMs;
  #missedBeats = 0;
  #busyBeats = 0;
  /** Why it is being killed. */
  #fault: string | undefined;
  #yieldedTo: number | undefined;
  #isUnmounted = false;
  #end: (end: DaemonEnd) => void = () => undefined;
  /** Resolves when it answers; rejects when it cannot start. */
  readonly started: Promise<Omit<MountedAs, 'supervisorPid'>>;
  /** Resolves when it stands by; rejects when it cannot start. */
  readonly standing: Promise<void>;
  /** Never rejects. */
  readonly ended: Promise<DaemonEnd>;

  constructor(options: {
    fd: number;
    folder: MountFolder;
    mountpoint: string;
    /** How many there were before it. */
    restarts: number;
    /** The kernel already speaks with the mount. */
    takesOver: boolean;
    /** Another daemon still answers: see `takeTurn`. */
    standsBy?: boolean;
    onNote: (text: string) => void;
  }) {
    const { fd, folder, mountpoint, restarts } = options;
    const log = fs.openSync(folder.logPath, 'a', 0o600);
    const child = spawn(process.execPath, [...process.execArgv, DAEMON], {
      stdio: ['ignore', log, log, fd, 'ipc'],
      env: {
        ...MALLOC_VARIABLES,
        ...process.env,
        [FOLDER_VARIABLE]: folder.dir,
        [RESTARTS_VARIABLE]: String(restarts),
        [SUPERVISOR_VARIABLE]: String(process.pid),
        ...(options.takesOver ? { [TOOK_OVER_VARIABLE]: '1' } : {}),
        ...(options.standsBy === true ? { [STAND_BY_VARIABLE]: '1' } : {}),
      },
    });
    fs.closeSync(log);
    this.#child = child;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    let stand = (): void => undefined;
    const standing = new Promise<void>((resolve) => {
      stand = resolve;
    });
    this.started = new Promise((resolve, reject) => {
      child.on('message', (report: DaemonReport) => {
        this.#missedBeats = 0;
        this.#busyBeats = 0;
        this.#lastBeatAtMs = performance.now();
        if (report.kind === 'mounted') resolve(report.as);
        if (report.kind === 'standing by') stand();
        if (report.kind === 'unmounted') this.#isUnmounted = true;
        if (report.kind === 'yielding') this.#yieldedTo = report.to;
        if (report.kind !== 'failed') return;
        const error = errorFromRecord(report.error);
        reject(error);
        this.kill(error.message);
      });
      void this.ended.then(({ how }) => {
        const hint = `see ${folder.logPath}`;
        reject(new CairnError('failed', `the daemon of ${mountpoint} did not start: ${how}`, { hint }));
      });
    });
    this.started.catch(() => undefined);
    this.standing = Promise.race([standing, this.started.then(() => undefined)]);
    this.standing.catch(() => undefined);
    child.on('error', (error) => {
      this.#ended(null, null, messageOf(error));
    });
    child.on('exit', (status, signal) => {
      this.#ended(status, signal, this.#fault);
    });
    this.#checks = [
      setInterval(() => {
        this.#checkHealth();
      }, beatMs()),
      setInterval(() => {
        if (!this.#isGone()) return;
        // When what it said before has been read.
        setImmediate(() => {
          this.#checkDeath(options.onNote);
        });
      }, DEATH_CHECK_MS),
    ];
  }

  /** Nobody else answers any more. */
  takeTurn(): void {
    this.#child.send({ kind: 'your turn' } satisfies YourTurn);
  }

  /** `fault`: why. */
  kill(fault: string): void {
    this.#fault ??= fault;
    this.#child.kill('SIGKILL');
  }

  #checkHealth(): void {
    const { pid } = this.#child;
    if (pid === undefined || this.#fault !== undefined) return;
    const bytes = memoryBytes(pid, 'RssAnon');
    if (bytes > memoryLimitBytes()) {
      this.kill(`it took ${String(Math.round(bytes / 2 ** 20))} MiB of memory`);
      return;
    }
    const state = threadState(pid);
    if (isHeld(state)) return;
    if (state === 'R') this.#busyBeats += 1;
    else this.#missedBeats += 1;
    if (this.#missedBeats <= BEATS_MISSED_MAX && this.#busyBeats <= BUSY_BEATS_MAX) return;
    this.kill('it did not get on');
  }

  #isGone(): boolean {
    const { pid } = this.#child;
    return pid !== undefined && isDead(pid);
  }

  /**
   * A dead daemon does not end while its feeder waits in the kernel for a page that a READ has locked: only the next daemon will answer that.
   * So that is started although the last is still there, which then overwrites nothing: without its memory it has nothing to push.
   */
  #checkDeath(note: (text: string) => void): void {
    const { pid } = this.#child;
    // One that has ended in order needs a moment for it, in which its first thread is gone and others are still there.
    if (pid === undefined || this.#isUnmounted || !this.#isGone()) return;
    try {
      if (!releaseMemory(pid)) return;
    } catch (error) {
      note(`a dead daemon does not end: ${messageOf(error)}`);
      return;
    }
    this.#ended(null, null, this.#fault ?? 'it died, and threads of it are still there');
  }

  #ended(status: number | null, signal: NodeJS.Signals | null, fault: string | undefined): void {
    for (const check of this.#checks) clearInterval(check);
    const diedAtMs = fault === undefined ? performance.now() : this.#lastBeatAtMs;
    this.#end({
      unmounted: this.#isUnmounted || status === 0,
      yieldedTo: this.#yieldedTo,
      how: fault ?? (signal === null ? `it ended with status ${String(status)}` : `it got ${signal}`),
      killedByOthers: fault === undefined && signal === 'SIGKILL',
      workedMs: diedAtMs - this.#startedAtMs,
    });
  }
}
