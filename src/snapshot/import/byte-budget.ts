interface Waiter {
  bytes: number;
  resolve: () => void;
}

/**
 * A limit on bytes in flight: who wants to hold some waits, in order of asking, until others have given theirs back. One
 * request larger than the whole budget is granted when nothing else is held, so that it can be met at all.
 */
export class ByteBudget {
  readonly #totalBytes: number;
  readonly #waiters: Waiter[] = [];
  #heldBytes = 0;

  constructor(totalBytes: number) {
    this.#totalBytes = totalBytes;
  }

  /** Resolves when `bytes` are the caller's, who must give back exactly as many. */
  async take(bytes: number): Promise<void> {
    if (this.#waiters.length === 0 && this.#fits(bytes)) {
      this.#heldBytes += bytes;
      return;
    }
    await new Promise<void>((resolve) => this.#waiters.push({ bytes, resolve }));
  }

  giveBack(bytes: number): void {
    this.#heldBytes -= bytes;
    for (;;) {
      const next = this.#waiters[0];
      if (next === undefined || !this.#fits(next.bytes)) return;
      this.#waiters.shift();
      this.#heldBytes += next.bytes;
      next.resolve();
    }
  }

  #fits(bytes: number): boolean {
    return this.#heldBytes === 0 || this.#heldBytes + bytes <= this.#totalBytes;
  }
}
