import { setTimeout as delay } from 'node:timers/promises';

export interface LineSpeed {
  /** From a request's arrival to the first byte of its answer, at least. */
  latencyMs: number;
  /** Of all answers together. */
  bytesPerSecond: number;
}

/** A timer may come this late: what passes after it makes good for it, so that the bandwidth is reached. */
const CATCH_UP_MS = 4;
const SHORTEST_PAUSE_MS = 1;

/** A network line as a far store has: every request waits for itself, all answers share the bandwidth. */
export class Line {
  speed: LineSpeed;
  #busyUntilMs = 0;

  constructor(speed: LineSpeed) {
    this.speed = speed;
  }

  /** Resolves when a request that arrived at `arrivedMs`, by `performance.now()`, may be answered. */
  async answer(arrivedMs: number): Promise<void> {
    const restMs = arrivedMs + this.speed.latencyMs - performance.now();
    if (restMs > 0) await delay(restMs);
  }

  /** Resolves when these bytes, in the order of the calls, have had their time on the line. */
  async carry(bytes: number): Promise<void> {
    const nowMs = performance.now();
    const beginMs = Math.max(this.#busyUntilMs, nowMs - CATCH_UP_MS);
    this.#busyUntilMs = beginMs + (bytes / this.speed.bytesPerSecond) * 1000;
    const restMs = this.#busyUntilMs - nowMs;
    if (restMs >= SHORTEST_PAUSE_MS) await delay(restMs);
  }
}
