import { isOfShape, type ManifestRoot } from '../core/index.js';
import {
  BASE_VERSION_SHAPE,
  RETAINED_SHAPE,
  type BaseVersion,
  type RetainedStack,
  type StackState,
} from '../upper/index.js';
import type { MountFolder } from './mount-folder.js';

const FILE = 'base.json';

/** The stack of a read-only mount, which has no layers: a manifest, and those that open files still read from. Kept as `LayerSet` keeps its own. */
export class ReadOnlyStack {
  readonly #folder: MountFolder;
  #state: StackState;

  /** @param base what the mount stands on where its folder does not say. */
  constructor(folder: MountFolder, base: BaseVersion) {
    this.#folder = folder;
    this.#state = ReadOnlyStack.stateIn(folder) ?? { base, retained: [] };
  }

  /** What the folder says; undefined while nothing was mounted read-only here. Throws `corrupt`. */
  static stateIn(folder: MountFolder): StackState | undefined {
    const read = folder.readJson(FILE, BASE_VERSION_SHAPE) as
      (BaseVersion & Partial<Omit<StackState, 'base'>>) | undefined;
    if (read === undefined) return undefined;
    const { workspace, seq, root, retained, movedFrom } = read;
    return {
      base: { workspace, seq, root },
      // An earlier release wrote neither.
      retained: isOfShape(retained, [RETAINED_SHAPE]) ? (retained ?? []) : [],
      ...(isOfShape(movedFrom, 'digest') && movedFrom !== undefined && { movedFrom }),
    };
  }

  /** What a mount stands on, for the daemon that takes over: the head may have moved since. */
  static write(folder: MountFolder, { base, ...moves }: StackState): void {
    folder.writeJson(FILE, { ...base, ...moves });
  }

  get state(): Readonly<StackState> {
    return this.#state;
  }

  /** The mount goes over to `base`. Until `settle` the kernel may have old knowledge. */
  move(base: BaseVersion, retained: RetainedStack[]): void {
    const movedFrom: ManifestRoot = this.#state.base.root;
    this.#write({ base, retained, movedFrom });
  }

  /** The kernel knows all of the last `move`. */
  settle(): void {
    const { base, retained } = this.#state;
    this.#write({ base, retained });
  }

  #write(state: StackState): void {
    ReadOnlyStack.write(this.#folder, state);
    this.#state = state;
  }
}
