import {
  BLOCK_MAX_BYTES,
  contentIdOf,
  PACKED_FILE_MAX_BYTES,
  WHOLE_HASH_MAX_BYTES,
  type BlockId,
  type ContentId,
  type Extent,
  type Ino,
  type InodeAttributes,
} from '../../core/index.js';
import {
  ChunkListHasher,
  isAllZeros,
  nextChunkLength,
  sha256,
  zeroBlockId,
  type BlockStore,
} from '../../blocks/index.js';
import type { FileContent, ManifestReader } from '../../manifest/index.js';
import type { ContentPart, MergedView } from '../../upper/index.js';
import type { ContentPacker } from './content-packer.js';

/** The next chunk of a large file; `block` is undefined for zeros. */
interface Chunk {
  length: number;
  block: BlockId | undefined;
}

/**
 * Stores the content of changed files and tells what it became. Small files are packed in the order they come; of a large one only the chunks
 * that changed are cut, hashed and stored, and the cut falls where it would in a fresh import of the file (FORMAT.md C-3: it depends only on
 * what follows a chunk's start), so equal files have equal content ids however they were made.
 */
export class ChangedContent {
  readonly #view: MergedView;
  readonly #parent: ManifestReader;
  readonly #blocks: BlockStore;
  readonly #packer: ContentPacker;
  readonly #setContent: (ino: Ino, content: FileContent) => void;

  constructor(options: {
    view: MergedView;
    parent: ManifestReader;
    blocks: BlockStore;
    packer: ContentPacker;
    setContent: (ino: Ino, content: FileContent) => void;
  }) {
    this.#view = options.view;
    this.#parent = options.parent;
    this.#blocks = options.blocks;
    this.#packer = options.packer;
    this.#setContent = options.setContent;
  }

  /** Takes one file in; its content is set now or with those that follow, at the latest by `finish`. */
  async add(inode: InodeAttributes): Promise<void> {
    if (inode.size > PACKED_FILE_MAX_BYTES) {
      await this.#addLarge(inode);
      return;
    }
    const bytes = await readView(this.#view, this.#blocks, inode.ino, 0, inode.size);
    await this.#packer.addSmall(bytes, (content) => {
      this.#setContent(inode.ino, content);
    });
  }

  async finish(): Promise<void> {
    await this.#packer.finish();
  }

  async #addLarge(inode: InodeAttributes): Promise<void> {
    const before = this.#parentChunks(inode.ino);
    const hasher = new ChunkListHasher();
    const extents: Extent[] = [];
    for (let offset = 0; offset < inode.size;) {
      const { length, block } =
        this.#unchanged(inode, before.get(offset)) ?? (await this.#cut(inode, offset));
      hasher.add(length, block ?? zeroBlockId(length));
      if (block !== undefined) extents.push({ offset, length, block, blockOffset: 0 });
      offset += length;
    }
    const id = inode.size > WHOLE_HASH_MAX_BYTES ? hasher.digest() : await this.#wholeContentId(inode);
    this.#setContent(inode.ino, { id, extents });
    this.#packer.addLarge({ id, size: inode.size, extents });
  }

  async #wholeContentId(inode: InodeAttributes): Promise<ContentId> {
    return contentIdOf(sha256(await readView(this.#view, this.#blocks, inode.ino, 0, inode.size)));
  }

  /** The chunks of the parent version's file by offset, without those of zeros. */
  #parentChunks(ino: Ino): Map<number, Extent> {
    const size = this.#parent.inode(ino)?.size ?? 0;
    if (size <= PACKED_FILE_MAX_BYTES) return new Map();
    return new Map(this.#parent.extents(ino, 0, size).map((extent) => [extent.offset, extent]));
  }

  /** The chunk, if the file still has it: every byte below, and its end not made by an end of file that moved. */
  #unchanged(inode: InodeAttributes, chunk: Extent | undefined): Chunk | undefined {
    if (chunk === undefined || chunk.offset + chunk.length > inode.size) return undefined;
    const parentSize = this.#parent.inode(inode.ino)?.size ?? 0;
    if (chunk.offset + chunk.length === parentSize && inode.size !== parentSize) return undefined;
    const [part, ...more] = this.#view.content(inode.ino, chunk.offset, chunk.length);
    if (part?.kind !== 'block' || more.length > 0) return undefined;
    return part.extent.block === chunk.block && part.extent.blockOffset === 0 ? chunk : undefined;
  }

  async #cut(inode: InodeAttributes, offset: number): Promise<Chunk> {
    const windowLength = Math.min(BLOCK_MAX_BYTES, inode.size - offset);
    const parts = this.#view.content(inode.ino, offset, windowLength);
    if (parts.every((part) => part.kind === 'zeros')) return { length: windowLength, block: undefined };
    const window = await readParts(parts, this.#blocks, inode.ino, offset, windowLength);
    const length = nextChunkLength(window, 0, windowLength);
    const raw = window.subarray(0, length);
    return { length, block: isAllZeros(raw) ? undefined : await this.#packer.storeBlock(raw) };
  }
}

/** [offset, offset + length) of a file as the view shows it, within its size. */
async function readView(
  view: MergedView,
  blocks: BlockStore,
  ino: Ino,
  offset: number,
  length: number,
): Promise<Buffer> {
  return await readParts(view.content(ino, offset, length), blocks, ino, offset, length);
}

async function readParts(
  parts: readonly ContentPart[],
  blocks: BlockStore,
  ino: Ino,
  offset: number,
  length: number,
): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  for (const part of parts) {
    const target = bytes.subarray(part.offset - offset, part.offset - offset + part.length);
    switch (part.kind) {
      case 'zeros':
        break;
      case 'embedded':
        part.bytes.copy(target);
        break;
      case 'layer':
        part.layer.readExtent(ino, part.extent, part.offset, target);
        break;
      case 'block': {
        const raw = await blocks.get(part.extent.block);
        raw.copy(target, 0, part.extent.blockOffset, part.extent.blockOffset + part.length);
        break;
      }
    }
  }
  return bytes;
}
