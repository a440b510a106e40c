import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import {
  ROOT_INO,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFREG,
  isDirectory,
  isRegular,
  isSymlink,
  type Ino,
  type InodeAttributes,
} from '../../src/core/index.js';
import {
  createManifest,
  openManifest,
  walk,
  type ManifestReader,
  type XattrRow,
} from '../../src/manifest/index.js';
import type { MergeSides } from '../../src/merge/index.js';
import { contentIdFor, inodeWith } from '../manifest/trees.js';
import { checkedMerge, type Merged } from './checked-merge.js';

/**
 * A tree by path: `'a/': '2'` is a directory with the inode number 2, `'a/file': '3 text'` a file with its content,
 * `'link': '4 -> target'` a symbolic link, `'pipe': '5 |'` a fifo; one number at several paths is one file. After that what is not
 * as usual: `mode=600 uid=7 gid=7 mtime=9 ctime=9 btime=9 user.name=value`. The root is `''`, and need not be there.
 */
export type Tree = Record<string, string>;

/** From here on, by inode number. */
const USUAL_BTIME = inodeWith(0, 0).btimeSec;
const USUAL = { uid: 1000, gid: 1000, mtime: 1, ctime: 1 };
const FIRST_COOKIE = 3;

/** Above all numbers in literals: what a merge makes anew is numbered from here on. */
const NEXT_INO = 1000;
const NEXT_COOKIE = 100_000;

interface Parsed {
  attributes: InodeAttributes;
  text: string | undefined;
  target: string | undefined;
  xattrs: XattrRow[];
}

function parse(path: string, literal: string): Parsed {
  const words = literal.split(' ');
  const ino = Number(words.shift());
  const given: Record<string, number> = {};
  const xattrs: XattrRow[] = [];
  while (words.at(-1)?.includes('=') === true) {
    const [key = '', value = ''] = words.pop()?.split('=') ?? [];
    if (key.startsWith('user.')) xattrs.unshift({ name: Buffer.from(key), value: Buffer.from(value) });
    else given[key] = parseInt(value, key === 'mode' ? 8 : 10);
  }
  const target = words[0] === '->' ? words[1] : undefined;
  const isFolder = path === '' || path.endsWith('/');
  const isFifo = words[0] === '|';
  const type = isFolder ? S_IFDIR : target !== undefined ? S_IFLNK : isFifo ? S_IFIFO : S_IFREG;
  const text = type === S_IFREG ? words.join(' ') : undefined;
  const attributes = inodeWith(ino, type | (given['mode'] ?? usualMode(type)), {
    uid: given['uid'] ?? USUAL.uid,
    gid: given['gid'] ?? USUAL.gid,
    size: (text ?? target ?? '').length,
    mtimeSec: given['mtime'] ?? USUAL.mtime,
    ctimeSec: given['ctime'] ?? USUAL.ctime,
    ...(given['btime'] === undefined ? {} : { btimeSec: given['btime'] }),
  });
  return { attributes, text, target, xattrs };
}

const usualMode = (type: number): number => (type === S_IFDIR ? 0o755 : type === S_IFLNK ? 0o777 : 0o644);

/** Manifests of trees, the first of them that all others come from, and what is merged of them. In all an entry has the same cookie. */
export class LiteralTrees {
  readonly #dir: string;
  readonly #readers: ManifestReader[] = [];
  readonly #cookies = new Map<string, number>();

  /** `dir` is made, and may have been used for others that are closed. */
  constructor(dir: string) {
    this.#dir = dir;
    mkdirSync(dir, { recursive: true });
  }

  open(tree: Tree): ManifestReader {
    const entries = Object.entries({ '': '1', ...tree }).map(([path, literal]) => ({
      path,
      ...parse(path, literal),
    }));
    const inoAt = new Map(entries.map(({ path, attributes }) => [path, attributes.ino]));
    const path = this.#newPath();
    const builder = createManifest(path);
    const put = new Set<Ino>();
    for (const { path: place, attributes, text, target, xattrs } of entries) {
      const { ino, mode } = attributes;
      if (place !== '') {
        const [, parent = '', name = ''] = /^(.*\/)?([^/]+)\/?$/.exec(place) ?? [];
        const parentIno = inoAt.get(parent) ?? NaN;
        builder.putDentry(
          parentIno,
          this.#cookie(`${String(parentIno)}/${name} ${String(ino)}`),
          Buffer.from(name),
          ino,
        );
      }
      if (put.has(ino)) continue;
      put.add(ino);
      const names = entries.filter((entry) => entry.attributes.ino === ino).length;
      const subdirectories = entries.filter(
        (entry) => isDirectory(entry.attributes.mode) && entry.path !== '' && parentOf(entry.path) === place,
      ).length;
      builder.putInode({ ...attributes, nlink: isDirectory(mode) ? 2 + subdirectories : names });
      if (text !== undefined) {
        const embedded = text === '' ? {} : { embedded: Buffer.from(text) };
        builder.setContent(ino, { id: contentIdFor(text), ...embedded, extents: [] });
      }
      if (target !== undefined) builder.setSymlink(ino, Buffer.from(target));
      if (xattrs.length > 0) builder.setXattrs(ino, xattrs);
    }
    // A base gives no cookies to what only its successors have.
    builder.setNext(NEXT_INO, this.#readers.length === 0 ? FIRST_COOKIE + this.#cookies.size : NEXT_COOKIE);
    builder.finish();
    return this.#opened(openManifest(path));
  }

  merge(sides: MergeSides): Merged {
    const merged = checkedMerge(sides, this.#newPath());
    this.#opened(merged.result);
    return merged;
  }

  close(): void {
    for (const reader of this.#readers) {
      reader.close();
      rmSync(reader.path);
    }
  }

  #newPath(): string {
    return join(this.#dir, String(this.#readers.length));
  }

  #opened(reader: ManifestReader): ManifestReader {
    this.#readers.push(reader);
    return reader;
  }

  #cookie(key: string): number {
    const cookie = this.#cookies.get(key) ?? FIRST_COOKIE + this.#cookies.size;
    this.#cookies.set(key, cookie);
    return cookie;
  }
}

function parentOf(path: string): string {
  return /^(.*\/)?[^/]+\/?$/.exec(path)?.[1] ?? '';
}

/** The tree of a manifest, as it would be written down. */
export function treeOf(reader: ManifestReader): Tree {
  const tree: Tree = {};
  const root = literalOf(reader, ROOT_INO);
  if (root !== '1') tree[''] = root;
  for (const { path, inode } of walk(reader, ROOT_INO)) {
    tree[`${path.toString()}${isDirectory(inode.mode) ? '/' : ''}`] = literalOf(reader, inode.ino);
  }
  return inOrder(tree);
}

/** By path, as `treeOf` has it. */
export function inOrder(tree: Tree): Tree {
  return Object.fromEntries(Object.entries(tree).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function literalOf(reader: ManifestReader, ino: Ino): string {
  const inode = reader.inode(ino);
  if (inode === undefined) throw new Error(`no inode ${String(ino)}`);
  const { mode, uid, gid, mtimeSec, ctimeSec, btimeSec } = inode;
  const held = isRegular(mode)
    ? (reader.embedded(ino)?.toString() ?? '')
    : isSymlink(mode)
      ? `-> ${reader.symlink(ino)?.toString() ?? ''}`
      : isDirectory(mode)
        ? ''
        : '|';
  const usual = usualMode(mode & 0xf000);
  const unusual = [
    (mode & 0o7777) === usual ? '' : `mode=${(mode & 0o7777).toString(8)}`,
    uid === USUAL.uid ? '' : `uid=${String(uid)}`,
    gid === USUAL.gid ? '' : `gid=${String(gid)}`,
    mtimeSec === USUAL.mtime ? '' : `mtime=${String(mtimeSec)}`,
    ctimeSec === USUAL.ctime ? '' : `ctime=${String(ctimeSec)}`,
    btimeSec >= USUAL_BTIME ? '' : `btime=${String(btimeSec)}`,
    ...reader.xattrs(ino).map(({ name, value }) => `${name.toString()}=${value.toString()}`),
  ];
  return [String(ino), held, ...unusual].filter((word) => word !== '').join(' ');
}
