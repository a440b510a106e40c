/** The entry of an unpacking thread: decompresses, verifies and caches one block after the other, in the same memory each time. */
import { parentPort, workerData } from 'node:worker_threads';
import { BLOCK_MAX_BYTES, CairnError, systemCode } from '../core/index.js';
import { decodeBlock } from './block-codec.js';
import { CacheFileLayout } from './cache-file.js';
import { keepBlockSync } from './keep-block.js';
import type { UnpackReport, UnpackStart, UnpackTask } from './unpack-protocol.js';

if (parentPort === null) throw new Error('this file is started as a thread');
const port = parentPort;
const { cacheDir } = workerData as UnpackStart;
const layout = await CacheFileLayout.create();
const scratch = Buffer.allocUnsafeSlow(BLOCK_MAX_BYTES);

function send(report: UnpackReport, transfer: ArrayBuffer[] = []): void {
  port.postMessage(report, transfer);
}

function work({ id, object, wanted }: UnpackTask): void {
  let raw: Buffer;
  try {
    raw = decodeBlock(id, object, scratch);
  } catch (error) {
    if (!(error instanceof CairnError)) throw error;
    send({ kind: 'corrupt', message: error.message });
    return;
  }
  if (wanted) {
    const copy = new Uint8Array(raw);
    send({ kind: 'raw', raw: copy }, [copy.buffer]);
  }
  let bytes: number;
  try {
    bytes = keepBlockSync(cacheDir, id, raw, layout);
  } catch (error) {
    send({ kind: 'not-kept', systemCode: systemCode(error) });
    return;
  }
  send({ kind: 'kept', bytes });
}

port.on('message', work);
send({ kind: 'loaded' });
