import { readFile } from 'node:fs/promises';

/** One mount as this process sees it. */
export interface MountEntry {
  mountpoint: string;
  /** `major:minor`: of `st_dev`, and of the bdi. */
  device: string;
  /** `fuse.cairn`, `ext4` … */
  type: string;
  source: string;
}

/** Reads /proc/self/mountinfo (proc_pid_mountinfo(5)). Asking the table, unlike stat(2), never waits for a file system. */
async function mountTable(): Promise<MountEntry[]> {
  return parseMountInfo(await readFile('/proc/self/mountinfo', 'latin1'));
}

/** The topmost mount at exactly this absolute path. */
export async function mountAt(mountpoint: string): Promise<MountEntry | undefined> {
  return (await mountTable()).findLast((entry) => entry.mountpoint === mountpoint);
}

function parseMountInfo(text: string): MountEntry[] {
  const entries: MountEntry[] = [];
  for (const line of text.split('\n')) {
    const [left, right] = line.split(' - ');
    const [, , device, , mountpoint] = (left ?? '').split(' ');
    const [type, source] = (right ?? '').split(' ');
    if (device === undefined || mountpoint === undefined || type === undefined) continue;
    entries.push({ mountpoint: unescape(mountpoint), device, type, source: unescape(source ?? '') });
  }
  return entries;
}

/** Space, tab, newline and backslash stand as three octal digits; everything else is raw bytes. */
function unescape(field: string): string {
  const bytes = field.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(parseInt(digits, 8)),
  );
  return Buffer.from(bytes, 'latin1').toString('utf8');
}
