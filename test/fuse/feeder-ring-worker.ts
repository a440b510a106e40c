import { parentPort, workerData } from 'node:worker_threads';
import { PushSide } from '../../src/fuse/feeder-ring.js';

export interface RingWorkerData {
  ring: SharedArrayBuffer;
  /** One for each inode, from 1. */
  outcomes: Int32Array;
  /** In place of the protection of memory: 1 when the bytes cannot be read. */
  unreadable: Int32Array;
  /** The inode whose push has begun, or was passed over. */
  progress: Int32Array;
}

export const Outcome = { PUSHED: 1, PASSED: 2, REVOKED: 3, HELD: 4, WRONG: 5 } as const;

/** Takes long enough for the other thread to come in between, now and then. */
function dawdle(ino: number): void {
  for (let turn = 0; turn < (ino * 7919) % 400; turn++) Atomics.load(data.unreadable, 0);
}

function push(pushes: PushSide, ino: number): number {
  dawdle(ino);
  const begun = pushes.begin();
  Atomics.store(data.progress, 0, ino);
  if (!begun) return Outcome.PASSED;
  dawdle(ino + 1);
  if (pushes.end()) return Atomics.load(data.unreadable, 0) === 0 ? Outcome.PUSHED : Outcome.WRONG;
  if (Atomics.exchange(data.unreadable, 0, 0) !== 1) return Outcome.WRONG;
  const reply = pushes.endRevoked();
  if (reply === undefined) return Outcome.REVOKED;
  return reply.readUInt32LE() === ino ? Outcome.HELD : Outcome.WRONG;
}

const data = (workerData ?? {}) as RingWorkerData;
if (parentPort !== null) {
  const pushes = new PushSide(data.ring);
  pushes.open(1);
  parentPort.postMessage('ready');
  let ino = 0;
  for (let task = pushes.next(); task !== undefined; task = pushes.next()) {
    ino += 1;
    const outcome = task.kind === 'push' ? push(pushes, task.ino) : Outcome.PASSED;
    Atomics.store(data.progress, 0, ino);
    data.outcomes[ino - 1] = outcome;
    pushes.done();
  }
}
