import { createHash } from 'node:crypto';
import type { BlockStore } from '../../src/blocks/index.js';
import {
  isDirectory,
  isRegular,
  isSymlink,
  ROOT_INO,
  type Clock,
  type Ino,
  type InodeAttributes,
} from '../../src/core/index.js';
import type { FileSystem } from '../../src/vfs/index.js';

/** A clock that stands still until it is told otherwise. */
export class StoppedClock implements Clock {
  #sec = 1_700_000_000;

  now(target: { sec: number; nsec: number }): void {
    target.sec = this.#sec;
    target.nsec = this.#sec % 1000;
  }

  advance(): void {
    this.#sec += 1;
  }
}

/** All that a tree holds of one inode; `content` is the SHA-256 of a regular file's bytes. */
export interface TreeEntry {
  attributes: InodeAttributes;
  content?: string;
  target?: string;
  xattrs: Record<string, string>;
}

/** Every path (latin1) of a file system, the root as the empty one. */
export async function treeOf(fileSystem: FileSystem, blocks: BlockStore): Promise<Map<string, TreeEntry>> {
  const tree = new Map<string, TreeEntry>();
  const seen = new Map<Ino, TreeEntry>();
  const visit = async (path: string, ino: Ino): Promise<void> => {
    const entry = seen.get(ino) ?? (await entryOf(fileSystem, blocks, ino));
    seen.set(ino, entry);
    tree.set(path, entry);
    if (!isDirectory(entry.attributes.mode)) return;
    for (const child of listing(fileSystem, ino)) await visit(`${path}/${child.name}`, child.ino);
  };
  await visit('', ROOT_INO);
  return new Map([...tree].sort(([a], [b]) => (a < b ? -1 : 1)));
}

export async function entryOf(fileSystem: FileSystem, blocks: BlockStore, ino: Ino): Promise<TreeEntry> {
  const attributes = attributesOf(fileSystem.inode(ino));
  const entry: TreeEntry = { attributes, xattrs: xattrsOf(fileSystem, ino) };
  if (isSymlink(attributes.mode)) entry.target = fileSystem.readlink(ino).toString('latin1');
  if (isRegular(attributes.mode)) {
    const hash = createHash('sha256');
    const step = 1024 * 1024;
    for (let offset = 0; offset < attributes.size; offset += step) {
      hash.update(await readBytes(fileSystem, blocks, ino, offset, Math.min(step, attributes.size - offset)));
    }
    entry.content = hash.digest('hex');
  }
  return entry;
}

/** What `read` answers, its blocks fetched. */
export async function readBytes(
  fileSystem: FileSystem,
  blocks: BlockStore,
  ino: Ino,
  offset: number,
  length: number,
): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for (const part of fileSystem.read(ino, offset, length)) {
    if (part.kind === 'zeros') pieces.push(Buffer.alloc(part.length));
    else if (part.kind === 'bytes') pieces.push(part.bytes);
    else {
      const raw = await blocks.get(part.block);
      pieces.push(raw.subarray(part.blockOffset, part.blockOffset + part.length));
    }
  }
  return Buffer.concat(pieces);
}

export interface Listed {
  cookie: number;
  name: string;
  ino: Ino;
}

/** A whole directory, in its own order, asked for `page` entries at a time. */
export function listing(fileSystem: FileSystem, ino: Ino, page = 7): Listed[] {
  const entries: Listed[] = [];
  for (;;) {
    let offered = 0;
    fileSystem.list(ino, entries.at(-1)?.cookie ?? 0, (cookie, name, entryIno) => {
      offered += 1;
      if (offered <= page) entries.push({ cookie, name: name.toString('latin1'), ino: entryIno });
      return offered <= page;
    });
    if (offered <= page) return entries;
  }
}

/** A copy without the columns a layer adds. */
export function attributesOf(inode: InodeAttributes): InodeAttributes {
  const { ino, mode, uid, gid, size, nlink, rdev } = inode;
  const { mtimeSec, mtimeNsec, ctimeSec, ctimeNsec, btimeSec, btimeNsec } = inode;
  const times = { mtimeSec, mtimeNsec, ctimeSec, ctimeNsec, btimeSec, btimeNsec };
  return { ino, mode, uid, gid, size, nlink, rdev, ...times };
}

export function xattrsOf(fileSystem: FileSystem, ino: Ino): Record<string, string> {
  const names = fileSystem.listXattrs(ino).toString('latin1').split('\0').slice(0, -1).sort();
  return Object.fromEntries(
    names.map((name) => [name, fileSystem.getXattr(ino, Buffer.from(name, 'latin1')).toString('hex')]),
  );
}
