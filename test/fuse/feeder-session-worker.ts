/**
 * A session on a MemoryFileSystem, with a feeder whose pushes begin at the worst moment: when a READ of the same file has its pages locked and
 * is not answered. One thread is the session, the other the feeder.
 */
import { readFileSync, readlinkSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { ROOT_INO, S_IFREG, type BlockId, type Ino } from '../../src/core/index.js';
import { Feeder, RequestCounters, runFeeder, runSession } from '../../src/fuse/index.js';
import { OfferSide } from '../../src/fuse/feeder-ring.js';
import { makeUnreadable } from '../../src/fuse/notify-store.js';
import { Opcode } from '../../src/fuse/protocol.js';
import { createEventDrain } from '../../src/posix/index.js';
import type { ReadPart } from '../../src/vfs/index.js';
import { MemoryFileSystem } from '../fixtures/memory-file-system.js';

export interface StagedData {
  role: 'session' | 'feeder';
  fd: number;
  wakeFd: number;
  ring: SharedArrayBuffer;
  /** The feeder's thread number, and the inode whose bytes it has put together. */
  feederThread: Int32Array;
  files: number;
  /** False: nothing is pushed. */
  stages: boolean;
  /** False: pushes are not revoked, to see what comes of it. */
  revokes: boolean;
  /** READs are handed over. */
  handsOver: boolean;
}

export type StagedMessage =
  | { kind: 'ready' }
  | { kind: 'read'; unique: bigint; size: number }
  | { kind: 'held' }
  | { kind: 'failure'; what: string; message: string };

export const FILE_BYTES = 4 * 4096;
export const OLD_BYTE = 0x41;

class StagedFeeder extends Feeder {
  readonly #offers: OfferSide;
  readonly #staged = new Set<Ino>();

  constructor(fileSystem: MemoryFileSystem) {
    super(fileSystem, data.ring, () => undefined);
    this.#offers = new OfferSide(data.ring, data.revokes ? makeUnreadable : () => undefined);
  }

  override before(opcode: number, ino: Ino): void {
    if (data.stages && opcode === Opcode.READ && !this.#staged.has(ino)) {
      this.#staged.add(ino);
      this.#offers.offer({ ino, directory: ROOT_INO, fromCookie: 0, cookie: 0 });
      this.#offers.publish();
      waitUntilFeederWaits(ino);
    }
    this.#offers.withdraw(ino);
    super.before(opcode, ino);
  }

  override holdReply(ino: Ino, reply: Buffer): boolean {
    const held = this.#offers.holdReply(ino, reply);
    if (held) send({ kind: 'held' });
    return held;
  }
}

/** For a page lock, that is: in the kernel, uninterruptibly. */
function waitUntilFeederWaits(ino: Ino): void {
  const stat = `/proc/self/task/${String(data.feederThread[0])}/stat`;
  let waiting = 0;
  for (let tries = 0; tries < 1_000_000; tries++) {
    const waits = readFileSync(stat, 'latin1').includes(') D ') && Atomics.load(data.feederThread, 1) === ino;
    // For one page fault it may wait as well, but not for long.
    waiting = waits ? waiting + 1 : 0;
    if (waiting === 20) return;
  }
  throw new Error('the feeder does not wait for the page');
}

class HandedOverContent extends MemoryFileSystem {
  override read(ino: Ino, offset: number, length: number): ReadPart[] {
    if (!data.handsOver) return super.read(ino, offset, length);
    const available = Math.max(0, Math.min(length, this.inode(ino).size - offset));
    return [{ kind: 'block', length: available, block: 'remote' as BlockId, blockOffset: offset }];
  }
}

function send(message: StagedMessage): void {
  parentPort?.postMessage(message);
}

function runStagedSession(): void {
  const fileSystem = new HandedOverContent();
  const caller = { uid: 0, gid: 0, pid: 0 };
  for (let n = 0; n < data.files; n++) {
    const { ino } = fileSystem.mknod(ROOT_INO, Buffer.from(`file-${String(n)}`), S_IFREG | 0o666, 0, caller);
    const bytes = Buffer.alloc(FILE_BYTES, OLD_BYTE);
    fileSystem.write(ino, 0, bytes, false);
    fileSystem.forget(ino, 1);
  }
  const feeder = new StagedFeeder(fileSystem);
  const drain = createEventDrain(data.wakeFd);
  send({ kind: 'ready' });
  runSession({
    fd: data.fd,
    wakeFd: data.wakeFd,
    fileSystem,
    feeder,
    blocks: { tryRead: () => false },
    handOver: {
      read: ({ unique, size }) => {
        send({ kind: 'read', unique, size });
      },
      sync: () => undefined,
      interrupt: () => undefined,
    },
    counters: new RequestCounters(),
    onWake: drain,
    onNegotiated: () => undefined,
    onFailure: (what, error) => {
      send({ kind: 'failure', what, message: String(error) });
    },
  });
  feeder.close();
}

function runStagedFeeder(): void {
  data.feederThread[0] = Number(readlinkSync('/proc/thread-self').split('/').pop());
  send({ kind: 'ready' });
  runFeeder({
    fd: data.fd,
    ring: data.ring,
    source: {
      open: () => undefined,
      read: ({ ino }, target) => {
        target.fill(OLD_BYTE, 0, FILE_BYTES);
        Atomics.store(data.feederThread, 1, ino);
        return FILE_BYTES;
      },
    },
    onFailure: (what, error) => {
      send({ kind: 'failure', what, message: String(error) });
    },
  });
}

const data = (workerData ?? {}) as StagedData;
if (parentPort !== null) {
  if (data.role === 'feeder') runStagedFeeder();
  else runStagedSession();
}
