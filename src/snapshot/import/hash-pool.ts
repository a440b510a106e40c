import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { EncodedBlock } from '../../blocks/index.js';
import { CairnError } from '../../core/index.js';
import {
  LOADED,
  type BatchOfFiles,
  type CutWindow,
  type HashAnswers,
  type HashedBatch,
  type HashReply,
  type HashRequest,
  type PackedBatch,
  type PortableError,
} from './hash-protocol.js';

interface Pending {
  resolve: (result: HashAnswers[keyof HashAnswers]) => void;
  reject: (error: Error) => void;
}

/** A batch whose bytes wait in a thread of the pool for `pack`, which must be called once and gives them up. */
export interface OpenBatch {
  hashed: HashedBatch;
  /** Packs the files of these indexes, in this order, into blocks. */
  pack(wanted: Uint32Array): Promise<PackedBatch>;
}

/** A large file open in a thread of the pool. */
interface OpenCut {
  /** The next window; undefined, at the first call, when the file is gone. One call at a time, none after `end`. */
  next(): Promise<CutWindow | undefined>;
  /** Not needed after `end`, and allowed. */
  close(): Promise<void>;
}

/**
 * Threads that read, hash, chunk and compress, as many as the machine has cores. Each works through its requests one after the
 * other; a new batch or file goes to the one with the fewest. How much is in flight is the caller's to limit.
 * Errors are those of the work itself, `CairnError`s with the path where a file is to blame.
 */
export class HashPool {
  readonly #threads: HashThread[];
  #nextHandle = 0;

  constructor(threads: number = availableParallelism()) {
    this.#threads = Array.from({ length: threads }, () => new HashThread());
  }

  /** Reads and hashes small files. */
  async readBatch(files: BatchOfFiles): Promise<OpenBatch> {
    const thread = this.#leastBusy();
    const batch = this.#nextHandle++;
    const hashed = await thread.ask({ kind: 'read', batch, files }, [files.paths.buffer as ArrayBuffer]);
    return { hashed, pack: (wanted) => thread.ask({ kind: 'pack', batch, wanted }) };
  }

  /** Opens a large file for cutting. */
  cut(path: Buffer): OpenCut {
    const thread = this.#leastBusy();
    const file = this.#nextHandle++;
    let state: 'new' | 'open' | 'ended' = 'new';
    return {
      next: async () => {
        const window = await thread.ask(
          state === 'new' ? { kind: 'cut', file, path } : { kind: 'cut', file },
        );
        state = window === undefined || window.end !== undefined ? 'ended' : 'open';
        return window;
      },
      close: async () => {
        if (state === 'open') await thread.ask({ kind: 'close', file });
        state = 'ended';
      },
    };
  }

  /** Hashes and compresses stretches of `bytes`, each to a block. The memory of `bytes` goes to the thread. */
  encode(bytes: Uint8Array, ranges: { start: number; length: number }[]): Promise<EncodedBlock[]> {
    return this.#leastBusy().ask({ kind: 'encode', bytes, ranges }, [bytes.buffer as ArrayBuffer]);
  }

  /** Ends the threads at once; what was asked and is not answered fails. */
  async close(): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.close()));
  }

  #leastBusy(): HashThread {
    return this.#threads.reduce((least, thread) => (thread.load < least.load ? thread : least));
  }
}

class HashThread {
  readonly #worker = new Worker(new URL('./hash-worker.js', import.meta.url));
  readonly #pending = new Map<number, Pending>();
  readonly #loaded: Promise<void>;
  #nothingLoads: () => void = () => undefined;
  #nextId = 0;
  #ended: Error | undefined;

  constructor() {
    this.#loaded = new Promise((resolve) => {
      this.#nothingLoads = resolve;
    });
    this.#worker.on('message', (reply: HashReply | typeof LOADED) => {
      if (reply === LOADED) this.#nothingLoads();
      else this.#settle(reply);
    });
    this.#worker.on('error', (error) => {
      this.#end(error);
    });
    this.#worker.on('exit', () => {
      this.#end(new Error('a hashing thread ended'));
    });
  }

  /** Requests not answered yet. */
  get load(): number {
    return this.#pending.size;
  }

  ask<Kind extends HashRequest['kind']>(
    request: Extract<HashRequest, { kind: Kind }>,
    transfer: ArrayBuffer[] = [],
  ): Promise<HashAnswers[Kind]> {
    const ended = this.#ended;
    if (ended !== undefined) return Promise.reject(ended);
    const id = this.#nextId++;
    return new Promise<HashAnswers[Kind]>((resolve, reject) => {
      this.#pending.set(id, { resolve: resolve as Pending['resolve'], reject });
      this.#worker.postMessage({ id, request }, transfer);
    });
  }

  /** A thread must not be ended while it loads a native module: the module then takes the whole process with it. */
  async close(): Promise<void> {
    await this.#loaded;
    await this.#worker.terminate();
  }

  #settle(reply: HashReply): void {
    const pending = this.#pending.get(reply.id);
    this.#pending.delete(reply.id);
    if ('error' in reply) pending?.reject(revive(reply.error));
    else pending?.resolve(reply.result);
  }

  #end(error: Error): void {
    this.#ended ??= error;
    this.#nothingLoads();
    for (const { reject } of this.#pending.values()) reject(this.#ended);
    this.#pending.clear();
  }
}

function revive(error: PortableError): Error {
  if (error.code !== undefined) {
    return new CairnError(error.code, error.message, error.hint === undefined ? {} : { hint: error.hint });
  }
  const revived = new Error(error.message);
  if (error.stack !== undefined) revived.stack = error.stack;
  return revived;
}
