import path from 'node:path';
import type { TimedCommands } from '../measure/timed-commands.js';
import { PeerMount } from './peer-mount.js';
import type { Place } from './place.js';

/** squashfuse_ll: the tree in an image, compressed with what the blocks of CairnFS are compressed with. */
export class SquashfuseMount {
  readonly system = 'squashfuse_ll';
  readonly mount: PeerMount;
  readonly #commands: TimedCommands;
  readonly #image: string;

  constructor(commands: TimedCommands, folder: string) {
    this.#commands = commands;
    this.#image = path.join(folder, 'image');
    this.mount = new PeerMount(path.join(folder, 'mnt-squashfuse'));
  }

  async mountFolder(tree: string): Promise<Place> {
    const compression = ['-comp', 'zstd', '-Xcompression-level', '3'];
    await this.#commands.run('mksquashfs', [tree, this.#image, ...compression, '-quiet', '-no-progress']);
    await this.mount.mount(this.system, [this.#image, this.mount.mountpoint]);
    return { system: this.system, tree: this.mount.mountpoint, symlinks: true, once: false };
  }
}
