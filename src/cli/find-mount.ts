import { realpath } from 'node:fs/promises';
import { resolve, sep } from 'node:path';
import { connectMount, knownMountpoints, type MountControl } from '../daemon/index.js';

function isWithin(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder.endsWith(sep) ? folder : folder + sep);
}

/**
 * Runs `work` with the control of the mount that `path` is in: any path inside a mount names it. The path as it was typed comes first, because
 * resolving it asks the mount itself, which may be dead. Throws `not-found`.
 */
export async function withMount<Result>(
  home: string,
  path: string,
  work: (control: MountControl) => Promise<Result>,
): Promise<Result> {
  const mountpoints = knownMountpoints(home).sort((a, b) => b.length - a.length);
  const around = (place: string): string[] => mountpoints.filter((mountpoint) => isWithin(place, mountpoint));
  const typed = resolve(path);
  let candidates = around(typed);
  if (candidates.length === 0) candidates = around(await realpath(typed).catch(() => typed));
  const control = await connectMount(home, candidates.length === 0 ? [typed] : candidates);
  try {
    return await work(control);
  } finally {
    control.close();
  }
}
