import { readFile } from 'node:fs/promises';
import { TimedCommands } from './timed-commands.js';

/** Removes a folder of the benchmark, but not through a mount that could not be taken away: then it stays, and this throws. */
export async function removeFolder(folder: string): Promise<void> {
  if ((await mountedBelow(folder)).length > 0) throw new Error(`something is still mounted in ${folder}`);
  // An interruption is no reason to leave it.
  await new TimedCommands(new AbortController().signal).run('rm', ['-rf', folder]);
}

/** Mountpoints in a folder, the folder itself included (proc_pid_mountinfo(5)). */
export async function mountedBelow(folder: string): Promise<string[]> {
  const lines = (await readFile('/proc/self/mountinfo', 'utf8')).trimEnd().split('\n');
  return lines
    .map((line) => line.split(' ')[4] ?? '')
    .filter((mountpoint) => mountpoint === folder || mountpoint.startsWith(`${folder}/`));
}
