import type { LayerInode } from '../../src/upper/index.js';

/** A file a layer makes, empty. */
export function newInode(ino: number, mode: number): LayerInode {
  const times = { mtimeSec: 1, mtimeNsec: 0, ctimeSec: 1, ctimeNsec: 0, btimeSec: 1, btimeNsec: 0 };
  const attributes = { ino, mode, uid: 0, gid: 0, size: 0, nlink: 1, rdev: 0, ...times };
  const layers = { created: 1, contentChanged: 1, belowLimit: 0, ownFile: 0, ownsXattrs: 1 };
  return { ...attributes, ...layers, atimeSec: 1, atimeNsec: 0 };
}
