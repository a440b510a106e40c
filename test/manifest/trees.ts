import { createHash } from 'node:crypto';
import {
  ROOT_INO,
  S_IFDIR,
  S_IFREG,
  type BlockId,
  type ContentId,
  type Ino,
  type InodeAttributes,
} from '../../src/core/index.js';
import type { ManifestBuilder } from '../../src/manifest/index.js';

export const ROOT_COOKIE = 3;

/** An inode with one name, all else as `changes` have it. */
export function inodeWith(ino: Ino, mode: number, changes: Partial<InodeAttributes> = {}): InodeAttributes {
  return {
    ino,
    mode,
    uid: 1000,
    gid: 1000,
    size: 0,
    nlink: 1,
    rdev: 0,
    mtimeSec: 1_700_000_000 + ino,
    mtimeNsec: 123_456_789,
    ctimeSec: 1_700_000_000 + ino,
    ctimeNsec: 1,
    btimeSec: 1_600_000_000 + ino,
    btimeNsec: 999_999_999,
    ...changes,
  };
}

export const directoryWith = (ino: Ino, subdirectories = 0): InodeAttributes =>
  inodeWith(ino, S_IFDIR | 0o755, { nlink: 2 + subdirectories });

export const fileWith = (ino: Ino, size: number): InodeAttributes =>
  inodeWith(ino, S_IFREG | 0o644, { size });

export function contentIdFor(text: string): ContentId {
  return createHash('sha256').update(text).digest('hex') as ContentId;
}

export function blockIdFor(text: string): BlockId {
  return createHash('sha256').update(text).digest('hex') as BlockId;
}

export const SYNTHETIC_FILE_BYTES = 4000;
const FILES_PER_DIRECTORY = 20;
const FILES_PER_BLOCK = 256;

/** Inode number of the synthetic tree's file `index`. */
export function syntheticFileIno(index: number): Ino {
  return (
    ROOT_INO +
    1 +
    Math.floor(index / FILES_PER_DIRECTORY) * (FILES_PER_DIRECTORY + 1) +
    1 +
    (index % FILES_PER_DIRECTORY)
  );
}

/** `files` small files, twenty to a directory below the root, packed in blocks, in the order an import feeds them. */
export function feedSyntheticTree(builder: ManifestBuilder, files: number): void {
  const directories = Math.ceil(files / FILES_PER_DIRECTORY);
  builder.putInode(directoryWith(ROOT_INO, directories));
  let nextIno = ROOT_INO + 1;
  let nextCookie = ROOT_COOKIE;
  let block = blockIdFor('block 0');
  for (let file = 0; file < files;) {
    const directory = nextIno++;
    builder.putInode(directoryWith(directory));
    builder.putDentry(ROOT_INO, nextCookie++, Buffer.from(`directory-${String(directory)}`), directory);
    for (let entry = 0; entry < FILES_PER_DIRECTORY && file < files; entry++, file++) {
      const ino = nextIno++;
      if (file % FILES_PER_BLOCK === 0) block = blockIdFor(`block ${String(file)}`);
      builder.putInode(fileWith(ino, SYNTHETIC_FILE_BYTES));
      builder.putDentry(directory, nextCookie++, Buffer.from(`file-${String(file)}.ts`), ino);
      builder.setContent(ino, {
        id: contentIdFor(String(ino)),
        extents: [
          {
            offset: 0,
            length: SYNTHETIC_FILE_BYTES,
            block,
            blockOffset: (file % FILES_PER_BLOCK) * SYNTHETIC_FILE_BYTES,
          },
        ],
      });
    }
  }
  builder.setNext(nextIno, nextCookie);
}
