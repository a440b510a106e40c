import {
  contentIdOf,
  blockIdOf,
  PACKED_FILE_MAX_BYTES,
  type BlockId,
  type ContentId,
  type Extent,
} from '../../core/index.js';
import { isAllZeros, PackWriter, sha256, type BlockStore, type StoredBlock } from '../../blocks/index.js';
import type { Catalog, ContentRow } from '../../catalog/index.js';
import type { FileContent } from '../../manifest/index.js';

/** Small files looked up in the catalog at once; also bounds what is held in memory, with PACKED_FILE_MAX_BYTES. */
const BATCH_FILES = 64;

/** Packs on their way at once; each holds its bytes in memory. */
const PACKS_IN_FLIGHT = 4;

export interface ContentPackerOptions {
  blocks: BlockStore;
  catalog: Pick<Catalog, 'knownContents' | 'knownBlocks'>;
  /** For a version of which it is stored. */
  workspace: string;
  /** Files below this go into the manifest instead of blocks. */
  embedBelowBytes: number;
}

/** Is told where the bytes of a small file are. */
type Placed = (content: FileContent) => void;

interface SmallFile {
  id: ContentId;
  bytes: Buffer;
  placed: Placed;
}

/**
 * Stores the content of files that come one after another, unless the store has it: small ones packed in the order they come, the chunks of large
 * ones each as a block.
 */
export class ContentPacker {
  readonly newBlocks: StoredBlock[] = [];
  readonly newContents: ContentRow[] = [];
  readonly #blocks: BlockStore;
  readonly #catalog: ContentPackerOptions['catalog'];
  readonly #workspace: string;
  readonly #embedBelowBytes: number;
  readonly #pack = new PackWriter();
  /** What the pack holds, by content: where, and whose it is. */
  readonly #packed = new Map<ContentId, { offset: number; size: number; placed: Placed[] }>();
  #batch: SmallFile[] = [];
  /** Content of this packer's own, and what the store had, for files that are equal to each other. */
  readonly #stored = new Map<ContentId, readonly Extent[]>();
  readonly #storedBlocks = new Set<BlockId>();
  /** Packs on their way. */
  readonly #storing = new Set<Promise<void>>();

  constructor({ blocks, catalog, workspace, embedBelowBytes }: ContentPackerOptions) {
    this.#blocks = blocks;
    this.#catalog = catalog;
    this.#workspace = workspace;
    this.#embedBelowBytes = embedBelowBytes;
  }

  /** All of a file of at most PACKED_FILE_MAX_BYTES. `placed` is called now or with those that follow, at the latest by `finish`. */
  async addSmall(bytes: Buffer, placed: Placed): Promise<void> {
    if (bytes.length > PACKED_FILE_MAX_BYTES) throw new Error(`${String(bytes.length)} bytes are not small`);
    const id = contentIdOf(sha256(bytes));
    if (bytes.length < this.#embedBelowBytes && bytes.length > 0) {
      placed({ id, embedded: bytes, extents: [] });
    } else if (isAllZeros(bytes)) {
      placed({ id, extents: [] });
    } else {
      this.#batch.push({ id, bytes, placed });
      if (this.#batch.length >= BATCH_FILES) await this.#flushBatch();
    }
  }

  /** Notes the content of a large file, whose chunks are stored. */
  addLarge({ id, size, extents }: ContentRow): void {
    if (this.#stored.has(id)) return;
    this.#stored.set(id, extents);
    this.newContents.push({ id, size, extents });
  }

  /** Stores a block. One that the store has already is not sent again. */
  async storeBlock(raw: Buffer): Promise<BlockId> {
    const id = blockIdOf(sha256(raw));
    if (this.#storedBlocks.has(id)) return id;
    if (!(await this.#catalog.knownBlocks(this.#workspace, [id])).has(id))
      this.newBlocks.push(await this.#blocks.put(raw));
    this.#storedBlocks.add(id);
    return id;
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
    for (const { id, bytes, placed } of batch) {
      const extents = this.#stored.get(id);
      if (extents !== undefined) {
        placed({ id, extents });
        continue;
      }
      const packed = this.#packed.get(id);
      if (packed !== undefined) {
        packed.placed.push(placed);
        continue;
      }
      const offset = this.#pack.append(bytes);
      this.#packed.set(id, { offset, size: bytes.length, placed: [placed] });
      if (this.#pack.full) await this.#flushPack();
    }
  }

  async #flushPack(): Promise<void> {
    if (this.#packed.size === 0) return;
    // Not asked for first: it holds what the store has not, or the store has it under another attempt of this.
    const raw = this.#pack.take();
    const block = blockIdOf(sha256(raw));
    await this.#storeBeside(raw);
    for (const [id, { offset, size, placed }] of this.#packed) {
      const extents = [{ offset: 0, length: size, block, blockOffset: offset }];
      for (const isPlaced of placed) isPlaced({ id, extents });
      this.#stored.set(id, extents);
      this.newContents.push({ id, size, extents });
    }
    this.#packed.clear();
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
}
