import { join } from 'node:path';
import { CairnError, type ManifestRoot } from '../core/index.js';
import {
  decodeIndex,
  dropLocalManifest,
  encodeIndex,
  fetchManifest,
  findLocal,
  findLocalIndex,
  manifestKey,
  openManifest,
  type ManifestIndex,
  type ManifestReader,
} from '../manifest/index.js';
import type { ObjectStore } from '../objects/index.js';
import type { BlockSource } from './block-source.js';

/** Fetched manifests that are kept at a time: the next version's is fetched by what differs. */
const KEPT = 2;

/** Manifests to look into: those of the home where they verify, else fetched into a folder of the check's own. */
export class ManifestShelf {
  readonly #localDir: string;
  readonly #dir: string;
  readonly #objects: ObjectStore;
  readonly #source: BlockSource;
  #fetched: ManifestRoot[] = [];

  constructor(options: { localDir: string; scratchDir: string; objects: ObjectStore; source: BlockSource }) {
    this.#localDir = options.localDir;
    this.#dir = join(options.scratchDir, 'manifests');
    this.#objects = options.objects;
    this.#source = options.source;
  }

  /** The index as the store has it, verified. Throws as the store does, and `corrupt`. */
  async storedIndex(root: ManifestRoot): Promise<ManifestIndex> {
    const get = async (): Promise<ManifestIndex> =>
      decodeIndex(root, await this.#objects.get(manifestKey(root)));
    try {
      return await get();
    } catch (error) {
      if (!(error instanceof CairnError) || error.code !== 'corrupt') throw error;
      return await get();
    }
  }

  /** The index as the home has it. */
  localIndex(root: ManifestRoot): Promise<ManifestIndex | undefined> {
    return findLocalIndex(this.#localDir, root);
  }

  /** Opens the manifest for `work`. Throws as `fetchManifest` and `openManifest` do. */
  async with<Result>(
    root: ManifestRoot,
    work: (manifest: ManifestReader) => Promise<Result>,
  ): Promise<Result> {
    const reader = await this.open(root);
    try {
      return await work(reader);
    } finally {
      reader.close();
    }
  }

  /** The caller closes it. */
  async open(root: ManifestRoot): Promise<ManifestReader> {
    const local = await findLocal(this.#localDir, root);
    return openManifest(local?.path ?? (await this.#fetch(root)));
  }

  async #fetch(root: ManifestRoot): Promise<string> {
    const path = await fetchManifest({
      root,
      dir: this.#dir,
      blocks: this.#source,
      objects: { get: () => this.#indexBytes(root) },
    });
    this.#fetched = [root, ...this.#fetched.filter((other) => other !== root)];
    for (const old of this.#fetched.splice(KEPT)) await dropLocalManifest(this.#dir, old);
    return path;
  }

  async #indexBytes(root: ManifestRoot): Promise<Buffer> {
    try {
      return encodeIndex(await this.storedIndex(root));
    } catch (error) {
      const local = await this.localIndex(root);
      if (local === undefined) throw error;
      return encodeIndex(local);
    }
  }
}
