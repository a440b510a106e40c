import { createHash, randomUUID } from 'node:crypto';
import { opendir, readFile, readlink, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '../core/index.js';

/** A write that has not touched its file for this long is not going on any more, on whatever machine it was. */
const STALE_AFTER_MS = 24 * 60 * 60 * 1000;

const NAME = /^(?<pidScope>[0-9a-f]{16})\.(?<pid>[0-9]+)\.[0-9a-f-]{36}$/;

/**
 * Names for files being written, and the removal of those whose writers died. A name carries the writer's pid and what the pid is
 * valid in, for the folder may be shared by machines and containers: `<pid scope>.<pid>.<uuid>`.
 */
export class TemporaryFiles {
  readonly folder: string;
  readonly #pidScope: string;

  private constructor(folder: string, pidScope: string) {
    this.folder = folder;
    this.#pidScope = pidScope;
  }

  static async in(folder: string): Promise<TemporaryFiles> {
    const bootId = await readFile('/proc/sys/kernel/random/boot_id', 'utf8');
    const pidNamespace = await readlink('/proc/self/ns/pid');
    const pidScope = createHash('sha256').update(`${bootId}${pidNamespace}`).digest('hex').slice(0, 16);
    return new TemporaryFiles(folder, pidScope);
  }

  newPath(): string {
    return join(this.folder, `${this.#pidScope}.${String(process.pid)}.${randomUUID()}`);
  }

  /** Removes what dead writers left. Files it may not remove, and a folder that is not there, are left alone. */
  async sweep(): Promise<void> {
    try {
      for await (const entry of await opendir(this.folder)) {
        const path = join(this.folder, entry.name);
        if (await this.#isStale(entry.name, path)) await unlink(path);
      }
    } catch (error) {
      const code = systemCode(error);
      // ENOENT: nothing was ever written, or another process swept it away. The others: a store that can only be read.
      if (code !== 'ENOENT' && code !== 'EACCES' && code !== 'EPERM' && code !== 'EROFS') throw error;
    }
  }

  async #isStale(name: string, path: string): Promise<boolean> {
    const { pidScope, pid } = NAME.exec(name)?.groups ?? {};
    if (pid === undefined) return false;
    if (pidScope === this.#pidScope && !isAlive(Number(pid))) return true;
    return Date.now() - (await stat(path)).mtimeMs > STALE_AFTER_MS;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return systemCode(error) !== 'ESRCH';
  }
}
