import { createHash } from 'node:crypto';
import { BLOCK_MAX_BYTES, bytesOfId, contentIdOf, type BlockId, type ContentId } from '../core/index.js';

const PREFIX = 'cairn-chunks-1\n';
const ENTRY_BYTES = 36;

/** The content id of a large file (FORMAT.md C-2), chunk by chunk, as they come. */
export class ChunkListHasher {
  readonly #hash = createHash('sha256').update(PREFIX);
  readonly #entry = Buffer.alloc(ENTRY_BYTES);

  /** The next chunk: `length` raw bytes that hash to `id`; for a chunk of zeros, `zeroBlockId(length)`. */
  add(length: number, id: BlockId): void {
    if (length < 1 || length > BLOCK_MAX_BYTES) {
      throw new Error(`a chunk has 1 to ${String(BLOCK_MAX_BYTES)} bytes, not ${String(length)}`);
    }
    this.#entry.writeUInt32LE(length, 0);
    bytesOfId(id).copy(this.#entry, 4);
    this.#hash.update(this.#entry);
  }

  /** The content id. Nothing can be added afterwards. */
  digest(): ContentId {
    return contentIdOf(this.#hash.digest());
  }
}

/** The content id of a large file whose chunks are all known (FORMAT.md C-2). */
export function chunkListContentId(chunks: Iterable<{ length: number; id: BlockId }>): ContentId {
  const hasher = new ChunkListHasher();
  for (const { length, id } of chunks) hasher.add(length, id);
  return hasher.digest();
}
