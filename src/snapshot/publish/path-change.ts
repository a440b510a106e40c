import { CairnError, NAME_MAX_BYTES } from '../../core/index.js';
import type { FileContent } from '../../manifest/index.js';
import { pathText } from '../path-text.js';

/** What a change says of an entry besides what it holds; what is left out stays, and of what is new is chosen. */
export interface EntryAttributes {
  /** Permission bits. */
  mode?: number;
  uid?: number;
  gid?: number;
  mtime?: { sec: number; nsec: number };
}

/**
 * A change of one path (raw bytes, relative, `/`-separated), as of a program that works on the tree: folders on the way that are not there are made, and
 * symbolic links are not followed.
 *
 * - `put`: a regular file with this content. A file that is there goes on: its inode, its other names, its attributes.
 * - `mkdir`: a folder, or the one that is there with these attributes.
 * - `symlink`: a symbolic link; a file that is there is replaced.
 * - `set`: the attributes of what is there.
 * - `delete`: what is there, with everything in it.
 */
export type PathChange = { path: Buffer } & (
  | ({ kind: 'put'; size: number; content: FileContent } & EntryAttributes)
  | ({ kind: 'mkdir' } & EntryAttributes)
  | ({ kind: 'symlink'; target: Buffer } & EntryAttributes)
  | ({ kind: 'set' } & EntryAttributes)
  | { kind: 'delete' }
);

const SLASH = 0x2f;
const DOT = 0x2e;

/** The names a path is made of, from the root on; none for the root. Throws `usage` for what is no path of a tree. */
export function namesOfPath(path: Buffer): Buffer[] {
  const names: Buffer[] = [];
  for (let start = 0; start < path.length;) {
    let end = path.indexOf(SLASH, start);
    if (end === -1) end = path.length;
    const name = path.subarray(start, end);
    if (!isName(name) || end === path.length - 1) {
      throw new CairnError('usage', `"${pathText(path)}" is not a path of a workspace`, {
        hint: `relative, names of 1 to ${String(NAME_MAX_BYTES)} bytes with one / between them, none of them . or ..`,
      });
    }
    names.push(name);
    start = end + 1;
  }
  return names;
}

function isName(name: Buffer): boolean {
  if (name.length === 0 || name.length > NAME_MAX_BYTES || name.includes(0)) return false;
  return !(name[0] === DOT && (name.length === 1 || (name.length === 2 && name[1] === DOT)));
}
