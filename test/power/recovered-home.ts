import { readdirSync } from 'node:fs';
import path from 'node:path';
import { openBlockStore, type BlockStore } from '../../src/blocks/index.js';
import { openCatalog, type Catalog, type Version } from '../../src/catalog/index.js';
import {
  homeLayout,
  isDirectory,
  isRegular,
  ROOT_INO,
  S_IFREG,
  systemClock,
  type Ino,
} from '../../src/core/index.js';
import { checkManifest, fetchManifest, openManifest, walk } from '../../src/manifest/index.js';
import { openObjectStore, type ObjectStore } from '../../src/objects/index.js';
import { readContent } from '../../src/snapshot/index.js';
import { LayerSet, layerDir, MergedView, UpperLayer, type LayerSetState } from '../../src/upper/index.js';
import { OverlayFileSystem } from '../../src/vfs/index.js';
import { patternedBytes } from '../fixtures/patterned-bytes.js';
import type { FoundTree } from './expectation.js';
import { WORKSPACE } from './notes.js';

const CACHE_BYTES = 4 * 1024 * 1024;
const NOBODY = { uid: 0, gid: 0, pid: 0 };
/** What is written on top of what was found. */
const NEW_FILES = 12;
const NEW_FILE_BYTES = 5_000;

/** A home folder as a power loss left it, opened as a mount opens it, without the processes of one. */
export class RecoveredHome {
  readonly #home: string;
  readonly #objects: ObjectStore;
  readonly #blocks: BlockStore;
  readonly catalog: Catalog;

  private constructor(home: string, objects: ObjectStore, blocks: BlockStore, catalog: Catalog) {
    this.#home = home;
    this.#objects = objects;
    this.#blocks = blocks;
    this.catalog = catalog;
  }

  static async open(home: string, store: string): Promise<RecoveredHome> {
    const objects = await openObjectStore(store);
    const blocks = await openBlockStore({
      objects,
      cacheDir: homeLayout.cache(home),
      cacheBudgetBytes: CACHE_BYTES,
      threads: 0,
    });
    return new RecoveredHome(
      home,
      objects,
      blocks,
      await openCatalog(`sqlite://${homeLayout.catalog(home)}`),
    );
  }

  async close(): Promise<void> {
    await this.#blocks.close();
    await this.#objects.close();
    await this.catalog.close();
  }

  /** All versions that the catalog has. */
  async versions(): Promise<Version[]> {
    const versions: Version[] = [];
    for (const { name } of await this.catalog.workspaces())
      versions.push(...(await this.catalog.versions(name)));
    return versions;
  }

  /** All regular files of a version, from its manifest and its blocks, which are checked. */
  async versionFiles(version: Version): Promise<Map<string, Buffer>> {
    const reader = openManifest(await this.#fetch(version.root));
    const files = new Map<string, Buffer>();
    try {
      for (const violation of checkManifest(reader)) throw new Error(JSON.stringify(violation));
      for (const entry of walk(reader, ROOT_INO)) {
        if (!isRegular(entry.inode.mode)) continue;
        const pieces: Buffer[] = [];
        for await (const piece of readContent(reader, this.#blocks, entry.inode.ino)) pieces.push(piece);
        files.set(entry.path.toString(), Buffer.concat(pieces));
      }
    } finally {
      reader.close();
    }
    return files;
  }

  /**
   * The tree that a mount shows, given to `look`. Then new files are written to it, and it is given to `look` once more, without them: what
   * is written after a power loss must not appear in what was there.
   */
  async look(look: (tree: FoundTree) => void): Promise<void> {
    const dir = this.#mountFolder();
    const state = dir === undefined ? undefined : LayerSet.read(dir);
    if (dir === undefined || state === undefined) {
      const { root } = await this.catalog.version(WORKSPACE);
      const manifest = openManifest(await this.#fetch(root));
      look(await this.#treeOf(new MergedView([], manifest)));
      manifest.close();
      return;
    }
    LayerSet.recover(dir, state);
    const manifest = openManifest(await this.#fetch(state.base.root));
    LayerSet.open(dir);
    const layers = openLayers(dir, state);
    try {
      const view = new MergedView(layers, manifest);
      look(await this.#treeOf(view));
      const names = writeNewFiles(view, dir);
      const after = await this.#treeOf(view);
      for (const name of names) after.delete(name);
      look(after);
    } finally {
      for (const layer of layers) layer.close();
      manifest.close();
    }
  }

  #mountFolder(): string | undefined {
    const mounts = homeLayout.mounts(this.#home);
    const [name] = readdirSync(mounts);
    return name === undefined ? undefined : path.join(mounts, name);
  }

  async #fetch(root: Version['root']): Promise<string> {
    const dir = homeLayout.manifests(this.#home);
    return await fetchManifest({ root, dir, blocks: this.#blocks, objects: this.#objects });
  }

  async #treeOf(view: MergedView): Promise<Map<string, Buffer | undefined>> {
    const tree = new Map<string, Buffer | undefined>();
    const visit = async (directory: Ino, prefix: string): Promise<void> => {
      for (const { name, ino, inode } of view.list(directory, 0)) {
        const file = `${prefix}${name.toString()}`;
        if (isDirectory(inode.mode)) {
          tree.set(file, undefined);
          await visit(ino, `${file}/`);
        } else {
          tree.set(file, await this.#contentOf(view, ino, inode.size));
        }
      }
    };
    await visit(ROOT_INO, '');
    return tree;
  }

  async #contentOf(view: MergedView, ino: Ino, size: number): Promise<Buffer> {
    const bytes = Buffer.alloc(size);
    for (const part of view.content(ino, 0, size)) {
      const target = bytes.subarray(part.offset, part.offset + part.length);
      if (part.kind === 'layer') part.layer.readExtent(ino, part.extent, part.offset, target);
      else if (part.kind === 'embedded') part.bytes.copy(target);
      else if (part.kind === 'block') {
        const { block, blockOffset } = part.extent;
        (await this.#blocks.get(block)).copy(target, 0, blockOffset, blockOffset + part.length);
      }
    }
    return bytes;
  }
}

function openLayers(dir: string, { activeId, sealed }: LayerSetState): UpperLayer[] {
  const below = sealed.map(({ id }) => UpperLayer.open(layerDir(dir, id), false)).reverse();
  return [UpperLayer.open(layerDir(dir, activeId), true), ...below];
}

function writeNewFiles(view: MergedView, dir: string): string[] {
  const fileSystem = new OverlayFileSystem({
    view,
    readOnly: false,
    tookOver: false,
    retained: [],
    numbersEnd: undefined,
    clock: systemClock,
    diskPath: dir,
  });
  const names: string[] = [];
  for (let index = 0; index < NEW_FILES; index++) {
    const name = `new-${String(index)}`;
    const { ino } = fileSystem.mknod(ROOT_INO, Buffer.from(name), S_IFREG | 0o600, 0, NOBODY);
    fileSystem.write(ino, 0, patternedBytes(name, NEW_FILE_BYTES), false);
    fileSystem.commit(BigInt(index + 1), Buffer.alloc(0));
    names.push(name);
  }
  return names;
}
