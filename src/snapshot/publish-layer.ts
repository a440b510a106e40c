import { isDirectory, isRegular, isSymlink } from '../core/index.js';
import type { BlockStore } from '../blocks/index.js';
import type { Catalog, Version } from '../catalog/index.js';
import {
  changeManifest,
  fetchManifest,
  localManifestPath,
  openManifest,
  publishManifest,
  type ManifestBuilder,
  type ManifestReader,
  type ManifestStep,
  type WorkingCopy,
} from '../manifest/index.js';
import type { ObjectStore } from '../objects/index.js';
import { MergedView, type BaseVersion, type SealedLayer, type UpperLayer } from '../upper/index.js';
import { ChangedContent } from './changed-content.js';
import { publicationRows } from './publication-rows.js';
import { touchedInodes } from './touched-inodes.js';

export interface PublishOptions {
  /** Sealed: nothing writes to it any more. */
  layer: UpperLayer;
  sealed: SealedLayer;
  base: BaseVersion;
  catalog: Catalog;
  objects: ObjectStore;
  blocks: BlockStore;
  manifestDir: string;
  /** Of `manifestDir`. */
  workingCopy: WorkingCopy;
  embedBelowBytes: number;
}

export interface PublishedLayer {
  version: Version;
  /** From the base's manifest to the version's; undefined where it was published before. */
  step: ManifestStep | undefined;
  changedFiles: number;
  newBlocks: number;
  storedBytes: number;
}

/**
 * Makes the next version out of a sealed layer: blocks, then the manifest, then the version's row (law 1), which moves the head by
 * compare-and-swap (law 7). The version's manifest is a local one then. Changes nothing else locally, so that after any failure, or the death of
 * the process, it is simply called again: what is stored already is not stored twice, and a version that was published already is returned.
 *
 * Throws `conflict` when the head is not the base any more; `unreachable` when the store or the catalog is.
 */
export async function publishLayer(options: PublishOptions): Promise<PublishedLayer> {
  const { layer, sealed, base, catalog, objects, blocks, manifestDir } = options;
  const already = await catalog.published(base.workspace, sealed.publishId);
  if (already !== undefined) {
    await fetchManifest({ root: already.root, dir: manifestDir, blocks, objects });
    return { version: already, step: undefined, changedFiles: 0, newBlocks: 0, storedBytes: 0 };
  }

  const childPath = await options.workingCopy.take(base.root);
  const parent = openManifest(localManifestPath(manifestDir, base.root));
  let child: ManifestReader | undefined;
  try {
    const { changedFiles, writtenPieces, content } = await buildManifest(options, childPath, parent);
    const { root, ...manifest } = await publishManifest({
      path: childPath,
      dir: manifestDir,
      parent: { root: base.root, writtenPieces },
      blocks,
      objects,
    });
    child = openManifest(manifest.path);
    const newBlocks = [...content.newBlocks, ...manifest.newBlocks];
    const version = await catalog.publish({
      workspace: base.workspace,
      parentSeq: base.seq,
      root,
      author: sealed.author,
      message: sealed.message,
      publishId: sealed.publishId,
      createdAtMs: sealed.sealedAtMs,
      files: child.counters.files,
      bytes: child.counters.bytes,
      blocks: newBlocks,
      contents: content.newContents,
      ...publicationRows(parent, child, touchedInodes(layer, parent)),
    });
    const storedBytes = newBlocks.reduce((sum, block) => sum + block.storedBytes, 0);
    const step = { from: base.root, to: root, writtenPieces };
    return { version, step, changedFiles, newBlocks: newBlocks.length, storedBytes };
  } finally {
    child?.close();
    parent.close();
  }
}

/** Changes the copy of the parent's manifest at `path` into the version's, and stores the content that is new. */
async function buildManifest(
  { layer, blocks, catalog, embedBelowBytes }: PublishOptions,
  path: string,
  parent: ManifestReader,
): Promise<{ changedFiles: number; writtenPieces: ReadonlySet<number>; content: ChangedContent }> {
  const builder = changeManifest(path);
  try {
    const content = new ChangedContent({
      view: new MergedView([layer], parent),
      parent,
      blocks,
      catalog,
      embedBelowBytes,
      setContent: (ino, fileContent) => {
        builder.setContent(ino, fileContent);
      },
    });
    const changedFiles = await applyLayer(builder, layer, parent, content);
    return { changedFiles, writtenPieces: builder.finish(), content };
  } catch (error) {
    builder.abandon();
    throw error;
  }
}

/** Carries a layer's rows over into the manifest. Returns how many inodes other than directories it touched. */
async function applyLayer(
  builder: ManifestBuilder,
  layer: UpperLayer,
  parent: ManifestReader,
  content: ChangedContent,
): Promise<number> {
  let changedFiles = 0;
  for (const { parent: directory, name } of layer.dentries()) builder.removeDentry(directory, name);
  for (const inode of layer.inodes()) {
    if (inode.nlink === 0) {
      if (parent.inode(inode.ino) !== undefined) builder.removeInode(inode.ino);
      continue;
    }
    builder.putInode(inode);
    if (inode.created === 1 && isSymlink(inode.mode)) {
      builder.setSymlink(inode.ino, layer.symlink(inode.ino) ?? Buffer.alloc(0));
    }
    if (inode.ownsXattrs === 1) builder.setXattrs(inode.ino, layer.xattrs(inode.ino));
    if (isRegular(inode.mode) && inode.contentChanged === 1) await content.add(inode);
    if (!isDirectory(inode.mode)) changedFiles += 1;
  }
  await content.finish();
  for (const { parent: directory, cookie, name, ino } of layer.dentries()) {
    if (ino !== 0) builder.putDentry(directory, cookie, name, ino);
  }
  builder.setNext(layer.nextIno, layer.nextCookie);
  return changedFiles;
}
