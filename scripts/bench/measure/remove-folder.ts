import { readFile, rm } from 'node:fs/promises';

/** Removes a folder of the benchmark, but not through a mount that could not be taken away: then it stays, and this throws. */
export async function removeFolder(folder: string): Promise<void> {
  const mounts = await readFile('/proc/self/mountinfo', 'utf8');
  if (mounts.includes(` ${folder}/`)) throw new Error(`something is still mounted in ${folder}`);
  await rm(folder, { recursive: true, force: true });
}
