import { randomUUID } from 'node:crypto';
import path from 'node:path';
import type { Version } from '../catalog/index.js';
import { CairnError, messageOf, RESERVED_NUMBERS, type ManifestRoot } from '../core/index.js';
import { dropLocalManifest, fetchManifest, WorkingCopy, type ManifestStep } from '../manifest/index.js';
import type { MergeConflict } from '../merge/index.js';
import { isOpenElsewhere } from '../posix/index.js';
import { publishLayer, type PublishedLayer } from '../snapshot/index.js';
import { layerDir, LayerSet, UpperLayer, type LayerNumbers, type LayerSetState } from '../upper/index.js';
import type { ControlRequest } from './control-protocol.js';
import { errorRecord } from './error-record.js';
import { flush } from './flush.js';
import { isManifestInUse } from './manifest-in-use.js';
import type { PublishFailure, PublishQueue, RebaseConflict, SnapshotResult } from './mount-control.js';
import { Moves, type MovesOptions } from './moves.js';
import { reserveNumbers } from './reserve-numbers.js';
import { activeLayerHasChanges } from './second-look.js';

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

export interface SnapshotsOptions extends Omit<MovesOptions, 'stack'> {
  /** The mount's folder. */
  dir: string;
  home: string;
  mountpoint: string;
  embedBelowBytes: number;
}

/**
 * Snapshots of one mount: sealed at once, published and adopted one after another. A sealed layer stays in the stack until its version is published *and*
 * adopted; whatever fails in between is tried again, in this process or the next, so nothing is lost by failing.
 */
export class Snapshots {
  readonly #options: SnapshotsOptions;
  readonly #workingCopy: WorkingCopy;
  readonly #moves: Moves;
  #stackChanging: Promise<unknown> = Promise.resolve();
  #publishing: Promise<unknown> = Promise.resolve();
  #failure: PublishFailure | undefined;
  /** Layers that snapshots wait for, how many do, and what became of them. */
  readonly #awaited = new Map<number, { snapshots: number; published: PublishedLayer | undefined }>();
  /** Layers that this process has sealed and not tried to publish. */
  readonly #untried = new Set<number>();
  /** What is sealed may be merged with what others have published: once said, for every attempt until nothing is. */
  #mayRebase = false;
  #retry: NodeJS.Timeout | undefined;
  #retryMs = RETRY_FIRST_MS;
  #watch: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: SnapshotsOptions) {
    this.#options = options;
    this.#moves = new Moves({ ...options, stack: () => this.#state() });
    const { dir, manifestDir, blocks, objects } = options;
    this.#workingCopy = new WorkingCopy({
      dir: manifestDir,
      name: path.basename(dir),
      fetch: async (root) => await fetchManifest({ root, dir: manifestDir, blocks, objects }),
      isOpenElsewhere,
    });
  }

  /** What waits to be published, and why it does not get on, when it does not. */
  get queue(): PublishQueue {
    const waiting = this.#state().sealed.map(({ message, author, sealedAtMs }) => ({
      message,
      author,
      sealedAtMs,
    }));
    return { waiting, failure: waiting.length === 0 ? undefined : this.#failure };
  }

  /** Goes on with what an earlier process did not finish. `hasEdits`: the next snapshot will have something to publish. */
  resume(hasEdits: boolean, tookOver: boolean): void {
    this.#exclusively(async () => {
      await this.#moves.finish(tookOver);
    }).catch((error: unknown) => {
      this.#options.log.error(
        { problem: messageOf(error) },
        'programs may still see what was there before a move',
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
    await this.#stackChanging;
    await this.#publishing;
    await this.#workingCopy.close();
  }

  /** Lets the mount show the head, others' work, where no edit of its own is in the way; else nothing happens, and it says false. */
  async follow(head: Version): Promise<boolean> {
    const { manifestDir: dir, blocks, objects } = this.#options;
    // What takes long is done before others have to wait for it.
    await fetchManifest({ root: head.root, dir, blocks, objects });
    return await this.#inTurn(async () => await this.#moveToHead());
  }

  /** Seals at once, also while earlier versions wait to be published; theirs goes first. */
  async snapshot(request: SnapshotRequest, onStep: (step: string) => void): Promise<SnapshotResult> {
    const startedMs = performance.now();
    const published: PublishedLayer[] = [];
    let sealMs = 0;
    let moved: boolean | undefined;
    for (let round = 1; ; round += 1) {
      onStep('flushing');
      const sealed = await this.#exclusively(async () => await this.#seal(request, onStep));
      sealMs += sealed.sealMs;
      if (sealed.layerId !== undefined) {
        onStep('publishing');
        published.push(await this.#published(sealed.layerId, request.rebase));
      }
      if (!request.rebase) break;
      onStep('moving on');
      moved = await this.#inTurn(async () => await this.#moveToHead());
      if (moved || round === MOVES_MAX) break;
    }
    return this.#result(published, moved, { sealMs, totalMs: performance.now() - startedMs });
  }

  /** The newest sealed layer, with what was written until now; undefined when everything is published. */
  async #seal(
    { message, author }: SnapshotRequest,
    onStep: (step: string) => void,
  ): Promise<{ layerId: number | undefined; sealMs: number }> {
    const { dir, mountpoint, manifestDir, session } = this.#options;
    await flush(mountpoint);
    await session.fold();
    const state = this.#state();
    if (!activeLayerHasChanges(dir, manifestDir, state))
      return { layerId: state.sealed.at(-1)?.id, sealMs: 0 };
    onStep('sealing');
    const numbers = await this.#newNumbers(state);
    const startedMs = performance.now();
    const { id } = await session.seal(
      { publishId: randomUUID(), message, author, sealedAtMs: Date.now() },
      numbers,
    );
    this.#untried.add(id);
    return { layerId: id, sealMs: performance.now() - startedMs };
  }

  /** Numbers to go on with, when those that were reserved are half used. Where none can be had the old ones do. */
  async #newNumbers({ base, activeId, numbersEnd }: LayerSetState): Promise<LayerNumbers | undefined> {
    if (numbersEnd === undefined) return undefined;
    const active = UpperLayer.open(layerDir(this.#options.dir, activeId), false);
    const next = Math.max(active.nextIno, active.nextCookie);
    active.close();
    if (numbersEnd - next > RESERVED_NUMBERS / 2) return undefined;
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

  /** What becomes of a sealed layer. */
  async #published(layerId: number, mayRebase: boolean): Promise<PublishedLayer> {
    const awaited = this.#awaited.get(layerId) ?? { snapshots: 0, published: undefined };
    this.#awaited.set(layerId, awaited);
    awaited.snapshots += 1;
    try {
      await this.#inTurn(async () => {
        this.#mayRebase ||= mayRebase;
        await this.#publishUpTo(layerId);
      });
      if (awaited.published === undefined) throw new Error('the sealed layer was published');
      return awaited.published;
    } finally {
      awaited.snapshots -= 1;
      if (awaited.snapshots === 0) this.#awaited.delete(layerId);
    }
  }

  /** Publishes all that is sealed, or, the oldest first, up to the layer that was asked for. */
  async #publishUpTo(layerId = Infinity): Promise<void> {
    clearTimeout(this.#retry);
    try {
      for (;;) {
        const oldest = this.#state().sealed[0];
        if (oldest === undefined || oldest.id > layerId) break;
        const published = await this.#publishOldest();
        const awaited = this.#awaited.get(oldest.id);
        if (awaited !== undefined) awaited.published = published;
        this.#failure = undefined;
      }
    } catch (error) {
      const problem = messageOf(error);
      this.#failure = { problem, sinceMs: this.#failure?.sinceMs ?? Date.now(), nextAttemptMs: undefined };
      this.#options.log.error({ problem }, 'publishing failed; the sealed edits are kept');
      throw this.#explained(error);
    }
    this.#retryMs = RETRY_FIRST_MS;
    if (this.#state().sealed.length > 0) this.#retryAfter(this.#retryMs);
    else this.#mayRebase = false;
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
      const mayRebase = this.#mayRebase;
      const isFirstAttempt = this.#untried.delete(oldest.id);
      const what = { layer, sealed: oldest, base, workingCopy, isFirstAttempt, mayRebase };
      published = await publishLayer({ ...what, ...rest });
    } finally {
      layer.close();
    }
    const { equal, step, version, storedBytes } = published;
    await this.#exclusively(async () => {
      await session.adopt(oldest.id, equal);
    });
    await this.#leave(base.root, step ?? { to: equal.root });
    log.info({ workspace: version.workspace, seq: version.seq, storedBytes }, 'published');
    return published;
  }

  /** Each version's manifest is a whole file: kept only for those that somebody stands on. `step`: to the one this mount stands on now. */
  async #leave(root: ManifestRoot, step: ManifestStep | Pick<ManifestStep, 'to'>): Promise<void> {
    const isUnused = !isManifestInUse(this.#options.home, root);
    if (isUnused && 'from' in step) {
      this.#workingCopy.renew(step);
      return;
    }
    if (isUnused) await dropLocalManifest(this.#options.manifestDir, root);
    this.#workingCopy.prepare(step.to);
  }

  /** Lets the mount show what others have published; false where edits are in the way, for the next seal to merge. */
  async #moveToHead(): Promise<boolean> {
    const { base } = this.#state();
    const moved = await this.#exclusively(async () => await this.#moves.toHead());
    const { root } = this.#state().base;
    if (root !== base.root) await this.#leave(base.root, { to: root });
    return moved;
  }

  /** After a conflict a person has to choose. All else can pass: a store comes back, or gets space, or lets us in. */
  #explained(error: unknown): CairnError {
    const { code, message, hint } = errorRecord(error);
    if (code === 'conflict') {
      const kept = 'the edits are sealed and kept; cairn snapshot --rebase merges them with what others did';
      return new CairnError(code, message, { hint: kept, cause: error });
    }
    this.#retryAfter(this.#retryMs);
    this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MAX_MS);
    const todo = code === 'unreachable' || hint === undefined ? '' : `${hint}; `;
    const kept =
      code === 'unreachable'
        ? 'the edits are sealed and will be published when it answers again; see cairn status'
        : 'the edits are sealed and kept, and publishing is tried again; see cairn status';
    return new CairnError(code, message, { hint: todo + kept, cause: error });
  }

  /** With an even share of chance: when a store comes back its clients should not come back together. */
  #retryAfter(delayMs: number): void {
    if (this.#closed) return;
    const chosenMs = delayMs * (0.5 + Math.random() / 2);
    if (this.#failure !== undefined) this.#failure.nextAttemptMs = Date.now() + chosenMs;
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => {
      // What fails is in `queue` and in the log, and has set the next attempt.
      this.#inTurn(async () => {
        await this.#publishUpTo();
      }).catch(() => undefined);
    }, chosenMs);
  }

  /** A mount that is only read never needs a copy of its manifest. */
  #watchForEdits(): void {
    this.#watch = setInterval(() => {
      if (!Object.keys(this.#options.session.counters.byName()).some((name) => EDITS.has(name))) return;
      clearInterval(this.#watch);
      // Not while a snapshot has the copy in its hands; that will say what is wrong, if anything is.
      this.#inTurn(() => {
        this.#workingCopy.prepare(this.#state().base.root);
        return Promise.resolve();
      }).catch(() => undefined);
    }, EDITS_WATCHED_MS).unref();
  }

  /** Nobody else changes the stack meanwhile. */
  async #exclusively<Result>(work: () => Promise<Result>): Promise<Result> {
    const result = this.#stackChanging.then(work);
    this.#stackChanging = result.catch(() => undefined);
    return await result;
  }

  /** Nobody else publishes meanwhile, or has the working copy in its hands. */
  async #inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const result = this.#publishing.then(work);
    this.#publishing = result.catch(() => undefined);
    return await result;
  }

  #state(): LayerSetState {
    return LayerSet.stateIn(this.#options.dir);
  }
}

function rebaseConflict({ kind, path: at, kept, beside }: MergeConflict): RebaseConflict {
  const paths = { path: at.toString('latin1'), ...(beside && { beside: beside.toString('latin1') }) };
  return { kind, kept, ...paths };
}
