import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { openBlockStore, type BlockStore } from '../../src/blocks/index.js';
import {
  changeManifest,
  createManifest,
  createManifestFrom,
  publishManifest,
  type PublishedManifest,
} from '../../src/manifest/index.js';
import { openObjectStore, type ObjectStore } from '../../src/objects/index.js';
import {
  SYNTHETIC_FILE_BYTES,
  blockIdFor,
  contentIdFor,
  feedSyntheticTree,
  fileWith,
  syntheticFileIno,
} from './trees.js';

const CACHE_BUDGET_BYTES = 1024 * 1024 * 1024;

/** One store, and machines that have nothing but it in common. */
export class Machines {
  readonly #dir: string;
  readonly #closers: (() => Promise<void>)[] = [];
  #count = 0;

  constructor(dir: string) {
    this.#dir = dir;
    mkdirSync(join(dir, 'store'));
  }

  async add(): Promise<{ dir: string; objects: ObjectStore; blocks: BlockStore }> {
    const dir = join(this.#dir, `machine-${String(this.#count++)}`);
    mkdirSync(dir);
    const objects = await openObjectStore(pathToFileURL(join(this.#dir, 'store')).href);
    const blocks = await openBlockStore({
      objects,
      cacheDir: join(dir, 'cache'),
      cacheBudgetBytes: CACHE_BUDGET_BYTES,
    });
    this.#closers.push(async () => {
      await blocks.close();
      await objects.close();
    });
    return { dir: join(dir, 'manifests'), objects, blocks };
  }

  objectPath(...key: string[]): string {
    return join(this.#dir, 'store', ...key);
  }

  async close(): Promise<void> {
    for (const close of this.#closers) await close();
  }
}

export type Machine = Awaited<ReturnType<Machines['add']>>;

/** Publishes a first version of synthetic files. */
export async function publishFiles(machine: Machine, files: number): Promise<PublishedManifest> {
  mkdirSync(machine.dir, { recursive: true });
  const path = join(machine.dir, 'first.building');
  const builder = createManifest(path);
  feedSyntheticTree(builder, files);
  builder.finish();
  return publishManifest({ ...machine, path });
}

/**
 * Publishes a child of `parent`, made in a copy of its own or in the one at `path`, in which the synthetic files `changed` have other
 * bytes.
 */
export async function publishChanges(
  machine: Machine,
  parent: Pick<PublishedManifest, 'root' | 'path'>,
  changed: readonly number[],
  path?: string,
): Promise<PublishedManifest & { writtenPieces: ReadonlySet<number> }> {
  const childPath = path ?? join(machine.dir, 'child.building');
  const builder = path === undefined ? createManifestFrom(parent.path, childPath) : changeManifest(path);
  const block = blockIdFor(`changed ${parent.root}`);
  for (const [index, file] of changed.entries()) {
    const ino = syntheticFileIno(file);
    builder.putInode({ ...fileWith(ino, SYNTHETIC_FILE_BYTES), mtimeSec: 1_800_000_000 });
    builder.setContent(ino, {
      id: contentIdFor(`${parent.root} ${String(file)}`),
      extents: [
        { offset: 0, length: SYNTHETIC_FILE_BYTES, block, blockOffset: index * SYNTHETIC_FILE_BYTES },
      ],
    });
  }
  const writtenPieces = builder.finish();
  const made = { root: parent.root, writtenPieces };
  return { ...(await publishManifest({ ...machine, path: childPath, parent: made })), writtenPieces };
}
