/**
 * A daemon of one thread that takes over a mount and dies by SIGKILL at a chosen change: `node session-process.js <fd> <journal>
 * <changes until death> <before|after>`, which is before the change is committed, or after, with its reply not yet written.
 */
import { JournaledFileSystem } from '../fixtures/journaled-file-system.js';
import { requestResend, RequestCounters, runSession } from '../../src/fuse/index.js';
import { createEventFd } from '../../src/posix/index.js';

class MortalFileSystem extends JournaledFileSystem {
  readonly #when: string;
  #left: number;

  constructor(journal: string, changesUntilDeath: number, when: string) {
    super(journal, { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 });
    this.#left = changesUntilDeath;
    this.#when = when;
  }

  override commit(unique: bigint, reply: Buffer): void {
    const isLast = --this.#left === 0;
    if (isLast && this.#when === 'before') process.kill(process.pid, 'SIGKILL');
    super.commit(unique, reply);
    if (isLast) process.kill(process.pid, 'SIGKILL');
  }
}

const [, , fd, journal = '', changesUntilDeath, when = ''] = process.argv;
const fileSystem = new MortalFileSystem(journal, Number(changesUntilDeath), when);
requestResend(Number(fd));
runSession({
  fd: Number(fd),
  wakeFd: createEventFd(),
  fileSystem,
  blocks: { tryRead: () => false },
  handOver: { read: () => undefined, sync: () => undefined, interrupt: () => undefined },
  counters: new RequestCounters(),
  onWake: () => undefined,
  onNegotiated: () => undefined,
  onFailure: (what, error) => {
    process.stderr.write(`${what}: ${String(error)}\n`);
  },
});
