import { constants, type Dirent, type Stats } from 'node:fs';
import { link, open, readdir, rename, stat, unlink, type FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { addAbortSignal, type Readable } from 'node:stream';
import { pathToFileURL } from 'node:url';
import { CairnError, messageOf, systemCode, type ErrorCode } from '../core/index.js';
import { DurableFolders } from './durable-folders.js';
import { bodyStream, checkSize, GET_MAX_BYTES_DEFAULT } from './object-body.js';
import {
  assertKeyPrefix,
  assertObjectKey,
  assertRange,
  isObjectKey,
  TEMPORARY_SEGMENT,
} from './object-key.js';
import type {
  GetOptions,
  ListedObject,
  ListOptions,
  ObjectStore,
  PutOptions,
  StoreCounters,
} from './object-store.js';
import { newStoreCounters } from './store-counters.js';
import { TemporaryFiles } from './temporary-files.js';

/** Objects never change, and their mode says so; removing one needs the folder's permission only. */
const OBJECT_MODE = 0o444;

/** FORMAT.md O-1. */
const MANIFESTS_FOLDER = 'manifests';

const STREAM_CHUNK_BYTES = 256 * 1024;

/**
 * Objects as files: `<directory>/<key>`. A write goes to `<directory>/tmp/`, is fsynced, then renamed (or, for `ifAbsent`, linked:
 * link(2) never replaces, so that of any number of processes one wins), then its folder is fsynced. A crash leaves a file in
 * `tmp/`, which the next opening removes. Who is told that an object is there (`exists`, `head`) relies on it from then on, and its
 * writer may not have come to its last fsync: so that one is made again first.
 *
 * The directory is made by the first write. Once it has been seen, or is known to be in use, its absence means that a file system is not
 * mounted: that is `unreachable`, never an empty store. One in use has manifests: an empty mountpoint is not taken for it. Bounds nothing
 * itself: see LimitedStore.
 */
export class DirectoryStore implements ObjectStore {
  readonly url: string;
  readonly counters: StoreCounters = newStoreCounters();
  readonly #root: string;
  readonly #folders = new DurableFolders();
  readonly #temporaries: TemporaryFiles;
  /** What is there when the store is. */
  readonly #sign: string;
  #rootSeen: boolean;

  private constructor(
    root: string,
    { rootSeen, inUse }: { rootSeen: boolean; inUse: boolean },
    temporaries: TemporaryFiles,
  ) {
    this.url = pathToFileURL(root).href;
    this.#root = root;
    this.#sign = inUse ? join(root, MANIFESTS_FOLDER) : root;
    this.#rootSeen = rootSeen || inUse;
    this.#temporaries = temporaries;
  }

  /**
   * Opens the store in `root`, an absolute path, and removes what writers that died have left in it, unless it is to be left as it is.
   *
   * @param inUse it has objects: the directory is never made.
   * @throws CairnError `usage` when `root` is a file, `access-denied` when it is out of reach.
   */
  static async open(root: string, { inUse = false, leaveAsIs = false } = {}): Promise<DirectoryStore> {
    const temporaries = await TemporaryFiles.in(join(root, TEMPORARY_SEGMENT));
    const url = pathToFileURL(root).href;
    const rootSeen = await findRoot(root, url);
    const store = new DirectoryStore(root, { rootSeen, inUse }, temporaries);
    if (rootSeen && !leaveAsIs) await store.#attempt('open', store.url, undefined, () => temporaries.sweep());
    return store;
  }

  async get(key: string, options: GetOptions = {}): Promise<Buffer> {
    return this.#attempt('read', this.#name(key), options.signal, async () => {
      const limits = { maxBytes: GET_MAX_BYTES_DEFAULT, ...options };
      const { handle, start, sizeBytes } = await this.#openObject(key, limits);
      try {
        const body = Buffer.allocUnsafe(sizeBytes);
        let filled = 0;
        while (filled < sizeBytes) {
          options.signal?.throwIfAborted();
          const { bytesRead } = await handle.read(body, filled, sizeBytes - filled, start + filled);
          if (bytesRead === 0)
            throw new CairnError('corrupt', `${this.#name(key)} was cut short while it was read`);
          filled += bytesRead;
        }
        this.counters.bytesIn += sizeBytes;
        return body;
      } finally {
        await handle.close();
      }
    });
  }

  async getStream(key: string, options: GetOptions = {}): Promise<Readable> {
    const name = this.#name(key);
    return this.#attempt('read', name, options.signal, async () => {
      const { handle, start, sizeBytes } = await this.#openObject(key, options);
      const end = options.range === undefined ? {} : { end: options.range.end - 1 };
      const stream = handle.createReadStream({ start, ...end, highWaterMark: STREAM_CHUNK_BYTES });
      if (options.signal !== undefined) addAbortSignal(options.signal, stream);
      return bodyStream({
        stream,
        what: name,
        expectedBytes: sizeBytes,
        received: (bytes) => (this.counters.bytesIn += bytes),
        failure: (error) => this.#failure('read', name, options.signal, error),
      });
    });
  }

  async put(key: string, body: Uint8Array, options: PutOptions = {}): Promise<'written' | 'exists'> {
    return this.#attempt('write', this.#name(key), options.signal, async () => {
      this.counters.requests.put += 1;
      if (options.ifAbsent === true && (await this.#statsOf(key)) !== undefined) {
        await this.#settle(key);
        return 'exists';
      }
      return this.#write(key, [body], options);
    });
  }

  /** As durable and atomic as `put`: nothing is visible before the last byte is. */
  async putStream(key: string, body: Readable, options: { signal?: AbortSignal } = {}): Promise<void> {
    return this.#attempt('write', this.#name(key), options.signal, async () => {
      this.counters.requests.put += 1;
      try {
        await this.#write(key, body as AsyncIterable<Uint8Array>, options);
      } catch (error) {
        throw body.errored === null ? error : new SourceError(body.errored);
      } finally {
        body.destroy();
      }
    });
  }

  async head(
    key: string,
    options: { signal?: AbortSignal } = {},
  ): Promise<{ sizeBytes: number } | undefined> {
    return this.#attempt('look up', this.#name(key), options.signal, async () => {
      this.counters.requests.head += 1;
      const sizeBytes = (await this.#statsOf(key))?.size;
      if (sizeBytes === undefined) {
        await this.#rootIsThere();
        return undefined;
      }
      await this.#settle(key);
      return { sizeBytes };
    });
  }

  /** Holds the names of one folder at a time, for every folder on the way down. */
  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ListedObject> {
    assertKeyPrefix(prefix);
    this.counters.requests.list += 1;
    const what = `the keys of ${this.url}`;
    if (!(await this.#attempt('list', what, options.signal, () => this.#rootIsThere()))) return;
    yield* this.#listFolder(prefix.slice(0, prefix.lastIndexOf('/') + 1), prefix, options, what);
  }

  async *#listFolder(
    folder: string,
    prefix: string,
    options: ListOptions,
    what: string,
  ): AsyncGenerator<ListedObject> {
    const entries = await this.#attempt('list', what, options.signal, () => readFolder(this.#path(folder)));
    for (const [name, isFolder] of entries) {
      const key = `${folder}${name}`;
      if (!isObjectKey(key) || !(isFolder ? `${key}/` : key).startsWith(prefix)) continue;
      if (isFolder) {
        const wholeFolderIsBefore =
          options.after !== undefined && `${key}/` < options.after && !options.after.startsWith(`${key}/`);
        if (!wholeFolderIsBefore) yield* this.#listFolder(`${key}/`, prefix, options, what);
      } else if (options.after === undefined || key > options.after) {
        const found = await this.#attempt('list', what, options.signal, () => this.#statsOf(key));
        if (found !== undefined) yield { key, sizeBytes: found.size, modifiedAtMs: found.mtimeMs };
      }
    }
  }

  async delete(key: string, options: { signal?: AbortSignal } = {}): Promise<void> {
    return this.#attempt('delete', this.#name(key), options.signal, async () => {
      this.counters.requests.delete += 1;
      try {
        await unlink(this.#path(key));
      } catch (error) {
        if (!isMissing(error)) throw error;
        await this.#rootIsThere();
      }
    });
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  #path(key: string): string {
    return join(this.#root, key);
  }

  #name(key: string): string {
    assertObjectKey(key);
    return `${key} in ${this.url}`;
  }

  /** @returns the handle, for the caller to close, and the bytes to read: `sizeBytes` from `start`. */
  async #openObject(
    key: string,
    options: GetOptions,
  ): Promise<{ handle: FileHandle; start: number; sizeBytes: number }> {
    assertRange(options.range);
    this.counters.requests.get += 1;
    const handle = await this.#openFile(key);
    try {
      const stats = await handle.stat();
      if (!stats.isFile()) throw await this.#objectMissing(key);
      const start = options.range?.start ?? 0;
      const end = Math.min(options.range?.end ?? stats.size, stats.size);
      checkSize(this.#name(key), Math.max(0, end - start), options);
      return { handle, start, sizeBytes: end - start };
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  async #openFile(key: string): Promise<FileHandle> {
    try {
      return await open(this.#path(key), 'r');
    } catch (error) {
      throw isMissing(error) ? await this.#objectMissing(key) : error;
    }
  }

  async #statsOf(key: string): Promise<Stats | undefined> {
    try {
      const stats = await stat(this.#path(key));
      return stats.isFile() ? stats : undefined;
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  async #write(
    key: string,
    body: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
    options: PutOptions,
  ): Promise<'written' | 'exists'> {
    const path = this.#path(key);
    const folder = dirname(path);
    if (this.#sign !== this.#root) await this.#rootIsThere();
    await this.#makeFolder(this.#temporaries.folder);
    await this.#makeFolder(folder);
    const temporary = this.#temporaries.newPath();
    let outcome: 'written' | 'exists' = 'written';
    try {
      await this.#writeTemporary(temporary, body, options.signal);
      options.signal?.throwIfAborted();
      if (options.ifAbsent === true) outcome = await linkIfAbsent(temporary, path);
      else await rename(temporary, path);
    } catch (error) {
      await removeTemporary(temporary);
      throw error;
    }
    if (options.ifAbsent === true) await removeTemporary(temporary);
    await this.#folders.sync(folder);
    return outcome;
  }

  /** Makes durable what another writer has made visible. */
  async #settle(key: string): Promise<void> {
    const folder = dirname(this.#path(key));
    await this.#makeFolder(folder);
    await this.#folders.sync(folder);
  }

  async #makeFolder(folder: string): Promise<void> {
    try {
      await this.#folders.make(folder, this.#root, !this.#rootSeen);
      this.#rootSeen = true;
    } catch (error) {
      throw systemCode(error) === 'ENOENT' && this.#rootSeen ? this.#rootMissing() : error;
    }
  }

  async #writeTemporary(
    path: string,
    body: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const handle = await open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, OBJECT_MODE);
    try {
      for await (const chunk of body) {
        signal?.throwIfAborted();
        await handle.writeFile(chunk);
        this.counters.bytesOut += chunk.byteLength;
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
  }

  /** Runs `operation`, and answers for what it throws: an abort's reason, a CairnError naming `what`, an assertion. */
  async #attempt<T>(
    verb: string,
    what: string,
    signal: AbortSignal | undefined,
    operation: () => Promise<T>,
  ): Promise<T> {
    try {
      signal?.throwIfAborted();
      return await operation();
    } catch (error) {
      throw this.#failure(verb, what, signal, error);
    }
  }

  #failure(verb: string, what: string, signal: AbortSignal | undefined, error: unknown): unknown {
    if (signal?.aborted === true) return signal.reason;
    if (error instanceof SourceError) return error.cause;
    const systemError = systemCode(error);
    if (error instanceof CairnError || systemError === undefined || systemError.startsWith('ERR_'))
      return error;
    // A remembered folder may have been removed: the next attempt, the retry of an `unreachable`, makes it again.
    if (isMissing(error)) this.#folders.forget();
    return storeError(verb, what, this.#root, error);
  }

  /** False when the folder was never made. @throws CairnError `unreachable` when it was, and has gone. */
  async #rootIsThere(): Promise<boolean> {
    if (await isDirectory(this.#sign)) return true;
    if (this.#rootSeen) throw this.#rootMissing();
    return false;
  }

  async #objectMissing(key: string): Promise<CairnError> {
    if (!(await isDirectory(this.#sign))) return this.#rootMissing();
    return new CairnError('not-found', `there is no ${this.#name(key)}`);
  }

  #rootMissing(): CairnError {
    return this.#rootSeen
      ? new CairnError('unreachable', `the store has gone from the folder ${this.#root} of ${this.url}`, {
          hint: 'mount the file system it is on',
        })
      : new CairnError('not-found', `there is no folder ${this.#root} for ${this.url}`, {
          hint: 'check the path; the first write makes the folder',
        });
  }
}

/** An error of the stream to be stored, which is the caller's own and not the store's. */
class SourceError extends Error {
  constructor(cause: Error) {
    super(cause.message, { cause });
  }
}

function isMissing(error: unknown): boolean {
  const code = systemCode(error);
  return code === 'ENOENT' || code === 'ENOTDIR';
}

/** Whether there is a directory at `root`. @throws CairnError `usage` when it is something else, `access-denied` when it is out of reach. */
async function findRoot(root: string, url: string): Promise<boolean> {
  try {
    if ((await stat(root)).isDirectory()) return true;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return false;
    if (systemCode(error) !== 'ENOTDIR') throw storeError('open', url, root, error);
  }
  throw new CairnError('usage', `${root} is not a directory`, { hint: 'a file:// store is a directory' });
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}

/** Names of files (false) and folders (true) in the byte order of the keys below them; none when there is no such folder. */
async function readFolder(path: string): Promise<[name: string, isFolder: boolean][]> {
  let entries: Dirent[];
  try {
    entries = await readdir(path, { withFileTypes: true });
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
  const sortKey = ([name, isFolder]: [string, boolean]): string => (isFolder ? `${name}/` : name);
  return entries
    .filter((entry) => entry.isFile() || entry.isDirectory())
    .map((entry): [string, boolean] => [entry.name, entry.isDirectory()])
    .sort((a, b) => (sortKey(a) < sortKey(b) ? -1 : 1));
}

async function linkIfAbsent(from: string, to: string): Promise<'written' | 'exists'> {
  try {
    await link(from, to);
    return 'written';
  } catch (error) {
    switch (systemCode(error) ?? '') {
      case 'EEXIST':
        return 'exists';
      case 'EPERM': // What link(2) answers on a file system without hard links.
      case 'EOPNOTSUPP':
        throw new CairnError('unsupported', `cannot make a hard link at ${to}: ${messageOf(error)}`, {
          hint: 'keep the store on a file system with hard links',
          cause: error,
        });
      default:
        throw error;
    }
  }
}

async function removeTemporary(path: string): Promise<void> {
  // What cannot be removed now is swept later; the outcome of the write stands either way.
  await unlink(path).catch(() => undefined);
}

function storeError(verb: string, what: string, root: string, error: unknown): CairnError {
  const { code, hint } = meaningOf(systemCode(error) ?? '', root);
  const message = `cannot ${verb} ${what}: ${messageOf(error)}`;
  return new CairnError(code, message, { cause: error, ...(hint === undefined ? {} : { hint }) });
}

/** What a system error means to a person who keeps a store in `root`. */
function meaningOf(systemError: string, root: string): { code: ErrorCode; hint?: string } {
  switch (systemError) {
    case 'EROFS':
    case 'EACCES':
    case 'EPERM':
      return {
        code: 'access-denied',
        hint: `check the owner and the mode of ${root}, and that it is mounted read-write`,
      };
    case 'ENOSPC':
    case 'EDQUOT':
      return { code: 'no-space', hint: `make room on the file system of ${root}` };
    case 'ENOENT': // A folder went away between two steps.
    case 'EIO': // Of a disk that fails now and then, or of a network file system whose server is away.
    case 'ESTALE':
    case 'ENOTCONN':
    case 'ETIMEDOUT':
    case 'EHOSTDOWN':
    case 'EMFILE':
    case 'ENFILE':
      return { code: 'unreachable' };
    default:
      return { code: 'failed' };
  }
}
