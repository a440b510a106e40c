import fs from 'node:fs';
import { CairnError, messageOf } from '../core/index.js';
import { mountFuse, refuseRequests, requestResend, unmountFuse } from '../fuse/index.js';
import { isDead, threadState } from '../posix/index.js';
import { serveControl } from './control-server.js';
import { isAlive } from './control-socket.js';
import { DaemonProcess } from './daemon-process.js';
import type { MountedAs, MountRequest } from './mount-control.js';
import type { MountFolder } from './mount-folder.js';
import type { SharedMount } from './shared-mount.js';

/** A daemon that worked for so long was healthy: the next death counts as a first one. */
const HEALTHY_MS = 10_000;
const QUICK_DEATHS_MAX = 10;
const BACKOFF_FIRST_MS = 20;
const BACKOFF_MAX_MS = 2_000;
/** How often to look whether another process has come up, or ended. */
const LOOK_MS = 20;

/**
 * Holds the mount's descriptor and does nothing else that could fail: while it lives, the mount lives (law 5). It starts the daemon, and
 * starts it again when it dies; programs on the mount see a pause. A daemon that ends with status 0 was unmounted. When none stays alive the
 * mount stays, and answers everything with an error, until it is unmounted: so no program waits for ever, and none sees the folder below it.
 */
export class Supervisor {
  readonly #folder: MountFolder;
  readonly #request: MountRequest;
  #fd = -1;
  #restarts = 0;
  #takesOver = false;
  /** Resolves when the mount is gone; rejects when that was after its daemon could not be kept alive. */
  #ended: Promise<void> = Promise.resolve();

  constructor(folder: MountFolder, request: MountRequest) {
    this.#folder = folder;
    this.#request = request;
  }

  get ended(): Promise<void> {
    return this.#ended;
  }

  /** Mounts and waits until the daemon answers; on failure nothing stays mounted. */
  async start(): Promise<MountedAs> {
    const { workspace, seq, mountpoint, readOnly, allowOther } = this.#request;
    const fsname = `cairn:${workspace}${seq === undefined ? '' : `@${String(seq)}`}`;
    const { fd } = await mountFuse({ mountpoint, fsname, subtype: 'cairn', readOnly, allowOther });
    this.#fd = fd;
    const daemon = this.#startDaemon();
    try {
      const as = await daemon.started;
      this.#takesOver = true;
      this.#serve(daemon);
      return { ...as, supervisorPid: process.pid };
    } catch (error) {
      daemon.kill('it did not start');
      // Closing the descriptor ends the connection: whoever waits gets an error instead of waiting for ever.
      fs.closeSync(this.#fd);
      await this.unmount().catch(() => undefined);
      throw error;
    }
  }

  /**
   * Goes on with a mount that another supervisor and its daemon serve, which then end. They go on if this fails; then the mount is theirs. `shared`:
   * of `receiveMount`; `yieldMount` asks that daemon to end, and resolves with its pid.
   */
  async takeOver(
    { fd, supervised, restarts }: SharedMount & { fd: number },
    yieldMount: () => Promise<number>,
  ): Promise<MountedAs> {
    this.#fd = fd;
    this.#restarts = restarts;
    this.#takesOver = true;
    const daemon = this.#startDaemon({ standsBy: true });
    let isOurs = false;
    try {
      await daemon.standing;
      const daemonPid = await yieldMount();
      while (isRunning(daemonPid)) await delay(LOOK_MS);
      // Nobody else is there to go on.
      isOurs = !supervised;
      daemon.takeTurn();
      const as = await daemon.started;
      isOurs = true;
      return { ...as, supervisorPid: process.pid };
    } catch (error) {
      daemon.kill('it did not take over');
      if (!isOurs) {
        await daemon.ended;
        fs.closeSync(fd);
      }
      throw error;
    } finally {
      if (isOurs) this.#serve(daemon);
    }
  }

  #serve(daemon: DaemonProcess): void {
    this.#ended = this.#keepAlive(daemon);
    this.#ended.catch(() => undefined);
  }

  /** Passes a termination signal on as an orderly unmount; programs that use the mount keep it. */
  async unmount(): Promise<void> {
    await unmountFuse(this.#request.mountpoint);
  }

  #startDaemon({ standsBy = false } = {}): DaemonProcess {
    return new DaemonProcess({
      fd: this.#fd,
      folder: this.#folder,
      mountpoint: this.#request.mountpoint,
      restarts: this.#restarts,
      takesOver: this.#takesOver,
      standsBy,
      onNote: (text) => {
        this.#note(text);
      },
    });
  }

  async #keepAlive(first: DaemonProcess): Promise<void> {
    let quickDeaths = 0;
    for (let daemon = first; ; daemon = this.#startDaemon()) {
      const end = await daemon.ended;
      if (end.unmounted) return;
      if (end.yieldedTo !== undefined) {
        if (await this.#isTakenOver(end.yieldedTo)) return;
        this.#note('the supervisor that wanted to take over did not come up');
        continue;
      }
      this.#note(`the daemon died: ${end.how}`);
      this.#restarts += 1;
      quickDeaths = end.killedByOthers || end.workedMs > HEALTHY_MS ? 0 : quickDeaths + 1;
      if (quickDeaths > QUICK_DEATHS_MAX) {
        await this.#refuse(
          `its daemon died ${String(quickDeaths)} times in a row, the last time because ${end.how}`,
        );
      }
      if (quickDeaths > 1) await delay(Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** quickDeaths));
    }
  }

  /** Resolves when the daemon of another supervisor answers, or that supervisor has ended. */
  async #isTakenOver(supervisorPid: number): Promise<boolean> {
    for (;;) {
      const running = isRunning(supervisorPid);
      if (await isAlive(this.#folder)) {
        fs.closeSync(this.#fd);
        return true;
      }
      if (!running) return false;
      await delay(LOOK_MS);
    }
  }

  /** Answers every request with EIO, and every command with why. Throws when the mount is gone. */
  async #refuse(why: string): Promise<never> {
    const { mountpoint } = this.#request;
    const what = `${mountpoint} only gives errors: ${why}`;
    const hint = `see ${this.#folder.logPath}; cairn unmount ${mountpoint}, then mount again: edits are kept`;
    const problem = new CairnError('failed', what, { hint });
    this.#note(what);
    let endControl = (): void => undefined;
    try {
      endControl = await serveControl(this.#folder, () => Promise.reject(problem));
    } catch (error) {
      // Programs are answered without it.
      this.#note(`no command can be answered: ${messageOf(error)}`);
    }
    try {
      requestResend(this.#fd);
    } catch (error) {
      this.#note(`what the last daemon did not answer stays unanswered: ${messageOf(error)}`);
    }
    await refuseRequests(this.#fd);
    endControl();
    throw problem;
  }

  /** Into the log, where there is space for it. */
  #note(text: string): void {
    try {
      fs.appendFileSync(this.#folder.logPath, `${JSON.stringify({ supervisor: text })}\n`);
    } catch {
      // The mount matters more.
    }
  }
}

/** A process that is not waited for by whoever started it is none any more. */
function isRunning(pid: number): boolean {
  return threadState(pid) !== undefined && !isDead(pid);
}

async function delay(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}
