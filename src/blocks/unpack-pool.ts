import { Worker } from 'node:worker_threads';
import { CairnError, type BlockId } from '../core/index.js';
import type { DiskCache } from './disk-cache.js';
import type { UnpackReport, UnpackStart, UnpackTask } from './unpack-protocol.js';

/** One being worked on and one at hand, so that a thread does not wait for this one. */
const TASKS_PER_THREAD = 2;

/** A thread that has had nothing to do for this long is ended: its memory is worth more. */
const IDLE_MS = 10_000;

/** Of a thread's heap: it makes little garbage, and would let 48 MiB of it pile up. */
const YOUNG_GENERATION_MB = 4;

/** What becomes of a fetched object. */
export interface Unpacking {
  /**
   * The raw bytes, if they were wanted when the turn came, else undefined once the block is in the cache, or could not be kept.
   * Rejects with `CairnError('corrupt')`.
   */
  found: Promise<Buffer | undefined>;
  /** Resolves, never rejects: whether readers of the cache can see the block by now. */
  kept: Promise<boolean>;
}

interface Task {
  id: BlockId;
  object: Uint8Array;
  interest: { readonly wanted: boolean };
  resolve: (raw: Buffer | undefined) => void;
  reject: (error: Error) => void;
  end: (kept: boolean) => void;
}

/**
 * Threads that decompress, verify and cache fetched blocks, started when the first one comes and ended when none comes any more.
 * Blocks somebody waits for go first. How many are on their way is the caller's to bound: each is an object in memory.
 */
export class UnpackPool {
  readonly #cache: DiskCache;
  readonly #cacheDir: string;
  readonly #threadsMax: number;
  readonly #threads = new Set<UnpackThread>();
  readonly #queue: Task[] = [];
  #closed = false;

  constructor(cache: DiskCache, cacheDir: string, threadsMax: number) {
    this.#cache = cache;
    this.#cacheDir = cacheDir;
    this.#threadsMax = threadsMax;
  }

  /** `object` must not be used afterwards. `interest` is looked at when its turn comes. */
  unpack(id: BlockId, object: Uint8Array, interest: { readonly wanted: boolean }): Unpacking {
    let end: (kept: boolean) => void = () => undefined;
    const kept = new Promise<boolean>((resolve) => {
      end = resolve;
    });
    const found = new Promise<Buffer | undefined>((resolve, reject) => {
      if (this.#closed) {
        end(false);
        reject(new Error('the block store is closed'));
        return;
      }
      this.#queue.push({ id, object, interest, resolve, reject, end });
      this.#dispatch();
    });
    return { found, kept };
  }

  /** What is still under way fails. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const { reject, end } of this.#queue.splice(0)) {
      reject(new Error('the block store is closed'));
      end(false);
    }
    await Promise.all([...this.#threads].map((thread) => thread.close()));
  }

  #dispatch(): void {
    for (let thread = this.#freeThread(); thread !== undefined; thread = this.#freeThread()) {
      const wanted = this.#queue.findIndex((task) => task.interest.wanted);
      const [task] = this.#queue.splice(Math.max(0, wanted), 1);
      if (task === undefined) return;
      thread.start(task);
    }
  }

  /** For the next of the queue: the thread with the least to do, or a new one. */
  #freeThread(): UnpackThread | undefined {
    if (this.#queue.length === 0) return undefined;
    let least: UnpackThread | undefined;
    for (const thread of this.#threads) if (least === undefined || thread.load < least.load) least = thread;
    if (least !== undefined && least.load < TASKS_PER_THREAD) return least;
    if (this.#threads.size >= this.#threadsMax) return undefined;
    const added = new UnpackThread(this.#cache, this.#cacheDir, {
      onFree: () => {
        this.#dispatch();
      },
      onEnded: () => {
        this.#threads.delete(added);
        this.#dispatch();
      },
    });
    this.#threads.add(added);
    return added;
  }
}

class UnpackThread {
  readonly #cache: DiskCache;
  readonly #worker: Worker;
  readonly #events: { onFree: () => void; onEnded: () => void };
  readonly #loaded: Promise<void>;
  readonly #tasks: Task[] = [];
  #nothingLoads: () => void = () => undefined;
  #idleTimer: NodeJS.Timeout | undefined;
  #closing = false;
  #ended = false;

  constructor(cache: DiskCache, cacheDir: string, events: { onFree: () => void; onEnded: () => void }) {
    this.#cache = cache;
    this.#events = events;
    const workerData: UnpackStart = { cacheDir };
    this.#worker = new Worker(new URL('./unpack-worker.js', import.meta.url), {
      workerData,
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
    });
    this.#loaded = new Promise((resolve) => {
      this.#nothingLoads = resolve;
    });
    this.#worker.on('message', (report: UnpackReport) => {
      this.#receive(report);
    });
    this.#worker.on('error', (error) => {
      this.#end(error);
    });
    this.#worker.on('exit', () => {
      this.#end(new Error('an unpacking thread ended'));
    });
  }

  /** Tasks not done yet; of a thread that takes none any more, more than any other has. */
  get load(): number {
    return this.#closing ? Infinity : this.#tasks.length;
  }

  start(task: Task): void {
    clearTimeout(this.#idleTimer);
    this.#worker.ref();
    this.#tasks.push(task);
    const object = ownMemory(task.object);
    const message: UnpackTask = { id: task.id, object, wanted: task.interest.wanted };
    this.#worker.postMessage(message, [object.buffer]);
  }

  /** A thread must not be ended while it loads a native module: the module then takes the whole process with it. */
  async close(): Promise<void> {
    this.#closing = true;
    clearTimeout(this.#idleTimer);
    this.#worker.ref();
    await this.#loaded;
    await this.#worker.terminate();
  }

  #receive(report: UnpackReport): void {
    if (report.kind === 'loaded') {
      this.#nothingLoads();
      return;
    }
    const task = this.#tasks[0];
    if (task === undefined) throw new Error('an unpacking thread reports of nothing');
    if (report.kind === 'raw') {
      task.resolve(Buffer.from(report.raw.buffer, report.raw.byteOffset, report.raw.byteLength));
      return;
    }
    this.#tasks.shift();
    if (report.kind === 'corrupt') task.reject(new CairnError('corrupt', report.message));
    else task.resolve(undefined);
    if (report.kind === 'kept') this.#cache.filled(report.bytes);
    if (report.kind === 'not-kept') {
      void this.#cache.refused(report.systemCode).finally(() => {
        task.end(false);
      });
    } else {
      task.end(report.kind === 'kept');
    }
    this.#events.onFree();
    if (this.#tasks.length > 0 || this.#closing) return;
    this.#idleTimer = setTimeout(() => void this.close(), IDLE_MS).unref();
    // A process that has nothing else to do does not wait for a thread that might be of use again.
    this.#worker.unref();
  }

  #end(error: Error): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#nothingLoads();
    for (const { reject, end } of this.#tasks.splice(0)) {
      reject(error);
      end(false);
    }
    this.#events.onEnded();
  }
}

/** The same bytes in memory of their own, which can be given away: small Buffers share theirs. */
function ownMemory(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const { buffer } = bytes;
  return buffer instanceof ArrayBuffer && buffer.byteLength === bytes.byteLength
    ? new Uint8Array(buffer)
    : new Uint8Array(bytes);
}
