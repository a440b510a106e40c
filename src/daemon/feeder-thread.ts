import { parentPort, workerData } from 'node:worker_threads';
import { openCachedBlockReader, type CachedBlockReader } from '../blocks/index.js';
import { messageOf, type Ino, type ManifestRoot } from '../core/index.js';
import { PUSHED_FILE_MAX_BYTES, runFeeder, type FileSource, type Offer } from '../fuse/index.js';
import { localManifestPath, openManifest, type ManifestReader, type StoredFile } from '../manifest/index.js';
import type { FeederStart, FromFeeder } from './session-protocol.js';

/** Rows of a manifest read at once: files of a directory, most of which are one row. */
const ROWS = 512;

/** It goes from one directory to the next and does not come back. */
const MANIFEST_PAGES_KIB = 2 * 1024;

/** Verified segments of blocks in memory: files of a directory are neighbours in a pack. */
const SEGMENT_MEMORY_BYTES = 4 * 1024 * 1024;

/** Files of the mounted version out of the manifest and the cached blocks, a directory's at a time. */
class PublishedFiles implements FileSource {
  readonly #manifestDir: string;
  readonly #blocks: CachedBlockReader;
  #manifest: ManifestReader | undefined;
  #directory: Ino = 0;
  /** Of the directory, those with the cookies from `#fromCookie` to `#toCookie`. */
  readonly #files = new Map<number, StoredFile>();
  #fromCookie = 0;
  #toCookie = -1;

  constructor(manifestDir: string, blocks: CachedBlockReader) {
    this.#manifestDir = manifestDir;
    this.#blocks = blocks;
  }

  open(root: string): void {
    this.#manifest?.close();
    this.#manifest = undefined;
    this.#forget();
    this.#manifest = openManifest(localManifestPath(this.#manifestDir, root as ManifestRoot), {
      pageCacheKib: MANIFEST_PAGES_KIB,
    });
  }

  read(offer: Offer, target: Buffer): number | undefined {
    const file = this.#find(offer);
    if (file?.ino !== offer.ino) return undefined;
    if (file.embedded !== undefined) return file.embedded.copy(target);
    let position = 0;
    for (const { offset, length, block, blockOffset } of file.extents) {
      if (offset > position) target.fill(0, position, offset);
      if (!this.#blocks.tryRead(block, blockOffset, length, target, offset)) return undefined;
      position = offset + length;
    }
    if (position < file.size) target.fill(0, position, file.size);
    return file.size;
  }

  #find({ directory, fromCookie, cookie }: Offer): StoredFile | undefined {
    if (directory !== this.#directory || cookie < this.#fromCookie || cookie > this.#toCookie) {
      this.#load(directory, fromCookie);
      if (cookie > this.#toCookie) this.#load(directory, cookie);
    }
    return this.#files.get(cookie);
  }

  #load(directory: Ino, fromCookie: number): void {
    this.#forget();
    const files = this.#manifest?.contents(directory, fromCookie, PUSHED_FILE_MAX_BYTES, ROWS) ?? [];
    for (const file of files) this.#files.set(file.cookie, file);
    this.#directory = directory;
    this.#fromCookie = fromCookie;
    this.#toCookie = files.at(-1)?.cookie ?? -1;
  }

  #forget(): void {
    this.#files.clear();
    this.#directory = 0;
    this.#toCookie = -1;
  }
}

const { fd, ring, manifestDir, cacheDir, cacheBudgetBytes } = workerData as FeederStart;

function send(message: FromFeeder): void {
  parentPort?.postMessage(message);
}

const blocks = await openCachedBlockReader(cacheDir, cacheBudgetBytes, {
  memoryBytes: SEGMENT_MEMORY_BYTES,
  onOpened: (block) => {
    send({ kind: 'used', block });
  },
});
runFeeder({
  fd,
  ring,
  source: new PublishedFiles(manifestDir, blocks),
  onFailure: (what, error) => {
    send({ kind: 'failure', what, message: messageOf(error) });
  },
});
blocks.close();
