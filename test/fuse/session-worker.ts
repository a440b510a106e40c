import { parentPort, workerData } from 'node:worker_threads';

import { ROOT_INO, S_IFREG, type BlockId, type Ino } from '../../src/core/index.js';
import { RequestCounters, runSession, type HandOver } from '../../src/fuse/index.js';
import { createEventDrain } from '../../src/posix/index.js';
import type { ReadPart } from '../../src/vfs/index.js';
import { MemoryFileSystem } from '../fixtures/memory-file-system.js';

/** What a session worker is started with. */
export interface SessionWorkerData {
  fd: number;
  wakeFd: number;
  counters: SharedArrayBuffer;
  readOnly: boolean;
  spinUs: number;
  /** So many files are there from the start, in the directory `files`. */
  files: number;
}

export type SessionWorkerMessage =
  | { kind: 'negotiated'; negotiated: { minor: number; resend: boolean } }
  | { kind: 'read'; unique: bigint; offset: number; size: number }
  | { kind: 'sync'; unique: bigint; files: readonly string[] }
  | { kind: 'interrupt'; unique: bigint }
  | { kind: 'failure'; what: string; message: string }
  | { kind: 'woken' }
  | { kind: 'ended'; how: string };

/** Files of this size are in "blocks" that are never cached: their reads are handed over. */
export const REMOTE_FILE_BYTES = 777_777;
/** And a sync of a file of this size waits until it is interrupted. */
export const STUCK_FILE_BYTES = 777_778;
export const STUCK = 'stuck';

/** Adds what a memory has not: bytes that must be fetched, and files to sync. */
class RemoteContent extends MemoryFileSystem {
  override read(ino: Ino, offset: number, length: number): ReadPart[] {
    const { size } = this.inode(ino);
    if (size !== REMOTE_FILE_BYTES) return super.read(ino, offset, length);
    const available = Math.max(0, Math.min(length, size - offset));
    return [{ kind: 'block', length: available, block: 'remote' as BlockId, blockOffset: offset }];
  }

  override filesToSync(ino: Ino): string[] {
    return this.inode(ino).size === STUCK_FILE_BYTES ? [STUCK] : ['data'];
  }
}

function fillWithFiles(fileSystem: MemoryFileSystem, count: number): void {
  const caller = { uid: 0, gid: 0, pid: 0 };
  const { ino: directory } = fileSystem.mkdir(ROOT_INO, Buffer.from('files'), 0o755, caller);
  for (let n = 0; n < count; n++) {
    const { ino } = fileSystem.mknod(directory, Buffer.from(`file-${String(n)}`), S_IFREG | 0o644, 0, caller);
    fileSystem.write(ino, 0, Buffer.alloc(1024, 'x'), false);
  }
}

const port = parentPort;
if (port !== null) {
  const data = workerData as SessionWorkerData;
  const send = (message: SessionWorkerMessage): void => {
    port.postMessage(message);
  };
  const handOver: HandOver = {
    read: ({ unique, parts, size }) => {
      const [part] = parts;
      if (part?.kind === 'block') send({ kind: 'read', unique, offset: part.blockOffset, size });
    },
    sync: (unique, files) => {
      send({ kind: 'sync', unique, files });
    },
    interrupt: (unique) => {
      send({ kind: 'interrupt', unique });
    },
  };
  const fileSystem = new RemoteContent({
    readOnly: data.readOnly,
    owner: { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 },
  });
  if (data.files > 0) fillWithFiles(fileSystem, data.files);
  const drain = createEventDrain(data.wakeFd);
  const how = runSession({
    fd: data.fd,
    wakeFd: data.wakeFd,
    fileSystem,
    blocks: { tryRead: () => false },
    handOver,
    counters: new RequestCounters(data.counters),
    spinUs: data.spinUs,
    onWake: () => {
      drain();
      send({ kind: 'woken' });
    },
    onNegotiated: (negotiated) => {
      send({ kind: 'negotiated', negotiated });
    },
    onFailure: (what, error) => {
      send({ kind: 'failure', what, message: String(error) });
    },
  });
  send({ kind: 'ended', how });
}
