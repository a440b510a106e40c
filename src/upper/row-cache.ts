/** Rows of one generation; two are kept. */
const GENERATION_ROWS = 8192;

/**
 * Rows of a table in memory, also the knowledge that there is none (null), and which of them the database does not have yet. What was not used for
 * a while is let go by generations, which is cheaper than an order of use; dirty rows stay until `flush`, which the owner calls when `isFull`.
 */
export class RowCache<Key, Row> {
  #young = new Map<Key, Row | null>();
  #old = new Map<Key, Row | null>();
  readonly #dirty = new Set<Key>();

  get dirtyCount(): number {
    return this.#dirty.size;
  }

  get isFull(): boolean {
    return this.#young.size >= GENERATION_ROWS;
  }

  /** Undefined: not known here, the database has to be asked. */
  get(key: Key): Row | null | undefined {
    const row = this.#young.get(key);
    if (row !== undefined) return row;
    const older = this.#old.get(key);
    if (older !== undefined) this.#young.set(key, older);
    return older;
  }

  /** Remembers what the database has. */
  learn(key: Key, row: Row | null): void {
    this.#young.set(key, row);
  }

  /** Changes a row; null deletes it. */
  put(key: Key, row: Row | null): void {
    this.#young.set(key, row);
    this.#dirty.add(key);
  }

  /** Hands every dirty row to `write`, and begins a generation where it is time. */
  flush(write: (key: Key, row: Row | null) => void): void {
    for (const key of this.#dirty) write(key, this.get(key) ?? null);
    this.#dirty.clear();
    if (!this.isFull) return;
    this.#old = this.#young;
    this.#young = new Map();
  }

  /** Forgets everything, dirty or not. */
  clear(): void {
    this.#young.clear();
    this.#old.clear();
    this.#dirty.clear();
  }
}
