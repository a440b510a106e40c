import type { ManifestRoot } from '../core/index.js';
import type { BaseVersion, RetainedStack, StackState } from '../upper/index.js';
import type { MountFolder } from './mount-folder.js';

/** The stack of a read-only mount, which has no layers: a manifest, and those that open files still read from. Kept as `LayerSet` keeps its own. */
export class ReadOnlyStack {
  readonly #folder: MountFolder;
  #state: StackState;

  /** @param base what the mount stands on where its folder does not say. */
  constructor(folder: MountFolder, base: BaseVersion) {
    this.#folder = folder;
    this.#state = folder.stack() ?? { base, retained: [] };
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
    this.#folder.writeStack(state);
    this.#state = state;
  }
}
