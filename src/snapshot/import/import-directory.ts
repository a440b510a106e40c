import { randomUUID } from 'node:crypto';
import { lstatSync, readdirSync, readlinkSync } from 'node:fs';
import { mkdir, readdir, realpath, rm, stat } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { BlockStore } from '../../blocks/index.js';
import { checkWorkspaceName, type Catalog, type Version } from '../../catalog/index.js';
import {
  CairnError,
  EMBEDDED_FILE_MAX_BYTES,
  isDirectory,
  isRegular,
  isSymlink,
  joinPath,
  PACK_TARGET_BYTES,
  systemCode,
} from '../../core/index.js';
import {
  createManifest,
  createManifestFrom,
  fetchManifest,
  openManifest,
  publishManifest,
} from '../../manifest/index.js';
import type { ObjectStore } from '../../objects/index.js';
import { ContentWriter, type SourceFile, type StoredFile } from './content-writer.js';
import { fileStat, sameStamp, type FileStat } from './file-stat.js';
import { HashPool } from './hash-pool.js';
import { pathText } from '../path-text.js';
import { publicationRows } from '../publish/publication-rows.js';
import { changedWhileRead, unreadable } from './source-error.js';
import { readXattrsIfThere } from './source-xattrs.js';
import {
  TreeRecorder,
  type FileHolds,
  type RecordedDirectory,
  type RecordedInode,
  type RecordedName,
} from './tree-recorder.js';

export interface ImportProgress {
  phase: 'reading' | 'publishing';
  filesDone: number;
  bytesDone: number;
  /** What has been found so far; final once everything has been listed. */
  filesTotal: number;
  bytesTotal: number;
}

export interface ImportOptions {
  /** The directory to publish. Symbolic links on the way to it are followed. */
  dir: string;
  /** Made when there is none of that name. */
  workspace: string;
  catalog: Catalog;
  objects: ObjectStore;
  blocks: BlockStore;
  /** The folder of this machine's manifests. */
  manifestDir: string;
  /** CairnFS's own folder, which is not to be imported. */
  home: string;
  embedBelowBytes: number;
  message: string;
  author: string;
  onProgress?: ((progress: ImportProgress) => void) | undefined;
  /** Gives up, leaving nothing half-made. */
  signal?: AbortSignal | undefined;
}

export interface ImportResult {
  /** False when the directory is as in the head: then `version` is the head. */
  created: boolean;
  version: Version;
  files: number;
  directories: number;
  others: number;
  bytes: number;
  /** Blocks stored for this version, with those of its manifest, and the bytes of all objects stored. */
  newBlocks: number;
  storedBytes: number;
  /** Regular files of which nothing had to be stored, because the head, the store, or this import itself has their content. */
  reusedFiles: number;
  /** Paths whose content was left out: other file systems mounted below the directory. Their mount points are kept, empty. */
  skipped: string[];
}

/** A batch has this many files at most, however small they are. */
const BATCH_FILES = 1024;

/** Batches and large files on their way at once: of bytes the writer takes care. */
const UNDER_WAY_MAX = 16;

/**
 * Publishes a directory as the next version of a workspace: everything in it but what is mounted below it.
 *
 * Blocks, manifest and version become visible in this order (law 1), the version at once. When it fails or is killed, blocks
 * remain that nothing refers to. Throws `CairnError`: `not-found`, `usage` (not a directory, CairnFS's own folder), `failed`
 * (unreadable), `changed-while-read`, `conflict` (another version was published meanwhile), and those of the stores.
 */
export async function importDirectory(options: ImportOptions): Promise<ImportResult> {
  const { workspace, catalog, objects, blocks, manifestDir, embedBelowBytes, signal } = options;
  if (embedBelowBytes > EMBEDDED_FILE_MAX_BYTES) {
    throw new CairnError('usage', `files can be embedded up to ${String(EMBEDDED_FILE_MAX_BYTES)} bytes`);
  }
  checkWorkspaceName(workspace);
  const source = await checkedSource(options);
  const head = await headOf(catalog, workspace);
  await mkdir(manifestDir, { recursive: true });
  await removeLeftovers(manifestDir);

  const parentPath =
    head === undefined
      ? undefined
      : await fetchManifest({
          root: head.root,
          dir: manifestDir,
          blocks,
          objects,
          ...(signal && { signal }),
        });
  const parent = parentPath === undefined ? undefined : openManifest(parentPath);
  const draftPath = join(manifestDir, `${DRAFT_PREFIX}${String(process.pid)}-${randomUUID()}.tmp`);
  const firstNumber =
    parent === undefined
      ? undefined
      : await catalog.reserveNumbers(workspace, Math.max(parent.nextIno, parent.nextCookie));
  const recorder = new TreeRecorder({
    parent,
    firstNumber,
    begin: () =>
      parentPath === undefined ? createManifest(draftPath) : createManifestFrom(parentPath, draftPath),
  });
  const pool = new HashPool();
  const writer = new ContentWriter({ pool, blocks, catalog, workspace, embedBelowBytes, signal });
  const scan = new TreeScan({ source, writer, recorder, onProgress: options.onProgress, signal });
  try {
    await scan.run();
    const { reusedFiles, skipped } = scan;
    const writtenPieces = recorder.finish();
    if (writtenPieces === undefined) {
      if (head === undefined || parent === undefined) throw new Error('a first version differs from nothing');
      return {
        created: false,
        version: head,
        ...parent.counters,
        newBlocks: 0,
        storedBytes: 0,
        reusedFiles,
        skipped,
      };
    }
    options.onProgress?.({ ...scan.progress, phase: 'publishing' });
    signal?.throwIfAborted();
    const manifest = await publishManifest({
      path: draftPath,
      dir: manifestDir,
      ...(head && { parent: { root: head.root, writtenPieces } }),
      blocks,
      objects,
    });
    const reader = openManifest(manifest.path);
    try {
      signal?.throwIfAborted();
      const newBlocks = [...writer.newBlocks, ...manifest.newBlocks];
      await catalog.ensureWorkspace(workspace);
      const version = await catalog.publish({
        workspace,
        parentSeq: head?.seq ?? 0,
        root: manifest.root,
        author: options.author,
        message: options.message,
        publishId: randomUUID(),
        createdAtMs: Date.now(),
        files: reader.counters.files,
        bytes: reader.counters.bytes,
        blocks: newBlocks,
        contents: writer.newContents(),
        ...publicationRows(parent, reader, recorder.touched),
      });
      const storedBytes = writer.newBlocks.reduce(
        (sum, block) => sum + block.storedBytes,
        manifest.storedBytes,
      );
      return {
        created: true,
        version,
        ...reader.counters,
        newBlocks: newBlocks.length,
        storedBytes,
        reusedFiles,
        skipped,
      };
    } finally {
      reader.close();
    }
  } finally {
    // What is still under way fails with the pool; only then does nothing write to the draft any more.
    await pool.close();
    await scan.stopped();
    recorder.abandon();
    writer.close();
    parent?.close();
    await rm(draftPath, { force: true });
  }
}

/** The directory's real path, after refusing what cannot be imported. */
async function checkedSource({ dir, home, objects }: ImportOptions): Promise<string> {
  let source: string;
  try {
    source = await realpath(dir);
    if (!(await stat(source)).isDirectory()) {
      throw new CairnError('usage', `${dir} is not a directory`, { hint: 'import the directory it is in' });
    }
  } catch (error) {
    if (systemCode(error) === 'ENOENT') throw new CairnError('not-found', `there is no directory ${dir}`);
    throw unreadable(Buffer.from(dir), error);
  }
  const own = [home];
  if (objects.url.startsWith('file://')) own.push(fileURLToPath(objects.url));
  for (const path of own) {
    const real = await realpath(path).catch(() => path);
    if (real === source || real.startsWith(source === sep ? sep : source + sep)) {
      throw new CairnError('usage', `${dir} holds CairnFS's own folder ${path}`, {
        hint: 'import another directory, or keep that folder elsewhere (--home, --store)',
      });
    }
  }
  return source;
}

const DRAFT_PREFIX = 'import-';
const DRAFT_NAME = /^import-(\d+)-/;

/** Drafts of imports that were killed, and what SQLite left beside them. */
async function removeLeftovers(manifestDir: string): Promise<void> {
  for (const name of await readdir(manifestDir)) {
    const pid = DRAFT_NAME.exec(name)?.[1];
    if (pid !== undefined && !isRunning(Number(pid))) await rm(join(manifestDir, name), { force: true });
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return systemCode(error) !== 'ESRCH';
  }
}

/** A directory to be listed. The root has no name in another. */
interface FoundDirectory {
  path: Buffer;
  directory: RecordedDirectory;
  name: RecordedName | undefined;
  isMountPoint: boolean;
}

/** A file with all its names found so far. */
interface FoundFile {
  names: { name: RecordedName; path: Buffer }[];
  stat: FileStat;
  inode: RecordedInode | undefined;
  /** Known once it has been read, or need not be. */
  holds: FileHolds | undefined;
}

interface TreeScanOptions {
  source: string;
  writer: ContentWriter;
  recorder: TreeRecorder;
  onProgress: ((progress: ImportProgress) => void) | undefined;
  signal: AbortSignal | undefined;
}

/** Lists a tree directory by directory, has its files stored, and records all of it. */
class TreeScan {
  readonly progress: ImportProgress = {
    phase: 'reading',
    filesDone: 0,
    bytesDone: 0,
    filesTotal: 0,
    bytesTotal: 0,
  };
  readonly skipped: string[] = [];
  reusedFiles = 0;

  readonly #source: string;
  readonly #writer: ContentWriter;
  readonly #recorder: TreeRecorder;
  readonly #onProgress: ((progress: ImportProgress) => void) | undefined;
  readonly #signal: AbortSignal | undefined;

  /** Small files found and not yet on their way, a batch's worth at most. */
  #batch: FoundFile[] = [];
  #batchBytes = 0;
  #large: FoundFile[] = [];
  /** Files with several names, until all of them were found or everything was listed. */
  readonly #linked = new Map<string, FoundFile>();
  readonly #underWay = new Set<Promise<void>>();
  #failure: { error: unknown } | undefined;
  #everythingListed = false;

  constructor({ source, writer, recorder, onProgress, signal }: TreeScanOptions) {
    this.#source = source;
    this.#writer = writer;
    this.#recorder = recorder;
    this.#onProgress = onProgress;
    this.#signal = signal;
  }

  async run(): Promise<void> {
    const path = Buffer.from(this.#source);
    const stat = fileStat(lstatSync(path, { bigint: true }));
    const root = { path, directory: this.#recorder.root(stat), name: undefined, isMountPoint: false };
    // A stack: a directory's files are packed next to those of the directories in it.
    const toList: FoundDirectory[] = [root];
    for (;;) {
      const next = toList.pop();
      if (next === undefined) break;
      const found = await this.#list(next, stat.device);
      toList.push(...found.reverse());
      await this.#submit(false);
      // Answers of the pool come in between.
      await setImmediate();
    }
    this.#everythingListed = true;
    do {
      await this.#submit(true);
      await this.#oneFinished();
    } while (this.#underWay.size + this.#batch.length + this.#large.length > 0);
    for (const file of this.#linked.values()) this.#record(file);
  }

  /** Resolves when nothing is under way, after a failure. */
  async stopped(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.all(this.#underWay);
  }

  /**
   * Records a directory and everything in it but its files' contents, which are on their way before it is at its end: a directory may hold more
   * files than memory should. Returns the directories in it.
   */
  async #list(
    { path, directory, name, isMountPoint }: FoundDirectory,
    device: bigint,
  ): Promise<FoundDirectory[]> {
    this.#signal?.throwIfAborted();
    const entries = isMountPoint ? [] : listNames(path);
    if (entries === undefined) {
      if (name === undefined) throw new CairnError('not-found', `there is no directory ${pathText(path)}`);
      name.directory.subdirectories--;
      this.#recorder.recountDirectory(name.directory);
      if (name.previous !== undefined) this.#recorder.removed(name.directory, name.previous);
      return [];
    }
    const previousEntries = this.#recorder.previousEntries(directory);
    const subdirectories: FoundDirectory[] = [];
    for (const key of entries) {
      if (this.#isBatchFull) await this.#submit(false);
      const entryName = Buffer.from(key, 'latin1');
      const entryPath = joinPath(path, entryName);
      const stats = lstatOf(entryPath);
      if (stats === undefined) continue;
      const recorded = this.#recorder.name(directory, entryName, previousEntries.get(key));
      previousEntries.delete(key);
      if (!isDirectory(stats.mode)) {
        this.#addFile(recorded, entryPath, stats);
        continue;
      }
      const mounted = stats.device !== device;
      if (mounted) this.skipped.push(pathText(entryPath));
      const below = this.#recorder.directory(recorded, stats);
      subdirectories.push({ path: entryPath, directory: below, name: recorded, isMountPoint: mounted });
    }
    directory.subdirectories = subdirectories.length;
    for (const entry of previousEntries.values()) this.#recorder.removed(directory, entry);
    const xattrs = isUnchanged(directory, directory.stat) ? undefined : readXattrsIfThere(path);
    this.#recorder.recordDirectory(directory, name, xattrs);
    return subdirectories;
  }

  #addFile(name: RecordedName, path: Buffer, stat: FileStat): void {
    const linked = stat.nlink > 1 ? this.#linked.get(stat.identity) : undefined;
    if (linked !== undefined) {
      linked.names.push({ name, path });
      linked.inode ??= this.#recorder.inodeGoingOn(name, stat.mode);
      this.#recordIfComplete(linked);
      return;
    }
    const mayGoOnLater = stat.nlink > 1 && this.#recorder.hasParent;
    const inode =
      this.#recorder.inodeGoingOn(name, stat.mode) ?? (mayGoOnLater ? undefined : this.#recorder.newInode());
    const file: FoundFile = { names: [{ name, path }], stat, inode, holds: undefined };
    if (stat.nlink > 1) this.#linked.set(stat.identity, file);
    if (!isRegular(stat.mode)) {
      const target = isSymlink(stat.mode) ? linkTarget(path) : undefined;
      file.holds = { target, xattrs: readXattrsIfThere(path) };
      this.#recordIfComplete(file);
      return;
    }
    this.progress.filesTotal++;
    this.progress.bytesTotal += stat.size;
    if (inode !== undefined && isUnchanged(inode, stat)) {
      file.holds = {};
      this.reusedFiles++;
      this.#countDone(file);
      this.#recordIfComplete(file);
      return;
    }
    this.#queue(file);
  }

  #queue(file: FoundFile): void {
    if (file.stat.size > this.#writer.smallFileMaxBytes) {
      this.#large.push(file);
    } else {
      this.#batch.push(file);
      this.#batchBytes += file.stat.size;
    }
  }

  /** Sends what is queued on its way; of small files, unless `all`, only full batches. */
  async #submit(all: boolean): Promise<void> {
    this.#check();
    for (let file = this.#large.shift(); file !== undefined; file = this.#large.shift()) {
      const { stored } = await this.#writer.storeLargeFile(sourceOf(file));
      this.#track(
        this.#settle(
          [file],
          stored.then((result) => [result]),
        ),
      );
      this.#check();
    }
    while (this.#isBatchFull || (all && this.#batch.length > 0)) {
      while (this.#underWay.size >= UNDER_WAY_MAX) await this.#oneFinished();
      const files = this.#takeBatch();
      const { stored } = await this.#writer.storeFiles(files.map(sourceOf));
      this.#track(this.#settle(files, stored));
      this.#check();
    }
  }

  get #isBatchFull(): boolean {
    return this.#batchBytes >= PACK_TARGET_BYTES || this.#batch.length >= BATCH_FILES;
  }

  #takeBatch(): FoundFile[] {
    let count = 0;
    let bytes = 0;
    for (const { stat } of this.#batch) {
      if (count === BATCH_FILES || bytes >= PACK_TARGET_BYTES) break;
      count++;
      bytes += stat.size;
    }
    this.#batchBytes -= bytes;
    return this.#batch.splice(0, count);
  }

  #track(work: Promise<void>): void {
    const tracked = work
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => this.#underWay.delete(tracked));
    this.#underWay.add(tracked);
  }

  async #oneFinished(): Promise<void> {
    if (this.#underWay.size > 0) await Promise.race(this.#underWay);
    this.#check();
  }

  #check(): void {
    this.#signal?.throwIfAborted();
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  async #settle(files: readonly FoundFile[], stored: Promise<StoredFile[]>): Promise<void> {
    const results = await stored;
    for (const [index, file] of files.entries()) {
      const result = results[index];
      if (result === undefined) throw new Error('a file without a result');
      switch (result.kind) {
        case 'stored':
          takeStat(file, result.stat);
          file.holds = { content: result.content, xattrs: result.xattrs };
          if (result.reused) this.reusedFiles++;
          this.#countDone(file);
          this.#recordIfComplete(file);
          break;
        case 'grown':
          takeStat(file, result.stat);
          this.#queue(file);
          break;
        case 'gone':
          this.#firstNameIsGone(file);
          break;
      }
    }
    this.#onProgress?.({ ...this.progress });
  }

  #countDone(file: FoundFile): void {
    this.progress.filesDone++;
    this.progress.bytesDone += file.stat.size;
  }

  /** It is read by another of its names, if it has one. */
  #firstNameIsGone(file: FoundFile): void {
    const gone = file.names.shift()?.name;
    if (gone?.previous !== undefined) this.#recorder.removed(gone.directory, gone.previous);
    if (file.names.length > 0) {
      this.#queue(file);
      return;
    }
    this.#linked.delete(file.stat.identity);
    if (file.inode !== undefined) this.#recorder.release(file.inode);
    this.#countDone(file);
  }

  #recordIfComplete(file: FoundFile): void {
    if (file.holds === undefined) return;
    if (file.stat.nlink > file.names.length && !this.#everythingListed) return;
    this.#linked.delete(file.stat.identity);
    this.#record(file);
  }

  #record(file: FoundFile): void {
    const inode = file.inode ?? this.#recorder.newInode();
    this.#recorder.recordFile(
      inode,
      file.names.map(({ name }) => name),
      file.stat,
      file.holds ?? {},
    );
  }
}

/** Whether an inode that goes on from the parent version is what it was there. */
function isUnchanged(inode: { previous: RecordedInode['previous'] }, stat: FileStat): boolean {
  return inode.previous !== undefined && sameStamp(inode.previous, stat);
}

/** The attributes that belong to what was read. How many names there are is for the listing to say. */
function takeStat(file: FoundFile, stat: FileStat): void {
  const [first] = file.names;
  if (file.stat.nlink > 1 && stat.identity !== file.stat.identity && first !== undefined) {
    // Another file has taken this name: which of the other names it has cannot be told.
    throw changedWhileRead(first.path);
  }
  file.stat = { ...stat, identity: file.stat.identity, nlink: file.stat.nlink };
}

function sourceOf({ names, stat }: FoundFile): SourceFile {
  const [first] = names;
  if (first === undefined) throw new Error('a file without a name');
  return { path: first.path, stat };
}

/**
 * The names in a directory, in byte order; undefined when it is gone. As latin1 text, one character a byte: of a million of them memory has the
 * bytes and little else.
 */
function listNames(path: Buffer): string[] | undefined {
  try {
    return readdirSync(path, { encoding: 'latin1' }).sort();
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw unreadable(path, error);
  }
}

/** Undefined when it is gone. */
function lstatOf(path: Buffer): FileStat | undefined {
  try {
    const stats = lstatSync(path, { bigint: true, throwIfNoEntry: false });
    return stats === undefined ? undefined : fileStat(stats);
  } catch (error) {
    throw unreadable(path, error);
  }
}

function linkTarget(path: Buffer): Buffer {
  try {
    return readlinkSync(path, { encoding: 'buffer' });
  } catch (error) {
    throw unreadable(path, error);
  }
}

/** The newest version of a workspace; undefined where there is none yet. */
async function headOf(catalog: Catalog, workspace: string): Promise<Version | undefined> {
  try {
    const { headSeq } = await catalog.workspace(workspace);
    return headSeq === 0 ? undefined : await catalog.version(workspace, headSeq);
  } catch (error) {
    if (error instanceof CairnError && error.code === 'not-found') return undefined;
    throw error;
  }
}
