import { createHash } from 'node:crypto';
import { ChunkListHasher, isAllZeros, nextChunkLength, zeroBlockId } from '../../blocks/index.js';
import {
  BLOCK_MAX_BYTES,
  contentIdOf,
  PACKED_FILE_MAX_BYTES,
  WHOLE_HASH_MAX_BYTES,
  type Extent,
} from '../../core/index.js';
import type { FileContent } from '../../manifest/index.js';
import type { ContentPacker } from './content-packer.js';

/** Bytes that were stored: what a regular file needs to hold them. */
export interface StoredContent {
  size: number;
  content: FileContent;
}

/**
 * Stores bytes that come as a stream as a file's content, in memory for two of the longest chunks: the same content, however it came (FORMAT.md C-3). A
 * stream that fails leaves blocks nobody refers to. Throws what the stream does, and the stores.
 */
export async function storeContent(
  source: AsyncIterable<Uint8Array>,
  packer: ContentPacker,
): Promise<StoredContent> {
  const window = Buffer.allocUnsafe(2 * BLOCK_MAX_BYTES);
  let filled = 0;
  const file = new LargeFile(packer);
  for await (const piece of source) {
    for (let taken = 0; taken < piece.length;) {
      const part = piece.subarray(taken, taken + window.length - filled);
      window.set(part, filled);
      filled += part.length;
      taken += part.length;
      if (filled < window.length) continue;
      const used = await file.cut(window, filled, BLOCK_MAX_BYTES);
      window.copyWithin(0, used, filled);
      filled -= used;
    }
  }
  if (file.size === 0 && filled <= PACKED_FILE_MAX_BYTES) {
    return { size: filled, content: await storeSmall(Buffer.from(window.subarray(0, filled)), packer) };
  }
  await file.cut(window, filled, 0);
  return file.finish();
}

async function storeSmall(bytes: Buffer, packer: ContentPacker): Promise<FileContent> {
  let content: FileContent | undefined;
  await packer.addSmall(bytes, (placed) => {
    content = placed;
  });
  await packer.finish();
  await packer.stored();
  if (content === undefined) throw new Error('content that was not placed');
  return content;
}

/** A file of more than PACKED_FILE_MAX_BYTES, chunk by chunk. */
class LargeFile {
  size = 0;
  readonly #packer: ContentPacker;
  readonly #whole = createHash('sha256');
  readonly #chunks = new ChunkListHasher();
  readonly #extents: Extent[] = [];

  constructor(packer: ContentPacker) {
    this.#packer = packer;
  }

  /** Stores the chunks at the beginning of a window while more than `left` bytes remain. Returns what they take. */
  async cut(window: Buffer, filled: number, left: number): Promise<number> {
    let used = 0;
    while (filled - used > left) {
      const length = nextChunkLength(window, used, Math.min(filled, used + BLOCK_MAX_BYTES));
      // The block may be kept in a cache, and the window is written to again.
      await this.#store(Buffer.from(window.subarray(used, used + length)));
      used += length;
    }
    return used;
  }

  async #store(raw: Buffer): Promise<void> {
    if (this.size <= WHOLE_HASH_MAX_BYTES) this.#whole.update(raw);
    const offset = this.size;
    this.size += raw.length;
    if (isAllZeros(raw)) {
      this.#chunks.add(raw.length, zeroBlockId(raw.length));
      return;
    }
    const block = await this.#packer.storeBlock(raw);
    this.#chunks.add(raw.length, block);
    this.#extents.push({ offset, length: raw.length, block, blockOffset: 0 });
  }

  finish(): StoredContent {
    const { size } = this;
    const id = size > WHOLE_HASH_MAX_BYTES ? this.#chunks.digest() : contentIdOf(this.#whole.digest());
    this.#packer.addLarge({ id, size, extents: this.#extents });
    return { size, content: { id, extents: this.#extents } };
  }
}
