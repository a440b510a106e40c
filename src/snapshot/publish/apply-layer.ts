import { isDirectory, isRegular, isSymlink } from '../../core/index.js';
import type { BlockStore } from '../../blocks/index.js';
import type { Catalog } from '../../catalog/index.js';
import { changeManifest, type ManifestBuilder, type ManifestReader } from '../../manifest/index.js';
import { MergedView, type BaseVersion, type UpperLayer } from '../../upper/index.js';
import { ChangedContent } from './changed-content.js';
import { ContentPacker } from './content-packer.js';

export interface ApplyOptions {
  /** Sealed: nothing writes to it any more. */
  layer: UpperLayer;
  catalog: Catalog;
  base: BaseVersion;
  blocks: BlockStore;
  embedBelowBytes: number;
}

export interface AppliedLayer {
  /** How many inodes other than directories it touched. */
  changedFiles: number;
  writtenPieces: ReadonlySet<number>;
  /** With what had to be stored. */
  packer: ContentPacker;
}

/** Changes the copy of the parent's manifest at `path` into the version's, and stores the content that is new. */
export async function applyLayer(
  { layer, base, blocks, catalog, embedBelowBytes }: ApplyOptions,
  path: string,
  parent: ManifestReader,
): Promise<AppliedLayer> {
  const builder = changeManifest(path);
  const packer = new ContentPacker({ blocks, catalog, workspace: base.workspace, embedBelowBytes });
  try {
    const content = new ChangedContent({
      view: new MergedView([layer], parent),
      parent,
      blocks,
      packer,
      setContent: (ino, fileContent) => {
        builder.setContent(ino, fileContent);
      },
    });
    const changedFiles = await copyRows(builder, layer, parent, content);
    return { changedFiles, writtenPieces: builder.finish(), packer };
  } catch (error) {
    builder.abandon();
    throw error;
  }
}

/** Carries a layer's rows over into the manifest. Returns how many inodes other than directories it touched. */
async function copyRows(
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
  builder.setNext(Math.max(layer.nextIno, parent.nextIno), Math.max(layer.nextCookie, parent.nextCookie));
  return changedFiles;
}
