import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { openBlockStore, type BlockStore } from '../../src/blocks/index.js';
import { openCatalog, type Catalog, type Version } from '../../src/catalog/index.js';
import { EMBED_BELOW_DEFAULT_BYTES, ROOT_INO } from '../../src/core/index.js';
import { fetchManifest, openManifest, type ManifestReader } from '../../src/manifest/index.js';
import { openObjectStore, type ObjectStore } from '../../src/objects/index.js';
import {
  importDirectory,
  restoreTree,
  type ImportOptions,
  type ImportResult,
  type RestoreResult,
} from '../../src/snapshot/index.js';
import { scratchFolder } from '../fixtures/scratch-folder.js';

/** A home folder with a store, a catalog and a cache of its own. */
export interface Stores {
  home: string;
  objects: ObjectStore;
  blocks: BlockStore;
  catalog: Catalog;
  import(dir: string, options?: Partial<ImportOptions>): Promise<ImportResult>;
  open(version: Version): Promise<ManifestReader>;
  restore(version: Version, dest: string): Promise<RestoreResult>;
  close(): Promise<void>;
}

/** `service`: the URL of one that has the store and the catalog, for the workspace `demo`. */
export async function openStores(home: string, service?: string): Promise<Stores> {
  mkdirSync(home, { recursive: true });
  const objects = await openObjectStore(service ?? `file://${home}/store`, { home, workspace: 'demo' });
  const blocks = await openBlockStore({ objects, cacheDir: `${home}/cache`, cacheBudgetBytes: 1e9 });
  const catalog = await openCatalog(service ?? `sqlite://${home}/catalog.sqlite`, home);
  const manifestDir = `${home}/manifests`;
  const open = async ({ root }: Version): Promise<ManifestReader> =>
    openManifest(await fetchManifest({ root, dir: manifestDir, blocks, objects }));
  return {
    home,
    objects,
    blocks,
    catalog,
    open,
    import: (dir, options = {}) =>
      importDirectory({
        dir,
        workspace: 'demo',
        catalog,
        objects,
        blocks,
        manifestDir,
        home,
        embedBelowBytes: EMBED_BELOW_DEFAULT_BYTES,
        message: '',
        author: 'tester',
        ...options,
      }),
    restore: async (version, dest) => {
      const reader = await open(version);
      try {
        return await restoreTree({ reader, blocks, ino: ROOT_INO, dest });
      } finally {
        reader.close();
      }
    },
    close: async () => {
      await catalog.close();
      await blocks.close();
      await objects.close();
    },
  };
}

/** Stores in a folder of the test's own, beside an empty folder `source`. */
export async function scratchStores(t: Test): Promise<Stores & { dir: string; source: string }> {
  const dir = scratchFolder(t);
  const source = join(dir, 'source');
  mkdirSync(source);
  const stores = await openStores(join(dir, 'home'));
  t.teardown(() => stores.close());
  return { ...stores, dir, source };
}

/** The keys of all objects. */
export async function keysOf(objects: ObjectStore): Promise<Set<string>> {
  const keys = new Set<string>();
  for await (const { key } of objects.list('')) keys.add(key);
  return keys;
}
