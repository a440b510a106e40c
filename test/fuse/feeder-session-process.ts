/**
 * A daemon's process on a mount whose descriptor it inherits as 3. Arguments: `feeding` has a feeder that waits for every page that is being
 * read, and answers no READ; `takingOver` has none, and answers what the one before did not. Prints the kinds of its messages.
 */
import { Worker } from 'node:worker_threads';
import { createFeederRing, requestResend } from '../../src/fuse/index.js';
import { createEventFd } from '../../src/posix/index.js';
import type { StagedData, StagedMessage } from './feeder-session-worker.js';

const feeding = process.argv[2] === 'feeding';
const shared = {
  fd: 3,
  wakeFd: createEventFd(),
  ring: createFeederRing(),
  feederThread: new Int32Array(new SharedArrayBuffer(8)),
  files: 1,
  stages: feeding,
  revokes: false,
  handsOver: feeding,
};

async function start(role: StagedData['role']): Promise<void> {
  const workerData: StagedData = { role, ...shared };
  const worker = new Worker(new URL('./feeder-session-worker.js', import.meta.url), { workerData });
  await new Promise<void>((resolve) => {
    worker.on('message', ({ kind }: StagedMessage) => {
      if (kind === 'ready') resolve();
      else process.stdout.write(`${kind}\n`);
    });
  });
}

if (feeding) await start('feeder');
else requestResend(shared.fd);
await start('session');
