import {
  CairnError,
  isRegular,
  PACKED_FILE_MAX_BYTES,
  type BlockId,
  type Ino,
  type InodeAttributes,
} from '../../core/index.js';
import { walk, type ManifestReader } from '../../manifest/index.js';
import { readContent } from './read-content.js';
import type { RecentBlocks } from './recent-blocks.js';

/** Entries looked at ahead of the one at hand, for the blocks they need. */
const ENTRIES_AHEAD = 256;

/** Different blocks that those need, at most. */
const BLOCKS_AHEAD = 24;

/** An entry of a tree, and what was begun for it. */
export interface AheadEntry {
  path: Buffer;
  inode: InodeAttributes;
  /** Of a small file that is part of a block: the block, on its way, and where the file is in it. */
  packed: { block: Promise<Buffer>; blockOffset: number } | undefined;
  /** The entry before it is not in the same block. */
  beginsBlock: boolean;
}

/** Goes through a tree while the blocks of the small files to come are fetched. */
export class EntriesAhead {
  readonly #reader: ManifestReader;
  readonly #blocks: RecentBlocks;
  #lastBlock: BlockId | undefined;

  constructor(reader: ManifestReader, blocks: RecentBlocks) {
    this.#reader = reader;
    this.#blocks = blocks;
  }

  /** The entries below a directory, each directory before what it holds. Paths are relative to it. */
  *below(ino: Ino): Generator<AheadEntry> {
    const entries = walk(this.#reader, ino);
    const ahead: AheadEntry[] = [];
    let blocksAhead = 0;
    for (;;) {
      while (ahead.length < ENTRIES_AHEAD && blocksAhead < BLOCKS_AHEAD) {
        const next = entries.next();
        if (next.done === true) break;
        const { path, inode } = next.value;
        const entry = this.entry(path, inode);
        if (entry.beginsBlock) blocksAhead++;
        ahead.push(entry);
      }
      const entry = ahead.shift();
      if (entry === undefined) return;
      if (entry.beginsBlock) blocksAhead--;
      yield entry;
    }
  }

  entry(path: Buffer, inode: InodeAttributes): AheadEntry {
    const none = { path, inode, packed: undefined, beginsBlock: false };
    if (!isRegular(inode.mode) || inode.size === 0 || inode.size > PACKED_FILE_MAX_BYTES) return none;
    const [extent] = this.#reader.extents(inode.ino, 0, inode.size);
    if (extent?.length !== inode.size) return none;
    const block = this.#blocks.get(extent.block);
    // Awaited when its turn comes, or never after a failure.
    block.catch(() => undefined);
    const beginsBlock = extent.block !== this.#lastBlock;
    this.#lastBlock = extent.block;
    return { path, inode, packed: { block, blockOffset: extent.blockOffset }, beginsBlock };
  }

  /** The bytes of an entry that is a regular file, as `readContent` has them. */
  async *read(entry: AheadEntry): AsyncGenerator<Buffer> {
    const { inode, packed } = entry;
    if (packed !== undefined) yield await packedBytes(inode, packed);
    else yield* readContent(this.#reader, this.#blocks, inode.ino);
  }
}

/** All of a small file, out of its block. Throws `corrupt` when it is not all there. */
export async function packedBytes(
  { ino, size }: InodeAttributes,
  { block, blockOffset }: NonNullable<AheadEntry['packed']>,
): Promise<Buffer> {
  const bytes = (await block).subarray(blockOffset, blockOffset + size);
  if (bytes.length < size)
    throw new CairnError('corrupt', `a block is shorter than inode ${String(ino)} needs`);
  return bytes;
}
