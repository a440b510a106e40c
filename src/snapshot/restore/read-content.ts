import type { BlockStore } from '../../blocks/index.js';
import { CairnError, isRegular, type Extent, type Ino } from '../../core/index.js';
import type { ManifestReader } from '../../manifest/index.js';

/** Bytes of a file that stand together, at `offset` of it. */
export interface DataPiece {
  offset: number;
  bytes: Buffer;
}

export interface ContentRange {
  /** The first byte. */
  start: number;
  /** The first byte no longer wanted; beyond the file's end: its end. */
  end: number;
}

/** What hands out blocks: a block store, or what holds some of its blocks in memory. */
export type BlockSource = Pick<BlockStore, 'get'>;

/** Blocks fetched ahead of the one that is being used; with it, what a read holds in memory. */
const BLOCKS_AHEAD = 4;

/** Extents are asked for in stretches of this many bytes of the file, so that their number in memory is bounded. */
const STRETCH_BYTES = 256 * 1024 * 1024;

const ZEROS = Buffer.alloc(1024 * 1024);

/**
 * The bytes of a regular file, in order, in pieces of at most a block: holes as zeros. Fetches a few blocks ahead. The pieces are
 * not to be modified. Throws `CairnError`: `usage` for what is not a regular file, and what the block store throws.
 */
export async function* readContent(
  reader: ManifestReader,
  blocks: BlockSource,
  ino: Ino,
  range?: ContentRange,
): AsyncGenerator<Buffer> {
  const { start, end } = clampedRange(reader, ino, range);
  let position = start;
  for await (const { offset, bytes } of readData(reader, blocks, ino, { start, end })) {
    yield* zeros(offset - position);
    yield bytes;
    position = offset + bytes.length;
  }
  yield* zeros(end - position);
}

/** As `readContent`, without what is in holes. */
export async function* readData(
  reader: ManifestReader,
  blocks: BlockSource,
  ino: Ino,
  range?: ContentRange,
): AsyncGenerator<DataPiece> {
  const { start, end } = clampedRange(reader, ino, range);
  const embedded = reader.embedded(ino);
  if (embedded !== undefined) {
    if (start < end) yield { offset: start, bytes: embedded.subarray(start, end) };
    return;
  }
  const ahead: { extent: Extent; block: Promise<Buffer> }[] = [];
  const extents = extentsIn(reader, ino, start, end);
  const fetchNext = (): void => {
    const next = extents.next();
    if (next.done === true) return;
    const block = blocks.get(next.value.block);
    // Awaited when its turn comes; a reader that stops before never asks.
    block.catch(() => undefined);
    ahead.push({ extent: next.value, block });
  };
  for (let count = 0; count < BLOCKS_AHEAD; count++) fetchNext();
  for (let next = ahead.shift(); next !== undefined; next = ahead.shift()) {
    fetchNext();
    const { extent } = next;
    const block = await next.block;
    const from = Math.max(start, extent.offset);
    const to = Math.min(end, extent.offset + extent.length);
    const shift = extent.blockOffset - extent.offset;
    if (shift + to > block.length) {
      throw new CairnError('corrupt', `block ${extent.block} is shorter than inode ${String(ino)} needs`);
    }
    yield { offset: from, bytes: block.subarray(shift + from, shift + to) };
  }
}

function* extentsIn(reader: ManifestReader, ino: Ino, start: number, end: number): Generator<Extent> {
  let after = start;
  for (let at = start; at < end; at += STRETCH_BYTES) {
    for (const extent of reader.extents(ino, at, Math.min(STRETCH_BYTES, end - at))) {
      // One that reaches into two stretches was there with the first.
      if (extent.offset + extent.length <= after) continue;
      after = extent.offset + extent.length;
      yield extent;
    }
  }
}

function clampedRange(reader: ManifestReader, ino: Ino, range: ContentRange | undefined): ContentRange {
  const inode = reader.inode(ino);
  if (inode === undefined || !isRegular(inode.mode)) {
    throw new CairnError('usage', `inode ${String(ino)} is not a regular file`);
  }
  const start = Math.min(range?.start ?? 0, inode.size);
  return { start, end: Math.max(start, Math.min(range?.end ?? inode.size, inode.size)) };
}

function* zeros(length: number): Generator<Buffer> {
  for (let left = length; left > 0; left -= ZEROS.length)
    yield ZEROS.subarray(0, Math.min(left, ZEROS.length));
}
