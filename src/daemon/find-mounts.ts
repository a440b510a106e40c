import { CairnError } from '../core/index.js';
import { isAlive } from './control-socket.js';
import type { MountControl } from './mount-control.js';
import { MountFolder } from './mount-folder.js';

/*
 * What these need is loaded when they are called: this file comes with the door of the folder, and starting a mount should wait for nothing
 * it has no use for.
 */

export interface ListedMount {
  mountpoint: string;
  workspace: string;
  /** The version it stands on; undefined when it was never mounted. */
  seq: number | undefined;
  /** False: it ended, and left edits. */
  alive: boolean;
}

/** The control of what is mounted at a mountpoint. Throws `not-found` when nothing of this home is. */
export async function connectMount(home: string, mountpoint: string): Promise<MountControl> {
  const { ControlClient } = await import('./control-client.js');
  const { mountAt } = await import('../fuse/index.js');
  for (const folder of MountFolder.list(home)) {
    const request = folder.request();
    if (request?.mountpoint !== mountpoint) continue;
    if ((await mountAt(mountpoint)) !== undefined) return new ControlClient(folder, mountpoint);
  }
  throw new CairnError('not-found', `nothing is mounted at ${mountpoint}`, {
    hint: 'cairn mount without arguments lists the mounts',
  });
}

/** Every mount of a home folder, with those that ended and left edits (`alive` false). */
export async function listMounts(home: string): Promise<ListedMount[]> {
  const { LayerSet } = await import('../upper/index.js');
  const mounts: ListedMount[] = [];
  for (const folder of MountFolder.list(home)) {
    const request = folder.request();
    if (request === undefined) continue;
    const { mountpoint, workspace } = request;
    const base = request.readOnly ? folder.base() : LayerSet.read(folder.dir)?.base;
    mounts.push({ mountpoint, workspace, seq: base?.seq, alive: await isAlive(folder) });
  }
  return mounts;
}
