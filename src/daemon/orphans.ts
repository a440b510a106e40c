import { messageOf, type Ino } from '../core/index.js';
import { kernelKnows } from '../fuse/index.js';
import type { Logger } from './daemon-log.js';
import type { SessionClient } from './session-client.js';

export interface OrphansOptions {
  /** The mount's /dev/fuse. */
  fd: number;
  session: Pick<SessionClient, 'letGo'>;
  log: Logger;
}

/** The session is told so often, while many are asked for. */
const TOLD_AT_ONCE = 256;

/**
 * Files without a name that came over from a daemon that died: who had them open was counted by that one. The kernel is asked, and what it does not
 * know nobody has open, maps or is at work on: its content goes, as at a FORGET. In any doubt (another error, a mount that ends) it stays until the mount ends.
 *
 * Between answer and release nothing can come to hold such a file again:
 * - by a name: it has none, and no listing shows it;
 * - by a link to an open file, or a descriptor opened again through /proc: that file is open, so the kernel knows its inode;
 * - by a request that is being answered, or that the kernel has sent again to this daemon: it holds the inode while it waits;
 * - by a reply that the kernel has not taken in yet: of a lookup or a listing it would come before the name could be removed, because the directory
 *   is locked meanwhile; of O_TMPFILE it could come late, which is why `doubtful` leaves out files without bytes;
 * - by a file handle (open_by_handle_at): the kernel looks it up among the inodes it knows, and asks nobody.
 * What another daemon's version has removed may be in a reply that is not taken in: that lookup ends as one of a name that has gone (ESTALE).
 */
export class Orphans {
  readonly #options: OrphansOptions;
  readonly #doubtful = new Set<Ino>();
  #isAsking = false;

  constructor(options: OrphansOptions) {
    this.#options = options;
  }

  /** Asks for each, one after the other, and lets go of what the kernel does not know. */
  ask(inos: readonly Ino[]): void {
    for (const ino of inos) this.#doubtful.add(ino);
    if (this.#isAsking || this.#doubtful.size === 0) return;
    this.#isAsking = true;
    void this.#askAll();
  }

  async #askAll(): Promise<void> {
    const { fd, session, log } = this.#options;
    try {
      while (this.#doubtful.size > 0) {
        const inos = [...this.#doubtful].slice(0, TOLD_AT_ONCE);
        const forgotten: Ino[] = [];
        for (const ino of inos) {
          // Before the answer: who is told of it again meanwhile has it asked for again.
          this.#doubtful.delete(ino);
          if (!(await kernelKnows(fd, ino))) forgotten.push(ino);
        }
        if (forgotten.length === 0) continue;
        await session.letGo(forgotten);
        log.info({ inodes: forgotten.length }, 'removed files that nobody has open any more are gone');
      }
    } catch (error) {
      log.warn({ problem: messageOf(error) }, 'removed files may keep their space until the mount ends');
    }
    this.#isAsking = false;
  }
}
