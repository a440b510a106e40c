import type { ManifestRoot } from '../core/index.js';
import { LayerSet } from '../upper/index.js';
import { MountFolder } from './mount-folder.js';
import { ReadOnlyStack } from './read-only-stack.js';

/**
 * Whether a mount of a home folder reads from the manifest, or will when it is mounted again. True as well where a mount's folder cannot be read: then
 * nobody knows.
 */
export function isManifestInUse(home: string, root: ManifestRoot): boolean {
  try {
    return MountFolder.list(home).some((folder) => rootsOf(folder).includes(root));
  } catch {
    return true;
  }
}

function rootsOf(folder: MountFolder): ManifestRoot[] {
  const request = folder.request();
  if (request === undefined) return [];
  const stack = (request.readOnly ? undefined : LayerSet.read(folder.dir)) ?? ReadOnlyStack.stateIn(folder);
  if (stack === undefined) return [];
  const { base, retained, movedFrom } = stack;
  return [base.root, ...retained.map((stack) => stack.root), ...(movedFrom === undefined ? [] : [movedFrom])];
}
