import type { WritablePlace } from './place.js';

/** The file system of the disk that all the others keep their files on: `system` is its name, as ext4. */
export function localDisk(system: string, tree: string, work: string): WritablePlace {
  return { system, tree, work, symlinks: true, once: false };
}
