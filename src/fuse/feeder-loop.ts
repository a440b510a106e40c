import { FsError, type Ino } from '../core/index.js';
import { writeErrorReply } from './hand-over.js';
import { isExpectedOfStore, StoreBuffer } from './notify-store.js';
import { PushSide, type Offer, type Task } from './feeder-ring.js';
import { writeFrom } from '../posix/index.js';

/** Where the feeder has the bytes of published files from. Called on the feeder's thread. */
export interface FileSource {
  /** Reads from now on from the version with this root. */
  open(root: string): void;
  /** Writes all of the file's bytes to the start of `target`. How many, or undefined when not all of them are at hand. */
  read(offer: Offer, target: Buffer): number | undefined;
}

export interface FeederOptions {
  /** The mounted /dev/fuse. */
  fd: number;
  /** Of `createFeederRing`. */
  ring: SharedArrayBuffer;
  source: FileSource;
  /** Something is wrong; from now on nothing is pushed. */
  onFailure: (what: string, error: unknown) => void;
}

/** Pushes what the session offers, on the calling thread, until the session ends. */
export function runFeeder(options: FeederOptions): void {
  new Feeder(options).run();
}

class Feeder {
  readonly #options: FeederOptions;
  readonly #side: PushSide;
  readonly #buffer = new StoreBuffer();
  #generation = 0;
  #pushes = true;

  constructor(options: FeederOptions) {
    this.#options = options;
    this.#side = new PushSide(options.ring);
  }

  run(): void {
    const side = this.#side;
    this.#carefully('the mounted version', () => {
      this.#openVersion();
    });
    side.open(this.#buffer.address);
    for (let task = side.next(); task !== undefined; task = side.next()) {
      if (task.kind === 'push' && this.#pushes) this.#push(task);
      else if (task.kind === 'reply') this.#reply(task);
      side.done();
    }
  }

  #reply({ uniqueLow, uniqueHigh }: Extract<Task, { kind: 'reply' }>): void {
    writeErrorReply(this.#options.fd, (BigInt(uniqueHigh) << 32n) | BigInt(uniqueLow), 0);
  }

  #push(task: Extract<Task, { kind: 'push' }>): void {
    const length = this.#carefully(`inode ${String(task.ino)}`, () => {
      if (task.generation !== this.#generation) this.#openVersion();
      return this.#options.source.read(task, this.#buffer.data);
    });
    if (length === undefined || !this.#side.begin()) return;
    const errno = this.#buffer.store(this.#options.fd, task.ino, length);
    if (!this.#side.end()) this.#endRevoked();
    else if (errno === 0) this.#side.countPushed();
    else if (!isExpectedOfStore(errno)) this.#fail(task.ino, errno);
  }

  /** The session made the buffer unreadable, for the sake of a request that may have waited for this. */
  #endRevoked(): void {
    this.#buffer.makeReadable();
    const reply = this.#side.endRevoked();
    if (reply !== undefined) writeFrom(this.#options.fd, reply, reply.length);
  }

  #openVersion(): void {
    const { generation, root } = this.#side.root();
    this.#generation = generation;
    this.#options.source.open(root);
  }

  #fail(ino: Ino, errno: number): void {
    this.#pushes = false;
    this.#options.onFailure(`pushing inode ${String(ino)}`, new FsError(errno, 'FUSE_NOTIFY_STORE'));
  }

  /** What goes wrong costs no more than the pushes: replies must be sent. */
  #carefully<Result>(what: string, action: () => Result): Result | undefined {
    try {
      return action();
    } catch (error) {
      this.#pushes = false;
      this.#options.onFailure(what, error);
      return undefined;
    }
  }
}
