import { constants } from 'node:fs';
import { copyFile, open, rm, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { MANIFEST_PIECE_BYTES, type ManifestRoot } from '../core/index.js';
import { dropLocalManifest, localManifestPath, takeLocalManifest } from './local-manifests.js';
import { readAt } from './read-at.js';
import { writeAt } from './write-at.js';

/** How one version's manifest became the next one's: which pieces the two may differ in. */
export interface ManifestStep {
  from: ManifestRoot;
  to: ManifestRoot;
  writtenPieces: ReadonlySet<number>;
}

export interface WorkingCopyOptions {
  /** The folder of this machine's manifests, as `fetchManifest` has it. */
  dir: string;
  /** The copy's name in `dir`, of its owner alone. What an earlier owner of that name left is removed. */
  name: string;
  /** The path of a manifest in `dir`, undamaged: `fetchManifest`. */
  fetch: (root: ManifestRoot) => Promise<string>;
  /** Whether anybody but this descriptor has its file open. Where that cannot be known: true. */
  isOpenElsewhere: (fd: number) => boolean;
}

/**
 * A copy of a mount's manifest, for the next version to be made in. Copying costs what the tree costs, so a copy is kept ready in the
 * background: the file of a version that was replaced becomes one of the version that replaced it by the pieces that changed, unless
 * somebody still reads it.
 *
 * Only this object's memory says what the copy is a copy of: one that a process leaves behind is never used.
 */
export class WorkingCopy {
  readonly #options: WorkingCopyOptions;
  readonly #path: string;
  /** What the file at `#path` is a copy of, when that is certain. */
  #root: ManifestRoot | undefined;
  /** What runs in the background; never rejects. */
  #running: Promise<void>;

  constructor(options: WorkingCopyOptions) {
    this.#options = options;
    this.#path = join(options.dir, `${options.name}.working`);
    this.#running = this.#discard();
  }

  /**
   * A file that is the manifest `root` byte for byte, for the caller to change or move away. It is the caller's until anything else is asked
   * for here. Throws `CairnError` as `fetch` does.
   */
  async take(root: ManifestRoot): Promise<string> {
    await this.#running;
    if (this.#root !== root) await this.#copy(root);
    this.#root = undefined;
    return this.#path;
  }

  /** Makes a copy in the background. Where that fails, `take` will say why. */
  prepare(root: ManifestRoot): void {
    this.#inBackground(async () => {
      if (this.#root !== root) await this.#copy(root);
    });
  }

  /** Makes a copy of `to` out of `from`, in the background; nobody may need the local manifest `from` any more, and it is gone then. */
  renew(step: ManifestStep): void {
    this.#inBackground(async () => {
      if (await this.#recycle(step)) this.#root = step.to;
      else await this.#copy(step.to);
    });
  }

  /** Removes the copy. */
  async close(): Promise<void> {
    this.#inBackground(async () => {
      await this.#discard();
    });
    await this.#running;
  }

  #inBackground(work: () => Promise<void>): void {
    this.#running = this.#running.then(work).catch(async () => {
      await this.#discard().catch(() => undefined);
    });
  }

  async #copy(root: ManifestRoot): Promise<void> {
    await this.#discard();
    await copyFile(await this.#options.fetch(root), this.#path, constants.COPYFILE_FICLONE);
    this.#root = root;
  }

  /** False where it cannot be done; then `from` is gone all the same. */
  async #recycle({ from, to, writtenPieces }: ManifestStep): Promise<boolean> {
    const { dir, isOpenElsewhere } = this.#options;
    await this.#discard();
    try {
      await takeLocalManifest(dir, from, this.#path);
    } catch {
      await dropLocalManifest(dir, from);
      return false;
    }
    const copy = await open(this.#path, 'r+');
    try {
      // It has no name any more that others know, so nobody will open it after this.
      if (isOpenElsewhere(copy.fd)) return false;
      const source = await open(localManifestPath(dir, to), 'r');
      try {
        await copyPieces(source, copy, writtenPieces);
        return true;
      } finally {
        await source.close();
      }
    } finally {
      await copy.close();
    }
  }

  async #discard(): Promise<void> {
    this.#root = undefined;
    for (const path of [this.#path, `${this.#path}-wal`]) await rm(path, { force: true });
  }
}

async function copyPieces(source: FileHandle, copy: FileHandle, pieces: Iterable<number>): Promise<void> {
  const buffer = Buffer.allocUnsafe(MANIFEST_PIECE_BYTES);
  for (const piece of pieces) {
    const position = piece * MANIFEST_PIECE_BYTES;
    await writeAt(copy, await readAt(source, buffer, position), position);
  }
}
