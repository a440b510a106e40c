import { randomUUID } from 'node:crypto';
import { closeSync, mkdirSync, openSync, renameSync, rmSync, utimesSync, writevSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { systemCode, type BlockId } from '../core/index.js';
import { cacheFilePath, type CacheFileLayout } from './cache-file.js';

/** Where files of a cache folder are written before they are renamed into place. */
export function temporaryCacheDir(dir: string): string {
  return join(dir, 'tmp');
}

/** A name nobody else uses; it begins with the process that writes there, so that others know whether it still does. */
function temporaryPath(dir: string): string {
  return join(temporaryCacheDir(dir), `${String(process.pid)}-${randomUUID()}`);
}

/**
 * Puts a verified block into a cache folder, where it appears whole, by rename. Returns the bytes of the new file, 0 when the block
 * was there. Throws the system's error, and leaves nothing behind.
 *
 * Synchronous: it writes memory into the page cache, and a promise for each step costs a busy thread more than that.
 */
export function keepBlockSync(dir: string, id: BlockId, raw: Uint8Array, layout: CacheFileLayout): number {
  const path = cacheFilePath(dir, id);
  if (touchSync(path)) return 0;
  const tail = layout.tailFor(id, raw);
  const temporary = temporaryPath(dir);
  try {
    writeWholeSync(temporary, raw, tail);
    renameIntoSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
  return raw.length + tail.length;
}

function writeWholeSync(path: string, raw: Uint8Array, tail: Uint8Array): void {
  const fd = openSync(path, 'wx', 0o600);
  try {
    const length = raw.length + tail.length;
    // A short write says why only when it is tried again.
    for (let written = 0; written < length;) {
      written += writevSync(fd, [
        raw.subarray(Math.min(written, raw.length)),
        tail.subarray(Math.max(0, written - raw.length)),
      ]);
    }
  } finally {
    closeSync(fd);
  }
}

/** Renames into a subfolder that may not be there yet. */
function renameIntoSync(temporary: string, path: string): void {
  try {
    renameSync(temporary, path);
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    renameSync(temporary, path);
  }
}

/** Marks a file as used now; false when there is none. */
export function touchSync(path: string): boolean {
  const nowSec = Date.now() / 1000;
  try {
    utimesSync(path, nowSec, nowSec);
    return true;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return false;
    throw error;
  }
}
