import type { BlockStore, EncodedBlock } from '../../blocks/index.js';
import type { Catalog, ContentRow } from '../../catalog/index.js';
import {
  contentIdOf,
  PACKED_FILE_MAX_BYTES,
  type BlockId,
  type ContentId,
  type Extent,
} from '../../core/index.js';
import type { FileContent, XattrRow } from '../../manifest/index.js';
import { ByteBudget } from './byte-budget.js';
import type { FileStat } from './file-stat.js';
import type { HashPool, OpenBatch } from './hash-pool.js';
import { FileState, STAMP_FIELDS, type CutWindow } from './hash-protocol.js';
import { changedWhileRead } from './source-error.js';
import { unpackXattrs } from './source-xattrs.js';
import { READ_AGAIN_LIMIT } from './stable-reader.js';
import { StoredContents, type StoredContent } from './stored-contents.js';

/** A regular file to be stored: what `lstat` said of it when it was listed. */
export interface SourceFile {
  path: Buffer;
  stat: FileStat;
}

/** What became of a source file. `stat` is of the moment at which the content was what it is. */
export type StoredFile =
  | { kind: 'stored'; content: FileContent; stat: FileStat; xattrs: XattrRow[]; reused: boolean }
  | { kind: 'gone' }
  /** Too large for a batch by now: to be stored as a large file. */
  | { kind: 'grown'; stat: FileStat };

/** A block that was not in the store before. */
export interface NewBlock {
  id: BlockId;
  rawBytes: number;
  storedBytes: number;
}

export interface ContentWriterOptions {
  pool: HashPool;
  blocks: BlockStore;
  catalog: Catalog;
  /** For a version of which content is stored. */
  workspace: string;
  /** Files below this go into the manifest instead of blocks. */
  embedBelowBytes: number;
  signal?: AbortSignal | undefined;
}

/** Raw and stored bytes in flight: read, waiting to be packed, on their way to the store. */
const IN_FLIGHT_BYTES = 64 * 1024 * 1024;

/** What a file in flight costs besides its bytes. */
const IN_FLIGHT_FILE_BYTES = 1024;

/** What cutting a file holds at most: a window that is cut, one that is stored, the blocks of that one. */
const CUT_MAX_BYTES = 24 * 1024 * 1024;

const NO_EXTENTS: readonly Extent[] = [];
const NO_BYTES = Buffer.alloc(0);

/**
 * Makes contents of files: hashes them, stores what neither the store nor this writer has yet, and says where every byte is.
 * It remembers what it has stored: equal contents, and equal chunks of large files, are stored once. Calls may overlap; each
 * waits until there is room for what it holds. What a call returns is durable in the object store.
 *
 * A call that fails leaves blocks nobody refers to, which is harmless, and the writer unfit for further use.
 */
export class ContentWriter {
  readonly #pool: HashPool;
  readonly #blocks: BlockStore;
  readonly #catalog: Catalog;
  readonly #workspace: string;
  readonly #embedBelowBytes: number;
  readonly #signal: AbortSignal | undefined;
  readonly #budget = new ByteBudget(IN_FLIGHT_BYTES);

  /** Contents of this writer's own, and those the store had; and who brings those that are on their way. */
  readonly #contents = new StoredContents();
  readonly #storing = new Map<ContentId, Promise<unknown>>();
  readonly #newBlocks = new Map<BlockId, NewBlock>();
  readonly #knownBlocks = new Set<BlockId>();
  /** Whether nothing was in the store when this writer began: then it need not ask. */
  #storeIsEmpty: Promise<boolean> | undefined;

  constructor({ pool, blocks, catalog, workspace, embedBelowBytes, signal }: ContentWriterOptions) {
    this.#pool = pool;
    this.#blocks = blocks;
    this.#catalog = catalog;
    this.#workspace = workspace;
    this.#embedBelowBytes = embedBelowBytes;
    this.#signal = signal;
  }

  /** Files up to this belong to `storeFiles`, larger ones to `storeLargeFile`. */
  get smallFileMaxBytes(): number {
    return Math.max(PACKED_FILE_MAX_BYTES, this.#embedBelowBytes - 1);
  }

  get newBlocks(): readonly NewBlock[] {
    return [...this.#newBlocks.values()];
  }

  /** Contents first stored by this writer, in order of their ids. Embedded ones are not among them: only a manifest holds those. */
  newContents(): Iterable<ContentRow> {
    return this.#contents.added();
  }

  /** Once nothing is under way. */
  close(): void {
    this.#contents.close();
  }

  /**
   * Waits until there is room for so many files in flight, then begins. The promise within resolves with what became of each.
   * `files` are in directory order: those to be stored are packed side by side (FORMAT.md C-6).
   */
  async storeFiles(files: readonly SourceFile[]): Promise<{ stored: Promise<StoredFile[]> }> {
    const cost = files.reduce((sum, { stat }) => sum + stat.size + IN_FLIGHT_FILE_BYTES, 0);
    await this.#begin(cost);
    const stored = this.#storeFiles(files).finally(() => {
      this.#budget.giveBack(cost);
    });
    return { stored };
  }

  /** As `storeFiles`, for one file of any size: cut into chunks, a window at a time. */
  async storeLargeFile(file: SourceFile): Promise<{ stored: Promise<StoredFile> }> {
    const cost = Math.min(3 * file.stat.size + IN_FLIGHT_FILE_BYTES, CUT_MAX_BYTES);
    await this.#begin(cost);
    const stored = this.#storeLargeFile(file).finally(() => {
      this.#budget.giveBack(cost);
    });
    return { stored };
  }

  async #begin(cost: number): Promise<void> {
    this.#signal?.throwIfAborted();
    await this.#budget.take(cost);
  }

  async #storeFiles(files: readonly SourceFile[]): Promise<StoredFile[]> {
    const batch = await this.#pool.readBatch(this.#batchOf(files));
    const stats = files.map(({ stat }) => stat);
    for (const { index, stat } of batch.hashed.changed) stats[index] = stat;
    const xattrs = new Map(batch.hashed.xattrs.map(({ index, packed }) => [index, packed]));
    const placed = await this.#place(batch, (index) => stats[index]?.size ?? 0);
    return placed.map((content, index): StoredFile => {
      const stat = stats[index];
      if (stat === undefined) throw new Error('a file without attributes');
      if (content !== undefined) {
        return { kind: 'stored', ...content, stat, xattrs: unpackXattrs(xattrs.get(index) ?? NO_BYTES) };
      }
      return batch.hashed.states[index] === FileState.grown ? { kind: 'grown', stat } : { kind: 'gone' };
    });
  }

  #batchOf(files: readonly SourceFile[]): Parameters<HashPool['readBatch']>[0] {
    const pathEnds = new Uint32Array(files.length);
    const stamps = new Float64Array(files.length * STAMP_FIELDS);
    let end = 0;
    for (const [index, { path, stat }] of files.entries()) {
      end += path.length;
      pathEnds[index] = end;
      const at = index * STAMP_FIELDS;
      stamps[at] = stat.size;
      stamps[at + 1] = stat.mtimeSec;
      stamps[at + 2] = stat.mtimeNsec;
      stamps[at + 3] = stat.ctimeSec;
      stamps[at + 4] = stat.ctimeNsec;
    }
    const paths = Buffer.allocUnsafeSlow(end);
    let start = 0;
    for (const { path } of files) start += path.copy(paths, start);
    return {
      paths,
      pathEnds,
      stamps,
      embedBelowBytes: this.#embedBelowBytes,
      maxFileBytes: this.smallFileMaxBytes,
    };
  }

  /** Where each content of a hashed batch is, after storing those that are nowhere. Undefined for what is not to be stored. */
  async #place(
    batch: OpenBatch,
    sizeOf: (index: number) => number,
  ): Promise<({ content: FileContent; reused: boolean } | undefined)[]> {
    const { states, digests, embedded } = batch.hashed;
    const digestBytes = asBuffer(digests);
    const embeddedBytes = asBuffer(embedded);
    const ids = Array.from(states, (_, index) =>
      contentIdOf(digestBytes.subarray(32 * index, 32 * index + 32)),
    );

    const claimed = new Map<ContentId, number>();
    for (const [index, id] of ids.entries()) {
      if (states[index] !== FileState.stored || claimed.has(id)) continue;
      if (!this.#storing.has(id) && !this.#contents.has(id)) claimed.set(id, index);
    }
    const storing = this.#storeClaimed(batch, claimed, sizeOf);
    for (const id of claimed.keys()) this.#storing.set(id, storing);
    await storing;

    let embeddedStart = 0;
    const placed: ({ content: FileContent; reused: boolean } | undefined)[] = [];
    for (const [index, id] of ids.entries()) {
      const state = states[index];
      if (state === FileState.stored) {
        const { extents, isNew } = await this.#settled(id);
        placed.push({ content: { id, extents }, reused: !isNew || claimed.get(id) !== index });
      } else if (state === FileState.embedded) {
        const end = embeddedStart + sizeOf(index);
        const bytes = embeddedBytes.subarray(embeddedStart, end);
        placed.push({ content: { id, embedded: bytes, extents: NO_EXTENTS }, reused: false });
        embeddedStart = end;
      } else if (state === FileState.zeros) {
        placed.push({ content: { id, extents: NO_EXTENTS }, reused: false });
      } else {
        placed.push(undefined);
      }
    }
    return placed;
  }

  async #settled(id: ContentId): Promise<StoredContent> {
    await this.#storing.get(id);
    const content = this.#contents.find(id);
    if (content === undefined) throw new Error(`content ${id} was promised`);
    return content;
  }

  /** Asks the catalog for the claimed contents (by id, with their place in the batch), and stores what it does not know. */
  async #storeClaimed(
    batch: OpenBatch,
    claimed: ReadonlyMap<ContentId, number>,
    sizeOf: (index: number) => number,
  ): Promise<void> {
    const unknown = new Map(claimed);
    if (unknown.size > 0 && !(await this.#isStoreEmpty())) {
      for (const row of await this.#catalog.knownContents(this.#workspace, [...unknown.keys()])) {
        // Without extents it is somewhere no other version can refer to.
        if (row.extents.length === 0) continue;
        unknown.delete(row.id);
        this.#contents.add({ ...row, isNew: false });
      }
    }
    const packed = await batch.pack(Uint32Array.from(unknown.values()));
    await Promise.all(packed.blocks.map((block) => this.#put(block)));
    for (const [at, [id, index]] of [...unknown].entries()) {
      const block = packed.blocks[packed.blockIndexes[at] ?? -1];
      if (block === undefined) throw new Error('a packed file without its block');
      const size = sizeOf(index);
      const extent = { offset: 0, length: size, block: block.id, blockOffset: packed.blockOffsets[at] ?? 0 };
      this.#contents.add({ id, size, extents: [extent], isNew: true });
    }
    for (const id of claimed.keys()) this.#storing.delete(id);
  }

  async #storeLargeFile(file: SourceFile): Promise<StoredFile> {
    for (let attempt = 0; attempt <= READ_AGAIN_LIMIT; attempt++) {
      const stored = await this.#cutOnce(file);
      if (stored !== 'changed') return stored;
    }
    throw changedWhileRead(file.path);
  }

  /** Cuts a window while the one before it is stored. */
  async #cutOnce({ path }: SourceFile): Promise<StoredFile | 'changed'> {
    const cut = this.#pool.cut(path);
    const extents: Extent[] = [];
    let storing: Promise<number> = Promise.resolve(0);
    let newChunks = 0;
    try {
      for (;;) {
        const window = await cut.next();
        newChunks += await storing;
        if (window === undefined) return { kind: 'gone' };
        for (const { fileOffset, id, length } of window.chunks) {
          extents.push({ offset: fileOffset, length, block: id, blockOffset: 0 });
        }
        storing = this.#storeChunks(window);
        // It is awaited a window later; until then its failure is nobody's surprise.
        storing.catch(() => undefined);
        if (window.end === undefined) continue;
        newChunks += await storing;
        if (window.end.content === undefined) return 'changed';
        const { id, stat, xattrs } = window.end.content;
        if (newChunks > 0) this.#contents.add({ id, size: stat.size, extents, isNew: true });
        const reused = newChunks === 0 && extents.length > 0;
        return { kind: 'stored', content: { id, extents }, stat, xattrs: unpackXattrs(xattrs), reused };
      }
    } finally {
      // Already awaited, unless the cutting itself failed.
      await storing.catch(() => undefined);
      await cut.close();
    }
  }

  /**
   * Stores the chunks of a window, each a block of its own, unless they are there. Takes over the window's memory.
   * Resolves with how many were not there.
   */
  async #storeChunks({ bytes, chunks }: CutWindow): Promise<number> {
    this.#signal?.throwIfAborted();
    const missing = new Map(chunks.filter(({ id }) => !this.#hasBlock(id)).map((chunk) => [chunk.id, chunk]));
    if (missing.size > 0 && !(await this.#isStoreEmpty())) {
      for (const id of await this.#catalog.knownBlocks(this.#workspace, [...missing.keys()])) {
        this.#knownBlocks.add(id);
        missing.delete(id);
      }
    }
    if (missing.size === 0) return 0;
    const encoded = await this.#pool.encode(
      bytes,
      Array.from(missing.values(), ({ start, length }) => ({ start, length })),
    );
    await Promise.all(encoded.map((block) => this.#put(block)));
    return missing.size;
  }

  #hasBlock(id: BlockId): boolean {
    return this.#newBlocks.has(id) || this.#knownBlocks.has(id);
  }

  async #put(block: EncodedBlock): Promise<void> {
    await this.#blocks.putEncoded(block);
    this.#newBlocks.set(block.id, {
      id: block.id,
      rawBytes: block.rawLength,
      storedBytes: block.object.length,
    });
  }

  #isStoreEmpty(): Promise<boolean> {
    this.#storeIsEmpty ??= this.#catalog.isEmpty();
    return this.#storeIsEmpty;
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}
