import { randomUUID } from 'node:crypto';
import { open } from 'node:fs/promises';
import path from 'node:path';
import type { BlockStore } from '../blocks/index.js';
import type { Catalog } from '../catalog/index.js';
import { CairnError, Errno, errnoOf, messageOf } from '../core/index.js';
import { dropLocalManifest, fetchManifest, WorkingCopy } from '../manifest/index.js';
import type { ObjectStore } from '../objects/index.js';
import { isOpenElsewhere, syncfs } from '../posix/index.js';
import { publishLayer, type PublishedLayer } from '../snapshot/index.js';
import { layerDir, LayerSet, UpperLayer } from '../upper/index.js';
import type { Logger } from './daemon-log.js';
import { manifestsInUse } from './manifests-in-use.js';
import type { SnapshotResult } from './mount-control.js';
import { activeLayerHasChanges } from './second-look.js';
import type { SessionClient } from './session-client.js';

const RETRY_FIRST_MS = 1_000;
const RETRY_MAX_MS = 60_000;

/** How soon after a first edit a copy of the manifest is made for the snapshot that will come. */
const EDITS_WATCHED_MS = 500;
const EDITS: ReadonlySet<string> = new Set([
  'SETATTR',
  'SYMLINK',
  'MKNOD',
  'MKDIR',
  'UNLINK',
  'RMDIR',
  'RENAME',
  'LINK',
  'WRITE',
  'SETXATTR',
  'REMOVEXATTR',
  'CREATE',
  'FALLOCATE',
  'RENAME2',
  'COPY_FILE_RANGE',
  'TMPFILE',
]);

export interface SnapshotsOptions {
  home: string;
  dir: string;
  mountpoint: string;
  manifestDir: string;
  embedBelowBytes: number;
  session: SessionClient;
  catalog: Catalog;
  objects: ObjectStore;
  blocks: BlockStore;
  log: Logger;
}

/**
 * Snapshots of one mount: seal, publish, adopt, one after another. A sealed layer stays in the stack until its version is published *and*
 * adopted; whatever fails in between is tried again, in this process or the next, so nothing is lost by failing.
 */
export class Snapshots {
  readonly #options: SnapshotsOptions;
  readonly #workingCopy: WorkingCopy;
  #running: Promise<unknown> = Promise.resolve();
  #problem: string | undefined;
  #retry: NodeJS.Timeout | undefined;
  #retryMs = RETRY_FIRST_MS;
  #watch: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: SnapshotsOptions) {
    this.#options = options;
    const { dir, manifestDir, blocks, objects } = options;
    this.#workingCopy = new WorkingCopy({
      dir: manifestDir,
      name: path.basename(dir),
      fetch: async (root) => await fetchManifest({ root, dir: manifestDir, blocks, objects }),
      isOpenElsewhere,
    });
  }

  /** Why publishing does not get on, when it does not. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Publishes what an earlier process sealed. `hasEdits`: the next snapshot will have something to publish. */
  resume(hasEdits: boolean): void {
    if (this.#state().sealed.length > 0) this.#retryAfter(0);
    else if (hasEdits) this.#workingCopy.prepare(this.#state().base.root);
    else this.#watchForEdits();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#retry);
    clearInterval(this.#watch);
  }

  /** Resolves when no snapshot runs, and what was kept for the next one is gone. */
  async idle(): Promise<void> {
    await this.#running;
    await this.#workingCopy.close();
  }

  async snapshot(message: string, author: string, onStep: (step: string) => void): Promise<SnapshotResult> {
    return await this.#exclusively(async () => {
      const startedMs = performance.now();
      const { dir, mountpoint, manifestDir, session } = this.#options;
      onStep('flushing');
      await flush(mountpoint);
      await session.fold();
      const changed = activeLayerHasChanges(dir, manifestDir, this.#state());
      if (!changed && this.#state().sealed.length === 0) return this.#unchanged(startedMs);
      let sealMs = 0;
      if (changed) {
        onStep('sealing');
        const sealStartedMs = performance.now();
        await session.seal({ publishId: randomUUID(), message, author, sealedAtMs: Date.now() });
        sealMs = performance.now() - sealStartedMs;
      }
      onStep('publishing');
      const published = await this.#publishAll();
      const sum = (of: (one: PublishedLayer) => number): number =>
        published.reduce((total, one) => total + of(one), 0);
      const { seq, root } = this.#state().base;
      return {
        created: true,
        seq,
        root,
        changedFiles: sum((one) => one.changedFiles),
        newBlocks: sum((one) => one.newBlocks),
        storedBytes: sum((one) => one.storedBytes),
        sealMs,
        totalMs: performance.now() - startedMs,
      };
    });
  }

  #unchanged(startedMs: number): SnapshotResult {
    const { seq, root } = this.#state().base;
    const nothing = { changedFiles: 0, newBlocks: 0, storedBytes: 0, sealMs: 0 };
    return { created: false, seq, root, ...nothing, totalMs: performance.now() - startedMs };
  }

  async #publishAll(): Promise<PublishedLayer[]> {
    const published: PublishedLayer[] = [];
    try {
      while (this.#state().sealed.length > 0) published.push(await this.#publishOldest());
    } catch (error) {
      this.#problem = messageOf(error);
      this.#options.log.error({ problem: this.#problem }, 'publishing failed; the sealed edits are kept');
      throw this.#explained(error);
    }
    this.#problem = undefined;
    this.#retryMs = RETRY_FIRST_MS;
    return published;
  }

  async #publishOldest(): Promise<PublishedLayer> {
    const { home, dir, session, log, ...rest } = this.#options;
    const { base, sealed } = this.#state();
    const oldest = sealed[0];
    if (oldest === undefined) throw new Error('nothing is sealed');
    const layer = UpperLayer.open(layerDir(dir, oldest.id), false);
    let published: PublishedLayer;
    try {
      const workingCopy = this.#workingCopy;
      published = await publishLayer({ layer, sealed: oldest, base, workingCopy, ...rest });
    } finally {
      layer.close();
    }
    const { workspace, seq, root } = published.version;
    await session.adopt(oldest.id, { workspace, seq, root });
    // Each version's manifest is a whole file: kept only for those that somebody stands on.
    const isUnused = !manifestsInUse(home).has(base.root);
    if (isUnused && published.step !== undefined) {
      this.#workingCopy.renew(published.step);
    } else {
      if (isUnused) await dropLocalManifest(rest.manifestDir, base.root);
      this.#workingCopy.prepare(root);
    }
    log.info({ workspace, seq, storedBytes: published.storedBytes }, 'published');
    return published;
  }

  /** Out of reach: the edits are sealed and will go out by themselves. Anything else needs a person. */
  #explained(error: unknown): unknown {
    if (!(error instanceof CairnError)) return error;
    if (error.code === 'unreachable') {
      this.#retryAfter(this.#retryMs);
      this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MAX_MS);
      const hint = 'the edits are sealed and will be published when it answers again; see cairn status';
      return new CairnError('unreachable', error.message, { hint, cause: error });
    }
    if (error.code === 'conflict') {
      const hint = 'the edits are sealed and kept; mount the new head beside it to compare';
      return new CairnError('conflict', error.message, { hint, cause: error });
    }
    return error;
  }

  #retryAfter(delayMs: number): void {
    if (this.#closed) return;
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => {
      // What fails is in `problem` and in the log, and has set the next attempt.
      this.#exclusively(async () => await this.#publishAll()).catch(() => undefined);
    }, delayMs);
  }

  /** A mount that is only read never needs a copy of its manifest. */
  #watchForEdits(): void {
    this.#watch = setInterval(() => {
      if (!Object.keys(this.#options.session.counters.byName()).some((name) => EDITS.has(name))) return;
      clearInterval(this.#watch);
      // Not while a snapshot has the copy in its hands; that will say what is wrong, if anything is.
      this.#exclusively(() => {
        this.#workingCopy.prepare(this.#state().base.root);
        return Promise.resolve();
      }).catch(() => undefined);
    }, EDITS_WATCHED_MS).unref();
  }

  async #exclusively<Result>(work: () => Promise<Result>): Promise<Result> {
    const result = this.#running.then(work);
    this.#running = result.catch(() => undefined);
    return await result;
  }

  #state(): NonNullable<ReturnType<typeof LayerSet.read>> {
    const state = LayerSet.read(this.#options.dir);
    if (state === undefined) throw new Error('the mount has layers');
    return state;
  }
}

/**
 * What programs have written is in the kernel's page cache until it is written back. The first syncfs also reports a failure of long ago that
 * nobody was told of yet (errseq_t of the kernel): what counts is whether everything can be written now.
 */
async function flush(mountpoint: string): Promise<void> {
  const root = await open(mountpoint, 'r');
  try {
    await syncfs(root.fd).catch(async () => {
      await syncfs(root.fd);
    });
  } catch (error) {
    const code = errnoOf(error) === Errno.ENOSPC ? 'no-space' : 'failed';
    throw new CairnError(code, `what was written on ${mountpoint} cannot be kept on the local disk`, {
      cause: error,
    });
  } finally {
    await root.close();
  }
}
