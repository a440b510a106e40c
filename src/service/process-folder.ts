import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import Database from 'better-sqlite3';

const LOCK = '.lock';

/**
 * A folder for what one service has on the disk while it runs: `<id>/`, and beside it `<id>.lock`, which it holds locked, as SQLite locks a database. Such a lock ends with
 * its process, however that ends, and is seen from other containers: so any number of services work in one home folder, and what those have left that were killed is
 * removed by who starts next.
 */
export class ProcessFolder {
  readonly path: string;
  readonly #lock: Database.Database;

  private constructor(path: string, lock: Database.Database) {
    this.path = path;
    this.#lock = lock;
  }

  /** Makes one below `dir`, and removes those of services that have ended. */
  static async in(dir: string): Promise<ProcessFolder> {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    const names = await readdir(dir);
    for (const name of names.filter((each) => each.endsWith(LOCK)))
      await removeIfLeft(join(dir, name.slice(0, -LOCK.length)));
    for (;;) {
      const path = join(dir, randomUUID());
      const lock = locked(path);
      // Who starts at the same moment may have taken a lock that nobody held yet for one that was left.
      if (lock === undefined) continue;
      await mkdir(path, { mode: 0o700 });
      return new ProcessFolder(path, lock);
    }
  }

  /** Removes it. */
  async close(): Promise<void> {
    await remove(this.path, this.#lock);
  }
}

async function removeIfLeft(path: string): Promise<void> {
  const lock = locked(path);
  if (lock !== undefined) await remove(path, lock);
}

/** The folder goes before its lock: what a crash leaves is found the next time. */
async function remove(path: string, lock: Database.Database): Promise<void> {
  await rm(path, { recursive: true, force: true });
  await rm(`${path}${LOCK}`, { force: true });
  lock.close();
}

/** The lock beside a folder; undefined when somebody else has it, or had it and took it away. */
function locked(path: string): Database.Database | undefined {
  const lock = new Database(`${path}${LOCK}`, { timeout: 0 });
  try {
    lock.pragma('journal_mode = MEMORY');
    lock.exec('begin exclusive');
    if (existsSync(`${path}${LOCK}`)) return lock;
  } catch (error) {
    if (!(error instanceof Database.SqliteError) || !error.code.startsWith('SQLITE_BUSY')) throw error;
  }
  lock.close();
  return undefined;
}
