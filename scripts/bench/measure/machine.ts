import { execFileSync } from 'node:child_process';
import { readFileSync, statfsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { cpus, loadavg, release, totalmem } from 'node:os';
import prettyBytes from 'pretty-bytes';

/** In one line. */
export function describeMachine(): string {
  const processor = cpus()[0]?.model ?? 'unknown processor';
  const memory = prettyBytes(totalmem(), { binary: true });
  return `${cpus().length} cores (${processor}), ${memory}, Linux ${release()}, Node ${process.version}`;
}

/** Of the last minute, as in proc_loadavg(5): with nothing else running it is about 0 before the benchmark. */
export function loadAverage(): number {
  return loadavg()[0] ?? 0;
}

export const mayDropCaches = process.getuid?.() === 0;
export const CACHES_STAY = 'only root may drop the caches of the kernel';

/** Makes the kernel forget file contents, names and inodes that it holds in memory (proc_sys_vm(5)). Only root may. */
export async function dropCaches(): Promise<void> {
  execFileSync('sync');
  await writeFile('/proc/sys/vm/drop_caches', '3');
}

/** From the mount that is nearest to the folder (proc_pid_mountinfo(5)), else the number that statfs(2) gives. */
export function fileSystemName(folder: string): string {
  let nearest = { mountpoint: '', type: `type 0x${statfsSync(folder).type.toString(16)}` };
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').trimEnd().split('\n')) {
    const [left = '', right = ''] = line.split(' - ');
    const mountpoint = left.split(' ')[4] ?? '';
    const inIt = mountpoint === '/' || folder === mountpoint || folder.startsWith(`${mountpoint}/`);
    if (inIt && mountpoint.length >= nearest.mountpoint.length) {
      nearest = { mountpoint, type: right.split(' ')[0] ?? '' };
    }
  }
  return nearest.type;
}
