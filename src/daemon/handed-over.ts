import { open } from 'node:fs/promises';
import type { BlockStore } from '../blocks/index.js';
import { CairnError, Errno, errnoOf, messageOf, systemCode } from '../core/index.js';
import { writeErrorReply, writeReadReply } from '../fuse/index.js';
import type { ReadPart } from '../vfs/index.js';
import type { Logger } from './daemon-log.js';
import type { Prefetcher } from './prefetcher.js';
import type { FromSession } from './session-protocol.js';

/**
 * Answers what the session thread handed over because it would have had to wait: reads of blocks that are not cached, and fsync.
 * A read that is interrupted gets EINTR at once; one whose block cannot be had gets EIO, and only that one.
 */
export class HandedOver {
  readonly #fd: number;
  readonly #blocks: BlockStore;
  readonly #log: Logger;
  readonly #prefetcher: Prefetcher;
  readonly #reads = new Map<bigint, AbortController>();

  constructor(options: { fd: number; blocks: BlockStore; prefetcher: Prefetcher; log: Logger }) {
    this.#fd = options.fd;
    this.#blocks = options.blocks;
    this.#prefetcher = options.prefetcher;
    this.#log = options.log;
  }

  async read({ unique, ino, parts }: Extract<FromSession, { kind: 'read' }>): Promise<void> {
    const abort = new AbortController();
    this.#reads.set(unique, abort);
    try {
      const buffers = await Promise.all(parts.map(async (part) => await this.#bytesOf(part, abort.signal)));
      writeReadReply(this.#fd, unique, buffers);
    } catch (error) {
      if (!abort.signal.aborted) this.#log.error({ ino, problem: messageOf(error) }, 'a read failed');
      writeErrorReply(this.#fd, unique, abort.signal.aborted ? Errno.EINTR : Errno.EIO);
    } finally {
      this.#reads.delete(unique);
    }
  }

  interrupt(unique: bigint): void {
    this.#reads.get(unique)?.abort(new Error('interrupted'));
  }

  async sync({ unique, files }: Extract<FromSession, { kind: 'sync' }>): Promise<void> {
    let errno = 0;
    try {
      for (const file of files) await syncFile(file);
    } catch (error) {
      this.#log.error({ problem: messageOf(error) }, 'fsync failed');
      errno = errnoOf(error);
    }
    writeErrorReply(this.#fd, unique, errno);
  }

  async #bytesOf(part: ReadPart, signal: AbortSignal): Promise<Buffer> {
    switch (part.kind) {
      case 'zeros':
        return Buffer.alloc(part.length);
      case 'bytes':
        // Across threads a Buffer arrives as a plain Uint8Array.
        return Buffer.from(part.bytes.buffer, part.bytes.byteOffset, part.length);
      case 'block': {
        const found = this.#blocks.get(part.block, { signal });
        // After it: what is fetched ahead goes behind what is waited for.
        this.#prefetcher.missed(part.block);
        const raw = await found;
        const end = part.blockOffset + part.length;
        // The manifest is verified to be what was published, not to be right.
        if (end > raw.length) throw new CairnError('corrupt', `an extent ends beyond block ${part.block}`);
        return raw.subarray(part.blockOffset, end);
      }
    }
  }
}

/** fdatasync of a file, fsync of a folder. A file that is gone has nothing left to lose: its last name was removed. */
async function syncFile(file: string): Promise<void> {
  let handle;
  try {
    handle = await open(file, 'r');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return;
    throw error;
  }
  try {
    await handle.datasync();
  } finally {
    await handle.close();
  }
}
