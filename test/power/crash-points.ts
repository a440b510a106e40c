import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, fallocate } from '../../src/posix/index.js';
import { run, runDone, until } from '../mount/site.js';
import type { randomNumbers } from '../fixtures/random-numbers.js';
import type { DiskEvent } from './disk-log.js';

type Write = Extract<DiskEvent, { kind: 'write' | 'zero' }>;

const SECTOR_BYTES = 512;
const PAGE_BYTES = 4096;

/**
 * A disk as power loss may leave it: all that was written before the last flush that came back, and of what was written since any part.
 * Fed with the events of a recording, in order.
 */
export class DiskHistory {
  readonly #path: string;
  readonly #fd: number;
  /** Since the last flush. */
  #unflushed: Write[] = [];

  constructor(path: string, sizeBytes: number) {
    this.#path = path;
    this.#fd = openSync(path, 'w+');
    ftruncateSync(this.#fd, sizeBytes);
  }

  add(event: DiskEvent): void {
    if (event.kind === 'write' || event.kind === 'zero') {
      this.#unflushed.push(event);
    } else if (event.kind === 'flush') {
      for (const write of this.#unflushed) apply(this.#fd, write);
      this.#unflushed = [];
    }
  }

  /** Makes `path` the disk after a power loss now. Each write since the last flush is there, or not, or torn. Returns how many there were. */
  async loss(path: string, random: ReturnType<typeof randomNumbers>): Promise<number> {
    await runDone(['cp', '--sparse=always', this.#path, path]);
    const fd = openSync(path, 'r+');
    try {
      // Sometimes all, and sometimes none: what a disk without a cache does, and one that waits.
      const survivingPercent = [0, 20, 50, 80, 100][random(5)] ?? 0;
      for (const write of this.#unflushed) {
        if (random(100) < survivingPercent) apply(fd, random(4) === 0 ? torn(write, random) : write);
      }
    } finally {
      closeSync(fd);
    }
    return this.#unflushed.length;
  }

  close(): void {
    closeSync(this.#fd);
  }
}

/** The first sectors, or pages, of a write. */
function torn(write: Write, random: ReturnType<typeof randomNumbers>): Write {
  const unit = random(2) === 0 ? SECTOR_BYTES : PAGE_BYTES;
  const length = write.kind === 'write' ? write.bytes.length : write.length;
  const kept = random(Math.floor(length / unit) + 1) * unit;
  return write.kind === 'write'
    ? { ...write, bytes: write.bytes.subarray(0, kept) }
    : { ...write, length: kept };
}

function apply(fd: number, write: Write): void {
  if (write.kind === 'write') {
    writeSync(fd, write.bytes, 0, write.bytes.length, write.offset);
  } else if (write.length > 0) {
    fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, write.offset, write.length);
  }
}

/** Mounts a disk at `folder` for `use`; the file system recovers first. */
export async function withDisk(image: string, folder: string, use: () => Promise<void>): Promise<void> {
  await runDone(['mount', '-o', 'loop,noatime', image, folder]);
  try {
    await use();
  } finally {
    // A daemon whose mount is gone still closes its files.
    await until('the disk is unmounted', async () => (await run(['umount', folder])).code === 0);
  }
}
