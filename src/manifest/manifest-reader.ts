import type { BlockId, ContentId, Extent, Ino, InodeAttributes } from '../core/index.js';

/** Entries that a listing asks for at once. */
export const LISTING_PAGE_ROWS = 256;

export interface ManifestCounters {
  /** Regular files, by inode. */
  files: number;
  directories: number;
  /** Symbolic links, fifos, sockets and devices. */
  others: number;
  /** Sum of the sizes of regular files. */
  bytes: number;
}

export interface DentryRow {
  cookie: number;
  name: Buffer;
  ino: Ino;
}

/** A dentry with the inode it names. */
export interface DentryWithInode extends DentryRow {
  inode: InodeAttributes;
}

/** A regular file with all its content. */
export interface StoredFile {
  cookie: number;
  ino: Ino;
  size: number;
  /** The bytes, where the manifest itself holds them; else `extents` say where they are. */
  embedded: Buffer | undefined;
  extents: Extent[];
}

export interface XattrRow {
  name: Buffer;
  value: Buffer;
}

/**
 * One version's tree, read-only, synchronous. Everything it returns was bounds-checked on opening or is
 * checked on reading; a row that breaks a rule of FORMAT.md throws `CairnError('corrupt')`.
 */
export interface ManifestReader {
  /** The file, for error messages and for what works on whole files. */
  readonly path: string;
  readonly counters: ManifestCounters;
  /** Inode numbers and cookies below these are taken, here or in an ancestor. */
  readonly nextIno: Ino;
  readonly nextCookie: number;

  inode(ino: Ino): InodeAttributes | undefined;
  /** The row's `name` is the argument itself. */
  lookup(parent: Ino, name: Buffer): DentryRow | undefined;

  /** Entries of a directory with cookies above `afterCookie`, in cookie order, at most `limit`. */
  list(parent: Ino, afterCookie: number, limit: number): DentryRow[];
  listWithInodes(parent: Ino, afterCookie: number, limit: number): DentryWithInode[];
  /** Prepares, in spare time, what a walk of the tree will list next with LISTING_PAGE_ROWS; false when there is nothing to do. */
  listAhead(): boolean;

  /**
   * The content of a directory's regular files of 1 to `maxBytes` bytes with cookies from `fromCookie` on, in cookie order: of as many as
   * `limit` rows (an extent or an embedded content is one) describe whole, at least one if there is any of so few extents.
   */
  contents(parent: Ino, fromCookie: number, maxBytes: number, limit: number): StoredFile[];

  /** Every place an inode is named from. A directory has one; the root has none. */
  namesOf(ino: Ino): { parent: Ino; name: Buffer }[];

  /** A symbolic link's target. */
  symlink(ino: Ino): Buffer | undefined;
  xattrs(ino: Ino): XattrRow[];
  xattr(ino: Ino, name: Buffer): Buffer | undefined;

  /** Of a regular file; undefined for anything else. */
  content(ino: Ino): ContentId | undefined;
  /** The whole content, where the manifest itself holds it. */
  embedded(ino: Ino): Buffer | undefined;
  /** Those that overlap [offset, offset + length), in order. */
  extents(ino: Ino, offset: number, length: number): Extent[];
  /** How many bytes of a regular file are stored: all but its holes. */
  storedBytes(ino: Ino): number;

  /** Every inode, in order of number, for whole-tree passes (fsck, diff, restore). */
  inodes(): IterableIterator<InodeAttributes>;

  /** Every block an extent refers to, once. No other block is needed for this version. */
  blocks(): IterableIterator<BlockId>;

  close(): void;
}
