import { open, readdir } from 'node:fs/promises';
import { isHexId, systemCode, type BlockId, type ManifestRoot } from '../core/index.js';
import { findLocal, findLocalIndex } from './local-manifests.js';
import { readAt } from './read-at.js';

/** What a folder of local manifests has under one root. */
export interface AuditedLocalManifest {
  root: ManifestRoot;
  /** `unfinished`: a process died before the last of its files was there. */
  state: 'sound' | 'damaged' | 'unfinished';
}

/** Every manifest of a folder, re-checked piece by piece. Changes nothing. */
export async function* auditLocalManifests(dir: string): AsyncGenerator<AuditedLocalManifest> {
  const extensions = new Map<string, Set<string>>();
  for (const name of await namesIn(dir)) {
    const [root = '', extension = ''] = name.split('.');
    if (!isHexId(root)) continue;
    const present = extensions.get(root) ?? new Set();
    extensions.set(root, present.add(extension));
  }
  for (const [name, present] of extensions) {
    const root = name as ManifestRoot;
    if (!present.has('ok')) yield { root, state: 'unfinished' };
    else yield { root, state: (await findLocal(dir, root)) === undefined ? 'damaged' : 'sound' };
  }
}

/** Bytes of `block` from `blockOffset` on, as far as a local manifest's database has them together; not verified. */
export async function pieceOfLocal(
  dir: string,
  block: BlockId,
  blockOffset: number,
): Promise<Buffer | undefined> {
  for (const name of await namesIn(dir)) {
    const [root = '', extension] = name.split('.');
    if (!isHexId(root) || extension !== 'ok') continue;
    const index = await findLocalIndex(dir, root as ManifestRoot);
    let position = 0;
    for (const run of index?.runs ?? []) {
      const skipped = blockOffset - run.blockOffset;
      if (run.block === block && skipped >= 0 && skipped < run.length) {
        const local = await findLocal(dir, root as ManifestRoot);
        if (local === undefined) break;
        const file = await open(local.path, 'r');
        try {
          return await readAt(file, Buffer.alloc(run.length - skipped), position + skipped);
        } finally {
          await file.close();
        }
      }
      position += run.length;
    }
  }
  return undefined;
}

async function namesIn(dir: string): Promise<string[]> {
  try {
    return (await readdir(dir)).sort();
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return [];
    throw error;
  }
}
