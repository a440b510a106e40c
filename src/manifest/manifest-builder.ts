import type { ContentId, Extent, Ino, InodeAttributes } from '../core/index.js';
import type { XattrRow } from './manifest-reader.js';

/** Where a regular file's bytes are: nowhere (a file of holes or none), in the manifest, or in blocks. */
export interface FileContent {
  id: ContentId;
  /** The whole content, when it is embedded; then `extents` is empty. */
  embedded?: Buffer;
  extents: readonly Extent[];
}

/**
 * Writes one manifest file, from nothing or in a copy of its parent's. Synchronous, one transaction; nothing
 * is durable and nobody may open the file before `finish`. Counters follow from the rows, nobody keeps them
 * by hand.
 *
 * What breaks a rule of FORMAT.md for single rows is refused by an assertion; that the rows fit together
 * (nlink, sizes, every inode named) is the caller's business, and what `checkManifest` finds.
 */
export interface ManifestBuilder {
  /**
   * Adds or replaces an inode, whose type never changes. A regular file's content is left as it was unless
   * `setContent` follows.
   */
  putInode(inode: InodeAttributes): void;
  /**
   * Removes it with its content, xattrs and symlink; its dentries are removed by whoever removes the inode.
   */
  removeInode(ino: Ino): void;
  /**
   * Replaces an entry of the same name or cookie. In a manifest from nothing each name may only be put once.
   */
  putDentry(parent: Ino, cookie: number, name: Buffer, ino: Ino): void;
  /** No error when there is none. */
  removeDentry(parent: Ino, name: Buffer): void;
  setSymlink(ino: Ino, target: Buffer): void;
  /** Replaces the content of a regular file that was put before. Extents are in order and do not overlap. */
  setContent(ino: Ino, content: FileContent): void;
  /** Replaces all xattrs of an inode. */
  setXattrs(ino: Ino, xattrs: readonly XattrRow[]): void;
  /** Never below what they were; `finish` wants them above all in use. */
  setNext(nextIno: Ino, nextCookie: number): void;
  /**
   * Commits and closes; the file is complete. Returns the pieces (FORMAT.md M-9) that were written: all others are the parent's,
   * byte for byte. Of a manifest from nothing all.
   */
  finish(): ReadonlySet<number>;
  /** Closes and deletes the file. */
  abandon(): void;
}
