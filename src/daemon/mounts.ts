import { CairnError, messageOf } from '../core/index.js';
import { ControlClient } from './control-client.js';
import { isAlive } from './control-socket.js';
import type { MountControl, MountedAs, MountRequest } from './mount-control.js';
import { MountFolder } from './mount-folder.js';

/*
 * What these need is loaded when they are called: this file comes with the door of the folder, and starting a mount should wait for nothing
 * it has no use for.
 */

/**
 * Mounts. Resolves when the mount answers; its processes go on without the caller, unless `foreground` makes the caller the supervisor, which
 * then lives as long as the mount. On failure nothing stays mounted.
 *
 * Throws what keeps a mount from being made: `not-found` (workspace, version, mountpoint), `conflict` (mounted, in use, edits of another
 * version), `unsupported` (no FUSE), `access-denied`, `unreachable`, `corrupt`.
 */
export async function startMount(request: MountRequest): Promise<MountedAs> {
  const { launchMount } = await import('./launch-mount.js');
  return await launchMount(request);
}

/**
 * Replaces the processes of a mount by those of this release, while programs use it: they see a pause, as when the daemon dies. What was asked for when it
 * was mounted stays; the environment is the caller's. If the new ones do not come up, the old ones go on, and this throws why.
 */
export async function takeOverMount(home: string, mountpoint: string): Promise<MountedAs> {
  const { launchTakeover } = await import('./launch-mount.js');
  return await launchTakeover(home, mountpoint);
}

/**
 * Clears what is left at a mountpoint of this home when all processes of its mount were killed. False when that is no mount of this home. To be
 * called for a mountpoint that says ENOTCONN.
 */
export async function clearDead(home: string, mountpoint: string): Promise<boolean> {
  const { clearDeadMount, mountAt } = await import('../fuse/index.js');
  const entry = await mountAt(mountpoint);
  if (entry?.type !== 'fuse.cairn' || !knownMountpoints(home).includes(mountpoint)) return false;
  await clearDeadMount(mountpoint);
  return true;
}

export interface ListedMount {
  mountpoint: string;
  workspace: string;
  /** The version it stands on; undefined when it was never mounted. */
  seq: number | undefined;
  /** False: it ended, and left edits. */
  alive: boolean;
  /** What is damaged of its folder, where that is. */
  problem: string | undefined;
}

/** The mountpoints a home folder knows of: of mounts, and of those that ended and left edits. */
export function knownMountpoints(home: string): string[] {
  return MountFolder.list(home).flatMap((folder) => requestOf(folder)?.mountpoint ?? []);
}

/** The control of what is mounted at the first of the mountpoints that is one. Throws `not-found` when nothing of this home is. */
export async function connectMount(home: string, mountpoints: readonly string[]): Promise<MountControl> {
  const folders = MountFolder.list(home).map((folder) => ({ folder, request: requestOf(folder) }));
  for (const mountpoint of mountpoints) {
    const here = folders.flatMap(({ folder, request }) =>
      request?.mountpoint === mountpoint ? [new ControlClient(folder, request)] : [],
    );
    for (const client of here) if (await client.isAlive()) return client;
    // One whose daemon does not answer: it is being started again, or the mount is dead and waits to be unmounted.
    for (const client of here) if (await client.isMounted()) return client;
  }
  throw new CairnError('not-found', `nothing is mounted at ${mountpoints.join(' or ')}`, {
    hint: 'cairn mount without arguments lists the mounts',
  });
}

/** Every mount of a home folder, with those that ended and left edits (`alive` false). */
export async function listMounts(home: string): Promise<ListedMount[]> {
  const [{ LayerSet }, { ReadOnlyStack }] = await Promise.all([
    import('../upper/index.js'),
    import('./read-only-stack.js'),
  ]);
  const mounts: ListedMount[] = [];
  for (const folder of MountFolder.list(home)) {
    const request = requestOf(folder);
    if (request === undefined) continue;
    const { mountpoint, workspace, readOnly } = request;
    const alive = await isAlive(folder);
    try {
      const base = readOnly ? ReadOnlyStack.stateIn(folder)?.base : LayerSet.read(folder.dir)?.base;
      mounts.push({ mountpoint, workspace, seq: base?.seq, alive, problem: undefined });
    } catch (error) {
      mounts.push({ mountpoint, workspace, seq: undefined, alive, problem: messageOf(error) });
    }
  }
  return mounts;
}

/** Whether a mount of the folder is there, or a daemon is at work in it. */
export async function isMountInUse(dir: string): Promise<boolean> {
  const folder = new MountFolder(dir);
  if (await isAlive(folder)) return true;
  const request = requestOf(folder);
  return request !== undefined && (await new ControlClient(folder, request).isMounted());
}

/** One that cannot be read is nobody's, and no reason not to find the others. `cairn fsck` tells. */
function requestOf(folder: MountFolder): MountRequest | undefined {
  try {
    return folder.request();
  } catch {
    return undefined;
  }
}
