import type { ManifestRoot } from '../core/index.js';
import { LayerSet } from '../upper/index.js';
import { MountFolder } from './mount-folder.js';

/** The manifests that mounts of a home folder read from, or will when they are mounted again. */
export function manifestsInUse(home: string): Set<ManifestRoot> {
  const roots = new Set<ManifestRoot>();
  for (const folder of MountFolder.list(home)) {
    const request = folder.request();
    if (request === undefined) continue;
    const layers = request.readOnly ? undefined : LayerSet.read(folder.dir);
    const versions = layers === undefined ? [folder.base()] : [layers.base, ...layers.retained];
    for (const version of versions) if (version !== undefined) roots.add(version.root);
    if (layers?.movedFrom !== undefined) roots.add(layers.movedFrom);
  }
  return roots;
}
