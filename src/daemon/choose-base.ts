import type { Catalog } from '../catalog/index.js';
import { CairnError, homeLayout } from '../core/index.js';
import { openManifest } from '../manifest/index.js';
import { LayerSet, type BaseVersion } from '../upper/index.js';
import type { Logger } from './daemon-log.js';
import type { MountRequest } from './mount-control.js';
import type { MountFolder } from './mount-folder.js';
import { ReadOnlyStack } from './read-only-stack.js';
import { reserveNumbers } from './reserve-numbers.js';
import { activeLayerHasChanges } from './second-look.js';

interface ChooseOptions {
  folder: MountFolder;
  request: MountRequest;
  /** Another daemon answered before this one. */
  tookOver: boolean;
  log: Logger;
}

/**
 * What the mount stands on. Edits of an earlier mount at this place are resumed, on the version they were made on; without any the version
 * that was asked for is taken.
 */
export async function chooseBase(
  { folder, request, tookOver, log }: ChooseOptions,
  catalog: Catalog,
  fetch: (root: BaseVersion['root']) => Promise<string>,
): Promise<{ base: BaseVersion; resumedEdits: boolean }> {
  const kept = request.readOnly ? undefined : LayerSet.read(folder.dir);
  if (kept !== undefined) {
    LayerSet.recover(folder.dir, kept);
    await fetch(kept.base.root);
    for (const stack of kept.retained) await fetch(stack.root);
    if (tookOver) return { base: kept.base, resumedEdits: true };
    if (hasEdits(folder.dir, homeLayout.manifests(request.home))) {
      if (request.seq !== undefined && request.seq !== kept.base.seq) {
        const where = `${request.workspace}@${String(kept.base.seq)}`;
        throw new CairnError('conflict', `${request.mountpoint} has unpublished edits of ${where}`, {
          hint: `mount ${where} there and snapshot it, or choose another mountpoint`,
        });
      }
      return { base: kept.base, resumedEdits: true };
    }
  }
  const takenOver = request.readOnly && tookOver ? ReadOnlyStack.stateIn(folder)?.base : undefined;
  if (takenOver !== undefined) return { base: takenOver, resumedEdits: false };
  const last = request.readOnly ? ReadOnlyStack.stateIn(folder)?.base : kept?.base;
  let version: BaseVersion;
  try {
    version = await catalog.version(request.workspace, request.seq);
  } catch (error) {
    const cannotSay = error instanceof CairnError && error.code !== 'not-found';
    if (!cannotSay || last === undefined || (request.seq ?? last.seq) !== last.seq) throw error;
    log.warn({ problem: error.message }, 'the catalog cannot be asked: mounted as it was last');
    version = last;
  }
  const base = { workspace: version.workspace, seq: version.seq, root: version.root };
  const manifest = openManifest(await fetch(base.root));
  try {
    if (request.readOnly) ReadOnlyStack.write(folder, { base, retained: [] });
    else if (kept === undefined || !isSameBase(kept.base, base) || kept.numbersEnd === undefined) {
      const inUse = Math.max(manifest.nextIno, manifest.nextCookie);
      LayerSet.create(folder.dir, base, await reserveNumbers(catalog, base.workspace, inUse));
    }
  } finally {
    manifest.close();
  }
  return { base, resumedEdits: false };
}

/** A version may have the tree of an earlier one, which it brought back. */
function isSameBase(one: BaseVersion, other: BaseVersion): boolean {
  return one.seq === other.seq && one.root === other.root;
}

/** Whether the layers in the folder hold anything that is not published. The base's manifest must be there. */
export function hasEdits(dir: string, manifests: string): boolean {
  const state = LayerSet.read(dir);
  if (state === undefined) return false;
  if (state.sealed.length > 0) return true;
  return activeLayerHasChanges(dir, manifests, state);
}
