import { fsError, isRegular, type Ino } from '../core/index.js';
import type { LayerInode } from '../upper/index.js';
import type { LayerStack } from './layer-stack.js';

const ANY_EXECUTE = 0o111;
const CAPABILITY = Buffer.from('security.capability');

/** Content is copied from one layer to another in stretches of this. */
const COPY_UP_WINDOW_BYTES = 1024 * 1024;

/**
 * Copies into the active layer what is about to change, and no more: of an inode its attributes, which are one row; its xattrs all at once; of its
 * content nothing. What it returns is the caller's to change and to put.
 */
export class CopyUp {
  readonly #stack: LayerStack;

  constructor(stack: LayerStack) {
    this.#stack = stack;
  }

  /** The inode as the active layer holds it; a first change copies its attributes up. The caller puts it. */
  inode(ino: Ino): LayerInode {
    const owned = this.#stack.active.inode(ino);
    if (owned !== undefined) return { ...owned };
    const below = this.#stack.inode(ino);
    return {
      ino,
      mode: below.mode,
      uid: below.uid,
      gid: below.gid,
      size: below.size,
      nlink: below.nlink,
      rdev: below.rdev,
      mtimeSec: below.mtimeSec,
      mtimeNsec: below.mtimeNsec,
      ctimeSec: below.ctimeSec,
      ctimeNsec: below.ctimeNsec,
      btimeSec: below.btimeSec,
      btimeNsec: below.btimeNsec,
      created: 0,
      contentChanged: 0,
      belowLimit: 0,
      ownFile: 0,
      ownsXattrs: 0,
      atimeSec: below.atimeSec ?? below.mtimeSec,
      atimeNsec: below.atimeNsec ?? below.mtimeNsec,
    };
  }

  /** The same, for a change of the content: all of it is still below. */
  content(ino: Ino): LayerInode {
    const inode = this.inode(ino);
    if (!isRegular(inode.mode)) throw fsError('EINVAL');
    if (inode.contentChanged === 0) {
      inode.contentChanged = 1;
      inode.belowLimit = inode.size;
    }
    return inode;
  }

  /** All its xattrs. */
  xattrs(inode: LayerInode): void {
    if (inode.ownsXattrs === 1) return;
    for (const row of this.#stack.viewOf(inode.ino).xattrs(inode.ino)) {
      this.#stack.active.putXattr(inode.ino, row.name, row.value);
    }
    inode.ownsXattrs = 1;
  }

  /**
   * Makes an inode without a name the active layer's own, with everything it holds. Refuses one that was removed, which stays removed
   * (linkat(2)): only of that the content may be in the manifest.
   */
  whole(inode: LayerInode): void {
    const active = this.#stack.active;
    const view = this.#stack.viewOf(inode.ino);
    if (view.manifest.inode(inode.ino) !== undefined) throw fsError('ENOENT');
    this.xattrs(inode);
    for (let from = 0; from < inode.size; from += COPY_UP_WINDOW_BYTES) {
      for (const part of view.content(inode.ino, from, Math.min(COPY_UP_WINDOW_BYTES, inode.size - from))) {
        if (part.kind !== 'layer' || part.layer === active) continue;
        const bytes = Buffer.allocUnsafe(part.length);
        part.layer.readExtent(inode.ino, part.extent, part.offset, bytes);
        active.writeData(inode, part.offset, bytes);
      }
    }
    inode.created = 1;
    inode.contentChanged = 1;
    inode.belowLimit = 0;
  }

  /** Under HANDLE_KILLPRIV_V2 a write, truncation or change of owner takes a program's capabilities; only programs have any. */
  dropCapability(inode: LayerInode): void {
    if ((inode.mode & ANY_EXECUTE) === 0) return;
    if (this.#stack.viewOf(inode.ino).xattr(inode.ino, CAPABILITY) === undefined) return;
    this.xattrs(inode);
    this.#stack.active.deleteXattr(inode.ino, CAPABILITY);
  }
}
