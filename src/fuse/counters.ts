import { Opcode, OPCODE_LIMIT } from './protocol.js';

/** Behind the opcodes: how often the thread was woken for something else. */
const WAKES = OPCODE_LIMIT;
const BYTES = (OPCODE_LIMIT + 1) * Float64Array.BYTES_PER_ELEMENT;
const NAMES = new Map<number, string>(Object.entries(Opcode).map(([name, opcode]) => [opcode, name]));

/**
 * Requests by opcode, counted by the session thread and read by any other over the same shared memory. Doubles: they do not
 * wrap, and on a 64-bit machine a reader sees the old or the new value, never half of one.
 */
export class RequestCounters {
  readonly shared: SharedArrayBuffer;
  readonly #counts: Float64Array;

  /** `shared`: of the counters of another thread. */
  constructor(shared: SharedArrayBuffer = new SharedArrayBuffer(BYTES)) {
    this.shared = shared;
    this.#counts = new Float64Array(shared);
  }

  /** Opcodes beyond the known range count as 0. */
  count(opcode: number): void {
    const slot = opcode < OPCODE_LIMIT ? opcode : 0;
    this.#counts[slot] = (this.#counts[slot] ?? 0) + 1;
  }

  countWake(): void {
    this.#counts[WAKES] = (this.#counts[WAKES] ?? 0) + 1;
  }

  /** Grows whenever the session thread does anything. */
  progress(): number {
    return this.#counts.reduce((sum, count) => sum + count, 0);
  }

  /** Those that are not zero, by the kernel's name. */
  byName(): Record<string, number> {
    const counts: Record<string, number> = {};
    for (const [opcode, count] of this.#counts.subarray(0, OPCODE_LIMIT).entries()) {
      if (count > 0) counts[NAMES.get(opcode) ?? `opcode ${String(opcode)}`] = count;
    }
    return counts;
  }
}
