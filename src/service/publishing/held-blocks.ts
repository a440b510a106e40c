import { join } from 'node:path';
import { LRUCache } from 'lru-cache';
import type { BlockStore } from '../../blocks/index.js';
import type { BlockAccess, Catalog, ContentRow } from '../../catalog/index.js';
import type { BlockId, ContentId, ManifestRoot } from '../../core/index.js';
import {
  decodeIndex,
  dropLocalManifest,
  fetchManifest,
  manifestKey,
  openManifest,
  type ManifestReader,
} from '../../manifest/index.js';
import type { ObjectStore } from '../../objects/index.js';
import type { Access } from '../../wire/index.js';

/** Holders looked at together, for a token that opens none of many. */
const HOLDERS_PAGE = 500;

const MANIFESTS_KEPT = 64;

/**
 * Which blocks and manifests a token reaches: those that a workspace it may read holds. What versions hold that others have published into the
 * catalog is written down when somebody asks for it, from their manifests.
 */
export class HeldBlocks {
  readonly #blockAccess: BlockAccess;
  readonly #objects: ObjectStore;
  readonly #blocks: BlockStore;
  /** A folder of its own: nobody else has these manifests open when they go. */
  readonly #dir: string;
  /** Manifests on the disk: enough that none goes while somebody looks into it, and that the next version's has one to differ from. */
  readonly #local = new LRUCache<ManifestRoot, true>({
    max: MANIFESTS_KEPT,
    dispose: (_, root, reason) => {
      if (reason === 'evict') void dropLocalManifest(this.#dir, root).catch(() => undefined);
    },
  });
  /** By workspace: what is being written down. */
  readonly #recording = new Map<string, Promise<void>>();

  constructor(options: { blockAccess: BlockAccess; objects: ObjectStore; blocks: BlockStore; dir: string }) {
    this.#blockAccess = options.blockAccess;
    this.#objects = options.objects;
    this.#blocks = options.blocks;
    this.#dir = join(options.dir, 'held');
  }

  /** `workspace`: where it is to be looked for; everywhere, when it is not given. */
  async mayReadBlock(access: Access, id: BlockId, workspace: string | undefined): Promise<boolean> {
    if (workspace !== undefined)
      return access.allows(workspace, 'read') && (await this.held(workspace, [id])).has(id);
    const isHeld = (): Promise<boolean> =>
      this.#opensAny(access, (page) => this.#blockAccess.holders(id, page));
    if (await isHeld()) return true;
    const unrecorded = await this.#blockAccess.unrecordedWorkspaces();
    const mayHold = unrecorded.filter((name) => access.allows(name, 'read'));
    for (const name of mayHold) await this.record(name);
    return mayHold.length > 0 && (await isHeld());
  }

  async mayReadManifest(access: Access, root: ManifestRoot, workspace: string | undefined): Promise<boolean> {
    if (workspace !== undefined)
      return access.allows(workspace, 'read') && (await this.#blockAccess.holdsManifest(workspace, root));
    return await this.#opensAny(access, (page) => this.#blockAccess.manifestHolders(root, page));
  }

  /** Those of `ids` that the workspace holds, or that were uploaded for it. */
  async held(workspace: string, ids: readonly BlockId[]): Promise<Set<BlockId>> {
    const held = await this.#blockAccess.held(workspace, ids);
    if (held.size === new Set(ids).size || !(await this.record(workspace))) return held;
    return await this.#blockAccess.held(workspace, ids);
  }

  /** Those of `ids` that it does not hold. */
  async missing(workspace: string, ids: readonly BlockId[]): Promise<BlockId[]> {
    const held = await this.held(workspace, ids);
    return ids.filter((id) => !held.has(id));
  }

  /**
   * Those of `ids` that are stored in blocks of which the workspace holds each: readers of a workspace get its blocks, and with them the files of others that
   * stand beside.
   */
  async knownContents(
    catalog: Pick<Catalog, 'knownContents'>,
    workspace: string,
    ids: readonly ContentId[],
  ): Promise<ContentRow[]> {
    const contents = await catalog.knownContents(workspace, ids);
    const ofBlocks = contents.flatMap(({ extents }) => extents.map(({ block }) => block));
    const heldIds = await this.held(workspace, [...new Set(ofBlocks)]);
    return contents.filter(
      ({ extents }) => extents.length > 0 && extents.every(({ block }) => heldIds.has(block)),
    );
  }

  /** Writes down what the workspace's versions hold. `known`: of one of them. False when there was nothing to do. */
  async record(workspace: string, known?: { seq: number; blocks: ReadonlySet<BlockId> }): Promise<boolean> {
    const unrecorded = await this.#blockAccess.unrecorded(workspace);
    if (unrecorded.length === 0) return false;
    const before = this.#recording.get(workspace) ?? Promise.resolve();
    const recording = before.catch(() => undefined).then(() => this.#record(workspace, known));
    this.#recording.set(workspace, recording);
    try {
      await recording;
    } finally {
      if (this.#recording.get(workspace) === recording) this.#recording.delete(workspace);
    }
    return true;
  }

  /** The manifest, verified, for `work`; its index is an object of the store. */
  async withManifest<Result>(
    root: ManifestRoot,
    work: (manifest: ManifestReader) => Promise<Result> | Result,
  ): Promise<Result> {
    const objects = this.#objects;
    const path = await fetchManifest({ root, dir: this.#dir, blocks: this.#blocks, objects });
    this.#local.set(root, true);
    const manifest = openManifest(path);
    try {
      return await work(manifest);
    } finally {
      manifest.close();
    }
  }

  /** Every block of a version: the pieces of its manifest, and what that refers to. */
  async blocksOf(root: ManifestRoot): Promise<Set<BlockId>> {
    const blocks = await this.indexBlocks(root);
    await this.withManifest(root, (manifest) => {
      for (const id of manifest.blocks()) blocks.add(id);
    });
    return blocks;
  }

  /** The pieces of a manifest. Throws `corrupt` for an index that is none. */
  async indexBlocks(root: ManifestRoot): Promise<Set<BlockId>> {
    const index = decodeIndex(root, await this.#objects.get(manifestKey(root), { expected: true }));
    return new Set(index.runs.map(({ block }) => block));
  }

  async #record(
    workspace: string,
    known: { seq: number; blocks: ReadonlySet<BlockId> } | undefined,
  ): Promise<void> {
    for (const { version, earlier } of await this.#blockAccess.unrecorded(workspace)) {
      const isKnown = known?.seq === version.seq;
      const added = isKnown ? known.blocks : await this.#addedBlocks(version.root, earlier);
      await this.#blockAccess.record(workspace, version.seq, added);
    }
  }

  async #addedBlocks(root: ManifestRoot, earlier: ManifestRoot | undefined): Promise<Set<BlockId>> {
    const blocks = await this.blocksOf(root);
    if (earlier === undefined) return blocks;
    for (const id of await this.blocksOf(earlier)) blocks.delete(id);
    return blocks;
  }

  async #opensAny(
    access: Access,
    pageOf: (page: { after: string; limit: number }) => Promise<string[]>,
  ): Promise<boolean> {
    for (let after = ''; ;) {
      const names = await pageOf({ after, limit: HOLDERS_PAGE });
      if (names.some((name) => access.allows(name, 'read'))) return true;
      const last = names.at(-1);
      if (last === undefined || names.length < HOLDERS_PAGE) return false;
      after = last;
    }
  }
}
