import { isRegular, type Ino, type InodeAttributes } from '../core/index.js';
import type { FileSystem } from '../vfs/index.js';
import { OfferSide } from './feeder-ring.js';
import { makeUnreadable, PUSHED_FILE_MAX_BYTES } from './notify-store.js';
import { Opcode, OPCODE_LIMIT } from './protocol.js';
import { ScanDetector, type Offering } from './scan-detector.js';

/**
 * Requests that no change of the pages of the inode they name can follow unless another names it first. All others count: a mapped page is
 * read before it is written to, and the rest are changes themselves; but for GETXATTR, see `touch`.
 */
const HARMLESS: readonly number[] = [
  Opcode.LOOKUP,
  Opcode.FORGET,
  Opcode.BATCH_FORGET,
  Opcode.GETATTR,
  Opcode.STATX,
  Opcode.READLINK,
  Opcode.READDIR,
  Opcode.READDIRPLUS,
  Opcode.LSEEK,
  Opcode.LISTXATTR,
  Opcode.GETXATTR,
];

/**
 * The session's part of the feeder: notices who scans, offers the files that will be read next, and takes an offer back before a program could
 * change what is being pushed. Runs on the session thread, and never waits.
 *
 * Offered are regular files that no layer holds anything of, that the kernel knows, and that were not touched since it learned of them: no page
 * of such a file can be dirty. Only for a mount whose every request this process has seen: not after it took over from another.
 */
export class Feeder {
  readonly #fileSystem: FileSystem;
  readonly #offers: OfferSide;
  readonly #detector = new ScanDetector();
  readonly #touches = new Uint8Array(OPCODE_LIMIT).fill(1);
  /** Tells that a feeder thread is wanted: once. */
  readonly #onWanted: () => void;
  #isWanted = false;

  /** `ring`: of `createFeederRing`. */
  constructor(fileSystem: FileSystem, ring: SharedArrayBuffer, onWanted: () => void) {
    this.#fileSystem = fileSystem;
    this.#offers = new OfferSide(ring, makeUnreadable);
    this.#onWanted = onWanted;
    for (const opcode of HARMLESS) this.#touches[opcode] = 0;
  }

  /** Files that are published are those of the version with this root, which shows the same tree as the one before. */
  setRoot(root: string): void {
    this.#offers.setRoot(root);
  }

  /** The tree became another, in which these inodes are not what they were. */
  moveTo(root: string, changed: readonly Ino[]): void {
    for (const ino of changed) this.touch(ino);
    this.#offers.setRoot(root);
  }

  /** Before anything is done about a request that names an inode. */
  before(opcode: number, ino: Ino): void {
    if (this.#touches[opcode] === 0) return;
    const listing = this.touch(ino);
    if (listing === 0 || opcode !== Opcode.READ) return;
    const offering = this.#detector.read(ino, listing);
    if (offering !== undefined && this.#offer(offering)) this.#offers.publish();
  }

  /**
   * The inode's pages may change once the current request is answered. Also to be called for GETXATTR of `security.capability`, which is what
   * write(2) begins with (file_remove_privs). Returns as `FileSystem.touch` does.
   */
  touch(ino: Ino): number {
    this.#offers.withdraw(ino);
    return this.#fileSystem.touch(ino);
  }

  /** The kernel drops references to an inode: what it learns of it later is a new start. */
  forget(ino: Ino): void {
    this.#offers.withdraw(ino);
  }

  /** READDIRPLUS asks for what is after that cookie. True when files of before were offered: `replyAfter` or `publish` follows. */
  beginListing(directory: Ino, cookie: number): boolean {
    this.#detector.beginListing();
    const offering = cookie === 0 ? undefined : this.#detector.continued(directory, cookie);
    return offering !== undefined && this.#offer(offering);
  }

  addEntry(cookie: number, ino: Ino, inode: InodeAttributes, published: boolean): void {
    if (!published || !isRegular(inode.mode) || inode.size === 0 || inode.size > PUSHED_FILE_MAX_BYTES)
      return;
    this.#detector.addFile(ino, cookie);
  }

  endListing(directory: Ino, endCookie: number): void {
    const listed = this.#detector.endListing(directory, endCookie);
    if (listed === undefined) return;
    for (let index = 0; index < listed.files; index++) {
      this.#fileSystem.setListing(this.#detector.inoAt(listed.at + index), listed.listing);
    }
  }

  /** Gives an empty reply away, to be sent when all that was offered is pushed: its program will then find it there. */
  replyAfter(request: { uniqueLow: number; uniqueHigh: number }): boolean {
    if (this.#offers.room === 0) return false;
    this.#offers.replyAfter(request.uniqueLow, request.uniqueHigh);
    this.#offers.publish();
    return true;
  }

  /** Lets the feeder begin with what was offered. */
  publish(): void {
    this.#offers.publish();
  }

  /** Whether the reply to a SETATTR of the inode is sent by the feeder, see `OfferSide.holdReply`. */
  holdReply(ino: Ino, reply: Buffer): boolean {
    return this.#offers.holdReply(ino, reply);
  }

  close(): void {
    this.#offers.close();
  }

  #offer({ listing, directory, at, step, files }: Offering): boolean {
    const offers = this.#offers;
    if (!offers.isOpen) {
      if (!this.#isWanted) this.#onWanted();
      this.#isWanted = true;
      return false;
    }
    // One is for the reply.
    if (offers.room < files + 1) return false;
    this.#detector.setOffered(listing);
    const first = step === 1 ? at : at - files + 1;
    const fromCookie = this.#detector.cookieAt(first);
    let offered = false;
    for (let index = 0; index < files; index++) {
      const file = at + index * step;
      const ino = this.#detector.inoAt(file);
      if (!this.#fileSystem.isUntouchedSince(ino, listing)) continue;
      this.#fileSystem.touch(ino);
      offers.offer({ ino, directory, fromCookie, cookie: this.#detector.cookieAt(file) });
      offered = true;
    }
    return offered;
  }
}
