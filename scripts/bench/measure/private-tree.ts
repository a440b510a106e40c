import { mkdir, readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { TimedCommands } from './timed-commands.js';

/**
 * Copies a tree, with owners, modes and times, or as many of its first files as are wanted, into a folder of the benchmark's own: it
 * changes files. Returns the copy's path.
 */
export async function copyTree(
  commands: TimedCommands,
  from: string,
  folder: string,
  wantedFiles: number,
): Promise<string> {
  const copy = path.join(folder, 'tree');
  const list = path.join(folder, 'names');
  await mkdir(copy);
  await writeFile(list, (await firstNames(from, wantedFiles)).map((name) => `${name}\0`).join(''));
  const pack = 'tar -C "$1" --null --verbatim-files-from --no-recursion -T "$2" -cf -';
  await commands.shell(`${pack} | tar -C "$3" -xpf -`, [from, list, copy]);
  return copy;
}

/** Names in the order of a depth-first walk, directories before what is in them, until there are enough files. */
async function firstNames(root: string, wantedFiles: number): Promise<string[]> {
  const names: string[] = [];
  let files = 0;
  const walk = async (directory: string): Promise<void> => {
    const entries = await readdir(path.join(root, directory), { withFileTypes: true });
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      if (files >= wantedFiles) return;
      const name = path.join(directory, entry.name);
      names.push(name);
      if (entry.isDirectory()) await walk(name);
      else if (entry.isFile()) files += 1;
    }
  };
  await walk('.');
  return names;
}
