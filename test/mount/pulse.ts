/**
 * A program that feels the pulse of a mount: `node pulse.js <dir> <stop file>` makes and removes a folder, over and over, which only the daemon can
 * do, until the stop file is there. Prints how often it did, and how long each call took that took longer than 50 ms, in ms.
 */
import { existsSync, mkdirSync, rmdirSync } from 'node:fs';
import path from 'node:path';

const PAUSE_LEAST_MS = 50;

const [dir = '', stopFile = ''] = process.argv.slice(2);
const pauses_ms: number[] = [];
const idle = new Int32Array(new SharedArrayBuffer(4));

function timed(call: () => void): void {
  const began_ms = performance.now();
  call();
  const took_ms = performance.now() - began_ms;
  if (took_ms > PAUSE_LEAST_MS) pauses_ms.push(Math.round(took_ms));
}

let calls = 0;
while (!existsSync(stopFile)) {
  const folder = path.join(dir, `pulse-${String(calls)}`);
  timed(() => {
    mkdirSync(folder);
  });
  timed(() => {
    rmdirSync(folder);
  });
  calls += 2;
  // It is to feel the pause, not to cause it.
  Atomics.wait(idle, 0, 0, 5);
}
process.stdout.write(JSON.stringify({ calls, pauses_ms }));
