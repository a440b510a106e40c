import type net from 'node:net';
import { CairnError } from '../core/index.js';
import { readLines } from './control-lines.js';
import type { ControlAnswer, ControlRequest } from './control-protocol.js';
import { connectControl, isAlive } from './control-socket.js';
import { errorFromRecord } from './error-record.js';
import type { MountControl, MountRequest, MountStats, MountStatus, SnapshotResult } from './mount-control.js';
import type { MountFolder } from './mount-folder.js';
import type { SharedMount } from './shared-mount.js';

/** How long a daemon may take to come back after it died: its supervisor starts it at once. */
const RECONNECT_MS = 15_000;
const RECONNECT_STEP_MS = 50;

/** How long a daemon may take to end after its mount: it finishes a snapshot that is under way. */
const UNMOUNT_MS = 60_000;

/**
 * Talks to the daemon of one mount. Every request has a connection of its own, so a restarted daemon is found again. The mount itself is only
 * looked at where the daemon does not answer: what that needs takes longer to load than most requests to answer.
 */
export class ControlClient implements MountControl {
  readonly workspace: string;
  readonly #folder: MountFolder;
  readonly #mountpoint: string;
  readonly #sockets = new Set<net.Socket>();

  constructor(folder: MountFolder, { workspace, mountpoint }: MountRequest) {
    this.workspace = workspace;
    this.#folder = folder;
    this.#mountpoint = mountpoint;
  }

  /** Whether its daemon answers right now. */
  async isAlive(): Promise<boolean> {
    return await isAlive(this.#folder);
  }

  /** Whether anything is mounted at its mountpoint. */
  async isMounted(): Promise<boolean> {
    const { mountAt } = await import('../fuse/index.js');
    return (await mountAt(this.#mountpoint)) !== undefined;
  }

  async status(limit: number): Promise<MountStatus> {
    return (await this.#ask({ method: 'status', limit })) as MountStatus;
  }

  async stats(): Promise<MountStats> {
    return (await this.#ask({ method: 'stats' })) as MountStats;
  }

  async snapshot(
    options: { message: string; author: string; rebase: boolean },
    onProgress: (step: string) => void,
  ): Promise<SnapshotResult> {
    return (await this.#ask({ method: 'snapshot', ...options }, onProgress)) as SnapshotResult;
  }

  /** See `receiveMount`. */
  async share(): Promise<SharedMount> {
    return (await this.#ask({ method: 'share' })) as SharedMount;
  }

  /** The daemon ends for one of the supervisor with the pid `to`: it is ending when this resolves, with its pid. */
  async yieldTo(to: number): Promise<number> {
    return (await this.#ask({ method: 'yield', to })) as number;
  }

  async unmount(): Promise<void> {
    const socket = await this.#connect().catch(() => undefined);
    // The daemon closes its socket when it has put everything in order, which is when the folder is free again. That may be before
    // the unmount below has returned.
    const closed = new Promise<void>((resolve) => {
      if (socket === undefined) resolve();
      else socket.once('close', resolve);
    });
    // A daemon that dies while it unmounts is gone as well.
    socket?.on('error', () => undefined);
    socket?.resume();
    const { unmountFuse } = await import('../fuse/index.js');
    await unmountFuse(this.#mountpoint);
    await Promise.race([closed, this.#heldElsewhere()]);
  }

  /** The name is gone here, but a mount lives as long as any mount namespace (a container's, say) shows it. */
  async #heldElsewhere(): Promise<never> {
    await new Promise((resolve) => setTimeout(resolve, UNMOUNT_MS).unref());
    throw new CairnError(
      'conflict',
      `${this.#mountpoint} is unmounted, but its daemon still serves it elsewhere`,
      {
        hint: 'another mount namespace holds it; it ends with the last program there',
      },
    );
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async #ask(request: ControlRequest, onStep: (step: string) => void = () => undefined): Promise<unknown> {
    const socket = await this.#connect();
    try {
      return await new Promise((resolve, reject) => {
        const end = (cause: unknown): void => {
          reject(this.#died(cause));
        };
        // ECONNRESET, EPIPE: the other way for a connection to end with its daemon.
        socket.once('error', end);
        socket.once('close', end);
        readLines(socket, Infinity, (line) => {
          const answer = JSON.parse(line) as ControlAnswer;
          if (answer.kind === 'result') resolve(answer.result);
          else if (answer.kind === 'error') reject(errorFromRecord(answer.error));
          else onStep(answer.step);
        });
        socket.write(`${JSON.stringify(request)}\n`);
      });
    } finally {
      socket.destroy();
      this.#sockets.delete(socket);
    }
  }

  #died(cause: unknown): CairnError {
    return new CairnError('unreachable', `the daemon of ${this.#mountpoint} died while it answered`, {
      hint: 'it is being restarted; nothing is lost, ask again',
      cause,
    });
  }

  async #connect(): Promise<net.Socket> {
    const deadlineMs = performance.now() + RECONNECT_MS;
    for (;;) {
      try {
        const socket = await connectControl(this.#folder);
        this.#sockets.add(socket);
        return socket;
      } catch (error) {
        const mounted = await this.isMounted();
        if (!mounted || performance.now() > deadlineMs) {
          throw new CairnError('unreachable', `the daemon of ${this.#mountpoint} does not answer`, {
            hint: mounted
              ? `cairn unmount ${this.#mountpoint}, then mount again; edits are kept`
              : 'it is not mounted',
            cause: error,
          });
        }
      }
      await new Promise((resolve) => setTimeout(resolve, RECONNECT_STEP_MS));
    }
  }
}
