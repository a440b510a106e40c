/** Numbers that a byte or an integer is wrong at, if at any. */
const EDGES = [0, 1, 2, 7, 8, 0x7f, 0x80, 0xff, 0x100, 0xfff, 0x1000, 0x7fff, 0xffff, 0x1_0000, 0x7fff_ffff];
const LARGE_EDGES = [0x8000_0000, 0xffff_fffe, 0xffff_ffff];

/** Chance, the same for the same seed (the generator is sfc32 by C. Doty-Humphrey, after warming up). */
export class Random {
  #a: number;
  #b = 0x9e3779b9;
  #c: number;
  #counter = 1;

  /** `stream`: independent sequences of one seed. */
  constructor(seed: number, stream = 0) {
    this.#a = seed | 0;
    this.#c = stream | 0;
    for (let count = 0; count < 16; count++) this.u32();
  }

  u32(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0;
    return sum >>> 0;
  }

  /** From 0 to `limit` - 1. */
  below(limit: number): number {
    return this.u32() % limit;
  }

  /** True once in `times`. */
  once(times: number): boolean {
    return this.below(times) === 0;
  }

  pick<Value>(values: readonly Value[]): Value {
    const value = values[this.below(values.length)];
    if (value === undefined) throw new Error('nothing to pick from');
    return value;
  }

  bytes(length: number): Buffer {
    const bytes = Buffer.allocUnsafe(length);
    for (let at = 0; at < length; at++) bytes[at] = this.u32();
    return bytes;
  }

  /** One of 32 bits that is likely to be handled wrongly. */
  oddU32(): number {
    if (this.once(4)) return this.u32();
    if (this.once(3)) return this.pick(LARGE_EDGES);
    return this.pick(EDGES);
  }
}
