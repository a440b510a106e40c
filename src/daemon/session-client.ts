import fs from 'node:fs';
import { Worker } from 'node:worker_threads';
import type { BlockCounters } from '../blocks/index.js';
import type { BlockId, Ino } from '../core/index.js';
import {
  createFeederRing,
  pushedFiles,
  RequestCounters,
  type Negotiated,
  type SessionEnd,
} from '../fuse/index.js';
import type { TreeChanges } from '../manifest/index.js';
import { createEventFd, signalEventFd, threadState } from '../posix/index.js';
import type { BaseVersion, LayerNumbers, SealedLayer } from '../upper/index.js';
import { errorFromRecord } from './error-record.js';
import { isHeld } from './heartbeat.js';
import type { FeederStart, FromFeeder, FromSession, SessionStart, ToSession } from './session-protocol.js';

/** Of the feeder thread's heap: its garbage is small and short-lived, and would otherwise pile up to 48 MiB. */
const FEEDER_YOUNG_GENERATION_MB = 4;

/** What the session thread wants done for it. */
export interface SessionEvents {
  onNegotiated(negotiated: Negotiated): void;
  onRead(request: Extract<FromSession, { kind: 'read' }>): void;
  onSync(request: Extract<FromSession, { kind: 'sync' }>): void;
  onInterrupt(unique: bigint): void;
  onDoubtful(inos: readonly Ino[]): void;
  onUsed(block: BlockId): void;
  onFailure(what: string, message: string): void;
  /** The mount is gone, or the thread is. */
  onEnded(how: SessionEnd | 'crashed', error: unknown): void;
}

type Answer = Extract<
  FromSession,
  { kind: 'sealed' | 'adopted' | 'moved' | 'letGo' | 'settled' | 'folded' | 'counters' }
>;

/** The main thread's side of the session thread: has it begin, asks one thing of it at a time. */
export class SessionClient {
  readonly counters: RequestCounters;
  readonly #worker: Worker;
  readonly #feederRing = createFeederRing();
  #feederStart: FeederStart | undefined;
  readonly #wakeFd: number;
  #events: SessionEvents | undefined;
  readonly #ready: Promise<void>;
  #becomeReady: () => void = () => undefined;
  #failReady: (error: unknown) => void = () => undefined;
  #waiting: { resolve: (answer: Answer) => void; reject: (error: Error) => void } | undefined;
  #queue: Promise<unknown> = Promise.resolve();
  #ended = false;
  #isReady = false;
  #threadId: number | undefined;
  #progress = 0;

  constructor(worker: Worker) {
    this.#worker = worker;
    this.counters = new RequestCounters();
    this.#wakeFd = createEventFd();
    this.#ready = new Promise((resolve, reject) => {
      this.#becomeReady = resolve;
      this.#failReady = reject;
    });
    this.#ready.catch(() => undefined);
    this.#worker.on('message', (message: FromSession) => {
      this.#receive(message);
    });
    this.#worker.on('error', (error) => {
      this.#end('crashed', error);
    });
    this.#worker.on('exit', () => {
      this.#end('crashed', new Error('the session thread stopped'));
      fs.closeSync(this.#wakeFd);
    });
  }

  start(start: Omit<SessionStart, 'requestCounters' | 'feederRing' | 'wakeFd'>, events: SessionEvents): void {
    this.#events = events;
    const message: SessionStart = {
      ...start,
      requestCounters: this.counters.shared,
      feederRing: this.#feederRing,
      wakeFd: this.#wakeFd,
    };
    const { fd, manifestDir, cacheDir, cacheBudgetBytes } = start;
    this.#feederStart = { fd, ring: this.#feederRing, manifestDir, cacheDir, cacheBudgetBytes };
    this.#worker.postMessage(message);
  }

  /**
   * Whether the session thread did anything since the last time this was asked, or need not have: it is not started, the disk keeps it waiting in
   * the kernel, where nobody can end it, or a debugger holds it. One that is idle is woken, and has done something the next time.
   */
  getsOn(): boolean {
    if (this.#threadId === undefined || this.#ended) return true;
    const before = this.#progress;
    this.#progress = this.counters.progress();
    if (this.#progress !== before) return true;
    signalEventFd(this.#wakeFd);
    return isHeld(threadState(process.pid, this.#threadId));
  }

  /** How many files were pushed into the kernel's page cache before it asked. */
  get pushedFiles(): number {
    return pushedFiles(this.#feederRing);
  }

  /** Resolves when the thread answers requests; rejects when it cannot. */
  async ready(): Promise<void> {
    await this.#ready;
  }

  async seal(sealed: Omit<SealedLayer, 'id'>, numbers: LayerNumbers | undefined): Promise<SealedLayer> {
    const answer = await this.#ask({ kind: 'seal', sealed, numbers });
    if (answer.kind !== 'sealed') throw new Error('the session answered something else');
    return answer.layer;
  }

  async adopt(layerId: number, base: BaseVersion): Promise<void> {
    await this.#ask({ kind: 'adopt', layerId, base });
  }

  /** Where an edit is in the way, or something `open`, nothing has changed. */
  async move(
    base: BaseVersion,
    changes: TreeChanges,
    forgotten: readonly Ino[],
  ): Promise<{ done: boolean; open: readonly Ino[] }> {
    const answer = await this.#ask({ kind: 'move', base, changes, forgotten });
    if (answer.kind !== 'moved') throw new Error('the session answered something else');
    return answer;
  }

  /** The kernel does not know these inodes, which have no name: what they hold goes. */
  async letGo(inos: readonly Ino[]): Promise<void> {
    await this.#ask({ kind: 'forgotten', inos });
  }

  async settle(): Promise<void> {
    await this.#ask({ kind: 'settle' });
  }

  /** Afterwards the layers in the mount's folder hold everything that was answered before. */
  async fold(): Promise<void> {
    await this.#ask({ kind: 'fold' });
  }

  /** The thread ends between two requests, with all in order that it has open: then `onEnded` says so. */
  release(): void {
    this.#worker.postMessage({ kind: 'release' } satisfies ToSession);
    signalEventFd(this.#wakeFd);
  }

  async blockCounters(): Promise<BlockCounters> {
    const answer = await this.#ask({ kind: 'counters' });
    return answer.kind === 'counters' ? answer.blocks : { hits: 0, misses: 0 };
  }

  /** One question at a time: answers carry no number. */
  #ask(message: ToSession): Promise<Answer> {
    const answer = this.#queue.then(
      () =>
        new Promise<Answer>((resolve, reject) => {
          if (this.#ended) {
            reject(new Error('the mount has ended'));
            return;
          }
          this.#waiting = { resolve, reject };
          this.#worker.postMessage(message);
          signalEventFd(this.#wakeFd);
        }),
    );
    this.#queue = answer.catch(() => undefined);
    return answer;
  }

  #receive(message: FromSession): void {
    switch (message.kind) {
      case 'begun':
        this.#threadId = message.threadId;
        break;
      case 'ready':
        this.#isReady = true;
        this.#becomeReady();
        break;
      case 'feederWanted':
        this.#startFeeder();
        break;
      case 'negotiated':
        this.#events?.onNegotiated(message.negotiated);
        break;
      case 'read':
        this.#events?.onRead(message);
        break;
      case 'sync':
        this.#events?.onSync(message);
        break;
      case 'interrupt':
        this.#events?.onInterrupt(message.unique);
        break;
      case 'doubtful':
        this.#events?.onDoubtful(message.inos);
        break;
      case 'used':
        this.#events?.onUsed(message.block);
        break;
      case 'failure':
        this.#events?.onFailure(message.what, message.message);
        break;
      case 'ended':
        this.#end(message.how, undefined);
        break;
      case 'refused':
        this.#waiting?.reject(errorFromRecord(message.error));
        break;
      case 'sealed':
      case 'adopted':
      case 'moved':
      case 'letGo':
      case 'settled':
      case 'folded':
      case 'counters':
        this.#waiting?.resolve(message);
        break;
    }
  }

  /** It may hold replies the kernel waits for: when it dies the next daemon has to answer. */
  #startFeeder(): void {
    const feeder = new Worker(new URL('./feeder-thread.js', import.meta.url), {
      workerData: this.#feederStart,
      resourceLimits: { maxYoungGenerationSizeMb: FEEDER_YOUNG_GENERATION_MB },
    });
    feeder.on('message', (message: FromFeeder) => {
      if (message.kind === 'used') this.#events?.onUsed(message.block);
      else this.#events?.onFailure(message.what, message.message);
    });
    feeder.on('error', (error) => {
      this.#end('crashed', error);
    });
  }

  #end(how: SessionEnd | 'crashed', error: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#waiting?.reject(new Error('the mount has ended'));
    if (this.#isReady) this.#events?.onEnded(how, error);
    else this.#failReady(error);
  }
}
