import fs from 'node:fs';
import { availableParallelism } from 'node:os';
import { openBlockStore, type BlockStore } from '../blocks/index.js';
import { openCatalogInUse, type Catalog, type Version } from '../catalog/index.js';
import { CairnError, homeLayout, messageOf } from '../core/index.js';
import { fetchManifest, localManifestPath } from '../manifest/index.js';
import type { SessionEnd } from '../fuse/index.js';
import { openObjectStore, type ObjectStore } from '../objects/index.js';
import { memoryBytes } from '../posix/index.js';
import { LayerSet, Reserve, type BaseVersion, type StackState } from '../upper/index.js';
import { chooseBase, hasEdits } from './choose-base.js';
import type { ControlRequest } from './control-protocol.js';
import { serveControl } from './control-server.js';
import type { Logger } from './daemon-log.js';
import { Follower } from './follower.js';
import { HandedOver } from './handed-over.js';
import type { MountedAs, MountRequest, MountStats, PublishQueue } from './mount-control.js';
import type { MountFolder } from './mount-folder.js';
import { mountStatus } from './mount-status.js';
import { Moves } from './moves.js';
import { Orphans } from './orphans.js';
import { Prefetcher } from './prefetcher.js';
import { ReadOnlyStack } from './read-only-stack.js';
import type { SessionClient } from './session-client.js';
import { sendDescriptor, type SharedMount } from './shared-mount.js';
import { Snapshots } from './snapshots.js';
import { FUSE_FD } from './supervisor-protocol.js';

/**
 * One unpacks and caches 400 MiB a second, of raw bytes, and takes 20 MiB of memory: two keep up with a line of 1 Gbit/s. One core is
 * left to those who read.
 */
const UNPACK_THREADS_MAX = 2;

export interface DaemonOptions {
  folder: MountFolder;
  request: MountRequest;
  /** Another daemon answered before this one. */
  tookOver: boolean;
  /** How many daemons of this mount died before this one. */
  restarts: number;
  supervisorPid: number;
  /** Of a thread that is started already, and waits for what to do. */
  session: SessionClient;
  log: Logger;
  /** Resolves when nobody else has the mount's layers open. */
  turn: () => Promise<void>;
  /** Called before it ends for another supervisor's daemon. */
  onYield: (to: number) => Promise<void>;
  /** Called once; the process then ends with this status: 0 tells the supervisor that the mount is gone. */
  onEnded: (status: number) => void;
}

/** The composition root of one mount: opens what it needs, starts the session thread, answers the control socket. */
export class Daemon {
  readonly #options: DaemonOptions;
  readonly #objects: ObjectStore;
  readonly #blocks: BlockStore;
  readonly #catalog: Catalog;
  readonly #base: BaseVersion;
  /** Aborted when nothing is worth another attempt: what waits is published by the next mount. */
  readonly #impatience: AbortController;
  readonly #prefetcher: Prefetcher;
  readonly #snapshots: Snapshots | undefined;
  /** Of a read-only mount that follows; a writable one's are its snapshots'. */
  readonly #moves: Moves | undefined;
  readonly #follower: Follower | undefined;
  readonly #startedAtMs = performance.now();

  private constructor(
    options: DaemonOptions,
    parts: {
      objects: ObjectStore;
      blocks: BlockStore;
      catalog: Catalog;
      base: BaseVersion;
      impatience: AbortController;
    },
  ) {
    this.#options = options;
    this.#objects = parts.objects;
    this.#blocks = parts.blocks;
    this.#catalog = parts.catalog;
    this.#base = parts.base;
    this.#impatience = parts.impatience;
    const { folder, request, log } = options;
    const prefetcher = new Prefetcher({
      blocks: this.#blocks,
      manifestPath: localManifestPath(homeLayout.manifests(request.home), this.#base.root),
      cacheBudgetBytes: request.cacheBudgetBytes,
      log,
    });
    this.#prefetcher = prefetcher;
    const orphans = new Orphans({ fd: FUSE_FD, session: options.session, log });
    const handedOver = new HandedOver({ fd: FUSE_FD, blocks: this.#blocks, prefetcher, log });
    options.session.start(
      {
        fd: FUSE_FD,
        dir: folder.dir,
        manifestDir: homeLayout.manifests(request.home),
        cacheDir: homeLayout.cache(request.home),
        cacheBudgetBytes: request.cacheBudgetBytes,
        readOnly: request.readOnly,
        base: this.#base,
        tookOver: options.tookOver,
        spinUs: undefined,
      },
      {
        onNegotiated: (negotiated) => {
          log.info({ negotiated }, 'the kernel speaks');
        },
        onRead: (read) => {
          void handedOver.read(read);
        },
        onSync: (sync) => {
          void handedOver.sync(sync);
        },
        onInterrupt: (unique) => {
          handedOver.interrupt(unique);
        },
        onDoubtful: (inos) => {
          orphans.ask(inos);
        },
        onUsed: (block) => {
          prefetcher.used(block);
        },
        onFailure: (what, message) => {
          log.error({ what, problem: message }, 'a request failed');
        },
        onEnded: (how, error) => {
          void this.#end(how, error);
        },
      },
    );
    const means = {
      fd: FUSE_FD,
      manifestDir: homeLayout.manifests(request.home),
      session: options.session,
      catalog: this.#catalog,
      objects: this.#objects,
      blocks: this.#blocks,
      log,
    };
    let moveToHead: (head: Version) => Promise<boolean>;
    if (request.readOnly) {
      const moves = new Moves({ ...means, stack: () => this.#stack() });
      this.#moves = moves;
      moveToHead = async () => await moves.toHead();
    } else {
      const snapshots = new Snapshots({
        ...means,
        home: request.home,
        dir: folder.dir,
        mountpoint: request.mountpoint,
        embedBelowBytes: request.embedBelowBytes,
      });
      this.#snapshots = snapshots;
      moveToHead = async (head) => await snapshots.follow(head);
    }
    if (!request.follow) return;
    this.#follower = new Follower({
      workspace: request.workspace,
      catalog: this.#catalog,
      seq: () => this.#stack().base.seq,
      moveToHead,
      log,
    });
  }

  /** Resolves when the mount answers. */
  static async start(options: DaemonOptions): Promise<Omit<MountedAs, 'supervisorPid'>> {
    const { folder, request, tookOver, session } = options;
    if (!request.readOnly) Reserve.releaseWhereLow(folder.dir);
    const impatience = new AbortController();
    const manifests = homeLayout.manifests(request.home);
    fs.mkdirSync(manifests, { recursive: true, mode: 0o700 });
    const objects = await openObjectStore(request.store, {
      inUse: true,
      impatience: impatience.signal,
      home: request.home,
      workspace: request.workspace,
    });
    const catalog = openCatalogInUse(request.catalog, request.home);
    const blocks = await openBlockStore({
      objects,
      cacheDir: homeLayout.cache(request.home),
      cacheBudgetBytes: request.cacheBudgetBytes,
      threads: Math.max(1, Math.min(availableParallelism() - 1, UNPACK_THREADS_MAX)),
    });
    const fetch = async (root: BaseVersion['root']): Promise<string> =>
      await fetchManifest({ root, dir: manifests, blocks, objects });
    await options.turn();
    const { base, resumedEdits } = await chooseBase(options, catalog, fetch);
    const daemon = new Daemon(options, { objects, blocks, catalog, base, impatience });
    await session.ready();
    await serveControl(folder, async (control, onStep) => await daemon.#answer(control, onStep));
    daemon.#snapshots?.resume(resumedEdits, tookOver);
    void daemon.#goOn(tookOver);
    return {
      workspace: request.workspace,
      seq: base.seq,
      mountpoint: request.mountpoint,
      readOnly: request.readOnly,
      resumedEdits: resumedEdits && !tookOver,
      behindHead: !request.readOnly && (await isBehindHead(catalog, base)),
      daemonPid: process.pid,
    };
  }

  /** With a move that another daemon of this mount has begun, then with whatever comes. */
  async #goOn(tookOver: boolean): Promise<void> {
    await this.#moves?.finish(tookOver).catch((error: unknown) => {
      const problem = messageOf(error);
      this.#options.log.error({ problem }, 'programs may still see what was there before a move');
    });
    this.#follower?.start();
  }

  async #answer(control: ControlRequest, onStep: (step: string) => void): Promise<unknown> {
    switch (control.method) {
      case 'stats':
        return await this.#stats();
      case 'share':
        return this.#share();
      case 'yield':
        await this.#options.onYield(control.to);
        // When this has been answered.
        setImmediate(() => {
          this.#options.session.release();
        });
        return process.pid;
      case 'status':
        return await this.#status(control.limit);
      case 'snapshot':
        if (this.#snapshots === undefined) {
          throw new CairnError('unsupported', `${this.#options.request.mountpoint} is mounted read-only`, {
            hint: 'there is nothing to snapshot; mount it without --read-only to edit',
          });
        }
        return await this.#snapshots.snapshot(control, onStep);
    }
  }

  #share(): SharedMount {
    const { folder, restarts } = this.#options;
    sendDescriptor(folder, FUSE_FD);
    return { supervised: process.connected, restarts };
  }

  async #status(limit: number): Promise<unknown> {
    const { folder, request } = this.#options;
    const head = await this.#catalog.version(request.workspace).catch(() => undefined);
    await this.#options.session.fold();
    return mountStatus({
      dir: folder.dir,
      manifestDir: homeLayout.manifests(request.home),
      request,
      base: this.#stack().base,
      headSeq: head?.seq,
      publishing: this.#publishQueue(),
      following: this.#follower?.state,
      limit,
    });
  }

  #stack(): StackState {
    const { folder, request } = this.#options;
    if (!request.readOnly) return LayerSet.stateIn(folder.dir);
    return ReadOnlyStack.stateIn(folder) ?? { base: this.#base, retained: [] };
  }

  #publishQueue(): PublishQueue {
    return this.#snapshots?.queue ?? { waiting: [], failure: undefined };
  }

  async #stats(): Promise<MountStats> {
    const { request, restarts, supervisorPid, session } = this.#options;
    const blockCounters = await session.blockCounters();
    const { counters, url } = this.#objects;
    return {
      supervisor: { pid: supervisorPid, restarts },
      daemon: { pid: process.pid, uptimeMs: Math.round(performance.now() - this.#startedAtMs) },
      fuse: { requests: session.counters.byName(), pushedFiles: session.pushedFiles },
      cache: {
        hits: blockCounters.hits + this.#blocks.counters.hits,
        misses: this.#blocks.counters.misses,
        prefetched: this.#blocks.prefetched,
        bytes: await this.#blocks.cachedBytes(),
        budgetBytes: request.cacheBudgetBytes,
      },
      store: {
        url,
        requests: counters.requests,
        retries: counters.retries,
        bytesIn: counters.bytesIn,
        bytesOut: counters.bytesOut,
        outage: counters.outage,
      },
      publishing: this.#publishQueue(),
      memory: {
        supervisorBytes: memoryBytes(supervisorPid, 'VmRSS'),
        daemonBytes: process.memoryUsage.rss(),
        heapUsedBytes: process.memoryUsage().heapUsed,
      },
    };
  }

  async #end(how: SessionEnd | 'crashed', error: unknown): Promise<void> {
    const { folder, request, log, onEnded } = this.#options;
    if (how === 'crashed') {
      log.fatal({ error }, 'a thread that answers requests died');
      onEnded(1);
      return;
    }
    if (how === 'released') {
      log.info({}, 'another daemon goes on');
      // What is being published is published by that one, as after a death.
      onEnded(1);
      return;
    }
    log.info({ how }, 'the mount ended');
    this.#snapshots?.close();
    this.#impatience.abort();
    await this.#follower?.close();
    await this.#snapshots?.idle();
    await this.#prefetcher.close();
    await this.#blocks.close();
    await this.#objects.close();
    await this.#catalog.close();
    if (request.readOnly || !hasEdits(folder.dir, homeLayout.manifests(request.home))) folder.remove();
    onEnded(0);
  }
}

/** False when the catalog cannot say: the mount does not depend on it. */
async function isBehindHead(catalog: Catalog, base: BaseVersion): Promise<boolean> {
  const head = await catalog.workspace(base.workspace).catch(() => undefined);
  return head !== undefined && head.headSeq !== base.seq;
}
