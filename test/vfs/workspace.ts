import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import {
  isAllZeros,
  nextChunkLength,
  openBlockStore,
  PackWriter,
  sha256,
  type BlockStore,
} from '../../src/blocks/index.js';
import { openCatalog, type Catalog } from '../../src/catalog/index.js';
import {
  BLOCK_MAX_BYTES,
  contentIdOf,
  isDirectory,
  isRegular,
  isSymlink,
  PACKED_FILE_MAX_BYTES,
  ROOT_INO,
  type Extent,
  type Ino,
} from '../../src/core/index.js';
import {
  createManifest,
  fetchManifest,
  openManifest,
  publishManifest,
  walk,
  WorkingCopy,
  type FileContent,
} from '../../src/manifest/index.js';
import { openObjectStore, type ObjectStore } from '../../src/objects/index.js';
import { isOpenElsewhere } from '../../src/posix/index.js';
import type { BaseVersion } from '../../src/upper/index.js';
import type { FileSystem } from '../../src/vfs/index.js';
import { listing, readBytes } from './trees.js';

export const WORKSPACE = 'model';

/** A store in a directory, a catalog in a file, and this machine's caches of both. */
export interface Stores {
  dir: string;
  manifestDir: string;
  objects: ObjectStore;
  blocks: BlockStore;
  catalog: Catalog;
  workingCopy: WorkingCopy;
  close(): Promise<void>;
}

export async function openStores(dir: string): Promise<Stores> {
  const manifestDir = join(dir, 'manifests');
  for (const folder of [join(dir, 'store'), manifestDir]) mkdirSync(folder, { recursive: true });
  const objects = await openObjectStore(pathToFileURL(join(dir, 'store')).href);
  const cacheBudgetBytes = 256 * 1024 * 1024;
  const blocks = await openBlockStore({ objects, cacheDir: join(dir, 'cache'), cacheBudgetBytes });
  const catalog = await openCatalog(`sqlite://${join(dir, 'catalog.sqlite')}`);
  const workingCopy = new WorkingCopy({
    dir: manifestDir,
    name: 'model',
    fetch: async (root) => await fetchManifest({ root, dir: manifestDir, blocks, objects }),
    isOpenElsewhere,
  });
  const close = async (): Promise<void> => {
    await workingCopy.close();
    await catalog.close();
    await blocks.close();
    await objects.close();
  };
  return { dir, manifestDir, objects, blocks, catalog, workingCopy, close };
}

/** Publishes what a file system holds as the first version of WORKSPACE, each file cut, packed or embedded as in an import. */
export async function publishTree(
  fileSystem: FileSystem,
  stores: Stores,
  embedBelowBytes: number,
): Promise<BaseVersion> {
  const path = join(stores.manifestDir, 'base.building');
  const builder = createManifest(path);
  const pack = new PackWriter();
  const packed: { ino: Ino; id: FileContent['id']; offset: number; length: number }[] = [];
  const done = new Set<Ino>();
  let cookie = 3;
  let highest = ROOT_INO;

  const put = async (ino: Ino): Promise<void> => {
    if (done.has(ino)) return;
    done.add(ino);
    highest = Math.max(highest, ino);
    const inode = fileSystem.inode(ino);
    builder.putInode(inode);
    const names = fileSystem.listXattrs(ino).toString('latin1').split('\0').slice(0, -1);
    const rows = names.map((text) => {
      const name = Buffer.from(text, 'latin1');
      return { name, value: fileSystem.getXattr(ino, name) };
    });
    if (rows.length > 0) builder.setXattrs(ino, rows);
    if (isSymlink(inode.mode)) builder.setSymlink(ino, fileSystem.readlink(ino));
    if (isDirectory(inode.mode)) {
      for (const entry of listing(fileSystem, ino)) {
        builder.putDentry(ino, cookie++, Buffer.from(entry.name, 'latin1'), entry.ino);
        await put(entry.ino);
      }
    }
    if (!isRegular(inode.mode)) return;
    const bytes = await readBytes(fileSystem, stores.blocks, ino, 0, inode.size);
    const id = contentIdOf(sha256(bytes));
    if (bytes.length > PACKED_FILE_MAX_BYTES) {
      builder.setContent(ino, { id, extents: await storeChunks(bytes, stores.blocks) });
    } else if (bytes.length > 0 && bytes.length < embedBelowBytes) {
      builder.setContent(ino, { id, embedded: bytes, extents: [] });
    } else if (isAllZeros(bytes)) {
      builder.setContent(ino, { id, extents: [] });
    } else {
      packed.push({ ino, id, offset: pack.append(bytes), length: bytes.length });
    }
  };

  await put(ROOT_INO);
  if (packed.length > 0) {
    const block = (await stores.blocks.put(pack.take())).id;
    for (const { ino, id, offset, length } of packed) {
      builder.setContent(ino, { id, extents: [{ offset: 0, length, block, blockOffset: offset }] });
    }
  }
  builder.setNext(highest + 1, cookie);
  builder.finish();

  const { root, path: published } = await publishManifest({ ...stores, path, dir: stores.manifestDir });
  await stores.catalog.ensureWorkspace(WORKSPACE);
  const manifest = openManifest(published);
  const added = [...walk(manifest, ROOT_INO)].map(({ path: file, inode }) => {
    return { path: file, hash: manifest.content(inode.ino), size: inode.size, mode: inode.mode };
  });
  const { files, bytes } = manifest.counters;
  manifest.close();
  const text = { author: 'test', message: 'base', publishId: 'base' };
  const rows = { blocks: [], contents: [], removed: [], added };
  const version = { workspace: WORKSPACE, parentSeq: 0, root, createdAtMs: 1, files, bytes };
  await stores.catalog.publish({ ...version, ...text, ...rows });
  return { workspace: WORKSPACE, seq: 1, root };
}

/** FORMAT.md C-3 and C-5, from the first byte to the last. */
export async function storeChunks(bytes: Buffer, blocks: Pick<BlockStore, 'put'>): Promise<Extent[]> {
  const extents: Extent[] = [];
  for (let offset = 0; offset < bytes.length;) {
    const length = nextChunkLength(bytes, offset, Math.min(bytes.length, offset + BLOCK_MAX_BYTES));
    const raw = bytes.subarray(offset, offset + length);
    if (!isAllZeros(raw)) extents.push({ offset, length, block: (await blocks.put(raw)).id, blockOffset: 0 });
    offset += length;
  }
  return extents;
}
