import { lstat, readdir } from 'node:fs/promises';
import path from 'node:path';

export interface TreeCounts {
  files: number;
  directories: number;
  symlinks: number;
  size_bytes: number;
}

/** Counts what is below `root`, itself not included. A hard-linked file counts once per name. */
export async function countTree(root: string): Promise<TreeCounts> {
  const counts: TreeCounts = { files: 0, directories: 0, symlinks: 0, size_bytes: 0 };
  const pending = [root];
  for (let directory = pending.pop(); directory !== undefined; directory = pending.pop()) {
    for (const entry of await readdir(directory, { withFileTypes: true })) {
      const entryPath = path.join(directory, entry.name);
      if (entry.isDirectory()) {
        counts.directories += 1;
        pending.push(entryPath);
      } else if (entry.isSymbolicLink()) {
        counts.symlinks += 1;
      } else {
        counts.files += 1;
        counts.size_bytes += (await lstat(entryPath)).size;
      }
    }
  }
  return counts;
}
