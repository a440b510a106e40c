import { isDirectory, type Ino } from '../../core/index.js';
import { walk, type ManifestReader } from '../../manifest/index.js';
import type { UpperLayer } from '../../upper/index.js';

/**
 * The inodes of which a layer changes a path, a content or an attribute, in the parent version or in the one it becomes. At the cost of the
 * changes; a directory that was moved costs what was below it.
 */
export function touchedInodes(layer: UpperLayer, parent: ManifestReader): Set<Ino> {
  const touched = new Set<Ino>();
  for (const inode of layer.inodes()) touched.add(inode.ino);
  for (const { parent: directory, name, ino } of layer.dentries()) {
    const replaced = parent.lookup(directory, name);
    if (replaced !== undefined) touched.add(replaced.ino);
    if (ino === 0 || ino === replaced?.ino) continue;
    touched.add(ino);
    // What is below a directory that is new has entries of its own in the layer; below one that was moved it has not.
    const before = parent.inode(ino);
    if (before === undefined || !isDirectory(before.mode)) continue;
    for (const entry of walk(parent, ino)) touched.add(entry.dentry.ino);
  }
  return touched;
}
