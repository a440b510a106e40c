import { mkdir, open, readdir, rm, type FileHandle } from 'node:fs/promises';
import type { BlockId, ManifestRoot } from '../core/index.js';
import type { BlockStore } from '../blocks/index.js';
import { forEachBounded } from './for-each-bounded.js';
import {
  addLocal,
  findLocal,
  findLocalIndex,
  rootOfIndexFile,
  temporaryPath,
  type LocalManifest,
} from './local-manifests.js';
import {
  corruptIndex,
  decodeIndex,
  manifestKey,
  rootOf,
  type IndexStore,
  type ManifestIndex,
} from './manifest-index.js';
import { hashPieces } from './piece-hashes.js';
import { readAt } from './read-at.js';
import { writeAt } from './write-at.js';

const GETS_IN_FLIGHT = 32;

/** Bytes of a block that are wanted at `position` of the database. */
interface WantedStretch {
  position: number;
  blockOffset: number;
  length: number;
}

export interface FetchManifestOptions {
  root: ManifestRoot;
  /** The folder of this machine's manifests, shared with other processes. Made when it is not there. */
  dir: string;
  blocks: Pick<BlockStore, 'get'>;
  objects: Pick<IndexStore, 'get'>;
  signal?: AbortSignal;
}

/**
 * The path of the manifest `root`, `<dir>/<root>.sqlite`. Without a request if `dir` holds it undamaged; else
 * its index is fetched, and those of its blocks that no other manifest of `dir` has. Any number of processes
 * may do so at once. The result is what was stored, verified by hash: whether that is a good manifest,
 * `openManifest` says.
 *
 * Throws `CairnError` as the stores do: `not-found`, `unreachable`, `corrupt`.
 */
export async function fetchManifest(options: FetchManifestOptions): Promise<string> {
  const { root, dir, blocks, objects, signal } = options;
  const local = await findLocal(dir, root);
  if (local !== undefined) return local.path;

  const getOptions = signal === undefined ? {} : { signal };
  const indexBytes = await getIndex(root, objects, getOptions);
  const index = decodeIndex(root, indexBytes);
  await mkdir(dir, { recursive: true });
  const temporary = temporaryPath(dir);
  try {
    const file = await open(temporary, 'wx');
    try {
      const wanted = stretchesByBlock(index);
      const relative = await closestLocal(dir, wanted);
      if (relative !== undefined) await copyStretches(relative, wanted, file);
      await forEachBounded(wanted, GETS_IN_FLIGHT, async ([id, stretches]) => {
        const raw = await blocks.get(id, getOptions);
        for (const { position, blockOffset, length } of stretches) {
          if (blockOffset + length > raw.length) {
            throw corruptIndex(root, `block ${id} is shorter than its runs`);
          }
          await writeAt(file, raw.subarray(blockOffset, blockOffset + length), position);
        }
      });
    } finally {
      await file.close();
    }
    const pieceHashes = await hashPieces(temporary);
    return await addLocal(dir, root, { index: indexBytes, pieceHashes }, temporary);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** Once more where what came does not verify (law 2): the second answer stands. */
async function getIndex(
  root: ManifestRoot,
  objects: Pick<IndexStore, 'get'>,
  options: { signal?: AbortSignal },
): Promise<Buffer> {
  const get = (): Promise<Buffer> => objects.get(manifestKey(root), { ...options, expected: true });
  const bytes = await get();
  return rootOf(bytes) === root ? bytes : get();
}

function stretchesByBlock(index: ManifestIndex): Map<BlockId, WantedStretch[]> {
  const wanted = new Map<BlockId, WantedStretch[]>();
  let position = 0;
  for (const { block, blockOffset, length } of index.runs) {
    const stretches = wanted.get(block);
    if (stretches === undefined) wanted.set(block, [{ position, blockOffset, length }]);
    else stretches.push({ position, blockOffset, length });
    position += length;
  }
  return wanted;
}

/**
 * The local manifest that has most bytes of the wanted blocks: an earlier version of the same workspace, as a
 * rule.
 */
async function closestLocal(
  dir: string,
  wanted: ReadonlyMap<BlockId, readonly WantedStretch[]>,
): Promise<LocalManifest | undefined> {
  let closest: { root: ManifestRoot; sharedBytes: number } | undefined;
  for (const name of await readdir(dir)) {
    const root = rootOfIndexFile(name);
    const index = root === undefined ? undefined : await findLocalIndex(dir, root);
    if (root === undefined || index === undefined) continue;
    const sharedBytes = index.runs.reduce((sum, run) => sum + (wanted.has(run.block) ? run.length : 0), 0);
    if (sharedBytes > (closest?.sharedBytes ?? 0)) closest = { root, sharedBytes };
  }
  return closest === undefined ? undefined : findLocal(dir, closest.root);
}

/** Copies what a local manifest has of the wanted stretches, and takes it off the list. */
async function copyStretches(
  source: LocalManifest,
  wanted: Map<BlockId, WantedStretch[]>,
  target: FileHandle,
): Promise<void> {
  const held = stretchesByBlock(source.index);
  const file = await open(source.path, 'r');
  try {
    for (const [id, stretches] of wanted) {
      const missing: WantedStretch[] = [];
      for (const stretch of stretches) {
        const { position, blockOffset, length } = stretch;
        const holder = held
          .get(id)
          ?.find(
            (run) => run.blockOffset <= blockOffset && blockOffset + length <= run.blockOffset + run.length,
          );
        if (holder === undefined) {
          missing.push(stretch);
          continue;
        }
        const bytes = Buffer.allocUnsafe(length);
        await writeAt(
          target,
          await readAt(file, bytes, holder.position + blockOffset - holder.blockOffset),
          position,
        );
      }
      if (missing.length === 0) wanted.delete(id);
      else wanted.set(id, missing);
    }
  } finally {
    await file.close();
  }
}
