import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setImmediate } from 'node:timers/promises';

const FILES_PER_FOLDER = 100;
const FOLDERS_PER_FOLDER = 100;
const FILE_BYTES = 100;

/** The path of a file in a tree that `makeManyFiles` makes. */
export function pathOfFile(index: number): string {
  const folder = Math.floor(index / FILES_PER_FOLDER);
  return `${Math.floor(folder / FOLDERS_PER_FOLDER)}/${folder}/${index}.txt`;
}

/** Makes a tree of files of 100 bytes, each with content of its own. Returns how many directories are in it. */
export async function makeManyFiles(root: string, files: number, signal: AbortSignal): Promise<number> {
  let directories = 0;
  for (let first = 0; first < files; first += FILES_PER_FOLDER) {
    signal.throwIfAborted();
    const folder = path.dirname(path.join(root, pathOfFile(first)));
    // One or two: the last part of the path, and the one above it where this is the first in it.
    const made = mkdirSync(folder, { recursive: true });
    directories += made === folder ? 1 : 2;
    for (let index = first; index < Math.min(first + FILES_PER_FOLDER, files); index++) {
      writeFileSync(path.join(root, pathOfFile(index)), `${index} `.padEnd(FILE_BYTES, 'x'));
    }
    await setImmediate();
  }
  return directories;
}
