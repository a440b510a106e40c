import { mkdir, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { systemCode } from '../core/index.js';

/** Folders remembered as made: FORMAT.md O-1 has 257, and whatever a caller invents must not grow without limit. */
const REMEMBERED_MAX = 1024;

interface FolderSync {
  running: Promise<void>;
  /** One more fsync, for all who came after `running` began. */
  next: Promise<void> | undefined;
}

/**
 * Folders whose entries survive power loss: a rename or link is durable only when its folder has been fsynced, and a new folder only
 * when its parent has (fsync(2)).
 */
export class DurableFolders {
  readonly #syncs = new Map<string, FolderSync>();
  readonly #made = new Set<string>();

  /**
   * Makes `folder` and the folders between it and `root`, durably: also those that are there, whose maker may not have come to its
   * fsync.
   *
   * @param rootMayBeMade a store whose folder has gone must not come back empty on the disk below.
   * @throws the system's error; ENOENT when `root` is missing and may not be made.
   */
  async make(folder: string, root: string, rootMayBeMade: boolean): Promise<void> {
    if (this.#made.has(folder) || (folder === root && !rootMayBeMade)) return;
    if (folder === root) {
      await this.#makeWithParents(root);
    } else {
      const parent = dirname(folder);
      await this.make(parent, root, rootMayBeMade);
      await mkdirIfAbsent(folder);
      await this.sync(parent);
    }
    if (this.#made.size >= REMEMBERED_MAX) this.#made.clear();
    this.#made.add(folder);
  }

  async #makeWithParents(folder: string): Promise<void> {
    const parent = dirname(folder);
    try {
      await mkdirIfAbsent(folder);
    } catch (error) {
      if (systemCode(error) !== 'ENOENT' || parent === folder) throw error;
      await this.#makeWithParents(parent);
      await mkdirIfAbsent(folder);
    }
    await this.sync(parent);
  }

  /** Makes all entries of `folder` durable that were there when this was called. Calls that come while one runs share the next. */
  sync(folder: string): Promise<void> {
    const current = this.#syncs.get(folder);
    if (current === undefined) return this.#startSync(folder);
    const start = (): Promise<void> => this.#startSync(folder);
    current.next ??= current.running.then(start, start);
    return current.next;
  }

  #startSync(folder: string): Promise<void> {
    const sync: FolderSync = { running: fsyncFolder(folder), next: undefined };
    this.#syncs.set(folder, sync);
    const settled = (): void => {
      if (sync.next === undefined) this.#syncs.delete(folder);
    };
    sync.running.then(settled, settled);
    return sync.running;
  }

  /** Forgets which folders there are: one of them turned out to be gone. */
  forget(): void {
    this.#made.clear();
  }
}

async function mkdirIfAbsent(folder: string): Promise<void> {
  try {
    await mkdir(folder);
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error;
  }
}

async function fsyncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } catch (error) {
    // EINVAL: a file system that has no fsync of folders, for it is read-only or makes every change durable (fsync(2)).
    if (systemCode(error) !== 'EINVAL' && systemCode(error) !== 'EROFS') throw error;
  } finally {
    await handle.close();
  }
}
