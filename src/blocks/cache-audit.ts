import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { bytesOfId, isHexId, systemCode, type BlockId } from '../core/index.js';
import { CACHE_FILE_MAX_BYTES, CacheFileLayout, cacheFilePath } from './cache-file.js';
import { sha256 } from './digest.js';

/** A file of the cache folder where a block should be. */
export interface AuditedCacheFile {
  id: BlockId;
  path: string;
  bytes: number;
  /** Whether it is the block, byte for byte. */
  sound: boolean;
}

/** Every block of a cache folder, verified against its id. Changes nothing, not even when a block was last used. */
export async function* auditCache(dir: string): AsyncGenerator<AuditedCacheFile> {
  const layout = await CacheFileLayout.create();
  for (const folder of (await namesIn(dir)).filter((name) => /^[0-9a-f]{2}$/.test(name))) {
    for (const name of (await namesIn(join(dir, folder))).filter(isHexId)) {
      const id = name as BlockId;
      const path = join(dir, folder, name);
      const size = (await stat(path).catch(() => undefined))?.size;
      // Evicted meanwhile.
      if (size === undefined) continue;
      yield { id, path, bytes: size, sound: (await soundBytes(layout, id, path, size)) !== undefined };
    }
  }
}

/** The raw bytes of a block as a cache folder has it, if they hash to its id. */
export async function readCached(dir: string, id: BlockId): Promise<Buffer | undefined> {
  const path = cacheFilePath(dir, id);
  const size = (await stat(path).catch(() => undefined))?.size;
  return size === undefined ? undefined : soundBytes(await CacheFileLayout.create(), id, path, size);
}

async function soundBytes(
  layout: CacheFileLayout,
  id: BlockId,
  path: string,
  size: number,
): Promise<Buffer | undefined> {
  if (size > CACHE_FILE_MAX_BYTES) return undefined;
  const file = await readFile(path).catch(() => undefined);
  const raw = file === undefined ? undefined : layout.rawBytes(id, file);
  return raw !== undefined && sha256(raw).equals(bytesOfId(id)) ? raw : undefined;
}

async function namesIn(dir: string): Promise<string[]> {
  try {
    return (await readdir(dir)).sort();
  } catch (error) {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return [];
    throw error;
  }
}
