import {
  CairnError,
  isDirectory,
  isRegular,
  ROOT_INO,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  type ErrorCode,
} from '../../src/core/index.js';
import { walk, type ManifestReader } from '../../src/manifest/index.js';
import type { EntryAttributes, PathChange } from '../../src/snapshot/index.js';

/** What is at a path; of hard links the same object at each. */
interface Node {
  /** Undefined: made by a change. */
  ino: number | undefined;
  mode: number;
  uid: number;
  gid: number;
  size: number;
  mtime: string;
  content: string | undefined;
  target: string | undefined;
}

type Seen = Node & { nlink: number };

/** A tree as a map of paths (latin1 text, the root's empty), changed as the documentation of `PathChange` says. */
export class PathModel {
  readonly nodes = new Map<string, Node>();
  readonly #now: string;
  readonly #dated = new Set<Node>();

  constructor(base: ManifestReader, now: { sec: number; nsec: number }) {
    this.#now = timeText(now);
    const byIno = new Map<number, Node>();
    for (const [path, seen] of readTree(base)) {
      const known = byIno.get(seen.ino ?? 0) ?? seen;
      byIno.set(seen.ino ?? 0, known);
      this.nodes.set(path, known);
    }
  }

  /** What `ChangedTree` is to have made of it, with numbers only where they are the base's. */
  tree(): Map<string, Seen> {
    return new Map(
      [...this.nodes].map(([path, node]) => [path, { ...node, nlink: this.#links(path, node) }]),
    );
  }

  /** The code of the error the change is to be refused with, after what it does before that. */
  apply(change: PathChange): ErrorCode | undefined {
    try {
      this.#apply(change);
      return undefined;
    } catch (error) {
      if (error instanceof CairnError) return error.code;
      throw error;
    }
  }

  #apply(change: PathChange): void {
    const path = change.path.toString('latin1');
    const makes = change.kind === 'put' || change.kind === 'mkdir' || change.kind === 'symlink';
    if (path !== '') this.#walkTo(path, makes);
    const there = this.nodes.get(path);
    if (!makes && there === undefined) throw new CairnError('not-found', path);
    if (change.kind === 'mkdir' && there !== undefined && !isDirectory(there.mode))
      throw new CairnError('conflict', path);
    if (
      (change.kind === 'put' || change.kind === 'symlink') &&
      there !== undefined &&
      isDirectory(there.mode)
    ) {
      throw new CairnError('conflict', path);
    }
    switch (change.kind) {
      case 'delete':
        if (path === '') throw new CairnError('usage', path);
        for (const other of [...this.nodes.keys()]) {
          if (other === path || other.startsWith(`${path}/`)) this.nodes.delete(other);
        }
        this.#moved(parentOf(path));
        return;
      case 'put': {
        const { size, content } = change;
        let node = there !== undefined && isRegular(there.mode) ? there : this.#add(path, S_IFREG | 0o644);
        if (node.content !== content.id) {
          if (node === there) Object.assign(node, { mode: node.mode & ~0o6000, mtime: this.#now });
          node = Object.assign(node, { size, content: content.id });
        }
        setAttributes(node, change);
        return;
      }
      case 'symlink': {
        const target = change.target.toString('latin1');
        const node = there?.target === target ? there : this.#add(path, S_IFLNK | 0o777);
        Object.assign(node, { target, size: target.length });
        setAttributes(node, { ...change, mode: 0o777 });
        return;
      }
      case 'mkdir':
      case 'set': {
        const node = there ?? this.#add(path, S_IFDIR | 0o755);
        if (isDirectory(node.mode) && change.mtime !== undefined) this.#dated.add(node);
        setAttributes(node, (node.mode & S_IFMT) === S_IFLNK ? { ...change, mode: 0o777 } : change);
        return;
      }
    }
  }

  #walkTo(path: string, makes: boolean): void {
    const names = path.split('/');
    for (let depth = 1; depth < names.length; depth++) {
      const way = names.slice(0, depth).join('/');
      const node = this.nodes.get(way);
      if (node === undefined && makes) this.#add(way, S_IFDIR | 0o755);
      else if (node === undefined || !isDirectory(node.mode)) {
        throw new CairnError(makes ? 'conflict' : 'not-found', way);
      }
    }
  }

  #add(path: string, mode: number): Node {
    const { uid = 0, gid = 0 } = this.nodes.get(parentOf(path)) ?? {};
    const node: Node = {
      ino: undefined,
      mode,
      uid,
      gid,
      size: 0,
      mtime: this.#now,
      content: undefined,
      target: undefined,
    };
    this.nodes.set(path, node);
    this.#moved(parentOf(path));
    return node;
  }

  #moved(directory: string): void {
    const node = this.nodes.get(directory);
    if (node !== undefined && !this.#dated.has(node)) node.mtime = this.#now;
  }

  #links(path: string, node: Node): number {
    if (!isDirectory(node.mode)) return [...this.nodes.values()].filter((other) => other === node).length;
    const below = path === '' ? '' : `${path}/`;
    const isBelow = (other: string): boolean =>
      other !== '' && other.startsWith(below) && !other.slice(below.length).includes('/');
    return 2 + [...this.nodes].filter(([other, { mode }]) => isBelow(other) && isDirectory(mode)).length;
  }
}

/** A version's tree as the model has it. */
export function readTree(reader: ManifestReader): Map<string, Seen> {
  const seen = new Map<string, Seen>();
  const root = reader.inode(ROOT_INO);
  const add = (path: string, inode: NonNullable<typeof root>): void => {
    seen.set(path, {
      ino: inode.ino,
      mode: inode.mode,
      uid: inode.uid,
      gid: inode.gid,
      size: inode.size,
      mtime: timeText({ sec: inode.mtimeSec, nsec: inode.mtimeNsec }),
      content: reader.content(inode.ino),
      target: reader.symlink(inode.ino)?.toString('latin1'),
      nlink: inode.nlink,
    });
  };
  if (root !== undefined) add('', root);
  for (const { path, inode } of walk(reader, ROOT_INO)) add(path.toString('latin1'), inode);
  return seen;
}

function setAttributes(node: Node, { mode, uid, gid, mtime }: EntryAttributes): void {
  if (mode !== undefined) node.mode = (node.mode & S_IFMT) | mode;
  if (uid !== undefined) node.uid = uid;
  if (gid !== undefined) node.gid = gid;
  if (mtime !== undefined) node.mtime = timeText(mtime);
}

const timeText = ({ sec, nsec }: { sec: number; nsec: number }): string => `${String(sec)}.${String(nsec)}`;

const parentOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf('/')));
