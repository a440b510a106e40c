import { realpath } from 'node:fs/promises';
import { resolve, sep } from 'node:path';
import { CairnError } from '../core/index.js';
import type { MountControl } from '../daemon/index.js';

interface Mount {
  mountpoint: string;
  workspace: string;
  alive: boolean;
}

function isWithin(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder.endsWith(sep) ? folder : folder + sep);
}

/**
 * The mount a path is in: any path inside a mount names it. The path as it was typed comes first, because resolving it asks
 * the mount itself, which may be dead. Throws `not-found`.
 */
async function findMount(home: string, path: string): Promise<Mount> {
  const { listMounts } = await import('../daemon/index.js');
  const mounts: Mount[] = await listMounts(home);
  const innermost = (candidate: string): Mount | undefined =>
    mounts
      .filter(({ mountpoint }) => isWithin(candidate, mountpoint))
      .sort((a, b) => Number(b.alive) - Number(a.alive) || b.mountpoint.length - a.mountpoint.length)[0];

  const typed = resolve(path);
  const found = innermost(typed) ?? innermost(await realpath(typed).catch(() => typed));
  if (found !== undefined) return found;
  throw new CairnError('not-found', `nothing is mounted at ${typed}`, {
    hint: 'cairn mount without arguments lists the mounts',
  });
}

/** Runs `work` with the control of the mount that `path` is in. */
export async function withMount<Result>(
  home: string,
  path: string,
  work: (control: MountControl, mount: Mount) => Promise<Result>,
): Promise<Result> {
  const { connectMount } = await import('../daemon/index.js');
  const mount = await findMount(home, path);
  const control = await connectMount(home, mount.mountpoint);
  try {
    return await work(control, mount);
  } finally {
    control.close();
  }
}
