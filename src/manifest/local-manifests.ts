import { createXXHash64 } from 'hash-wasm';
import { randomUUID } from 'node:crypto';
import { open, readFile, rename, rm, writeFile, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { isHexId, type ManifestRoot } from '../core/index.js';
import { decodeIndex, type ManifestIndex } from './manifest-index.js';

/*
 * A folder of assembled manifests, shared by any number of processes. For each root three files, each renamed
 * into place and never written to again: `<root>.index`, `<root>.sqlite`, and last `<root>.ok`, which holds
 * the size and the xxHash64 of the database. Nothing is synced: after a crash what is damaged does not match,
 * and is fetched again.
 */

const READ_BYTES = 1024 * 1024;

/** A manifest whose database was just re-checked against its `.ok` file. */
export interface LocalManifest {
  root: ManifestRoot;
  path: string;
  index: ManifestIndex;
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

/** The manifest `root` if `dir` holds it undamaged. */
export async function findLocal(dir: string, root: ManifestRoot): Promise<LocalManifest | undefined> {
  const path = localManifestPath(dir, root);
  try {
    const expected = await readFile(okPath(dir, root), 'latin1');
    const index = decodeIndex(root, await readFile(indexPath(dir, root)));
    return (await fingerprint(path)) === expected ? { root, path, index } : undefined;
  } catch {
    // Missing, damaged or unreadable: whoever asks gets the manifest from the store, or the reason why not
    // from writing it.
    return undefined;
  }
}

/** The index of `root` as `dir` holds it, without a look at the database. */
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
  index: Uint8Array,
  source: string,
): Promise<string> {
  const path = localManifestPath(dir, root);
  const ok = await fingerprint(source);
  await writeAndRename(dir, indexPath(dir, root), index);
  await rename(source, path);
  await writeAndRename(dir, okPath(dir, root), Buffer.from(ok, 'latin1'));
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

/** Size and xxHash64 of a file, as its `.ok` file has them. */
async function fingerprint(path: string): Promise<string> {
  const hasher = await createXXHash64();
  const file = await open(path, 'r');
  try {
    const buffer = Buffer.allocUnsafe(READ_BYTES);
    let sizeBytes = 0;
    for (;;) {
      const read = await readAt(file, buffer, sizeBytes);
      if (read.length === 0) return `${String(sizeBytes)} ${hasher.digest('hex')}\n`;
      hasher.update(read);
      sizeBytes += read.length;
    }
  } finally {
    await file.close();
  }
}

/** Fills `buffer` from `position` as far as the file goes; the part that was filled. */
export async function readAt(file: FileHandle, buffer: Buffer, position: number): Promise<Buffer> {
  let filled = 0;
  while (filled < buffer.length) {
    const { bytesRead } = await file.read(buffer, filled, buffer.length - filled, position + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return buffer.subarray(0, filled);
}
