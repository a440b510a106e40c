import {
  BLOCK_OBJECT_MAX_BYTES,
  blockKey,
  decodeBlock,
  encodeBlock,
  readCached,
  sha256,
} from '../blocks/index.js';
import { BLOCK_MAX_BYTES, bytesOfId, CairnError, type BlockId } from '../core/index.js';
import { pieceOfLocal } from '../manifest/index.js';
import type { ObjectStore } from '../objects/index.js';

/** Blocks for a check: from the store, verified; and from wherever else a copy may be, to put back what is damaged there. */
export class BlockSource {
  readonly #objects: ObjectStore;
  readonly #cacheDir: string;
  readonly #manifestDir: string;

  constructor(options: { objects: ObjectStore; cacheDir: string; manifestDir: string }) {
    this.#objects = options.objects;
    this.#cacheDir = options.cacheDir;
    this.#manifestDir = options.manifestDir;
  }

  /** As the store has it; what does not verify may have been damaged on the way, and is fetched once more. Throws as `decodeBlock`. */
  async fromStore(id: BlockId, signal?: AbortSignal): Promise<{ raw: Buffer; storedBytes: number }> {
    try {
      return await this.#fetch(id, signal);
    } catch (error) {
      if (!(error instanceof CairnError) || error.code !== 'corrupt') throw error;
      return this.#fetch(id, signal);
    }
  }

  /** From the store, or else from a copy, so that a check goes on behind a damaged object. Throws what the store said. */
  async get(id: BlockId, { signal }: { signal?: AbortSignal } = {}): Promise<Buffer> {
    try {
      return (await this.fromStore(id, signal)).raw;
    } catch (error) {
      const copy = await this.copy(id);
      if (copy === undefined) throw error;
      return copy;
    }
  }

  /** A copy of this home: of the cache, or put together from local manifests. It hashes to the id. */
  async copy(id: BlockId): Promise<Buffer | undefined> {
    return (await readCached(this.#cacheDir, id)) ?? (await this.#fromManifests(id));
  }

  /** Puts a verified copy in the place of what the store has, or has not. The same bytes under the same key (FORMAT.md O-2). */
  async putBack(id: BlockId): Promise<boolean> {
    const raw = await this.copy(id);
    if (raw === undefined) return false;
    await this.#objects.put(blockKey(id), encodeBlock(raw).object);
    return true;
  }

  async #fetch(id: BlockId, signal: AbortSignal | undefined): Promise<{ raw: Buffer; storedBytes: number }> {
    const object = await this.#objects.get(blockKey(id), {
      maxBytes: BLOCK_OBJECT_MAX_BYTES,
      ...(signal && { signal }),
    });
    return { raw: decodeBlock(id, object), storedBytes: object.length };
  }

  async #fromManifests(id: BlockId): Promise<Buffer | undefined> {
    const pieces: Buffer[] = [];
    for (let length = 0; length < BLOCK_MAX_BYTES;) {
      const piece = await pieceOfLocal(this.#manifestDir, id, length);
      if (piece === undefined || piece.length === 0) break;
      pieces.push(piece);
      length += piece.length;
    }
    const raw = Buffer.concat(pieces);
    return pieces.length > 0 && sha256(raw).equals(bytesOfId(id)) ? raw : undefined;
  }
}
