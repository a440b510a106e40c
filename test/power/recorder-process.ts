/**
 * A file system of two files: `disk`, of which every write, discard and sync is appended to a log, and `notes`, whose writes are: `node
 * recorder-process.js <fd of the mount> <log> <size of the disk>`. In a process of its own, because a loop device on `disk` waits for it.
 */
import { ROOT_INO, S_IFREG, type Ino } from '../../src/core/index.js';
import { RequestCounters, runSession } from '../../src/fuse/index.js';
import { createEventFd } from '../../src/posix/index.js';
import { MemoryFileSystem } from '../fixtures/memory-file-system.js';
import { DiskLogWriter } from './disk-log.js';

const FALLOC_PUNCH_OR_ZERO = 2 | 16;
const NOBODY = { uid: 0, gid: 0, pid: 0 };

class RecordedFiles extends MemoryFileSystem {
  readonly #log: DiskLogWriter;
  readonly #disk: Ino;
  /** Not ended yet. */
  #line = '';

  constructor(log: DiskLogWriter, diskBytes: number) {
    super();
    this.#log = log;
    this.#disk = this.mknod(ROOT_INO, Buffer.from('disk'), S_IFREG | 0o600, 0, NOBODY).ino;
    this.setAttributes(this.#disk, { size: diskBytes });
    this.mknod(ROOT_INO, Buffer.from('notes'), S_IFREG | 0o600, 0, NOBODY);
  }

  override write(ino: Ino, offset: number, data: Buffer, kill: boolean): void {
    if (ino === this.#disk) {
      super.write(ino, offset, data, kill);
      this.#log.append({ kind: 'write', offset, bytes: data });
    } else {
      this.#note(data.toString());
    }
  }

  /** A note is a line; the kernel may cut a write in two at a page's end. */
  #note(text: string): void {
    const lines = (this.#line + text).split('\n');
    this.#line = lines.pop() ?? '';
    for (const line of lines) this.#log.append({ kind: 'note', text: line });
  }

  override fallocate(ino: Ino, mode: number, offset: number, length: number, kill: boolean): void {
    super.fallocate(ino, mode, offset, length, kill);
    if ((mode & FALLOC_PUNCH_OR_ZERO) !== 0) this.#log.append({ kind: 'zero', offset, length });
  }

  /** Answered at once: what is in the log before it is on the disk. */
  override filesToSync(ino: Ino): string[] {
    if (ino === this.#disk) this.#log.append({ kind: 'flush' });
    return [];
  }
}

const [, , fd, log = '', diskBytes] = process.argv;
runSession({
  fd: Number(fd),
  wakeFd: createEventFd(),
  fileSystem: new RecordedFiles(new DiskLogWriter(log), Number(diskBytes)),
  blocks: { tryRead: () => false },
  handOver: { read: () => undefined, sync: () => undefined, interrupt: () => undefined },
  counters: new RequestCounters(),
  onWake: () => undefined,
  onNegotiated: () => undefined,
  onFailure: (what, error) => {
    process.stderr.write(`${what}: ${String(error)}\n`);
  },
});
