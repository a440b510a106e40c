import { Opcode, OPCODE_LIMIT } from './protocol.js';

const BYTES = OPCODE_LIMIT * Float64Array.BYTES_PER_ELEMENT;
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

  /** Those that are not zero, by the kernel's name. */
  byName(): Record<string, number> {
    const counts: Record<string, number> = {};
    for (const [opcode, count] of this.#counts.entries()) {
      if (count > 0) counts[NAMES.get(opcode) ?? `opcode ${String(opcode)}`] = count;
    }
    return counts;
  }
}
