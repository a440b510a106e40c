import {
  chmodSync,
  closeSync,
  ftruncateSync,
  lchownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeSync,
} from 'node:fs';
import { isAllZeros, type BlockStore } from '../../blocks/index.js';
import {
  BLOCK_MAX_BYTES,
  CairnError,
  deviceNumber,
  Errno,
  errnoName,
  FsError,
  isDirectory,
  isRegular,
  isSymlink,
  joinPath,
  messageOf,
  ROOT_INO,
  systemCode,
  type Ino,
  type InodeAttributes,
} from '../../core/index.js';
import type { ManifestReader } from '../../manifest/index.js';
import { mknod, setModificationTime, setXattr } from '../../posix/index.js';
import { EntriesAhead, packedBytes, type AheadEntry } from './entries-ahead.js';
import { pathText } from '../path-text.js';
import { readData } from './read-content.js';
import { RecentBlocks } from './recent-blocks.js';

export interface RestoreProgress {
  phase: 'writing';
  filesDone: number;
  bytesDone: number;
  /** Of the whole version, where all of it is restored. */
  filesTotal?: number;
  bytesTotal?: number;
}

export interface RestoreOptions {
  reader: ManifestReader;
  blocks: BlockStore;
  /** What to restore: a directory with everything in it, or one file. */
  ino: Ino;
  /** Where to: for a directory a place where nothing is, or an empty directory; for a file a place where nothing is. */
  dest: string;
  onProgress?: ((progress: RestoreProgress) => void) | undefined;
  /** Gives up, leaving nothing half-made. */
  signal?: AbortSignal | undefined;
}

export interface RestoreResult {
  files: number;
  directories: number;
  others: number;
  bytes: number;
  /** What this user may not make (devices, some extended attributes), the first hundred. */
  skipped: string[];
}

const SKIPPED_LISTED = 100;

/** What a file system gives a hole for. */
const PAGE_BYTES = 4096;

const PROGRESS_EVERY_FILES = 256;

/**
 * Writes a version's directory or file with everything a version holds: content with its holes, hard links, symbolic links,
 * fifos, sockets, devices, extended attributes, modes, owners (as root), and modification times.
 *
 * On failure what was written is removed. Throws `CairnError`: `conflict` (something is at `dest`), `not-found` (nothing to put it
 * into), `no-space`, `failed`, and those of the block store.
 */
export async function restoreTree(options: RestoreOptions): Promise<RestoreResult> {
  const { reader, ino } = options;
  const dest = Buffer.from(options.dest);
  const inode = reader.inode(ino);
  if (inode === undefined) throw new CairnError('not-found', `there is no inode ${String(ino)}`);
  const wasThere = checkedDestination(dest, isDirectory(inode.mode));
  const restore = new TreeRestore(options);
  try {
    await restore.run(inode, dest, wasThere);
  } catch (error) {
    removeRestored(dest, wasThere);
    throw error;
  }
  return restore.result;
}

/** True when `dest` is an empty directory to be filled; false when nothing is there. */
function checkedDestination(dest: Buffer, forDirectory: boolean): boolean {
  const stats = attempt(dest, () => lstatSync(dest, { throwIfNoEntry: false }));
  if (stats === undefined) return false;
  if (forDirectory && stats.isDirectory() && attempt(dest, () => readdirSync(dest)).length === 0) return true;
  throw new CairnError('conflict', `${pathText(dest)} is there already`, {
    hint: forDirectory
      ? 'name a directory that is empty, or not there yet'
      : 'name a file that is not there yet',
  });
}

function removeRestored(dest: Buffer, wasThere: boolean): void {
  const made = wasThere
    ? readdirSync(dest, { encoding: 'buffer' }).map((name) => joinPath(dest, name))
    : [dest];
  for (const path of made) removeTree(path);
}

/** As `rm -rf`, but also out of directories that were restored without permission to write. */
function removeTree(path: Buffer): void {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats?.isDirectory() !== true) {
    rmSync(path, { force: true });
    return;
  }
  chmodSync(path, 0o700);
  for (const name of readdirSync(path, { encoding: 'buffer' })) removeTree(joinPath(path, name));
  rmdirSync(path);
}

/** An entry to be written; its path is where to. */
interface Step extends AheadEntry {
  /** Directories between it and the one restored. */
  depth: number;
}

class TreeRestore {
  readonly result: RestoreResult = { files: 0, directories: 0, others: 0, bytes: 0, skipped: [] };
  readonly #reader: ManifestReader;
  readonly #blocks: RecentBlocks;
  readonly #ahead: EntriesAhead;
  readonly #onProgress: ((progress: RestoreProgress) => void) | undefined;
  readonly #signal: AbortSignal | undefined;
  readonly #totals: { filesTotal: number; bytesTotal: number } | undefined;
  readonly #asRoot = process.geteuid?.() === 0;
  /** Where each inode with several names was made. */
  readonly #linked = new Map<Ino, Buffer>();
  /** The directories around the entry at hand; each gets its attributes when everything in it is there. */
  readonly #open: { path: Buffer; inode: InodeAttributes }[] = [];

  constructor({ reader, blocks, ino, onProgress, signal }: RestoreOptions) {
    this.#reader = reader;
    this.#blocks = new RecentBlocks(blocks);
    this.#ahead = new EntriesAhead(reader, this.#blocks);
    this.#onProgress = onProgress;
    this.#signal = signal;
    const { files, bytes } = reader.counters;
    this.#totals = ino === ROOT_INO ? { filesTotal: files, bytesTotal: bytes } : undefined;
  }

  async run(inode: InodeAttributes, dest: Buffer, wasThere: boolean): Promise<void> {
    if (!isDirectory(inode.mode)) {
      await this.#write({ ...this.#ahead.entry(dest, inode), depth: 0 });
      return;
    }
    if (!wasThere) makeDirectory(dest);
    this.#open.push({ path: dest, inode });
    this.result.directories++;
    for (const entry of this.#ahead.below(inode.ino)) {
      this.#signal?.throwIfAborted();
      const depth = slashesIn(entry.path);
      this.#closeDirectories(depth + 1);
      await this.#write({ ...entry, path: joinPath(dest, entry.path), depth });
    }
    this.#closeDirectories(0);
  }

  async #write(step: Step): Promise<void> {
    const { path, inode } = step;
    if (isDirectory(inode.mode)) {
      makeDirectory(path);
      this.#open.push({ path, inode });
      this.result.directories++;
      return;
    }
    const first = this.#linked.get(inode.ino);
    if (first !== undefined) {
      attempt(path, () => {
        linkSync(first, path);
      });
      return;
    }
    if (isRegular(inode.mode)) await this.#writeFile(step);
    else if (!this.#makeOther(path, inode)) return;
    this.#setAttributes(path, inode);
    if (inode.nlink > 1) this.#linked.set(inode.ino, path);
  }

  async #writeFile({ path, inode, packed }: Step): Promise<void> {
    const fd = attempt(path, () => openSync(path, 'wx', 0o600));
    try {
      let end = 0;
      if (packed !== undefined) {
        const bytes = await packedBytes(inode, packed);
        end = attempt(path, () => writeAroundZeros(fd, bytes, 0));
      } else if (inode.size > 0) {
        for await (const { offset, bytes } of readData(this.#reader, this.#blocks, inode.ino)) {
          this.#signal?.throwIfAborted();
          end = attempt(path, () => writeAroundZeros(fd, bytes, offset));
        }
      }
      if (end < inode.size) {
        attempt(path, () => {
          ftruncateSync(fd, inode.size);
        });
      }
    } finally {
      closeSync(fd);
    }
    this.result.files++;
    this.result.bytes += inode.size;
    if (this.result.files % PROGRESS_EVERY_FILES === 0 || inode.size > BLOCK_MAX_BYTES) this.#report();
  }

  #report(): void {
    const { files, bytes } = this.result;
    this.#onProgress?.({ phase: 'writing', filesDone: files, bytesDone: bytes, ...this.#totals });
  }

  /** False when this user may not make such a file. */
  #makeOther(path: Buffer, inode: InodeAttributes): boolean {
    if (isSymlink(inode.mode)) {
      const target = this.#reader.symlink(inode.ino);
      if (target === undefined) throw new CairnError('corrupt', `symlink ${String(inode.ino)} has no target`);
      attempt(path, () => {
        symlinkSync(target, path);
      });
    } else if (
      !this.#tolerating(path, 'not permitted', NOT_PERMITTED, () => {
        mknod(path, inode.mode, deviceNumber(inode));
      })
    ) {
      return false;
    }
    this.result.others++;
    return true;
  }

  #closeDirectories(remaining: number): void {
    while (this.#open.length > remaining) {
      const directory = this.#open.pop();
      if (directory !== undefined) this.#setAttributes(directory.path, directory.inode);
    }
  }

  /** In this order: a change of owner clears set-id bits and capabilities, a change of mode an ACL, each of them the times. */
  #setAttributes(path: Buffer, inode: InodeAttributes): void {
    attempt(path, () => {
      if (this.#asRoot) lchownSync(path, inode.uid, inode.gid);
      if (!isSymlink(inode.mode)) chmodSync(path, inode.mode & 0o7777);
    });
    for (const { name, value } of this.#reader.xattrs(inode.ino)) {
      this.#tolerating(path, `attribute ${pathText(name)}`, NOT_KEPT, () => {
        setXattr(path, name, value);
      });
    }
    attempt(path, () => {
      setModificationTime(path, inode.mtimeSec, inode.mtimeNsec);
    });
  }

  /** Does what this user or the file system may not be able to do; false, and a word in the result, when it is so. */
  #tolerating(path: Buffer, what: string, tolerated: ReadonlySet<number>, operation: () => void): boolean {
    try {
      operation();
      return true;
    } catch (error) {
      if (!(error instanceof FsError) || !tolerated.has(error.errno)) throw unwritable(path, error);
      const { skipped } = this.result;
      if (skipped.length < SKIPPED_LISTED)
        skipped.push(`${pathText(path)}: ${what} (${errnoName(error.errno)})`);
      return false;
    }
  }
}

const NOT_PERMITTED: ReadonlySet<number> = new Set([Errno.EPERM, Errno.EACCES, Errno.EOPNOTSUPP]);

/** With ENOSPC ext4 says that an inode has no room for another attribute, whatever the disk has. */
const NOT_KEPT: ReadonlySet<number> = new Set([...NOT_PERMITTED, Errno.ENOSPC, Errno.ERANGE]);

/** Writes `bytes` at `offset` but for pages of zeros, which are left as holes. Returns where the last byte written ends. */
function writeAroundZeros(fd: number, bytes: Buffer, offset: number): number {
  let pending = 0;
  let end = 0;
  const writeTo = (to: number): void => {
    while (pending < to) pending += writeSync(fd, bytes, pending, to - pending, offset + pending);
    end = offset + to;
  };
  for (let at = 0; at < bytes.length;) {
    const pageEnd = Math.min(at + PAGE_BYTES - ((offset + at) % PAGE_BYTES), bytes.length);
    if (isAllZeros(bytes, at, pageEnd)) {
      if (pending < at) writeTo(at);
      pending = pageEnd;
    }
    at = pageEnd;
  }
  if (pending < bytes.length) writeTo(bytes.length);
  return end;
}

/** One that only this user may use until it has its attributes. */
function makeDirectory(path: Buffer): void {
  attempt(path, () => {
    mkdirSync(path, { mode: 0o700 });
  });
}

function slashesIn(path: Buffer): number {
  let count = 0;
  for (let at = path.indexOf(0x2f); at !== -1; at = path.indexOf(0x2f, at + 1)) count++;
  return count;
}

/** `operation`, whose errors become those to report of `path`. */
function attempt<Result>(path: Buffer, operation: () => Result): Result {
  try {
    return operation();
  } catch (error) {
    throw unwritable(path, error);
  }
}

function unwritable(path: Buffer, error: unknown): CairnError {
  if (error instanceof CairnError) return error;
  const code = error instanceof FsError ? errnoName(error.errno) : (systemCode(error) ?? '');
  const text = `cannot write ${pathText(path)}`;
  switch (code) {
    case 'ENOSPC':
    case 'EDQUOT':
      return new CairnError('no-space', `${text}: no space left`, { cause: error });
    case 'ENOENT':
      return new CairnError('not-found', `${text}: the directory it would be in is not there`, {
        cause: error,
      });
    case 'EACCES':
    case 'EPERM':
      return new CairnError('failed', `${text}: permission denied`, { cause: error });
    case 'ENAMETOOLONG':
      return new CairnError('failed', `${text}: the path is longer than 4095 bytes`, {
        hint: 'mount the version, where it may be as deep as it is, or restore a directory further down',
        cause: error,
      });
    default:
      return new CairnError('failed', `${text}: ${messageOf(error)}`, { cause: error });
  }
}
