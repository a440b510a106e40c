import { BLOCK_OBJECT_MAX_BYTES, sha256, type BlockStore } from '../../blocks/index.js';
import { UPLOAD_TERM_MS, type BlockAccess, type Catalog } from '../../catalog/index.js';
import { BLOCK_MAX_BYTES, blockIdOf, CairnError, isHexId, type BlockId } from '../../core/index.js';
import type { ObjectStore } from '../../objects/index.js';
import { HttpProblem } from '../http-problem.js';

/** FORMAT.md O-1. */
const PREFIX = 'uploads/';

/** Taken over at once, each in memory. */
const TAKEN_AT_ONCE = 8;

/**
 * Blocks that clients have put into the store themselves, for a workspace: each workspace has a prefix of its own, where its clients may put anything, and nobody
 * reads but this. What is there becomes a block when a version needs it: it is read, verified, and stored from what was read.
 */
export class StagedBlocks {
  readonly #catalog: Pick<Catalog, 'workspace'>;
  readonly #objects: ObjectStore;
  readonly #blocks: BlockStore;
  readonly #blockAccess: BlockAccess;

  constructor(parts: {
    catalog: Pick<Catalog, 'workspace'>;
    objects: ObjectStore;
    blocks: BlockStore;
    blockAccess: BlockAccess;
  }) {
    this.#catalog = parts.catalog;
    this.#objects = parts.objects;
    this.#blocks = parts.blocks;
    this.#blockAccess = parts.blockAccess;
  }

  /** Where clients put blocks for a workspace, whatever it is called. */
  async prefixOf(workspace: string): Promise<string> {
    const { generation } = await this.#catalog.workspace(workspace);
    return `${PREFIX}${generation}/`;
  }

  /** What was put at a `prefixOf`; none of it verified. */
  async all(prefix: string): Promise<Set<BlockId>> {
    const ids = new Set<BlockId>();
    for await (const { key } of this.#objects.list(prefix)) {
      const id = key.slice(prefix.length);
      if (isHexId(id)) ids.add(id as BlockId);
    }
    return ids;
  }

  /** Has those of `ids` that were put for the workspace stored and written down as uploaded. Throws 422 for one that is something else, which is then gone. */
  async take(workspace: string, ids: readonly BlockId[]): Promise<void> {
    const prefix = await this.prefixOf(workspace);
    for (let at = 0; at < ids.length; at += TAKEN_AT_ONCE) {
      const some = ids.slice(at, at + TAKEN_AT_ONCE);
      const stored = await Promise.allSettled(some.map((id) => this.#store(`${prefix}${id}`, id)));
      const taken = some.filter((_, index) => {
        const outcome = stored[index];
        return outcome?.status === 'fulfilled' && outcome.value;
      });
      await this.#blockAccess.uploaded(workspace, taken);
      await Promise.all(taken.map((id) => this.#objects.delete(`${prefix}${id}`)));
      // Those that are good are not read again for one that is not.
      for (const outcome of stored) if (outcome.status === 'rejected') throw outcome.reason;
    }
  }

  /** Deletes what no version came to need in its term. */
  async expire(nowMs: number): Promise<void> {
    for await (const { key, modifiedAtMs } of this.#objects.list(PREFIX)) {
      if (modifiedAtMs <= nowMs - UPLOAD_TERM_MS) await this.#objects.delete(key);
    }
  }

  /** False when there is none. */
  async #store(key: string, id: BlockId): Promise<boolean> {
    try {
      const bytes = await this.#objects.get(key, { maxBytes: BLOCK_OBJECT_MAX_BYTES });
      // A client that knows nothing of formats has put the block's bytes; whichever it is, its hash says so.
      const isRaw = bytes.length > 0 && bytes.length <= BLOCK_MAX_BYTES && blockIdOf(sha256(bytes)) === id;
      if (isRaw) await this.#blocks.put(bytes);
      else await this.#blocks.putVerified(id, bytes);
      return true;
    } catch (error) {
      if (!(error instanceof CairnError)) throw error;
      if (error.code === 'not-found') return false;
      if (error.code !== 'corrupt') throw error;
      await this.#objects.delete(key);
      throw new HttpProblem(422, 'unfit', `what was uploaded as block ${id} is something else`, {
        hint: 'nothing was published; upload it again',
      });
    }
  }
}
