import { isDeepStrictEqual } from 'node:util';
import { isDirectory, joinPath, ROOT_INO, type Ino } from '../core/index.js';
import { PathFinder, type DentryRow, type ManifestReader } from '../manifest/index.js';
import {
  directoryChanged,
  LayerSet,
  type BaseVersion,
  type LayerSetState,
  type MergedView,
} from '../upper/index.js';
import type { FollowState, MountRequest, MountStatus, PublishQueue, StatusEntry } from './mount-control.js';
import { withStack } from './second-look.js';

export interface MountStatusOptions {
  dir: string;
  manifestDir: string;
  request: MountRequest;
  /** Of a read-only mount; a writable one's layers say it. */
  base: BaseVersion;
  headSeq: number | undefined;
  publishing: PublishQueue;
  following: FollowState | undefined;
  limit: number;
}

/** What a mount shows differently from its base, read from its layers while it is in use. At the cost of the changes. */
export function mountStatus(options: MountStatusOptions): MountStatus {
  const { dir, request } = options;
  for (;;) {
    const state = request.readOnly ? undefined : LayerSet.read(dir);
    try {
      return statusOf(state, options);
    } catch (error) {
      // A layer that was published goes when it is adopted, by another thread.
      if (state === undefined || isDeepStrictEqual(LayerSet.read(dir), state)) throw error;
    }
  }
}

function statusOf(state: LayerSetState | undefined, options: MountStatusOptions): MountStatus {
  const { dir, request, limit } = options;
  const base = state?.base ?? options.base;
  return withStack(dir, options.manifestDir, state ?? { base }, (view) => {
    const entries = new ChangeList(view).entries();
    return {
      workspace: base.workspace,
      seq: base.seq,
      root: base.root,
      headSeq: options.headSeq,
      mountpoint: request.mountpoint,
      readOnly: request.readOnly,
      entries: entries.slice(0, limit),
      truncated: entries.length > limit,
      sealedLayers: state?.sealed.length ?? 0,
      publishProblem: options.publishing.failure?.problem,
      publishing: options.publishing,
      following: options.following,
      upperBytes: view.layers.reduce((sum, layer) => sum + layer.diskBytes(), 0),
    };
  });
}

/** The differences between a view and its manifest. */
class ChangeList {
  readonly #view: MergedView;
  readonly #manifest: ManifestReader;
  readonly #manifestPaths: PathFinder;
  readonly #entries = new Map<string, StatusEntry>();

  constructor(view: MergedView) {
    this.#view = view;
    this.#manifest = view.manifest;
    this.#manifestPaths = new PathFinder(view.manifest);
  }

  entries(): StatusEntry[] {
    for (const layer of this.#view.layers) {
      for (const { parent, name } of layer.dentries()) this.#compareName(parent, name);
    }
    for (const layer of this.#view.layers) {
      for (const inode of layer.inodes()) this.#compareInode(inode.ino);
    }
    return [...this.#entries.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
  }

  #compareName(parent: Ino, name: Buffer): void {
    const before = this.#manifest.lookup(parent, name);
    const after = this.#view.lookup(parent, name);
    if (before?.ino === after?.ino) return;
    if (after !== undefined && this.#pathInView(parent) !== undefined) this.#named(parent, after, before);
    else if (before !== undefined) this.#unnamed(parent, before);
  }

  #named(parent: Ino, after: DentryRow, before: DentryRow | undefined): void {
    const at = joinPath(this.#pathInView(parent) ?? Buffer.alloc(0), after.name);
    const from = before === undefined ? this.#movedFrom(after.ino) : undefined;
    if (from !== undefined) this.#add('renamed', at, after.ino, from);
    else this.#add(before === undefined ? 'added' : 'modified', at, after.ino);
  }

  #unnamed(parent: Ino, before: DentryRow): void {
    const inode = this.#view.inode(before.ino);
    const moved = inode !== undefined && inode.nlink > 0 && this.#movedFrom(before.ino) !== undefined;
    if (moved) return;
    this.#add('removed', this.#manifestPaths.pathOfName({ parent, name: before.name }), before.ino);
  }

  /** The path of the manifest that an inode had and has no more. */
  #movedFrom(ino: Ino): Buffer | undefined {
    const left = this.#manifest
      .namesOf(ino)
      .find(({ parent, name }) => this.#view.lookup(parent, name)?.ino !== ino);
    return left === undefined ? undefined : this.#manifestPaths.pathOfName(left);
  }

  #compareInode(ino: Ino): void {
    const before = this.#manifest.inode(ino);
    const after = this.#view.inode(ino);
    if (before === undefined || after === undefined || after.nlink === 0) return;
    const contentChanged = this.#view.contentChanged(ino);
    if (!contentChanged && isDirectory(after.mode) && !directoryChanged(before, after)) return;
    for (const { parent, name } of this.#view.namesOf(ino)) {
      const directory = this.#pathInView(parent);
      if (directory !== undefined)
        this.#add(contentChanged ? 'modified' : 'metadata', joinPath(directory, name), ino);
    }
  }

  /** The first thing found of a path is the one that is shown: a new name says more than a new content. */
  #add(kind: StatusEntry['kind'], at: Buffer, ino: Ino, from?: Buffer): void {
    const key = at.toString('latin1');
    if (this.#entries.has(key)) return;
    const entry: StatusEntry = { kind, path: key, ino };
    if (from !== undefined) entry.from = from.toString('latin1');
    this.#entries.set(key, entry);
  }

  /** Undefined when the directory, or one it is in, has no name any more. */
  #pathInView(ino: Ino): Buffer | undefined {
    const names: Buffer[] = [];
    for (let at = ino; at !== ROOT_INO;) {
      const [entry] = this.#view.namesOf(at);
      if (entry === undefined) return undefined;
      names.push(entry.name);
      at = entry.parent;
    }
    return names.reverse().reduce((directory, name) => joinPath(directory, name), Buffer.alloc(0));
  }
}
