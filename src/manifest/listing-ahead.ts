import { isDirectory, type Ino } from '../core/index.js';
import type { DentryWithInode } from './manifest-reader.js';

/** Listings kept ready, at most; each has no more rows than were asked for at once. */
const READY_MAX = 48;
/** Directories known to be next, at most. */
const NEXT_MAX = 512;

/**
 * Fetches listings before they are asked for, while whoever asks is busy with the last one: a walk of the tree goes on with the first subdirectory
 * of what it has just listed, and comes back to the others later. What was guessed wrong is dropped when right guesses need its place.
 */
export class ListingAhead {
  readonly #fetch: (parent: Ino) => DentryWithInode[];
  readonly #ready = new Map<Ino, DentryWithInode[]>();
  /** The last is the next to be fetched. */
  readonly #next: Ino[] = [];

  /** `fetch`: the first rows of a directory. */
  constructor(fetch: (parent: Ino) => DentryWithInode[]) {
    this.#fetch = fetch;
  }

  /** The first rows of a directory, fetched now if they were not. */
  take(parent: Ino): DentryWithInode[] {
    const ready = this.#ready.get(parent);
    if (ready !== undefined) {
      this.#ready.delete(parent);
      return ready;
    }
    const [oldest] = this.#ready.keys();
    if (oldest !== undefined && this.#ready.size >= READY_MAX) this.#ready.delete(oldest);
    const rows = this.#fetch(parent);
    this.#follow(rows);
    return rows;
  }

  /** Fetches one listing; false when there is nothing to do. */
  work(): boolean {
    if (this.#ready.size >= READY_MAX) return false;
    const parent = this.#next.pop();
    if (parent === undefined) return false;
    if (this.#ready.has(parent)) return true;
    try {
      const rows = this.#fetch(parent);
      this.#ready.set(parent, rows);
      this.#follow(rows);
    } catch {
      // Whoever lists it will be told what is wrong with it.
    }
    return true;
  }

  #follow(rows: readonly DentryWithInode[]): void {
    for (let index = rows.length - 1; index >= 0; index -= 1) {
      const row = rows[index];
      if (row !== undefined && isDirectory(row.inode.mode)) this.#next.push(row.ino);
    }
    if (this.#next.length > NEXT_MAX) this.#next.splice(0, this.#next.length - NEXT_MAX);
  }
}
