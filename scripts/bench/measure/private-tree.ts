import { mkdir, readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { TimedCommands } from './timed-commands.js';

/** Of the folders that `copyFirstFiles` begins with, where they are there: the job that starts a tool needs one. */
const FIRST = ['typescript', 'node_modules/typescript'];

/** Copies a tree, with owners, modes and times. `to` is made. */
export async function copyTree(commands: TimedCommands, from: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true });
  await commands.shell('tar -C "$1" -cf - . | tar -C "$2" -xpf -', [from, to]);
}

/** The same with no more than `wantedFiles` files. */
export async function copyFirstFiles(
  commands: TimedCommands,
  from: string,
  to: string,
  wantedFiles: number,
): Promise<void> {
  const list = `${to}.names`;
  await mkdir(to, { recursive: true });
  await writeFile(list, (await firstNames(from, wantedFiles)).map((name) => `${name}\0`).join(''));
  const pack = 'tar -C "$1" --null --verbatim-files-from --no-recursion -T "$2" -cf -';
  await commands.shell(`${pack} | tar -C "$3" -xpf -`, [from, list, to]);
}

/** Names in the order of a depth-first walk, directories before what is in them, until there are enough files. */
async function firstNames(root: string, wantedFiles: number): Promise<string[]> {
  const names: string[] = [];
  const seen = new Set<string>();
  let files = 0;
  const walk = async (directory: string): Promise<void> => {
    const entries = await readdir(path.join(root, directory), { withFileTypes: true }).catch(() => []);
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      if (files >= wantedFiles) return;
      const name = path.join(directory, entry.name);
      if (seen.has(name)) continue;
      seen.add(name);
      names.push(name);
      if (entry.isDirectory()) await walk(name);
      else if (entry.isFile()) files += 1;
    }
  };
  for (const directory of FIRST) await walk(directory);
  await walk('.');
  return names;
}
