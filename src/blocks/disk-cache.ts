import { statSync } from 'node:fs';
import { mkdir, open, readdir, rm, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError, isHexId, messageOf, systemCode, type BlockId } from '../core/index.js';
import { CACHE_FILE_MAX_BYTES, CacheFileLayout, cacheFilePath } from './cache-file.js';
import { keepBlockSync, temporaryCacheDir, touchSync } from './keep-block.js';

/** A block's last use is only as exact as this, which spares a write for each read. */
export const LAST_USE_RESOLUTION_MS = 60_000;

/** Eviction goes on to this share of the budget, so that it is not needed again at once. */
const EVICT_DOWN_TO = 0.9;

/** Other processes fill too: the folder is measured again whenever this one has added this share of the budget. */
const MEASURE_EVERY = 1 / 32;

/** What was not used for 30 days counts as equally old. */
const AGES = 30 * 24 * 60;

/** A temporary file is written in a moment; one this old has no writer, whoever has its process id now. */
const TEMPORARY_MAX_AGE_MS = 60 * 60_000;

/** What file systems allocate at a time. */
const ALLOCATION_BYTES = 4096;
const SUBFOLDER = /^[0-9a-f]{2}$/;

interface Usage {
  bytes: number;
  /** Bytes by the time since their last use, in units of LAST_USE_RESOLUTION_MS. */
  bytesByAge: Float64Array;
  measuredAtMs: number;
}

/**
 * Raw blocks in a folder, `<2 hex>/<id>`, as CacheFileLayout lays them out. Any number of processes and threads use one
 * folder at once, without locks:
 *
 * - A block appears whole, by rename. Nothing is synced: what a crash tears does not verify, and counts as not there.
 * - A file's mtime is the clock of the LRU. Whoever finds the budget exceeded evicts; when two do it at once they choose
 *   the same files, as both go by age and then by name.
 * - A block evicted under a reader is a miss, or stays readable through a descriptor already open.
 *
 * Once open it never throws: a cache that is full, unreadable or read-only is a cache that misses. The size is known
 * roughly: between two measurements each process can exceed the budget by a thirty-second of it.
 */
export class DiskCache {
  readonly #dir: string;
  readonly #budgetBytes: number;
  readonly #layout: CacheFileLayout;
  #bytes = 0;
  /** Infinity: never measured. */
  #bytesSinceMeasured = Infinity;
  #diskFull = false;
  #upkeep: Promise<void> | undefined;

  private constructor(dir: string, budgetBytes: number, layout: CacheFileLayout) {
    this.#dir = dir;
    this.#budgetBytes = budgetBytes;
    this.#layout = layout;
  }

  /** Makes the folder where there is none. Throws `CairnError('failed')` when it cannot. */
  static async open(dir: string, budgetBytes: number): Promise<DiskCache> {
    const cache = new DiskCache(dir, budgetBytes, await CacheFileLayout.create());
    try {
      await mkdir(temporaryCacheDir(dir), { recursive: true, mode: 0o700 });
    } catch (error) {
      throw new CairnError('failed', `cache folder ${dir} cannot be used: ${messageOf(error)}`, {
        cause: error,
      });
    }
    await cache.#removeAbandonedTemporaries();
    return cache;
  }

  /** A block's raw bytes, verified, or undefined: not there, or not as it was written (it is then removed). */
  async read(id: BlockId): Promise<Buffer | undefined> {
    const path = cacheFilePath(this.#dir, id);
    try {
      const file = await readWhole(path);
      const raw = file === undefined ? undefined : this.#layout.rawBytes(id, file);
      if (raw !== undefined) return raw;
    } catch (error) {
      // Not there, or not readable for now. An unreadable sector stays so, and would stand in the way of the next `fill`.
      if (systemCode(error) !== 'EIO') return undefined;
    }
    await rm(path, { force: true }).catch(ignoreFailure);
    return undefined;
  }

  /** Whether the block is in the folder, as far as its name says; marks it as used now. */
  holds(id: BlockId): boolean {
    try {
      return touchSync(cacheFilePath(this.#dir, id));
    } catch {
      return false;
    }
  }

  /** Resolves when there is room for more: at once, but for a folder found to be beyond its budget. */
  async room(): Promise<void> {
    if (this.#bytes > this.#budgetBytes) await this.#keepUp();
  }

  /**
   * Keeps a block that was just verified against its id. Resolves when other threads and processes can read it, with
   * false when it could not be kept.
   */
  async fill(id: BlockId, raw: Uint8Array): Promise<boolean> {
    await this.room();
    try {
      this.filled(keepBlockSync(this.#dir, id, raw, this.#layout));
      return true;
    } catch (error) {
      await this.refused(systemCode(error));
      return false;
    }
  }

  /** Another thread has put a file of so many bytes into the folder. */
  filled(fileBytes: number): void {
    if (fileBytes > 0) this.#account(onDiskBytes(fileBytes));
  }

  /** Another thread could not, for this error of the system. Resolves when what can be done about it was done. */
  async refused(code: string | undefined): Promise<void> {
    if (code !== 'ENOSPC' && code !== 'EDQUOT') return;
    // The disk is fuller than the budget foresaw; what it holds next is worth more than the oldest blocks.
    this.#diskFull = true;
    await this.#keepUp();
  }

  /** What the blocks in the folder take on the disk, measured now. */
  async measuredBytes(): Promise<number> {
    return (await this.#measure()).bytes;
  }

  /** Leaves the folder within the budget, as far as this process knows. The cache must not be used afterwards. */
  async close(): Promise<void> {
    await this.#upkeep;
    if (this.#bytes > this.#budgetBytes) await this.#keepUp();
  }

  #account(addedBytes: number): void {
    this.#bytes += addedBytes;
    this.#bytesSinceMeasured += addedBytes;
    if (this.#bytes > this.#budgetBytes || this.#bytesSinceMeasured > this.#budgetBytes * MEASURE_EVERY) {
      // Not awaited: a fetch should not wait for it. The next `fill` does, when there is too much.
      void this.#keepUp();
    }
  }

  /** Measures the folder and evicts what is over the budget; one at a time. */
  #keepUp(): Promise<void> {
    this.#upkeep ??= this.#measureAndEvict()
      .catch(ignoreFailure)
      .finally(() => {
        this.#upkeep = undefined;
      });
    return this.#upkeep;
  }

  async #measureAndEvict(): Promise<void> {
    this.#bytesSinceMeasured = 0;
    await this.#removeAbandonedTemporaries();
    const usage = await this.#measure();
    const limit = this.#diskFull ? Math.min(usage.bytes, this.#budgetBytes) : this.#budgetBytes;
    const excess = usage.bytes > limit || this.#diskFull ? usage.bytes - limit * EVICT_DOWN_TO : 0;
    this.#diskFull = false;
    const evictedBytes = excess > 0 ? await this.#evict(usage, excess) : 0;
    // What was filled meanwhile may be counted twice: rather measured once more than overlooked.
    this.#bytes = usage.bytes - evictedBytes + this.#bytesSinceMeasured;
  }

  /** In two passes, so that memory does not grow with the number of blocks: how much is how old, then what to remove. */
  async #measure(): Promise<Usage> {
    const usage: Usage = { bytes: 0, bytesByAge: new Float64Array(AGES + 1), measuredAtMs: Date.now() };
    for await (const { bytes, mtimeMs } of this.#files()) {
      const age = ageAt(usage.measuredAtMs, mtimeMs);
      usage.bytes += bytes;
      usage.bytesByAge[age] = (usage.bytesByAge[age] ?? 0) + bytes;
    }
    return usage;
  }

  /** Removes at least `excess` bytes, where there are as many, of those used longest ago. Returns how many went. */
  async #evict(usage: Usage, excess: number): Promise<number> {
    let cutoffAge = AGES;
    let olderBytes = 0;
    while (cutoffAge > 0 && olderBytes + (usage.bytesByAge[cutoffAge] ?? 0) < excess) {
      olderBytes += usage.bytesByAge[cutoffAge] ?? 0;
      cutoffAge--;
    }
    let removedBytes = 0;
    let removedAtCutoffBytes = 0;
    for await (const { path, bytes, mtimeMs } of this.#files()) {
      const age = ageAt(usage.measuredAtMs, mtimeMs);
      if (age < cutoffAge || (age === cutoffAge && olderBytes + removedAtCutoffBytes >= excess)) continue;
      try {
        await unlink(path);
      } catch (error) {
        // Gone already: another process evicts too.
        if (systemCode(error) !== 'ENOENT') continue;
      }
      removedBytes += bytes;
      if (age === cutoffAge) removedAtCutoffBytes += bytes;
    }
    return removedBytes;
  }

  /** Every block's file, in order of name. */
  async *#files(): AsyncGenerator<{ path: string; bytes: number; mtimeMs: number }> {
    for (const folder of (await readdir(this.#dir)).filter((name) => SUBFOLDER.test(name)).sort()) {
      const names = await readdir(join(this.#dir, folder));
      for (const name of names.filter(isHexId).sort()) {
        const path = join(this.#dir, folder, name);
        // Synchronous, for a promise costs more than the call; after each subfolder other work gets its turn.
        const stats = statSync(path, { throwIfNoEntry: false });
        if (stats !== undefined) yield { path, bytes: onDiskBytes(stats.size), mtimeMs: stats.mtimeMs };
      }
    }
  }

  /** Those of processes that died while they wrote. */
  async #removeAbandonedTemporaries(): Promise<void> {
    const folder = temporaryCacheDir(this.#dir);
    const names = await readdir(folder).catch(() => []);
    for (const name of names) {
      const path = join(folder, name);
      const stats = await stat(path).catch(() => undefined);
      if (stats === undefined) continue;
      if (Date.now() - stats.mtimeMs > TEMPORARY_MAX_AGE_MS || !isProcessAlive(Number.parseInt(name, 10))) {
        await rm(path, { force: true }).catch(ignoreFailure);
      }
    }
  }
}

/** The file's bytes; undefined when it is larger than any the cache writes, or was cut while it was read. */
async function readWhole(path: string): Promise<Buffer | undefined> {
  const handle = await open(path, 'r');
  try {
    const { size, mtimeMs } = await handle.stat();
    if (size > CACHE_FILE_MAX_BYTES) return undefined;
    const now = Date.now();
    // A read-only folder only loses its sense of age.
    if (now - mtimeMs >= LAST_USE_RESOLUTION_MS)
      await handle.utimes(now / 1000, now / 1000).catch(ignoreFailure);
    const file = Buffer.allocUnsafeSlow(size);
    const { bytesRead } = await handle.read(file, 0, size, 0);
    return bytesRead === size ? file : undefined;
  } finally {
    await handle.close();
  }
}

function ageAt(nowMs: number, mtimeMs: number): number {
  return Math.min(AGES, Math.max(0, Math.floor((nowMs - mtimeMs) / LAST_USE_RESOLUTION_MS)));
}

function onDiskBytes(fileBytes: number): number {
  return Math.ceil(fileBytes / ALLOCATION_BYTES) * ALLOCATION_BYTES;
}

function isProcessAlive(pid: number): boolean {
  if (!(pid > 0)) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return systemCode(error) !== 'ESRCH';
  }
}

/** What the cache cannot do it does without. */
function ignoreFailure(): void {}
