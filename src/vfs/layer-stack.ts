import { fsError, isDirectory, type Ino, type InodeAttributes } from '../core/index.js';
import type { DentryRow } from '../manifest/index.js';
import { MergedView, type UpperLayer } from '../upper/index.js';

/** An unlinked inode that the kernel still knows, with the stack below the active layer that it still reads from. */
export interface RetainedInode {
  ino: Ino;
  below: MergedView;
}

/**
 * What a mount stands on: the active layer over sealed ones over a manifest. For inodes without a name, which belong to no version, it also
 * knows the older stack that each of them goes on reading from.
 */
export class LayerStack {
  #view: MergedView;
  readonly #retained = new Map<Ino, MergedView>();

  constructor(view: MergedView, retained: readonly RetainedInode[]) {
    this.#view = view;
    for (const { ino, below } of retained) if (!hasNameAgain(view, ino)) this.#retained.set(ino, below);
  }

  get view(): MergedView {
    return this.#view;
  }

  /** The layer that takes changes. Throws EROFS where there is none. */
  get active(): UpperLayer {
    const active = this.#view.layers[0];
    if (active === undefined) throw fsError('EROFS');
    return active;
  }

  /** The active layer was sealed and `active` put above it. */
  push(active: UpperLayer): void {
    const sealed = this.active;
    for (const [ino, below] of this.#retained) {
      this.#retained.set(ino, new MergedView([sealed, ...below.layers], below.manifest));
    }
    this.#view = new MergedView([active, ...this.#view.layers], this.#view.manifest);
  }

  /** The stack became `view`; the inodes `unlinked` go on reading from the one before. */
  replaceBelow(view: MergedView, unlinked: Iterable<Ino>): void {
    for (const { ino, below } of this.retainedWith(unlinked)) this.#retained.set(ino, below);
    this.#view = view;
  }

  /** What `replaceBelow` would leave as retained. */
  retainedWith(unlinked: Iterable<Ino>): RetainedInode[] {
    const before = this.#view.below();
    const retained = this.retained();
    for (const ino of unlinked) if (!this.#retained.has(ino)) retained.push({ ino, below: before });
    return retained;
  }

  retained(): RetainedInode[] {
    return [...this.#retained].map(([ino, below]) => ({ ino, below }));
  }

  /** The inode is gone, or has a name again. */
  release(ino: Ino): void {
    this.#retained.delete(ino);
  }

  /** The view an inode is read through: a retained one's is the active layer over the stack it was opened on. */
  viewOf(ino: Ino): MergedView {
    if (this.#retained.size === 0) return this.#view;
    const below = this.#retained.get(ino);
    if (below === undefined) return this.#view;
    const active = this.#view.layers.slice(0, 1);
    return new MergedView([...active, ...below.layers], below.manifest);
  }

  /** Throws ESTALE for one that is not there. */
  inode(ino: Ino): InodeAttributes {
    const inode = this.viewOf(ino).inode(ino);
    if (inode === undefined) throw fsError('ESTALE');
    // Another writer's version may have taken the name away that it has in the stack it is read from.
    const [active] = this.#view.layers;
    const lostItsName = inode.nlink > 0 && this.#retained.has(ino) && active?.inode(ino) === undefined;
    return lostItsName ? { ...inode, nlink: 0 } : inode;
  }

  directory(ino: Ino): InodeAttributes {
    const inode = this.inode(ino);
    if (!isDirectory(inode.mode)) throw fsError('ENOTDIR');
    return inode;
  }

  entry(parent: Ino, name: Buffer): DentryRow {
    const entry = this.#view.lookup(parent, name);
    if (entry === undefined) throw fsError('ENOENT');
    return entry;
  }
}

/** Whether an inode that had no name at some time has one by now, as the topmost layer says that knows it. */
export function hasNameAgain(view: MergedView, ino: Ino): boolean {
  for (const layer of view.layers) {
    const inode = layer.inode(ino);
    if (inode !== undefined) return inode.nlink > 0;
  }
  return false;
}
