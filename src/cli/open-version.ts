import { CairnError, homeLayout, type InodeAttributes } from '../core/index.js';
import { displayPath } from './path-text.js';
import type { BlockStore } from '../blocks/index.js';
import type { Catalog, Version } from '../catalog/index.js';
import type { ManifestReader } from '../manifest/index.js';
import type { ObjectStore } from '../objects/index.js';
import type { VersionReference } from './reference.js';
import { ensureHome, type Settings } from './settings.js';

export interface Stores {
  catalog: Catalog;
  objects: ObjectStore;
  blocks: BlockStore;
}

export async function withCatalog<Result>(
  settings: Settings,
  work: (catalog: Catalog) => Promise<Result>,
): Promise<Result> {
  await ensureHome(settings.home);
  const { openCatalog } = await import('../catalog/index.js');
  const catalog = await openCatalog(settings.catalog, settings.home);
  try {
    return await work(catalog);
  } finally {
    await catalog.close();
  }
}

/** Opens the catalog, the store and the cache, and closes them whatever `work` does. `workspace`: of which versions are to be made. */
export async function withStores<Result>(
  settings: Settings,
  work: (stores: Stores) => Promise<Result>,
  workspace?: string,
): Promise<Result> {
  return withCatalog(settings, async (catalog) => {
    const [{ openObjectStore }, { openBlockStore }] = await Promise.all([
      import('../objects/index.js'),
      import('../blocks/index.js'),
    ]);
    const inUse = !(await catalog.isEmpty());
    const objects = await openObjectStore(settings.store, {
      inUse,
      home: settings.home,
      ...(workspace !== undefined && { workspace }),
    });
    try {
      const blocks = await openBlockStore({
        objects,
        cacheDir: homeLayout.cache(settings.home),
        cacheBudgetBytes: settings.cacheBudgetBytes,
      });
      try {
        return await work({ catalog, objects, blocks });
      } finally {
        await blocks.close();
      }
    } finally {
      await objects.close();
    }
  });
}

/** The version a reference names. Throws `not-found`. */
export function findVersion(catalog: Catalog, { workspace, version }: VersionReference): Promise<Version> {
  if (version.kind === 'tag') return catalog.taggedVersion(workspace, version.tag);
  return catalog.version(workspace, version.kind === 'seq' ? version.seq : undefined);
}

/** Fetches the manifest of a version, where the home folder has it not yet, and opens it for `work`. */
export async function withManifest<Result>(
  settings: Settings,
  { objects, blocks }: Stores,
  { root }: Version,
  work: (manifest: ManifestReader) => Promise<Result>,
): Promise<Result> {
  const { fetchManifest, openManifest } = await import('../manifest/index.js');
  const dir = homeLayout.manifests(settings.home);
  const manifest = openManifest(await fetchManifest({ root, dir, blocks, objects }));
  try {
    return await work(manifest);
  } finally {
    manifest.close();
  }
}

/** The inode at a path of a version (raw bytes, the root's is empty). Throws `not-found`. */
export async function inodeAt(
  manifest: ManifestReader,
  version: Version,
  path: Buffer,
): Promise<InodeAttributes> {
  const { resolvePath } = await import('../manifest/index.js');
  const ino = resolvePath(manifest, path);
  const inode = ino === undefined ? undefined : manifest.inode(ino);
  if (inode !== undefined) return inode;
  const name = `${version.workspace}@${String(version.seq)}`;
  throw new CairnError('not-found', `no ${displayPath(path)} in ${name}`, {
    hint: `cairn ls ${name} -R lists what there is`,
  });
}
