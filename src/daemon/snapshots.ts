import { randomUUID } from 'node:crypto';
import { open } from 'node:fs/promises';
import path from 'node:path';
import type { BlockStore } from '../blocks/index.js';
import type { Catalog } from '../catalog/index.js';
import { CairnError, Errno, errnoOf, messageOf, RESERVED_NUMBERS, type ManifestRoot } from '../core/index.js';
import { invalidateEntry, invalidateInode } from '../fuse/index.js';
import {
  dropLocalManifest,
  fetchManifest,
  localManifestPath,
  openManifest,
  treeChanges,
  WorkingCopy,
  type ManifestStep,
  type TreeChanges,
} from '../manifest/index.js';
import type { MergeConflict } from '../merge/index.js';
import type { ObjectStore } from '../objects/index.js';
import { isOpenElsewhere, syncfs } from '../posix/index.js';
import { publishLayer, type PublishedLayer } from '../snapshot/index.js';
import { layerDir, LayerSet, UpperLayer, type LayerNumbers, type LayerSetState } from '../upper/index.js';
import type { ControlRequest } from './control-protocol.js';
import type { Logger } from './daemon-log.js';
import { manifestsInUse } from './manifests-in-use.js';
import type { RebaseConflict, SnapshotResult } from './mount-control.js';
import { activeLayerHasChanges } from './second-look.js';
import { reserveNumbers } from './reserve-numbers.js';
import type { SessionClient } from './session-client.js';

const RETRY_FIRST_MS = 1_000;
const RETRY_MAX_MS = 60_000;

/** How often edits made meanwhile are sealed and merged, before the mount stays behind what was published. */
const MOVES_MAX = 8;

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

export type SnapshotRequest = Extract<ControlRequest, { method: 'snapshot' }>;

export interface SnapshotsOptions {
  /** The mount's /dev/fuse. */
  fd: number;
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
  #mayRebase = false;
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

  /** Goes on with what an earlier process did not finish. `hasEdits`: the next snapshot will have something to publish. */
  resume(hasEdits: boolean, tookOver: boolean): void {
    this.#exclusively(async () => {
      await this.#finishMove(tookOver);
    }).catch((error: unknown) => {
      this.#options.log.error(
        { problem: messageOf(error) },
        'the kernel may still show what was there before',
      );
    });
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

  async snapshot(request: SnapshotRequest, onStep: (step: string) => void): Promise<SnapshotResult> {
    return await this.#exclusively(async () => {
      const startedMs = performance.now();
      const published: PublishedLayer[] = [];
      let sealMs = 0;
      let moved: boolean | undefined;
      for (let round = 1; ; round += 1) {
        onStep('flushing');
        await flush(this.#options.mountpoint);
        await this.#options.session.fold();
        sealMs += await this.#seal(request, onStep);
        onStep('publishing');
        published.push(...(await this.#publishAll(request.rebase)));
        if (!request.rebase) break;
        onStep('moving on');
        moved = await this.#moveToHead();
        if (moved || round === MOVES_MAX) break;
      }
      return this.#result(published, moved, { sealMs, totalMs: performance.now() - startedMs });
    });
  }

  /** Seals the active layer if it holds anything; how long that took, in milliseconds. */
  async #seal({ message, author }: SnapshotRequest, onStep: (step: string) => void): Promise<number> {
    const { dir, manifestDir, session } = this.#options;
    const state = this.#state();
    if (!activeLayerHasChanges(dir, manifestDir, state)) return 0;
    onStep('sealing');
    const numbers = await this.#newNumbers(state);
    const startedMs = performance.now();
    await session.seal({ publishId: randomUUID(), message, author, sealedAtMs: Date.now() }, numbers);
    return performance.now() - startedMs;
  }

  /** Numbers to go on with, when those that were reserved are half used. Where none can be had the old ones do. */
  async #newNumbers({ base, activeId, numbersEnd }: LayerSetState): Promise<LayerNumbers | undefined> {
    const active = UpperLayer.open(layerDir(this.#options.dir, activeId), false);
    const next = Math.max(active.nextIno, active.nextCookie);
    active.close();
    if (numbersEnd === undefined || numbersEnd - next > RESERVED_NUMBERS / 2) return undefined;
    try {
      return await reserveNumbers(this.#options.catalog, base.workspace, next);
    } catch {
      return undefined;
    }
  }

  #result(
    published: readonly PublishedLayer[],
    moved: boolean | undefined,
    times: Pick<SnapshotResult, 'sealMs' | 'totalMs'>,
  ): SnapshotResult {
    const sum = (of: (one: PublishedLayer) => number): number =>
      published.reduce((total, one) => total + of(one), 0);
    const { seq, root } = published.at(-1)?.version ?? this.#state().base;
    return {
      created: published.length > 0,
      seq,
      root,
      changedFiles: sum((one) => one.changedFiles),
      newBlocks: sum((one) => one.newBlocks),
      storedBytes: sum((one) => one.storedBytes),
      ...times,
      ...(moved !== undefined && {
        rebased: { conflicts: published.flatMap((one) => one.conflicts.map(rebaseConflict)), moved },
      }),
    };
  }

  /** `mayRebase`: to be merged with what others have published; once said, it holds for every attempt until nothing is sealed. */
  async #publishAll(mayRebase: boolean): Promise<PublishedLayer[]> {
    const published: PublishedLayer[] = [];
    this.#mayRebase ||= mayRebase;
    try {
      while (this.#state().sealed.length > 0) published.push(await this.#publishOldest());
    } catch (error) {
      this.#problem = messageOf(error);
      this.#options.log.error({ problem: this.#problem }, 'publishing failed; the sealed edits are kept');
      throw this.#explained(error);
    }
    this.#problem = undefined;
    this.#mayRebase = false;
    this.#retryMs = RETRY_FIRST_MS;
    return published;
  }

  async #publishOldest(): Promise<PublishedLayer> {
    const { dir, session, log, ...rest } = this.#options;
    const { base, sealed } = this.#state();
    const oldest = sealed[0];
    if (oldest === undefined) throw new Error('nothing is sealed');
    const layer = UpperLayer.open(layerDir(dir, oldest.id), false);
    let published: PublishedLayer;
    try {
      const workingCopy = this.#workingCopy;
      published = await publishLayer({
        layer,
        sealed: oldest,
        base,
        workingCopy,
        mayRebase: this.#mayRebase,
        ...rest,
      });
    } finally {
      layer.close();
    }
    const { equal, step, version, storedBytes } = published;
    await session.adopt(oldest.id, equal);
    await this.#leave(base.root, step ?? { to: equal.root });
    log.info({ workspace: version.workspace, seq: version.seq, storedBytes }, 'published');
    return published;
  }

  /** Each version's manifest is a whole file: kept only for those that somebody stands on. `step`: to the one this mount stands on now. */
  async #leave(root: ManifestRoot, step: ManifestStep | Pick<ManifestStep, 'to'>): Promise<void> {
    const isUnused = !manifestsInUse(this.#options.home).has(root);
    if (isUnused && 'from' in step) {
      this.#workingCopy.renew(step);
      return;
    }
    if (isUnused) await dropLocalManifest(this.#options.manifestDir, root);
    this.#workingCopy.prepare(step.to);
  }

  /**
   * Lets the mount show what others have published: true when it does, false where an edit since the seal is of something that differs. That
   * is for the next seal to merge.
   */
  async #moveToHead(): Promise<boolean> {
    const { catalog, blocks, objects, manifestDir, session, log } = this.#options;
    const { base } = this.#state();
    const { workspace, seq, root } = await catalog.version(base.workspace);
    if (seq === base.seq) return true;
    await fetchManifest({ root, dir: manifestDir, blocks, objects });
    const changes = changesBetween(manifestDir, base.root, root);
    if (!(await session.move({ workspace, seq, root }, changes))) return false;
    await this.#tellKernel(changes);
    await this.#leave(base.root, { to: root });
    log.info({ workspace, seq, inodes: changes.inodes.length, removed: changes.removed.length }, 'moved on');
    return true;
  }

  async #tellKernel({ inodes, removed, names }: TreeChanges): Promise<void> {
    const { fd, session } = this.#options;
    for (const { parent, name } of names) await invalidateEntry(fd, parent, name);
    // Who has open what is gone is to see that it has no name any more, and nothing in it.
    for (const ino of [...inodes, ...removed]) await invalidateInode(fd, ino);
    await session.settle();
  }

  /** An earlier process may have moved the mount and died before the kernel knew. */
  async #finishMove(tookOver: boolean): Promise<void> {
    const { manifestDir, session, blocks, objects } = this.#options;
    const { base, movedFrom } = this.#state();
    if (movedFrom === undefined) return;
    if (!tookOver) {
      await session.settle();
      return;
    }
    await fetchManifest({ root: movedFrom, dir: manifestDir, blocks, objects });
    await this.#tellKernel(changesBetween(manifestDir, movedFrom, base.root));
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
      const hint = 'the edits are sealed and kept; cairn snapshot --rebase merges them with what others did';
      return new CairnError('conflict', error.message, { hint, cause: error });
    }
    return error;
  }

  #retryAfter(delayMs: number): void {
    if (this.#closed) return;
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => {
      // What fails is in `problem` and in the log, and has set the next attempt.
      this.#exclusively(async () => await this.#publishAll(false)).catch(() => undefined);
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

function rebaseConflict({ kind, path: at, kept, beside }: MergeConflict): RebaseConflict {
  const paths = { path: at.toString('latin1'), ...(beside && { beside: beside.toString('latin1') }) };
  return { kind, kept, ...paths };
}

function changesBetween(manifestDir: string, from: ManifestRoot, to: ManifestRoot): TreeChanges {
  const earlier = openManifest(localManifestPath(manifestDir, from));
  try {
    const later = openManifest(localManifestPath(manifestDir, to));
    try {
      return treeChanges(earlier, later);
    } finally {
      later.close();
    }
  } finally {
    earlier.close();
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
