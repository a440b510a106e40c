import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { BlockStore } from '../blocks/index.js';
import type { ManifestRoot } from '../core/index.js';
import { dropLocalManifest, fetchManifest, openManifest, type ManifestReader } from '../manifest/index.js';
import type { ObjectStore } from '../objects/index.js';

/** Versions that stay open while nobody uses them: each a file, and some megabytes of it in memory. */
const IDLE_MAX = 16;

interface OpenManifest {
  opening: Promise<ManifestReader>;
  users: number;
}

/** A manifest for as long as it is used. */
export interface ManifestLease {
  reader: ManifestReader;
  /** Again: does nothing. */
  release(): void;
}

/** The manifests that requests read, open, in a folder of the service's own. */
export class OpenManifests {
  readonly dir: string;
  readonly #blocks: BlockStore;
  readonly #objects: ObjectStore;
  /** Used last is last. */
  readonly #open = new Map<ManifestRoot, OpenManifest>();
  readonly #leaving = new Map<ManifestRoot, Promise<void>>();

  private constructor(dir: string, blocks: BlockStore, objects: ObjectStore) {
    this.dir = dir;
    this.#blocks = blocks;
    this.#objects = objects;
  }

  static async at(options: {
    dir: string;
    blocks: BlockStore;
    objects: ObjectStore;
  }): Promise<OpenManifests> {
    const dir = join(options.dir, 'manifests');
    await mkdir(dir, { recursive: true });
    return new OpenManifests(dir, options.blocks, options.objects);
  }

  /** Fetches the manifest where it is not here. Until it is released it stays open, and in the folder. Throws as `fetchManifest` does. */
  async lease(root: ManifestRoot): Promise<ManifestLease> {
    await this.#leaving.get(root);
    const manifest = this.#open.get(root) ?? { opening: this.#fetch(root), users: 0 };
    manifest.users += 1;
    this.#open.delete(root);
    this.#open.set(root, manifest);
    let isReleased = false;
    const release = (): void => {
      if (isReleased) return;
      isReleased = true;
      manifest.users -= 1;
      this.#closeIdle();
    };
    try {
      return { reader: await manifest.opening, release };
    } catch (error) {
      if (this.#open.get(root) === manifest) this.#open.delete(root);
      throw error;
    }
  }

  /** How many leases of it are not released. */
  usersOf(root: ManifestRoot): number {
    return this.#open.get(root)?.users ?? 0;
  }

  /** Closes all; nobody may use one any more. */
  async close(): Promise<void> {
    for (const { opening } of this.#open.values()) (await opening.catch(() => undefined))?.close();
    this.#open.clear();
    await Promise.all(this.#leaving.values());
  }

  async #fetch(root: ManifestRoot): Promise<ManifestReader> {
    return openManifest(
      await fetchManifest({ root, dir: this.dir, blocks: this.#blocks, objects: this.#objects }),
    );
  }

  #closeIdle(): void {
    for (const [root, manifest] of [...this.#open]) {
      if (this.#open.size <= IDLE_MAX) return;
      if (manifest.users > 0) continue;
      this.#open.delete(root);
      // A file that cannot be removed only takes space.
      const leaving = this.#leave(root, manifest).catch(() => undefined);
      this.#leaving.set(root, leaving);
      void leaving.then(() => this.#leaving.delete(root));
    }
  }

  async #leave(root: ManifestRoot, { opening }: OpenManifest): Promise<void> {
    (await opening).close();
    await dropLocalManifest(this.dir, root);
  }
}
