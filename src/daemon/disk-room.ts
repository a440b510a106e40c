import fs from 'node:fs';
import { makeRoomSync } from '../blocks/index.js';
import { fsError } from '../core/index.js';
import type { Room } from '../fuse/index.js';
import { freeBytes, hasRoomFor, isFull, Reserve } from '../upper/index.js';

/** What changes leave of the disk, for the journal to be folded in. */
const LEFT_BYTES = 8 * 1024 * 1024;
const LEFT_FILES = 16;

/** How many changes go by between two looks at the disk. */
const LOOK_EVERY = 64;

export interface RoomSources {
  /** Closes cached blocks, which take space for as long as they are open. */
  letGo: () => void;
  /** Of the active layer. */
  compact: () => void;
}

/**
 * The disk's space, as a mount uses it. First the cache gives way; then what takes space is refused, and what gives some back gets the
 * reserve. Of the session thread.
 */
export class DiskRoom implements Room {
  readonly #mountDir: string;
  readonly #cacheDir: string;
  readonly #reserve: Reserve;
  readonly #sources: RoomSources;
  #changes = LOOK_EVERY;
  #isCompacting = false;

  constructor(mountDir: string, cacheDir: string, sources: RoomSources) {
    this.#mountDir = mountDir;
    this.#cacheDir = cacheDir;
    this.#reserve = new Reserve(mountDir);
    this.#sources = sources;
  }

  require(): void {
    this.#changes += 1;
    if (this.#reserve.isWhole && this.#changes < LOOK_EVERY) return;
    while (!this.#reserve.restore() || !hasRoomFor(this.#mountDir, LEFT_BYTES, LEFT_FILES))
      if (!this.#shrinkCache() && !this.#compact()) throw fsError('ENOSPC');
    this.#changes = 0;
  }

  make(forRemoval: boolean): boolean {
    return this.#shrinkCache() || this.#compact() || (forRemoval && this.#reserve.release());
  }

  /** Sets the reserve aside, where there is room for it. */
  setAside(): void {
    this.#reserve.restore();
  }

  #shrinkCache(): boolean {
    if (fs.statSync(this.#cacheDir).dev !== fs.statSync(this.#mountDir).dev) return false;
    this.#sources.letGo();
    return makeRoomSync(this.#cacheDir);
  }

  /** To compact is to fold, which may ask for room itself. */
  #compact(): boolean {
    if (this.#isCompacting) return false;
    this.#isCompacting = true;
    const before = freeBytes(this.#mountDir);
    try {
      this.#sources.compact();
    } catch (error) {
      if (!isFull(error)) throw error;
    } finally {
      this.#isCompacting = false;
    }
    return freeBytes(this.#mountDir) > before;
  }
}
