import {
  BLOCK_MAX_BYTES,
  blockIdOf,
  contentIdOf,
  PACKED_FILE_MAX_BYTES,
  WHOLE_HASH_MAX_BYTES,
  type BlockId,
  type ContentId,
  type Extent,
  type Ino,
  type InodeAttributes,
} from '../core/index.js';
import {
  ChunkListHasher,
  isAllZeros,
  nextChunkLength,
  PackWriter,
  sha256,
  zeroBlockId,
  type BlockStore,
  type StoredBlock,
} from '../blocks/index.js';
import type { Catalog, ContentRow } from '../catalog/index.js';
import type { FileContent, ManifestReader } from '../manifest/index.js';
import type { ContentPart, MergedView } from '../upper/index.js';

/** Small files looked up in the catalog at once; also bounds what is held in memory, with PACKED_FILE_MAX_BYTES. */
const BATCH_FILES = 64;

/** Packs on their way at once; each holds its bytes in memory. */
const PACKS_IN_FLIGHT = 4;

/** The next chunk of a large file; `block` is undefined for zeros. */
interface Chunk {
  length: number;
  block: BlockId | undefined;
}

interface SmallFile {
  ino: Ino;
  id: ContentId;
  bytes: Buffer;
}

/**
 * Stores the content of changed files and tells what it became. Small files are packed in the order they come; of a large one only the chunks
 * that changed are cut, hashed and stored, and the cut falls where it would in a fresh import of the file (FORMAT.md C-3: it depends only on
 * what follows a chunk's start), so equal files have equal content ids however they were made.
 */
export class ChangedContent {
  readonly newBlocks: StoredBlock[] = [];
  readonly newContents: ContentRow[] = [];
  readonly #view: MergedView;
  readonly #parent: ManifestReader;
  readonly #blocks: BlockStore;
  readonly #catalog: Catalog;
  readonly #workspace: string;
  readonly #embedBelowBytes: number;
  readonly #setContent: (ino: Ino, content: FileContent) => void;
  readonly #pack = new PackWriter();
  /** What the pack holds, by content: where, and whose it is. */
  readonly #packed = new Map<ContentId, { offset: number; size: number; inos: Ino[] }>();
  #batch: SmallFile[] = [];
  /** Content stored by this publication, for files that are equal to each other. */
  readonly #stored = new Map<ContentId, readonly Extent[]>();
  readonly #storedBlocks = new Set<BlockId>();
  /** Packs on their way. */
  readonly #storing = new Set<Promise<void>>();

  constructor(options: {
    view: MergedView;
    parent: ManifestReader;
    blocks: BlockStore;
    catalog: Catalog;
    workspace: string;
    embedBelowBytes: number;
    setContent: (ino: Ino, content: FileContent) => void;
  }) {
    this.#view = options.view;
    this.#parent = options.parent;
    this.#blocks = options.blocks;
    this.#catalog = options.catalog;
    this.#workspace = options.workspace;
    this.#embedBelowBytes = options.embedBelowBytes;
    this.#setContent = options.setContent;
  }

  /** Takes one file in; its content is set now or with those that follow, at the latest by `finish`. */
  async add(inode: InodeAttributes): Promise<void> {
    if (inode.size > PACKED_FILE_MAX_BYTES) {
      await this.#addLarge(inode);
      return;
    }
    const bytes = await readView(this.#view, this.#blocks, inode.ino, 0, inode.size);
    const id = contentIdOf(sha256(bytes));
    if (bytes.length < this.#embedBelowBytes && bytes.length > 0) {
      this.#setContent(inode.ino, { id, embedded: bytes, extents: [] });
    } else if (isAllZeros(bytes)) {
      this.#setContent(inode.ino, { id, extents: [] });
    } else {
      this.#batch.push({ ino: inode.ino, id, bytes });
      if (this.#batch.length >= BATCH_FILES) await this.#flushBatch();
    }
  }

  /** Everything has its place then; `stored` says when it is there. */
  async finish(): Promise<void> {
    await this.#flushBatch();
    await this.#flushPack();
  }

  /** Resolves when every block is in the store. */
  async stored(): Promise<void> {
    await Promise.all(this.#storing);
  }

  async #flushBatch(): Promise<void> {
    const batch = this.#batch;
    if (batch.length === 0) return;
    this.#batch = [];
    const known = await this.#catalog.knownContents(
      this.#workspace,
      batch.map((file) => file.id),
    );
    // Embedded content is known without extents; here it needs a block.
    for (const row of known) if (row.extents.length > 0) this.#stored.set(row.id, row.extents);
    for (const file of batch) {
      const extents = this.#stored.get(file.id);
      if (extents !== undefined) {
        this.#setContent(file.ino, { id: file.id, extents });
        continue;
      }
      const packed = this.#packed.get(file.id);
      if (packed !== undefined) {
        packed.inos.push(file.ino);
        continue;
      }
      const offset = this.#pack.append(file.bytes);
      this.#packed.set(file.id, { offset, size: file.bytes.length, inos: [file.ino] });
      if (this.#pack.full) await this.#flushPack();
    }
  }

  async #flushPack(): Promise<void> {
    if (this.#packed.size === 0) return;
    // Not asked for first: it holds what the store has not, or the store has it under another attempt of this.
    const raw = this.#pack.take();
    const block = blockIdOf(sha256(raw));
    await this.#storeBeside(raw);
    for (const [id, { offset, size, inos }] of this.#packed) {
      const extents = [{ offset: 0, length: size, block, blockOffset: offset }];
      for (const ino of inos) this.#setContent(ino, { id, extents });
      this.#stored.set(id, extents);
      this.newContents.push({ id, size, extents });
    }
    this.#packed.clear();
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
    if (this.#stored.has(id)) return;
    this.#stored.set(id, extents);
    this.newContents.push({ id, size: inode.size, extents });
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
    return { length, block: isAllZeros(raw) ? undefined : await this.#store(raw) };
  }

  /** Goes on while the block is on its way. */
  async #storeBeside(raw: Buffer): Promise<void> {
    if (this.#storing.size >= PACKS_IN_FLIGHT) await Promise.race(this.#storing);
    const storing = this.#blocks.put(raw).then((stored) => {
      this.newBlocks.push(stored);
      this.#storing.delete(storing);
    });
    // One that failed stays, for whoever waits next.
    storing.catch(() => undefined);
    this.#storing.add(storing);
  }

  /** A block that the store has already is not sent again. */
  async #store(raw: Buffer): Promise<BlockId> {
    const id = blockIdOf(sha256(raw));
    if (this.#storedBlocks.has(id)) return id;
    if (!(await this.#catalog.knownBlocks(this.#workspace, [id])).has(id))
      this.newBlocks.push(await this.#blocks.put(raw));
    this.#storedBlocks.add(id);
    return id;
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
