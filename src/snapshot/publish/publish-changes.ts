import { randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { copyFile, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { BlockStore } from '../../blocks/index.js';
import type { Catalog, ContentRow, Publication, Version } from '../../catalog/index.js';
import { ROOT_INO, type BlockId } from '../../core/index.js';
import {
  changeManifest,
  createManifest,
  fetchManifest,
  openManifest,
  publishManifest,
  FIRST_COOKIE,
  type ManifestReader,
} from '../../manifest/index.js';
import type { ObjectStore } from '../../objects/index.js';
import { ChangedTree } from './changed-tree.js';
import { numbersFrom } from './numbers-from.js';
import type { PathChange } from './path-change.js';
import { publishVersion } from './publish-version.js';

export interface PublishChangesOptions extends Pick<
  Publication,
  'workspace' | 'author' | 'message' | 'publishId' | 'blocks'
> {
  /** Content first stored for this version. */
  contents: readonly ContentRow[];
  /** The version that is changed; undefined: a first version is made. */
  base: Version | undefined;
  /** Made in this order. All that they refer to is in the store. */
  changes: Iterable<PathChange>;
  /** The time of the version and of the changes. */
  atMs: number;
  catalog: Catalog;
  objects: ObjectStore;
  blockStore: BlockStore;
  /** The folder of this machine's manifests. */
  manifestDir: string;
}

export interface PublishedChanges {
  /** False when nothing differs: then `version` is the base. */
  created: boolean;
  version: Version;
  /** Every block that the version needs and the base may not. */
  blocks: ReadonlySet<BlockId>;
}

/**
 * Makes the next version of a workspace out of changes of paths: the manifest, then the version's row (laws 1, 7). Inode numbers, cookies and times of what
 * is not changed stay. When it fails or is killed, nothing differs but for blocks nobody refers to.
 *
 * Throws `CairnError`: `conflict` when the base is not the head, what `ChangedTree.apply` does, and those of the stores.
 */
export async function publishChanges(options: PublishChangesOptions): Promise<PublishedChanges> {
  const { base, catalog, objects, blockStore, manifestDir, workspace } = options;
  await mkdir(manifestDir, { recursive: true });
  const draft = join(manifestDir, `${randomUUID()}.tmp`);
  const basePath =
    base && (await fetchManifest({ root: base.root, dir: manifestDir, blocks: blockStore, objects }));
  const reader = basePath === undefined ? undefined : openManifest(basePath);
  try {
    const tree = new ChangedTree({
      base: reader,
      numbers: await numbersFor(catalog, workspace, reader),
      now: { sec: Math.floor(options.atMs / 1000), nsec: (options.atMs % 1000) * 1e6 },
    });
    const needed = new Set<BlockId>();
    for (const change of options.changes) {
      tree.apply(change);
      if (change.kind === 'put') for (const { block } of change.content.extents) needed.add(block);
    }
    const touched = tree.touched;
    if (base !== undefined && touched.size === 0) return { created: false, version: base, blocks: new Set() };

    if (basePath !== undefined) await copyFile(basePath, draft, constants.COPYFILE_FICLONE);
    const writtenPieces = write(tree, draft, basePath !== undefined);
    const manifest = await publishManifest({
      path: draft,
      dir: manifestDir,
      ...(base && { parent: { root: base.root, writtenPieces } }),
      blocks: blockStore,
      objects,
    });
    for (const { id } of manifest.newBlocks) needed.add(id);
    const version = await publishVersion(
      {
        ...options,
        createdAtMs: options.atMs,
        parent: base,
        root: manifest.root,
        blocks: [...options.blocks, ...manifest.newBlocks],
        touched,
      },
      { catalog, manifestDir },
    );
    return { created: true, version, blocks: needed };
  } finally {
    reader?.close();
    await rm(draft, { force: true });
  }
}

async function numbersFor(
  catalog: Catalog,
  workspace: string,
  base: ManifestReader | undefined,
): Promise<ReturnType<typeof numbersFrom>> {
  if (base === undefined) return numbersFrom(ROOT_INO + 1, FIRST_COOKIE);
  return numbersFrom(await catalog.reserveNumbers(workspace, Math.max(base.nextIno, base.nextCookie)));
}

/** Returns the pieces that were written. */
function write(tree: ChangedTree, path: string, isCopy: boolean): ReadonlySet<number> {
  const builder = isCopy ? changeManifest(path) : createManifest(path);
  try {
    tree.writeTo(builder);
    return builder.finish();
  } catch (error) {
    builder.abandon();
    throw error;
  }
}
