import type { Ino } from '../core/index.js';

const INITIAL_SLOTS = 1024;
const EMPTY = 0;
const TWO_TO_32 = 2 ** 32;

/** In place of a listing's number: the pages of the inode may have been changed, or are on their way into the kernel. */
const TOUCHED = 0xffff_ffff;

/**
 * How often the kernel knows each inode (the `nlookup` of FUSE), and whether its pages may differ from what was published since the kernel
 * learned of it. The kernel may know as many inodes as the tree has, so this is an open-addressed table in typed arrays: 16 bytes a slot, not
 * an object each.
 */
export class LookupCounts {
  #inos = new Float64Array(INITIAL_SLOTS);
  #counts = new Uint32Array(INITIAL_SLOTS);
  /** The number of the listing that last named the inode, 0 when none did, or TOUCHED: until the count is 0 again. */
  #listings = new Uint32Array(INITIAL_SLOTS);
  #used = 0;

  get(ino: Ino): number {
    return this.#counts[this.#slot(ino)] ?? 0;
  }

  add(ino: Ino): void {
    const slot = this.#slot(ino);
    if (this.#inos[slot] === EMPTY) {
      this.#inos[slot] = ino;
      this.#counts[slot] = 1;
      this.#used += 1;
      if (this.#used * 2 > this.#inos.length) this.#resize();
      return;
    }
    this.#counts[slot] = (this.#counts[slot] ?? 0) + 1;
  }

  /** Takes `count` away; what is left, never below 0: a process that took over does not know what went before. */
  subtract(ino: Ino, count: number): number {
    const slot = this.#slot(ino);
    if (this.#inos[slot] === EMPTY) return 0;
    const left = Math.max(0, (this.#counts[slot] ?? 0) - count);
    if (left === 0) this.#remove(slot);
    else this.#counts[slot] = left;
    return left;
  }

  /** Marks a known inode as touched. Returns the listing that named it last, 0 when none did or it was touched before. */
  touch(ino: Ino): number {
    const slot = this.#slot(ino);
    const listing = this.#listings[slot] ?? 0;
    if (this.#inos[slot] === EMPTY || listing === TOUCHED) return 0;
    this.#listings[slot] = TOUCHED;
    return listing;
  }

  /** Notes that a listing (its number above 0, below 2^32 - 1) named the inode. */
  setListing(ino: Ino, listing: number): void {
    const slot = this.#slot(ino);
    if (this.#inos[slot] !== EMPTY && this.#listings[slot] !== TOUCHED) this.#listings[slot] = listing;
  }

  /** Whether the kernel has known the inode since that listing, which was the last to name it, and nobody touched it. */
  isUntouchedSince(ino: Ino, listing: number): boolean {
    return this.#listings[this.#slot(ino)] === listing;
  }

  /** The slot of `ino`, or the empty one where it would go. */
  #slot(ino: Ino): number {
    const mask = this.#inos.length - 1;
    let slot = home(ino, mask);
    while (this.#inos[slot] !== EMPTY && this.#inos[slot] !== ino) slot = (slot + 1) & mask;
    return slot;
  }

  /** Empties a slot and moves up what was pushed past it (Knuth, TAOCP 3, 6.4, algorithm R). */
  #remove(slot: number): void {
    const mask = this.#inos.length - 1;
    let hole = slot;
    let next = (hole + 1) & mask;
    while (this.#inos[next] !== EMPTY) {
      const ino = this.#inos[next] ?? EMPTY;
      if (((next - home(ino, mask)) & mask) >= ((next - hole) & mask)) {
        this.#inos[hole] = ino;
        this.#counts[hole] = this.#counts[next] ?? 0;
        this.#listings[hole] = this.#listings[next] ?? 0;
        hole = next;
      }
      next = (next + 1) & mask;
    }
    this.#inos[hole] = EMPTY;
    this.#counts[hole] = 0;
    this.#listings[hole] = 0;
    this.#used -= 1;
  }

  #resize(): void {
    const inos = this.#inos;
    const counts = this.#counts;
    const listings = this.#listings;
    this.#inos = new Float64Array(inos.length * 2);
    this.#counts = new Uint32Array(inos.length * 2);
    this.#listings = new Uint32Array(inos.length * 2);
    for (let slot = 0; slot < inos.length; slot += 1) {
      const ino = inos[slot] ?? EMPTY;
      if (ino === EMPTY) continue;
      const target = this.#slot(ino);
      this.#inos[target] = ino;
      this.#counts[target] = counts[slot] ?? 0;
      this.#listings[target] = listings[slot] ?? 0;
    }
  }
}

/** Neighbouring numbers apart: Fibonacci hashing of the low 32 bits, moved on by the high ones. */
function home(ino: Ino, mask: number): number {
  return (Math.imul((ino | 0) + Math.imul(ino / TWO_TO_32, 0x85eb_ca6b), 0x9e37_79b1) >>> 7) & mask;
}
