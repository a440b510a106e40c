import { open, type FileHandle } from 'node:fs/promises';
import { MANIFEST_PIECE_BYTES, PACK_TARGET_BYTES, type BlockId, type ManifestRoot } from '../core/index.js';
import { encodeBlock, type BlockStore } from '../blocks/index.js';
import { forEachBounded } from './for-each-bounded.js';
import { addLocal, findLocal, readAt } from './local-manifests.js';
import {
  encodeIndex,
  manifestKey,
  rootOf,
  type IndexStore,
  type ManifestIndex,
  type Run,
} from './manifest-index.js';

/** Blocks read, packed and on their way at once; also the memory publishing takes, in MiB. */
const PUTS_IN_FLIGHT = 8;

const COMPARE_BYTES = 1024 * 1024;

export interface PublishManifestOptions {
  /** A finished manifest on the file system of `dir`. It is moved into `dir`. */
  path: string;
  /** The folder of this machine's manifests, as `fetchManifest` has it. */
  dir: string;
  /**
   * The version it was made from: its blocks are used again for pieces that did not change, if `dir` holds
   * it.
   */
  parentRoot?: ManifestRoot;
  blocks: BlockStore;
  objects: IndexStore;
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

/**
 * Stores a manifest: its blocks, then the index object that names them (law 1), and adds it to the local
 * ones. Publishing the same manifest again changes nothing. Throws `CairnError` as the stores do.
 */
export async function publishManifest(options: PublishManifestOptions): Promise<PublishedManifest> {
  const { path, dir, parentRoot, blocks, objects } = options;
  const file = await open(path, 'r');
  let published: { index: Buffer; newBlocks: PublishedManifest['newBlocks'] };
  try {
    const { size: sizeBytes } = await file.stat();
    const plan = await planRuns(file, sizeBytes, dir, parentRoot);
    const newBlocks = await putPacks(file, plan.packs, blocks);
    const runs = plan.runs.map((run) => ({ ...run, block: storedBlock(run.block, newBlocks) }));
    published = { index: encodeIndex({ sizeBytes, runs }), newBlocks };
  } finally {
    await file.close();
  }
  const { index, newBlocks } = published;
  const root = rootOf(index);
  await objects.put(manifestKey(root), index, { ifAbsent: true });
  const storedBytes = newBlocks.reduce((sum, block) => sum + block.storedBytes, index.length);
  return { root, path: await addLocal(dir, root, index, path), newBlocks, storedBytes };
}

/**
 * The parent's runs where the pieces are the same, new blocks elsewhere. A long line of descent scatters a
 * manifest over ever more blocks, each holding ever less of it: from some point on it is cheaper for all who
 * fetch it to write it afresh.
 */
async function planRuns(
  file: FileHandle,
  sizeBytes: number,
  dir: string,
  parentRoot: ManifestRoot | undefined,
): Promise<Plan> {
  const pieceCount = Math.ceil(sizeBytes / MANIFEST_PIECE_BYTES);
  const parent = parentRoot === undefined ? undefined : await findLocal(dir, parentRoot);
  if (parent !== undefined) {
    const unchanged = await unchangedPieces(file, sizeBytes, parent.path, parent.index.sizeBytes);
    const plan = layOut(sizeBytes, unchanged, parent.index);
    if (plan.runs.length <= 4 * Math.ceil(sizeBytes / PACK_TARGET_BYTES) + 64) return plan;
  }
  return layOut(sizeBytes, new Uint8Array(pieceCount), { sizeBytes: 0, runs: [] });
}

/** For each piece 1 if the parent has the same bytes at the same place. */
async function unchangedPieces(
  file: FileHandle,
  sizeBytes: number,
  parentPath: string,
  parentBytes: number,
): Promise<Uint8Array> {
  const unchanged = new Uint8Array(Math.ceil(sizeBytes / MANIFEST_PIECE_BYTES));
  const [ours, theirs] = [Buffer.allocUnsafe(COMPARE_BYTES), Buffer.allocUnsafe(COMPARE_BYTES)];
  const parent = await open(parentPath, 'r');
  try {
    for (let position = 0; position < Math.min(sizeBytes, parentBytes); position += COMPARE_BYTES) {
      const a = await readAt(file, ours, position);
      const b = await readAt(parent, theirs, position);
      for (let at = 0; at < a.length; at += MANIFEST_PIECE_BYTES) {
        const end = at + MANIFEST_PIECE_BYTES;
        if (a.subarray(at, end).equals(b.subarray(at, end)))
          unchanged[(position + at) / MANIFEST_PIECE_BYTES] = 1;
      }
    }
  } finally {
    await parent.close();
  }
  return unchanged;
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
