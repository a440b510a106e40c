import { readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { isHexId } from '../core/index.js';

/** At least so much goes at a time, and this share of all there is: to look for it costs a look at every file. */
const ROOM_MIN_BYTES = 64 * 1024 * 1024;
const ROOM_SHARE = 1 / 8;

interface CachedFile {
  path: string;
  bytes: number;
  mtimeMs: number;
}

/**
 * Gives space back to the disk: removes the blocks of a cache folder that were used longest ago. False when there were none. Synchronous, for a
 * thread that would else have to refuse a write.
 */
export function makeRoomSync(dir: string): boolean {
  const files = filesOf(dir).sort((one, other) => one.mtimeMs - other.mtimeMs);
  const total = files.reduce((sum, { bytes }) => sum + bytes, 0);
  let wantedBytes = Math.max(ROOM_MIN_BYTES, total * ROOM_SHARE);
  for (const { path, bytes } of files) {
    if (wantedBytes <= 0) break;
    rmSync(path, { force: true });
    wantedBytes -= bytes;
  }
  return files.length > 0;
}

function filesOf(dir: string): CachedFile[] {
  const files: CachedFile[] = [];
  for (const folder of readdirSync(dir)) {
    if (!/^[0-9a-f]{2}$/.test(folder)) continue;
    for (const name of readdirSync(join(dir, folder))) {
      const path = join(dir, folder, name);
      const stats = isHexId(name) ? statSync(path, { throwIfNoEntry: false }) : undefined;
      if (stats !== undefined) files.push({ path, bytes: stats.blocks * 512, mtimeMs: stats.mtimeMs });
    }
  }
  return files;
}
