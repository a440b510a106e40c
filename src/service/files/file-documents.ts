import { isUtf8 } from 'node:buffer';
import type { z } from 'zod';
import { isDirectory, isRegular, isSymlink, type InodeAttributes } from '../../core/index.js';
import type { ManifestReader } from '../../manifest/index.js';
import type { ENTRY_KINDS, entrySchema, listingSchema } from '../../wire/index.js';

type Kind = (typeof ENTRY_KINDS)[number];
type Listed = z.input<typeof listingSchema>['entries'][number];

export function kindOf(mode: number): Kind {
  if (isRegular(mode)) return 'file';
  if (isDirectory(mode)) return 'directory';
  return isSymlink(mode) ? 'symlink' : 'other';
}

/** What is neither a file nor a folder. */
export function entryDocument(
  reader: ManifestReader,
  inode: InodeAttributes,
  version: number,
): z.input<typeof entrySchema> {
  return { version, ...attributesOf(reader, inode) };
}

export function listedEntry(reader: ManifestReader, name: Buffer, inode: InodeAttributes): Listed {
  const named = isUtf8(name) ? { name: name.toString() } : { nameBase64: name.toString('base64') };
  return { ...named, ...attributesOf(reader, inode) };
}

function attributesOf(
  reader: ManifestReader,
  inode: InodeAttributes,
): Omit<z.input<typeof entrySchema>, 'version'> {
  const hash = reader.content(inode.ino);
  const target = isSymlink(inode.mode) ? reader.symlink(inode.ino) : undefined;
  return {
    kind: kindOf(inode.mode),
    mode: inode.mode,
    size: inode.size,
    mtime: { sec: inode.mtimeSec, nsec: inode.mtimeNsec },
    ...(hash !== undefined && { hash }),
    ...(target !== undefined &&
      (isUtf8(target) ? { target: target.toString() } : { targetBase64: target.toString('base64') })),
  };
}
