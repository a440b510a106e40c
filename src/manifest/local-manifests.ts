import { randomUUID } from 'node:crypto';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isHexId, type ManifestRoot } from '../core/index.js';
import { decodeIndex, type ManifestIndex } from './manifest-index.js';
import { hashPieces } from './piece-hashes.js';

/*
 * A folder of assembled manifests, shared by any number of processes. For each root three files, each renamed
 * into place and never written to again: `<root>.index`, `<root>.sqlite`, and last `<root>.ok`, which holds
 * the hashes of the database's pieces. Nothing is synced: after a crash what is damaged does not match, and is
 * fetched again.
 */

/** What is noted beside a manifest's database. */
export interface LocalRecord {
  index: ManifestIndex;
  pieceHashes: Buffer;
}

/** A manifest whose database was just re-checked against its `.ok` file. */
export interface LocalManifest extends LocalRecord {
  root: ManifestRoot;
  path: string;
}

/** Where the manifest `root` is, once it was fetched or published here. */
export function localManifestPath(dir: string, root: ManifestRoot): string {
  return join(dir, `${root}.sqlite`);
}

function indexPath(dir: string, root: ManifestRoot): string {
  return join(dir, `${root}.index`);
}

function okPath(dir: string, root: ManifestRoot): string {
  return join(dir, `${root}.ok`);
}

/** A name in `dir` nobody else uses; whatever dies before renaming it leaves it behind. */
export function temporaryPath(dir: string): string {
  return join(dir, `${randomUUID()}.tmp`);
}

/** The manifest `root` if `dir` holds it undamaged: reads all of it. */
export async function findLocal(dir: string, root: ManifestRoot): Promise<LocalManifest | undefined> {
  const record = await findLocalRecord(dir, root);
  if (record === undefined) return undefined;
  const path = localManifestPath(dir, root);
  try {
    return (await hashPieces(path)).equals(record.pieceHashes) ? { root, path, ...record } : undefined;
  } catch {
    // Missing or unreadable: whoever asks gets the manifest from the store, or the reason why not from
    // writing it.
    return undefined;
  }
}

/** What is noted of `root` in `dir`, without a look at the database. */
export async function findLocalRecord(dir: string, root: ManifestRoot): Promise<LocalRecord | undefined> {
  const index = await findLocalIndex(dir, root);
  if (index === undefined) return undefined;
  try {
    return { index, pieceHashes: await readFile(okPath(dir, root)) };
  } catch {
    return undefined;
  }
}

/** The index of `root` as `dir` holds it. */
export async function findLocalIndex(dir: string, root: ManifestRoot): Promise<ManifestIndex | undefined> {
  try {
    return decodeIndex(root, await readFile(indexPath(dir, root)));
  } catch {
    return undefined;
  }
}

/** Forgets a manifest, to be fetched again if somebody wants it. Whoever has it open goes on reading it. */
export async function dropLocalManifest(dir: string, root: ManifestRoot): Promise<void> {
  // In the order in which each is of use without the next.
  for (const path of [okPath(dir, root), localManifestPath(dir, root), indexPath(dir, root)])
    await rm(path, { force: true });
}

/** As `dropLocalManifest`, but its database becomes `target`, on the same file system, for whoever calls. */
export async function takeLocalManifest(dir: string, root: ManifestRoot, target: string): Promise<void> {
  await rm(okPath(dir, root), { force: true });
  await rename(localManifestPath(dir, root), target);
  await rm(indexPath(dir, root), { force: true });
}

/** The root whose index a file name of the folder stands for. */
export function rootOfIndexFile(name: string): ManifestRoot | undefined {
  const [root = '', ...extensions] = name.split('.');
  return isHexId(root) && extensions.join('.') === 'index' ? (root as ManifestRoot) : undefined;
}

/**
 * Moves the complete database `source`, in `dir` or on the same file system, into `dir` as manifest `root`.
 * Returns its new path.
 */
export async function addLocal(
  dir: string,
  root: ManifestRoot,
  record: { index: Uint8Array; pieceHashes: Buffer },
  source: string,
): Promise<string> {
  const path = localManifestPath(dir, root);
  await writeAndRename(dir, indexPath(dir, root), record.index);
  await rename(source, path);
  await writeAndRename(dir, okPath(dir, root), record.pieceHashes);
  return path;
}

async function writeAndRename(dir: string, path: string, bytes: Uint8Array): Promise<void> {
  const temporary = temporaryPath(dir);
  try {
    await writeFile(temporary, bytes);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}
