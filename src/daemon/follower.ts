import { setTimeout as sleep } from 'node:timers/promises';
import type { Catalog, Version } from '../catalog/index.js';
import { messageOf } from '../core/index.js';
import type { Logger } from './daemon-log.js';
import type { FollowState } from './mount-control.js';

/** One question to the catalog waits so long at most. */
const WAIT_MS = 25_000;

const RETRY_FIRST_MS = 1_000;
const RETRY_MAX_MS = 30_000;

export interface FollowerOptions {
  workspace: string;
  catalog: Catalog;
  /** The version the mount stands on. */
  seq: () => number;
  /** Lets the mount show the head. False where edits are in the way. */
  moveToHead: (head: Version) => Promise<boolean>;
  log: Logger;
}

/** Waits for what others publish, and lets the mount go over to it. What cannot be done is tried again, with growing pauses, and at once when there is another head. */
export class Follower {
  readonly #options: FollowerOptions;
  readonly #stop = new AbortController();
  #running: Promise<void> = Promise.resolve();
  #heldUp: FollowState['heldUp'];
  #problem: FollowState['problem'];
  #retryMs = RETRY_FIRST_MS;

  constructor(options: FollowerOptions) {
    this.#options = options;
  }

  get state(): FollowState {
    // A rebase may have moved the mount meanwhile.
    const isHeldUp = this.#heldUp !== undefined && this.#heldUp.headSeq > this.#options.seq();
    return { heldUp: isHeldUp ? this.#heldUp : undefined, problem: this.#problem };
  }

  start(): void {
    this.#running = this.#follow();
  }

  /** Resolves when it does nothing any more. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #follow(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        await this.#round(signal);
        this.#problem = undefined;
      } catch (error) {
        await this.#failed(error, signal);
      }
    }
  }

  async #round(signal: AbortSignal): Promise<void> {
    const { workspace, catalog, seq } = this.#options;
    // What edits have held up is tried again after a while: they may be gone, or published.
    const heldSeq = this.state.heldUp?.headSeq;
    const after = heldSeq ?? seq();
    const waitMs = heldSeq === undefined ? WAIT_MS : this.#retryMs;
    const newer = await catalog.newerVersion(workspace, after, { waitMs, signal });
    if (newer === undefined && heldSeq === undefined) return;
    const head = newer ?? (await catalog.version(workspace));
    if (await this.#options.moveToHead(head)) {
      this.#heldUp = undefined;
      this.#retryMs = RETRY_FIRST_MS;
      return;
    }
    this.#retryMs = newer === undefined ? Math.min(this.#retryMs * 2, RETRY_MAX_MS) : RETRY_FIRST_MS;
    this.#heldUp = { headSeq: head.seq, sinceMs: this.state.heldUp?.sinceMs ?? Date.now() };
  }

  async #failed(error: unknown, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    const text = messageOf(error);
    if (this.#problem === undefined) this.#options.log.warn({ problem: text }, 'the head cannot be followed');
    this.#problem = { text, sinceMs: this.#problem?.sinceMs ?? Date.now() };
    // With an even share of chance: when a service comes back its clients should not come back together.
    await sleep(RETRY_FIRST_MS * (0.5 + Math.random()), undefined, { signal }).catch(() => undefined);
  }
}
