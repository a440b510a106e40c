import type { BlockStore } from '../blocks/index.js';
import type { Catalog } from '../catalog/index.js';
import type { Ino, ManifestRoot } from '../core/index.js';
import { deleteEntry, invalidateEntry, invalidateInode, kernelKnows } from '../fuse/index.js';
import {
  fetchManifest,
  localManifestPath,
  openManifest,
  treeChanges,
  type TreeChanges,
} from '../manifest/index.js';
import type { ObjectStore } from '../objects/index.js';
import type { StackState } from '../upper/index.js';
import type { Logger } from './daemon-log.js';
import type { SessionClient } from './session-client.js';

export interface MovesOptions {
  /** The mount's /dev/fuse. */
  fd: number;
  /** What the mount stands on. */
  stack: () => StackState;
  manifestDir: string;
  session: SessionClient;
  catalog: Catalog;
  objects: ObjectStore;
  blocks: BlockStore;
  log: Logger;
}

/**
 * Lets a mount go over to a version that shows another tree than it does, while programs use it: the session thread exchanges what is below the
 * active layer, if there is one, then the kernel is told what it has to forget. Nobody else may change the mount's stack meanwhile.
 */
export class Moves {
  readonly #options: MovesOptions;

  constructor(options: MovesOptions) {
    this.#options = options;
  }

  /** To the head. False, and nothing has happened, where the layers hold an edit of anything that differs, or anything is sealed. */
  async toHead(): Promise<boolean> {
    const { catalog, session, log } = this.#options;
    // A move that the kernel was not told of, because something failed, must not be forgotten for another.
    await this.finish(true);
    const { base } = this.#options.stack();
    const { workspace, seq, root } = await catalog.version(base.workspace);
    if (seq === base.seq) return true;
    const changes = await this.#changes(base.root, root);
    const target = { workspace, seq, root };
    let moved = await session.move(target, changes, []);
    if (moved.open.length > 0) moved = await session.move(target, changes, await this.#forgotten(moved.open));
    if (!moved.done) return false;
    await this.#tellKernel(changes);
    log.info({ workspace, seq, inodes: changes.inodes.length, removed: changes.removed.length }, 'moved on');
    return true;
  }

  /** An earlier process may have moved the mount and died before the kernel knew. */
  async finish(tookOver: boolean): Promise<void> {
    const { base, movedFrom } = this.#options.stack();
    if (movedFrom === undefined) return;
    if (tookOver) await this.#tellKernel(await this.#changes(movedFrom, base.root));
    else await this.#options.session.settle();
  }

  /**
   * Those of the inodes without a name that the kernel does not know, so that nobody has them open: what it knew before a daemon died was counted by
   * nobody.
   */
  async #forgotten(inos: readonly Ino[]): Promise<Ino[]> {
    const forgotten: Ino[] = [];
    for (const ino of inos) if (!(await kernelKnows(this.#options.fd, ino))) forgotten.push(ino);
    return forgotten;
  }

  async #tellKernel({ inodes, removed, names }: TreeChanges): Promise<void> {
    const { fd, session } = this.#options;
    for (const { parent, name, removed: ino } of names) {
      if (ino === undefined) await invalidateEntry(fd, parent, name);
      else await deleteEntry(fd, parent, ino, name);
    }
    // Who has open what is gone is to see that it has no name any more, and nothing in it.
    for (const ino of [...inodes, ...removed]) await invalidateInode(fd, ino);
    await session.settle();
  }

  async #changes(from: ManifestRoot, to: ManifestRoot): Promise<TreeChanges> {
    const { manifestDir: dir, blocks, objects } = this.#options;
    for (const root of [from, to]) await fetchManifest({ root, dir, blocks, objects });
    const earlier = openManifest(localManifestPath(dir, from));
    try {
      const later = openManifest(localManifestPath(dir, to));
      try {
        return treeChanges(earlier, later);
      } finally {
        later.close();
      }
    } finally {
      earlier.close();
    }
  }
}
