import fs from 'node:fs';
import path from 'node:path';
import {
  CairnError,
  checkedLine,
  isOfShape,
  lineOfChecked,
  systemCode,
  type Ino,
  type JsonShape,
  type ManifestRoot,
} from '../core/index.js';
import { syncPath } from './sync-path.js';
import { UpperLayer } from './upper-layer.js';

/** The version a mount stands on. */
export interface BaseVersion {
  workspace: string;
  seq: number;
  root: ManifestRoot;
}

/** Of a `BaseVersion` in JSON. */
export const BASE_VERSION_SHAPE = {
  workspace: 'text',
  seq: 'count',
  root: 'digest',
} as const satisfies JsonShape;

/** A sealed layer waiting to become a version. */
export interface SealedLayer {
  id: number;
  /** Publishing twice under one id makes one version. */
  publishId: string;
  message: string;
  author: string;
  sealedAtMs: number;
}

/** Layers and a manifest that open files without a name still read from, after their version was replaced. */
export interface RetainedStack {
  layerIds: number[];
  root: ManifestRoot;
  inos: Ino[];
}

const FORMAT = 2;
const FORMAT_WITHOUT_CHECKSUM = 1;

export interface LayerSetState {
  format: typeof FORMAT;
  base: BaseVersion;
  activeId: number;
  /** Oldest first. */
  sealed: SealedLayer[];
  retained: RetainedStack[];
  /** The end of the numbers that were reserved for this mount's inodes and cookies. Absent where none were: an earlier release's. */
  numbersEnd?: number;
  /** The mount moved from the tree with this root to its base, and the kernel has not been told of all of that yet. */
  movedFrom?: ManifestRoot;
}

/** What of a stack changes when its mount goes over to another version. */
export type StackState = Pick<LayerSetState, 'base' | 'retained' | 'movedFrom'>;

/** Numbers for what a mount makes: the first inode, the first cookie, and where what was reserved of both ends. */
export interface LayerNumbers {
  ino: Ino;
  cookie: number;
  end: number;
}

/** Of a `RetainedStack` in JSON. */
export const RETAINED_SHAPE = {
  layerIds: ['count'],
  root: 'digest',
  inos: ['count'],
} as const satisfies JsonShape;

const STATE_SHAPE: JsonShape = {
  format: 'count',
  base: BASE_VERSION_SHAPE,
  activeId: 'count',
  sealed: [{ id: 'count', publishId: 'text', message: 'text', author: 'text', sealedAtMs: 'count' }],
  retained: [RETAINED_SHAPE],
};

/**
 * The layers of one mount, in its folder: `layers/<id>/` each, and `layers.json`, which says what the stack is. Every change of
 * the stack is one atomic replacement of that file; a crash before it leaves a folder nobody refers to, which the next `open` removes.
 * Owned by one daemon; others only read.
 */
export class LayerSet {
  readonly dir: string;
  readonly #makeRoom: (() => boolean) | undefined;
  #state: LayerSetState;

  private constructor(dir: string, state: LayerSetState, makeRoom?: () => boolean) {
    this.dir = dir;
    this.#state = state;
    this.#makeRoom = makeRoom;
  }

  /** What the folder holds, or undefined where nothing was ever mounted. Throws `corrupt` for a file that is damaged, or gone. */
  static read(dir: string): LayerSetState | undefined {
    const file = path.join(dir, 'layers.json');
    const hint = `nothing was changed; the edits are in ${path.join(dir, 'layers')}`;
    let text: string;
    try {
      text = fs.readFileSync(file, 'utf8');
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error;
      if (!holdsData(path.join(dir, 'layers'))) return undefined;
      throw new CairnError('corrupt', `${file} is missing, and there are edits beside it`, { hint });
    }
    try {
      return parseState(text);
    } catch (error) {
      throw new CairnError('corrupt', `${file} does not describe upper layers`, { hint, cause: error });
    }
  }

  /** The same of a folder that has layers. */
  static stateIn(dir: string): LayerSetState {
    const state = LayerSet.read(dir);
    if (state === undefined) throw new CairnError('not-found', `no upper layers in ${dir}`);
    return state;
  }

  /** An empty active layer on a version, in place of whatever was in the folder. */
  static create(dir: string, base: BaseVersion, numbers: LayerNumbers): LayerSet {
    fs.mkdirSync(path.join(dir, 'layers'), { recursive: true, mode: 0o700 });
    const previous = LayerSet.read(dir);
    const activeId = (previous?.activeId ?? 0) + 1;
    UpperLayer.create(layerDir(dir, activeId), {
      nextIno: numbers.ino,
      nextCookie: numbers.cookie,
      lastUnique: '',
      lastReply: Buffer.alloc(0),
    });
    const set = new LayerSet(dir, {
      format: FORMAT,
      base,
      activeId,
      sealed: [],
      retained: [],
      numbersEnd: numbers.end,
    });
    set.#write(set.#state);
    set.#sweep();
    return set;
  }

  /** Makes the layers whole that a dead process left behind. Before anybody opens one. */
  static recover(dir: string, { activeId, sealed, retained }: LayerSetState): void {
    const ids = [
      activeId,
      ...sealed.map((layer) => layer.id),
      ...retained.flatMap((stack) => stack.layerIds),
    ];
    for (const id of new Set(ids)) UpperLayer.recover(layerDir(dir, id));
  }

  /** `makeRoom` as for `UpperLayer.open`. */
  static open(dir: string, makeRoom?: () => boolean): LayerSet {
    const set = new LayerSet(dir, LayerSet.stateIn(dir), makeRoom);
    set.#sweep();
    return set;
  }

  get state(): Readonly<LayerSetState> {
    return this.#state;
  }

  layerDir(id: number): string {
    return layerDir(this.dir, id);
  }

  /**
   * Seals the active layer and puts an empty one above it, in time that does not depend on what the layer holds.
   * Returns the new active layer, open for writing. `numbers`: those it goes on with, where they are others.
   */
  seal(active: UpperLayer, sealed: Omit<SealedLayer, 'id'>, numbers?: LayerNumbers): UpperLayer {
    const id = this.#state.activeId;
    const nextId = id + 1;
    active.fold();
    UpperLayer.create(this.layerDir(nextId), {
      nextIno: numbers?.ino ?? active.nextIno,
      nextCookie: numbers?.cookie ?? active.nextCookie,
      // A request answered just before the seal may be resent after it.
      ...active.last(),
    });
    this.#update({
      activeId: nextId,
      sealed: [...this.#state.sealed, { ...sealed, id }],
      retained: this.#state.retained.map((stack) => ({ ...stack, layerIds: [id, ...stack.layerIds] })),
      ...(numbers && { numbersEnd: numbers.end }),
    });
    active.freeze();
    return UpperLayer.open(this.layerDir(nextId), true, this.#makeRoom);
  }

  /** The oldest sealed layer was published as `base`; its folder goes unless a retained stack needs it. */
  adopt(base: BaseVersion, retained: RetainedStack[]): void {
    this.#update({ base, sealed: this.#state.sealed.slice(1), retained });
    this.#sweep();
  }

  /** The mount goes over to `base`, which shows another tree; nothing is sealed. Until `settle` the kernel may have old knowledge. */
  move(base: BaseVersion, retained: RetainedStack[]): void {
    this.#update({ base, retained, movedFrom: this.#state.base.root });
  }

  /** The kernel knows all of the last `move`. */
  settle(): void {
    const { movedFrom, ...state } = this.#state;
    if (movedFrom === undefined) return;
    this.#write(state);
    this.#state = state;
  }

  /** Replaces the retained stacks, when open files without a name were closed. */
  retain(retained: RetainedStack[]): void {
    this.#update({ retained });
    this.#sweep();
  }

  #update(change: Partial<LayerSetState>): void {
    const state = { ...this.#state, ...change };
    this.#write(state);
    this.#state = state;
  }

  #write(state: LayerSetState): void {
    const file = path.join(this.dir, 'layers.json');
    const temporary = `${file}.new`;
    const fd = fs.openSync(temporary, 'w', 0o600);
    try {
      // Whatever the file does not name is swept: a digit that changed must not be believed.
      fs.writeSync(fd, checkedLine(JSON.stringify(state)));
      fs.fsyncSync(fd);
    } finally {
      fs.closeSync(fd);
    }
    fs.renameSync(temporary, file);
    syncPath(this.dir);
  }

  #sweep(): void {
    const { activeId, sealed, retained } = this.#state;
    const needed = new Set([
      activeId,
      ...sealed.map((layer) => layer.id),
      ...retained.flatMap((stack) => stack.layerIds),
    ]);
    for (const name of fs.readdirSync(path.join(this.dir, 'layers'))) {
      if (!needed.has(Number(name)))
        fs.rmSync(path.join(this.dir, 'layers', name), { recursive: true, force: true });
    }
  }
}

/** Throws for what is not a checked line of a state; files of earlier releases have no checksum. */
function parseState(text: string): LayerSetState {
  const { line, fits } = lineOfChecked(text);
  const state = JSON.parse(line) as LayerSetState;
  if (!isOfShape(state, STATE_SHAPE)) throw new Error('fields are missing, or of another kind');
  const { format } = state as { format: number };
  if (format !== FORMAT && format !== FORMAT_WITHOUT_CHECKSUM) throw new Error(`format ${String(format)}`);
  if (fits !== (format === FORMAT_WITHOUT_CHECKSUM ? undefined : true))
    throw new Error('the checksum does not fit');
  return { ...state, format: FORMAT };
}

/** Whether any layer in the folder was ever written to: one that is only being made has its empty database. */
function holdsData(layersDir: string): boolean {
  if (!fs.existsSync(layersDir)) return false;
  return fs
    .readdirSync(layersDir, { recursive: true, encoding: 'utf8' })
    .some((name) => /^[^/]+\/(?:journal-|log-|data\/)/.test(name));
}

/** The folder of a layer of the mount in `dir`. */
export function layerDir(dir: string, id: number): string {
  return path.join(dir, 'layers', String(id));
}
