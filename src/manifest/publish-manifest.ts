import { open, type FileHandle } from 'node:fs/promises';
import { MANIFEST_PIECE_BYTES, PACK_TARGET_BYTES, type BlockId, type ManifestRoot } from '../core/index.js';
import { encodeBlock, type BlockStore } from '../blocks/index.js';
import { forEachBounded } from './for-each-bounded.js';
import { addLocal, findLocalRecord, type LocalRecord } from './local-manifests.js';
import {
  encodeIndex,
  manifestKey,
  rootOf,
  type IndexStore,
  type ManifestIndex,
  type Run,
} from './manifest-index.js';
import { hashPieces, rehashPieces } from './piece-hashes.js';
import { readAt } from './read-at.js';

/** Blocks read, packed and on their way at once; also the memory publishing takes, in MiB. */
const PUTS_IN_FLIGHT = 8;

/** Pieces that are written afresh together when they are scattered: as many as a new block holds. */
const REGION_PIECES = PACK_TARGET_BYTES / MANIFEST_PIECE_BYTES;

/** Runs of a manifest, for each of its regions, and for all of it. */
const RUNS_PER_REGION = 16;
const RUNS_MIN = 64;

export interface PublishManifestOptions {
  /** A finished manifest on the file system of `dir`. It is moved into `dir`. */
  path: string;
  /** The folder of this machine's manifests, as `fetchManifest` has it. */
  dir: string;
  /**
   * The version it was made from, and what its builder says was written: the parent's blocks are used again for all other pieces,
   * if `dir` holds the parent.
   */
  parent?: { root: ManifestRoot; writtenPieces: ReadonlySet<number> };
  blocks: BlockStore;
  objects: IndexStore;
  /** Resolves when what the manifest refers to is in the store: until then there is no index of it. */
  contentStored?: Promise<void>;
}

export interface PublishedManifest {
  root: ManifestRoot;
  /** Where the manifest is now: what `fetchManifest` would return. */
  path: string;
  newBlocks: readonly { id: BlockId; rawBytes: number; storedBytes: number }[];
  /** Bytes of the objects of `newBlocks` and of the index. */
  storedBytes: number;
}

/** Bytes of the new database, in order, that go into one new block. */
interface Pack {
  stretches: { position: number; length: number }[];
  length: number;
}

/** A run of a block that is stored already, or of the new block that `packs[block]` becomes. */
interface PlannedRun extends Omit<Run, 'block'> {
  block: BlockId | number;
}

interface Plan {
  packs: Pack[];
  runs: PlannedRun[];
}

/** The parent's index and hashes, and which pieces are not the parent's. */
interface Descent extends LocalRecord {
  writtenPieces: ReadonlySet<number>;
}

/**
 * Stores a manifest: its blocks, then the index object that names them (law 1), and adds it to the local
 * ones. Costs what was written since the parent, where `dir` holds that. Publishing the same manifest again changes nothing.
 * Throws `CairnError` as the stores do.
 */
export async function publishManifest(options: PublishManifestOptions): Promise<PublishedManifest> {
  const { path, dir, parent, blocks, objects, contentStored } = options;
  const record = parent === undefined ? undefined : await findLocalRecord(dir, parent.root);
  const descent =
    parent === undefined || record === undefined
      ? undefined
      : { ...record, writtenPieces: parent.writtenPieces };
  const file = await open(path, 'r');
  let published: { index: Buffer; newBlocks: PublishedManifest['newBlocks'] };
  try {
    const { size: sizeBytes } = await file.stat();
    const plan = planRuns(sizeBytes, descent);
    const newBlocks = await putPacks(file, plan.packs, blocks);
    const runs = plan.runs.map((run) => ({ ...run, block: storedBlock(run.block, newBlocks) }));
    published = { index: encodeIndex({ sizeBytes, runs }), newBlocks };
  } finally {
    await file.close();
  }
  const { index, newBlocks } = published;
  const root = rootOf(index);
  await contentStored;
  await objects.put(manifestKey(root), index, { ifAbsent: true });
  const pieceHashes =
    descent === undefined
      ? await hashPieces(path)
      : await rehashPieces(path, descent.pieceHashes, descent.writtenPieces);
  const storedBytes = newBlocks.reduce((sum, block) => sum + block.storedBytes, index.length);
  return { root, path: await addLocal(dir, root, { index, pieceHashes }, path), newBlocks, storedBytes };
}

/**
 * The parent's runs where the pieces are the parent's, new blocks elsewhere. A long line of descent scatters a
 * manifest over ever more blocks, each holding ever less of it, which all who fetch it pay for: the regions with most runs are
 * written afresh, as many as keep the runs below a limit. Each version then pays about for the runs it adds.
 */
function planRuns(sizeBytes: number, descent: Descent | undefined): Plan {
  const unchanged = new Uint8Array(Math.ceil(sizeBytes / MANIFEST_PIECE_BYTES));
  if (descent === undefined) return layOut(sizeBytes, unchanged, { sizeBytes: 0, runs: [] });
  unchanged.fill(1, 0, Math.ceil(descent.index.sizeBytes / MANIFEST_PIECE_BYTES));
  for (const piece of descent.writtenPieces) unchanged[piece] = 0;
  const runsMax = RUNS_MIN + RUNS_PER_REGION * Math.ceil(unchanged.length / REGION_PIECES);
  for (;;) {
    const plan = layOut(sizeBytes, unchanged, descent.index);
    const excess = plan.runs.length - runsMax;
    if (excess <= 0) return plan;
    for (const region of scatteredRegions(plan.runs, excess))
      unchanged.fill(0, region * REGION_PIECES, (region + 1) * REGION_PIECES);
  }
}

/** The regions with most runs, as many as have `excess` runs more than the one each needs. */
function scatteredRegions(runs: readonly PlannedRun[], excess: number): number[] {
  const runsOf = new Map<number, number>();
  let position = 0;
  for (const { length } of runs) {
    const region = Math.floor(position / PACK_TARGET_BYTES);
    runsOf.set(region, (runsOf.get(region) ?? 0) + 1);
    position += length;
  }
  const regions: number[] = [];
  let saved = 0;
  for (const [region, count] of [...runsOf].sort(([, one], [, other]) => other - one)) {
    if (saved >= excess) break;
    regions.push(region);
    saved += count - 1;
  }
  return regions;
}

function layOut(sizeBytes: number, unchanged: Uint8Array, parent: ManifestIndex): Plan {
  const packs: Pack[] = [];
  const runs: PlannedRun[] = [];
  const parentRuns = parent.runs.values();
  let parentRun: Run | undefined;
  let parentRunEnd = 0;

  for (const [piece, isUnchanged] of unchanged.entries()) {
    const position = piece * MANIFEST_PIECE_BYTES;
    const length = Math.min(MANIFEST_PIECE_BYTES, sizeBytes - position);
    while (parentRunEnd <= position && parentRunEnd < parent.sizeBytes) {
      parentRun = parentRuns.next().value;
      parentRunEnd += parentRun?.length ?? 0;
    }
    if (isUnchanged === 1 && parentRun !== undefined) {
      const blockOffset = parentRun.blockOffset + parentRun.length - (parentRunEnd - position);
      appendRun(runs, { block: parentRun.block, blockOffset, length });
      continue;
    }
    let pack = packs.at(-1);
    if (pack === undefined || pack.length + length > PACK_TARGET_BYTES) {
      pack = { stretches: [], length: 0 };
      packs.push(pack);
    }
    appendRun(runs, { block: packs.length - 1, blockOffset: pack.length, length });
    const stretch = pack.stretches.at(-1);
    if (stretch !== undefined && stretch.position + stretch.length === position) stretch.length += length;
    else pack.stretches.push({ position, length });
    pack.length += length;
  }
  return { packs, runs };
}

/** Runs that follow one another in one block are one run. */
function appendRun(runs: PlannedRun[], run: PlannedRun): void {
  const last = runs.at(-1);
  if (last?.block === run.block && last.blockOffset + last.length === run.blockOffset)
    last.length += run.length;
  else runs.push(run);
}

async function putPacks(
  file: FileHandle,
  packs: readonly Pack[],
  blocks: BlockStore,
): Promise<PublishedManifest['newBlocks']> {
  const stored: { id: BlockId; rawBytes: number; storedBytes: number }[] = [];
  await forEachBounded(packs.entries(), PUTS_IN_FLIGHT, async ([ordinal, pack]) => {
    const raw = Buffer.allocUnsafe(pack.length);
    let filled = 0;
    for (const { position, length } of pack.stretches) {
      const read = await readAt(file, raw.subarray(filled, filled + length), position);
      if (read.length !== length) throw new Error('a manifest became shorter while it was published');
      filled += length;
    }
    // Encoded here, past the block cache: this machine has the manifest itself.
    const block = encodeBlock(raw);
    await blocks.putEncoded(block);
    stored[ordinal] = { id: block.id, rawBytes: block.rawLength, storedBytes: block.object.length };
  });
  return stored;
}

function storedBlock(block: BlockId | number, newBlocks: PublishedManifest['newBlocks']): BlockId {
  if (typeof block === 'string') return block;
  const stored = newBlocks[block];
  if (stored === undefined) throw new Error(`new block ${String(block)} was not stored`);
  return stored.id;
}
