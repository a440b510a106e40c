import { join } from 'node:path';
import type { Clock } from '../../src/core/index.js';
import { openManifest, type ManifestReader } from '../../src/manifest/index.js';
import { publishLayer, type PublishedLayer, type PublishOptions } from '../../src/snapshot/index.js';
import {
  layerHasChanges,
  LayerSet,
  MergedView,
  UpperLayer,
  type BaseVersion,
  type RetainedStack,
} from '../../src/upper/index.js';
import { OverlayFileSystem, type RetainedInode } from '../../src/vfs/index.js';
import type { Stores } from './workspace.js';

/** Files below this are embedded, in these tests. */
export const EMBED_BELOW_BYTES = 64;

export interface MountOptions {
  /** The mount's folder. */
  dir: string;
  stores: Stores;
  clock: Clock;
  tookOver: boolean;
}

/** A mount without a kernel: an OverlayFileSystem with the stack under it, handled as the session thread does. */
export class OverlayMount {
  readonly fileSystem: OverlayFileSystem;
  readonly layers: LayerSet;
  readonly #options: MountOptions;
  readonly #openLayers = new Map<number, UpperLayer>();
  readonly #manifests = new Map<string, ManifestReader>();

  /** An empty layer on a version. */
  static create(options: MountOptions, base: BaseVersion): OverlayMount {
    const manifest = openManifest(manifestPath(options, base));
    LayerSet.create(options.dir, base, {
      ino: manifest.nextIno,
      cookie: manifest.nextCookie,
      end: Number.MAX_SAFE_INTEGER,
    });
    manifest.close();
    return new OverlayMount(options);
  }

  constructor(options: MountOptions) {
    this.#options = options;
    this.layers = LayerSet.open(options.dir);
    this.fileSystem = new OverlayFileSystem({
      view: this.#openView(),
      readOnly: false,
      tookOver: options.tookOver,
      retained: options.tookOver ? this.#openRetained() : [],
      numbersEnd: undefined,
      clock: options.clock,
      diskPath: options.dir,
    });
    if (!options.tookOver) this.layers.retain([]);
  }

  get active(): UpperLayer {
    return this.fileSystem.view.layers[0]!;
  }

  get hasChanges(): boolean {
    return layerHasChanges(this.active, this.fileSystem.view.below());
  }

  seal(publishId: string): void {
    const sealed = { publishId, message: publishId, author: 'test', sealedAtMs: 1 };
    const next = this.layers.seal(this.active, sealed);
    this.#openLayers.set(this.layers.state.activeId, next);
    this.fileSystem.pushLayer(next);
  }

  /** Publishes the oldest sealed layer, through a connection of its own as the daemon's main thread has it. */
  async publish(changes: Partial<PublishOptions> = {}): Promise<PublishedLayer> {
    const { base, sealed } = this.layers.state;
    const oldest = sealed[0]!;
    const layer = UpperLayer.open(this.layers.layerDir(oldest.id), false);
    try {
      const { catalog, objects, blocks, manifestDir, workingCopy } = this.#options.stores;
      const stores = { catalog, objects, blocks, manifestDir, workingCopy };
      const embedBelowBytes = EMBED_BELOW_BYTES;
      const mayRebase = false;
      return await publishLayer({
        layer,
        sealed: oldest,
        base,
        isFirstAttempt: false,
        mayRebase,
        ...stores,
        embedBelowBytes,
        ...changes,
      });
    } finally {
      layer.close();
    }
  }

  adopt({ version, step }: PublishedLayer): void {
    const base = { workspace: version.workspace, seq: version.seq, root: version.root };
    const { view } = this.fileSystem;
    this.fileSystem.replaceBelow(new MergedView(view.layers.slice(0, -1), this.#manifest(base)));
    const retained = this.fileSystem.retained();
    this.layers.adopt(base, this.#stacks(retained));
    this.#keepOnly(retained);
    if (step !== undefined && !this.layers.state.retained.some(({ root }) => root === step.from))
      this.#options.stores.workingCopy.renew(step);
  }

  close(): void {
    for (const layer of this.#openLayers.values()) layer.close();
    for (const manifest of this.#manifests.values()) manifest.close();
  }

  #openView(): MergedView {
    const { activeId, sealed, base } = this.layers.state;
    const below = sealed.map((layer) => this.#layer(layer.id, false)).reverse();
    return new MergedView([this.#layer(activeId, true), ...below], this.#manifest(base));
  }

  #openRetained(): RetainedInode[] {
    return this.layers.state.retained.flatMap((stack) => {
      const layers = stack.layerIds.map((id) => this.#layer(id, false));
      const below = new MergedView(layers, this.#manifest(stack));
      return stack.inos.map((ino) => ({ ino, below }));
    });
  }

  #stacks(retained: readonly RetainedInode[]): RetainedStack[] {
    return retained.map(({ ino, below }) => ({
      layerIds: below.layers.map((layer) => this.#idOf(this.#openLayers, layer)).map(Number),
      root: this.#idOf(this.#manifests, below.manifest) as RetainedStack['root'],
      inos: [ino],
    }));
  }

  #idOf<Id, Open>(open: ReadonlyMap<Id, Open>, one: Open): Id {
    return [...open].find(([, candidate]) => candidate === one)![0];
  }

  #keepOnly(retained: readonly RetainedInode[]): void {
    const views = [this.fileSystem.view, ...retained.map((inode) => inode.below)];
    for (const [id, layer] of this.#openLayers) {
      if (views.some((view) => view.layers.includes(layer))) continue;
      layer.close();
      this.#openLayers.delete(id);
    }
    for (const [root, manifest] of this.#manifests) {
      if (views.some((view) => view.manifest === manifest)) continue;
      manifest.close();
      this.#manifests.delete(root);
    }
  }

  #layer(id: number, writable: boolean): UpperLayer {
    const layer = this.#openLayers.get(id) ?? UpperLayer.open(this.layers.layerDir(id), writable);
    this.#openLayers.set(id, layer);
    return layer;
  }

  #manifest(version: Pick<BaseVersion, 'root'>): ManifestReader {
    const manifest = this.#manifests.get(version.root) ?? openManifest(manifestPath(this.#options, version));
    this.#manifests.set(version.root, manifest);
    return manifest;
  }
}

function manifestPath({ stores }: MountOptions, { root }: Pick<BaseVersion, 'root'>): string {
  return join(stores.manifestDir, `${root}.sqlite`);
}
