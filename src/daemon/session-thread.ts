import { once } from 'node:events';
import path from 'node:path';
import { parentPort, receiveMessageOnPort, type MessagePort } from 'node:worker_threads';
import { openCachedBlockReader, type CachedBlockReader } from '../blocks/index.js';
import { messageOf, systemClock, type Ino } from '../core/index.js';
import { Feeder, requestResend, RequestCounters, runSession, type HandOver } from '../fuse/index.js';
import { localManifestPath, openManifest, type ManifestReader, type TreeChanges } from '../manifest/index.js';
import { createEventDrain, currentThreadId } from '../posix/index.js';
import {
  hasOnlyTimesOf,
  isFull,
  LayerSet,
  MergedView,
  UpperLayer,
  type BaseVersion,
  type LayerNumbers,
  type RetainedStack,
  type SealedLayer,
} from '../upper/index.js';
import { OverlayFileSystem, type RetainedInode } from '../vfs/index.js';
import { DiskRoom } from './disk-room.js';
import { errorRecord } from './error-record.js';
import { MountFolder } from './mount-folder.js';
import { ReadOnlyStack } from './read-only-stack.js';
import type { FromSession, SessionStart, ToSession } from './session-protocol.js';

/**
 * The session thread: every request of one mount, and all that changes its stack of layers. It is blocked in the kernel or busy, never in
 * its event loop: messages are read when the eventfd wakes it.
 */
class SessionThread {
  readonly #start: SessionStart;
  readonly #port: MessagePort;
  readonly #layers: LayerSet | undefined;
  /** The layers, or what a mount without has in their place. */
  readonly #stack: LayerSet | ReadOnlyStack;
  readonly #fileSystem: OverlayFileSystem;
  readonly #feeder: Feeder | undefined;
  readonly #room: DiskRoom | undefined;
  #blocks: CachedBlockReader | undefined;
  readonly #manifests = new Map<string, ManifestReader>();
  readonly #openLayers = new Map<number, UpperLayer>();
  #isReleased = false;

  constructor(start: SessionStart, port: MessagePort) {
    this.#start = start;
    this.#port = port;
    this.#room = start.readOnly
      ? undefined
      : new DiskRoom(start.dir, start.cacheDir, {
          letGo: () => this.#blocks?.letGo(),
          compact: () => this.#fileSystem.view.layers[0]?.compact(),
        });
    this.#layers = start.readOnly ? undefined : LayerSet.open(start.dir, this.#makeRoom);
    this.#stack = this.#layers ?? new ReadOnlyStack(new MountFolder(start.dir), start.base);
    this.#fileSystem = new OverlayFileSystem({
      view: this.#openView(),
      readOnly: start.readOnly,
      tookOver: start.tookOver,
      retained: this.#openRetained(),
      numbersEnd: this.#layers?.state.numbersEnd,
      clock: systemClock,
      onDoubt: (ino) => {
        this.#send({ kind: 'doubtful', inos: [ino] });
      },
      diskPath: start.readOnly ? start.manifestDir : start.dir,
      makeRoom: this.#makeRoom,
    });
    // After a takeover nobody knows which pages in the kernel are dirty.
    if (!start.tookOver) {
      this.#feeder = new Feeder(this.#fileSystem, start.feederRing, () => {
        this.#send({ kind: 'feederWanted' });
      });
      this.#feeder.setRoot(this.#stack.state.base.root);
    }
    // A mount that starts afresh has no open files: stacks kept for those of an earlier one go.
    if (!start.tookOver && this.#layers?.state.retained.length !== 0) this.#layers?.retain([]);
  }

  async run(): Promise<void> {
    const start = this.#start;
    const blocks = await openCachedBlockReader(start.cacheDir, start.cacheBudgetBytes, {
      onOpened: (block) => {
        this.#send({ kind: 'used', block });
      },
    });
    this.#blocks = blocks;
    this.#room?.setAside();
    const drainWakes = createEventDrain(start.wakeFd);
    if (start.tookOver) requestResend(start.fd);
    this.#send({ kind: 'ready' });
    this.#send({ kind: 'doubtful', inos: this.#fileSystem.doubtful() });
    const counters = new RequestCounters(start.requestCounters);
    const how = runSession({
      fd: start.fd,
      fileSystem: this.#fileSystem,
      blocks,
      handOver: this.#handOver(),
      ...(this.#feeder === undefined ? {} : { feeder: this.#feeder }),
      ...(this.#room === undefined ? {} : { room: this.#room }),
      counters,
      wakeFd: start.wakeFd,
      onWake: () => {
        drainWakes();
        counters.countWake();
        for (
          let next = receiveMessageOnPort(this.#port);
          next !== undefined;
          next = receiveMessageOnPort(this.#port)
        ) {
          const message = next.message as ToSession;
          if (message.kind === 'counters') this.#send({ kind: 'counters', blocks: blocks.counters });
          else if (message.kind === 'release') this.#isReleased = true;
          else this.#obey(message);
        }
      },
      isReleased: () => this.#isReleased,
      onNegotiated: (negotiated) => {
        this.#send({ kind: 'negotiated', negotiated });
      },
      onFailure: (what, error) => {
        this.#send({ kind: 'failure', what, message: messageOf(error) });
      },
      ...(start.spinUs === undefined ? {} : { spinUs: start.spinUs }),
    });
    this.#feeder?.close();
    blocks.close();
    for (const layer of this.#openLayers.values()) this.#close(layer);
    for (const manifest of this.#manifests.values()) manifest.close();
    this.#send({ kind: 'ended', how });
    this.#port.close();
  }

  readonly #makeRoom = (): boolean => this.#room?.make(true) === true;

  /** What could not be folded for want of space is in the journal, for the next mount. */
  #close(layer: UpperLayer): void {
    try {
      layer.close();
    } catch (error) {
      if (!isFull(error)) throw error;
      this.#send({ kind: 'failure', what: `closing layer ${layer.dir}`, message: messageOf(error) });
    }
  }

  #handOver(): HandOver {
    return {
      read: ({ unique, ino, parts, size }) => {
        this.#send({ kind: 'read', unique, ino, parts, size });
      },
      sync: (unique, files) => {
        this.#send({ kind: 'sync', unique, files });
      },
      interrupt: (unique) => {
        this.#send({ kind: 'interrupt', unique });
      },
    };
  }

  #send(message: FromSession): void {
    this.#port.postMessage(message);
  }

  #obey(message: Exclude<ToSession, { kind: 'counters' | 'release' }>): void {
    for (;;) {
      try {
        this.#carryOut(message);
        return;
      } catch (error) {
        if (isFull(error) && this.#makeRoom()) continue;
        this.#send({ kind: 'refused', error: errorRecord(error) });
        return;
      }
    }
  }

  #carryOut(message: Exclude<ToSession, { kind: 'counters' | 'release' }>): void {
    switch (message.kind) {
      case 'seal':
        this.#seal(message.sealed, message.numbers);
        break;
      case 'adopt':
        this.#adopt(message.layerId, message.base);
        break;
      case 'move':
        this.#move(message.base, message.changes, message.forgotten);
        break;
      case 'forgotten':
        for (const ino of message.inos) this.#fileSystem.forgotten(ino);
        this.#send({ kind: 'letGo' });
        break;
      case 'settle':
        this.#stack.settle();
        this.#send({ kind: 'settled' });
        break;
      case 'fold':
        this.#fileSystem.view.layers[0]?.fold();
        this.#send({ kind: 'folded' });
        break;
    }
  }

  #seal(sealed: Omit<SealedLayer, 'id'>, numbers: LayerNumbers | undefined): void {
    const layers = this.#writableLayers();
    const active = this.#fileSystem.view.layers[0];
    if (active === undefined) throw new Error('a writable mount has an active layer');
    const next = layers.seal(active, sealed, numbers);
    this.#openLayers.set(layers.state.activeId, next);
    this.#fileSystem.pushLayer(next);
    const layer = layers.state.sealed.at(-1);
    if (layer !== undefined) this.#send({ kind: 'sealed', layer });
  }

  #adopt(layerIdToDrop: number, base: BaseVersion): void {
    const layers = this.#writableLayers();
    const current = this.#fileSystem.view;
    const lowest = current.layers.at(-1);
    if (lowest !== undefined && layerId(lowest) === layerIdToDrop) {
      this.#fileSystem.replaceBelow(new MergedView(current.layers.slice(0, -1), this.#manifest(base)));
      this.#feeder?.setRoot(base.root);
    }
    const retained = this.#fileSystem.retained();
    if (layers.state.sealed[0]?.id === layerIdToDrop) layers.adopt(base, this.#stacks(retained));
    this.#keepOnly(retained);
    this.#send({ kind: 'adopted' });
  }

  #move(base: BaseVersion, changes: TreeChanges, forgotten: readonly Ino[]): void {
    for (const ino of forgotten) this.#fileSystem.forgotten(ino);
    // What was removed here, is still open, and is there again as others have it, would be two things under one number.
    const open = changes.added.filter((ino) => this.#fileSystem.isUnlinked(ino));
    const done = open.length === 0 && this.#putBelow(base, changes);
    this.#send({ kind: 'moved', done, open });
  }

  /**
   * Puts another tree below the active layer: false, and nothing has happened, where that holds an edit of anything that differs, or a sealed one is there. What the kernel
   * knows of the old tree is for the main thread to take back. Inodes that are gone stay for those who have them open.
   */
  #putBelow(base: BaseVersion, changes: TreeChanges): boolean {
    const [active, ...below] = this.#fileSystem.view.layers;
    if (below.length > 0) return false;
    // No edits, and in the way all the same: after a while of work no directory would be without.
    const leftover =
      active === undefined
        ? []
        : changes.inodes.filter((ino) => hasOnlyTimesOf(active, ino, this.#fileSystem.view.below()));
    if (active !== undefined && editsAny(active, changes, new Set(leftover))) return false;
    active?.forgetAttributes(leftover);
    const retained = this.#fileSystem.retainedWithout(changes.removed);
    this.#stack.move(base, this.#stacks(retained));
    const layers = active === undefined ? [] : [active];
    this.#fileSystem.replaceBelow(new MergedView(layers, this.#manifest(base)), changes.removed);
    this.#feeder?.moveTo(base.root, [...changes.inodes, ...changes.removed]);
    this.#keepOnly(retained);
    return true;
  }

  #writableLayers(): LayerSet {
    if (this.#layers === undefined) throw new Error('a read-only mount has no layers');
    return this.#layers;
  }

  #openView(): MergedView {
    if (this.#layers === undefined) return new MergedView([], this.#manifest(this.#stack.state.base));
    const { activeId, sealed, base } = this.#layers.state;
    const below = sealed.map((layer) => this.#layer(layer.id, false)).reverse();
    return new MergedView([this.#layer(activeId, true), ...below], this.#manifest(base));
  }

  #openRetained(): RetainedInode[] {
    if (!this.#start.tookOver) return [];
    return this.#stack.state.retained.flatMap((stack) => {
      const layers = stack.layerIds.map((id) => this.#layer(id, false));
      const below = new MergedView(layers, this.#manifest(stack));
      return stack.inos.map((ino) => ({ ino, below }));
    });
  }

  /** What the layer set keeps for inodes without a name: one entry for all that share a stack. */
  #stacks(retained: readonly RetainedInode[]): RetainedStack[] {
    const stacks = new Map<MergedView, RetainedStack>();
    for (const { ino, below } of retained) {
      const stack = stacks.get(below);
      if (stack !== undefined) stack.inos.push(ino);
      else
        stacks.set(below, {
          layerIds: below.layers.map(layerId),
          root: this.#rootOf(below.manifest),
          inos: [ino],
        });
    }
    return [...stacks.values()];
  }

  #rootOf(manifest: ManifestReader): RetainedStack['root'] {
    for (const [root, reader] of this.#manifests)
      if (reader === manifest) return root as RetainedStack['root'];
    throw new Error('a manifest of the stack is open');
  }

  /** Closes what neither the stack nor a retained inode reads from any more. */
  #keepOnly(retained: readonly RetainedInode[]): void {
    const views = [this.#fileSystem.view, ...retained.map((inode) => inode.below)];
    const layers = new Set(views.flatMap((view) => view.layers));
    const manifests = new Set(views.map((view) => view.manifest));
    for (const [id, layer] of this.#openLayers) {
      if (layers.has(layer)) continue;
      layer.close();
      this.#openLayers.delete(id);
    }
    for (const [root, manifest] of this.#manifests) {
      if (manifests.has(manifest)) continue;
      manifest.close();
      this.#manifests.delete(root);
    }
  }

  #layer(id: number, writable: boolean): UpperLayer {
    const open = this.#openLayers.get(id);
    if (open !== undefined) return open;
    const layer = UpperLayer.open(this.#writableLayers().layerDir(id), writable, this.#makeRoom);
    this.#openLayers.set(id, layer);
    return layer;
  }

  #manifest(version: { root: BaseVersion['root'] }): ManifestReader {
    const open = this.#manifests.get(version.root);
    if (open !== undefined) return open;
    const manifest = openManifest(localManifestPath(this.#start.manifestDir, version.root));
    this.#manifests.set(version.root, manifest);
    return manifest;
  }
}

/** `but` not what it has of these inodes. */
function editsAny(
  layer: UpperLayer,
  { inodes, removed, added, names }: TreeChanges,
  but: ReadonlySet<Ino>,
): boolean {
  return (
    inodes.some((ino) => !but.has(ino) && layer.inode(ino) !== undefined) ||
    [...removed, ...added].some((ino) => layer.inode(ino) !== undefined) ||
    // Across threads a Buffer arrives as a plain Uint8Array.
    names.some(
      ({ parent, name }) =>
        layer.dentry(parent, Buffer.from(name.buffer, name.byteOffset, name.length)) !== undefined,
    )
  );
}

function layerId(layer: UpperLayer): number {
  return Number(path.basename(layer.dir));
}

if (parentPort === null) throw new Error('this file is started as a thread');
const [start] = (await once(parentPort, 'message')) as [SessionStart];
parentPort.postMessage({ kind: 'begun', threadId: currentThreadId() } satisfies FromSession);
await new SessionThread(start, parentPort).run();
