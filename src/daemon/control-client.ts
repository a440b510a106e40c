import type net from 'node:net';
import { createInterface } from 'node:readline';
import { CairnError, systemCode } from '../core/index.js';
import { mountAt, unmountFuse } from '../fuse/index.js';
import type { ControlAnswer, ControlRequest } from './control-protocol.js';
import { connectControl } from './control-socket.js';
import { errorFromRecord } from './error-record.js';
import type { MountControl, MountStats, MountStatus, SnapshotResult } from './mount-control.js';
import type { MountFolder } from './mount-folder.js';

/** How long a daemon may take to come back after it died: its supervisor starts it at once. */
const RECONNECT_MS = 15_000;
const RECONNECT_STEP_MS = 50;

/** How long a daemon may take to end after its mount: it finishes a snapshot that is under way. */
const UNMOUNT_MS = 60_000;

/** Talks to the daemon of one mount. Every request has a connection of its own, so a restarted daemon is found again. */
export class ControlClient implements MountControl {
  readonly #folder: MountFolder;
  readonly #mountpoint: string;
  readonly #sockets = new Set<net.Socket>();

  constructor(folder: MountFolder, mountpoint: string) {
    this.#folder = folder;
    this.#mountpoint = mountpoint;
  }

  async status(limit: number): Promise<MountStatus> {
    return (await this.#ask({ method: 'status', limit })) as MountStatus;
  }

  async stats(): Promise<MountStats> {
    return (await this.#ask({ method: 'stats' })) as MountStats;
  }

  async snapshot(
    options: { message: string; author: string },
    onProgress: (step: string) => void,
  ): Promise<SnapshotResult> {
    return (await this.#ask({ method: 'snapshot', ...options }, onProgress)) as SnapshotResult;
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
    let cause: unknown;
    try {
      socket.write(`${JSON.stringify(request)}\n`);
      for await (const line of createInterface({ input: socket })) {
        const answer = JSON.parse(line) as ControlAnswer;
        if (answer.kind === 'result') return answer.result;
        if (answer.kind === 'error') throw errorFromRecord(answer.error);
        onStep(answer.step);
      }
    } catch (error) {
      // ECONNRESET, EPIPE: the other way for a connection to end with its daemon.
      if (error instanceof CairnError || systemCode(error) === undefined) throw error;
      cause = error;
    } finally {
      socket.destroy();
      this.#sockets.delete(socket);
    }
    throw new CairnError('unreachable', `the daemon of ${this.#mountpoint} died while it answered`, {
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
        const mounted = (await mountAt(this.#mountpoint)) !== undefined;
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
