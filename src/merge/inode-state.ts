import {
  S_IFMT,
  deviceNumber,
  isDirectory,
  isSymlink,
  type ContentId,
  type Ino,
  type InodeAttributes,
} from '../core/index.js';
import type { FileContent, ManifestReader } from '../manifest/index.js';

/** What one version has of an inode, less its names. */
export interface InodeState {
  attributes: InodeAttributes;
  /** Of a regular file. */
  content: ContentId | undefined;
  /** Of a symbolic link. */
  target: Buffer | undefined;
  /** By name as latin1 text: one character a byte. */
  xattrs: Xattrs;
}

export type Xattrs = ReadonlyMap<string, Buffer>;

export function inodeState(reader: ManifestReader, ino: Ino): InodeState | undefined {
  const attributes = reader.inode(ino);
  if (attributes === undefined) return undefined;
  return {
    attributes,
    content: reader.content(ino),
    target: isSymlink(attributes.mode) ? reader.symlink(ino) : undefined,
    xattrs: new Map(reader.xattrs(ino).map(({ name, value }) => [name.toString('latin1'), value])),
  };
}

/** All of a regular file's content, as a manifest holds it. */
export function fileContent(reader: ManifestReader, ino: Ino, id: ContentId): FileContent {
  const embedded = reader.embedded(ino);
  if (embedded !== undefined) return { id, embedded, extents: [] };
  return { id, extents: reader.extents(ino, 0, reader.inode(ino)?.size ?? 0) };
}

export function sameTarget(one: InodeState | undefined, other: InodeState | undefined): boolean {
  return one?.target === undefined || other?.target === undefined
    ? one?.target === other?.target
    : one.target.equals(other.target);
}

export function sameXattrs(one: Xattrs, other: Xattrs): boolean {
  return (
    one.size === other.size && [...one].every(([name, value]) => other.get(name)?.equals(value) === true)
  );
}

/** Whether two inodes of one type hold the same: content, target or device. Of directories never said. */
export function holdTheSame(one: InodeState, other: InodeState): boolean {
  const [mode, otherMode] = [one.attributes.mode, other.attributes.mode];
  if (isDirectory(mode) || ((mode ^ otherMode) & S_IFMT) !== 0) return false;
  return (
    one.content === other.content &&
    one.attributes.size === other.attributes.size &&
    deviceNumber(one.attributes) === deviceNumber(other.attributes) &&
    sameTarget(one, other)
  );
}

export interface Time {
  sec: number;
  nsec: number;
}

export const mtimeOf = ({ attributes }: InodeState): Time => ({
  sec: attributes.mtimeSec,
  nsec: attributes.mtimeNsec,
});
export const ctimeOf = ({ attributes }: InodeState): Time => ({
  sec: attributes.ctimeSec,
  nsec: attributes.ctimeNsec,
});
export const btimeOf = ({ attributes }: InodeState): Time => ({
  sec: attributes.btimeSec,
  nsec: attributes.btimeNsec,
});
export const sameTime = (a: Time, b: Time): boolean => a.sec === b.sec && a.nsec === b.nsec;
