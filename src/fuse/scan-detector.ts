import type { Ino } from '../core/index.js';

/** Listings that are remembered, and the files of all of them together: a tree may be listed first and read later. */
const LISTINGS_MAX = 16 * 1024;
const FILES_MAX = 256 * 1024;

/** So many files of one listing read: somebody reads what was listed. While a scan goes on the first is enough. */
const READS_OF_A_READER = 2;
/** So many listings read that way, each begun at most so many listings after the one before: somebody scans. */
const READ_LISTINGS_OF_A_SCAN = 3;
const LISTINGS_BETWEEN = 16;
/** While a scan goes on, a file of every so many listings is left to be asked for. */
const LISTINGS_PER_PROBE = 8;
/** When none was asked for in so many listings the scan is over. */
const LISTINGS_WITHOUT_READ = 64;
/** How many listings may have begun between two parts of one directory's. */
const LISTINGS_AT_ONCE = 64;

/** Listings are numbered from 1 to this: what `FileSystem.setListing` takes. */
const LAST_LISTING = 0xffff_fffe;

/** Files to push, in order: `files` of them from `at` on in steps of `step`. The object is used again. */
export interface Offering {
  listing: number;
  directory: Ino;
  at: number;
  step: 1 | -1;
  files: number;
}

/**
 * Tells a program that reads a tree from one that only lists it: the first gets the files it will ask for, the second must not cost more than
 * its listings. Knows nothing but listings and first reads, and allocates nothing after its construction; its memory is taken from the system
 * as it fills.
 *
 * A listing is one reply to READDIRPLUS, or rather those of its files that could be pushed.
 */
export class ScanDetector {
  // Of each remembered listing, at its number modulo LISTINGS_MAX.
  readonly #numbers = new Float64Array(LISTINGS_MAX);
  readonly #directories = new Float64Array(LISTINGS_MAX);
  readonly #endCookies = new Float64Array(LISTINGS_MAX);
  readonly #firstFiles = new Float64Array(LISTINGS_MAX);
  readonly #fileCounts = new Uint32Array(LISTINGS_MAX);
  readonly #reads = new Uint32Array(LISTINGS_MAX);
  readonly #firstReads = new Float64Array(LISTINGS_MAX);
  readonly #offered = new Uint8Array(LISTINGS_MAX);
  // Of each remembered file, at its place in the order of all modulo FILES_MAX.
  readonly #inos = new Float64Array(FILES_MAX);
  readonly #cookies = new Float64Array(FILES_MAX);

  readonly #offering: Offering = { listing: 0, directory: 0, at: 0, step: 1, files: 0 };
  /** The last listing; the next is being added to. */
  #last = 0;
  #filesBefore = 0;
  #files = 0;
  #scanning = false;
  #readListings = 0;
  #lastReader = 0;
  #lastRead = 0;

  inoAt(at: number): Ino {
    return this.#inos[at % FILES_MAX] ?? 0;
  }

  cookieAt(at: number): number {
    return this.#cookies[at % FILES_MAX] ?? 0;
  }

  /** The next listing begins; what was added to one that was not ended is forgotten. */
  beginListing(): void {
    this.#files = this.#filesBefore;
  }

  /** A file that could be pushed is part of the next listing. */
  addFile(ino: Ino, cookie: number): void {
    this.#inos[this.#files % FILES_MAX] = ino;
    this.#cookies[this.#files % FILES_MAX] = cookie;
    this.#files += 1;
  }

  /**
   * The reply is complete; its last entry, of whatever kind, has that cookie. Returns the listing, whose files are to be given its number, or
   * undefined when it has none.
   */
  endListing(directory: Ino, endCookie: number): Offering | undefined {
    const files = this.#files - this.#filesBefore;
    if (files === 0) return undefined;
    this.#last = this.#last === LAST_LISTING ? 1 : this.#last + 1;
    const slot = this.#last % LISTINGS_MAX;
    this.#numbers[slot] = this.#last;
    this.#directories[slot] = directory;
    this.#endCookies[slot] = endCookie;
    this.#firstFiles[slot] = this.#filesBefore;
    this.#fileCounts[slot] = files;
    this.#reads[slot] = 0;
    this.#firstReads[slot] = 0;
    this.#offered[slot] = 0;
    this.#filesBefore = this.#files;
    if (this.#last - this.#lastRead > LISTINGS_WITHOUT_READ) this.#scanning = false;
    return this.#describe(this.#last, 1, 0);
  }

  /**
   * The directory's listing goes on after that cookie, so the kernel has taken what came before. While a scan goes on this returns what to
   * push of it.
   */
  continued(directory: Ino, cookie: number): Offering | undefined {
    if (!this.#scanning) return undefined;
    const oldest = Math.max(1, this.#last - LISTINGS_AT_ONCE);
    for (let number = this.#last; number >= oldest; number--) {
      const slot = number % LISTINGS_MAX;
      if (this.#directories[slot] !== directory || this.#endCookies[slot] !== cookie) continue;
      if (!this.#canOffer(number)) return undefined;
      return this.#describe(number, 1, number % LISTINGS_PER_PROBE === 0 ? 1 : 0);
    }
    return undefined;
  }

  /** The first READ of a file that was part of that listing. Returns what to push, if this shows a reader. */
  read(ino: Ino, number: number): Offering | undefined {
    this.#lastRead = this.#last;
    const slot = number % LISTINGS_MAX;
    if (this.#numbers[slot] !== number) return undefined;
    const reads = (this.#reads[slot] ?? 0) + 1;
    this.#reads[slot] = reads;
    if (reads === 1) this.#firstReads[slot] = ino;
    if (reads === Math.min(READS_OF_A_READER, this.#fileCounts[slot] ?? 0)) this.#noteReader();
    if ((reads < READS_OF_A_READER && !this.#scanning) || !this.#canOffer(number)) return undefined;
    return this.#describe(number, ino < (this.#firstReads[slot] ?? 0) ? -1 : 1, 0);
  }

  /** What was returned was offered, and need not be again. */
  setOffered(number: number): void {
    this.#offered[number % LISTINGS_MAX] = 1;
  }

  #noteReader(): void {
    const apart = this.#last - this.#lastReader;
    this.#readListings = apart <= LISTINGS_BETWEEN ? this.#readListings + 1 : 1;
    this.#lastReader = this.#last;
    if (this.#readListings >= READ_LISTINGS_OF_A_SCAN) this.#scanning = true;
  }

  /** Not yet offered, and its files not forgotten. */
  #canOffer(number: number): boolean {
    const slot = number % LISTINGS_MAX;
    const first = this.#firstFiles[slot] ?? 0;
    return this.#numbers[slot] === number && this.#offered[slot] === 0 && first + FILES_MAX >= this.#files;
  }

  #describe(number: number, step: 1 | -1, leftOut: number): Offering {
    const slot = number % LISTINGS_MAX;
    const first = this.#firstFiles[slot] ?? 0;
    const files = this.#fileCounts[slot] ?? 0;
    const offering = this.#offering;
    offering.listing = number;
    offering.directory = this.#directories[slot] ?? 0;
    offering.files = files - leftOut;
    offering.step = step;
    offering.at = step === 1 ? first + leftOut : first + files - 1;
    return offering;
  }
}
