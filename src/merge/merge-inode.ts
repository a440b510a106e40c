import { deviceNumber, isDevice, isDirectory, type InodeAttributes } from '../core/index.js';
import {
  btimeOf,
  ctimeOf,
  mtimeOf,
  sameTarget,
  sameTime,
  sameXattrs,
  type InodeState,
  type Time,
} from './inode-state.js';

/** An inode of both sides, as the merge has it. `nlink` is ours', to be counted by whoever merges the names. */
export interface MergedInode {
  state: InodeState;
  /** Whose content and extents are taken. */
  contentOf: 'ours' | 'theirs';
  /** Both have changed the content, and not to the same: what is not taken has to be kept somewhere else. */
  contentDisputed: boolean;
  /** Both have changed an attribute, an extended attribute or a target, and not to the same: ours is taken. */
  metadataDisputed: boolean;
}

/** Each thing for itself: whoever changed it has it, ours where both did. */
class ThreeWay {
  disputed = false;

  pick<Value>(
    base: Value | undefined,
    ours: Value,
    theirs: Value,
    isSame: (a: Value, b: Value) => boolean,
  ): Value {
    if (isSame(ours, theirs)) return ours;
    if (base !== undefined && isSame(base, theirs)) return ours;
    if (base !== undefined && isSame(base, ours)) return theirs;
    this.disputed = true;
    return ours;
  }
}

/**
 * Merges what an inode is, by group: content with size and mtime; mode; owner; group; device; target; each extended attribute.
 * Times are never a dispute: of a directory's mtime, and of every ctime, the later is taken where both changed it.
 */
export function mergeInode(base: InodeState | undefined, ours: InodeState, theirs: InodeState): MergedInode {
  const content = new ThreeWay();
  const contentId = content.pick(base?.content, ours.content, theirs.content, Object.is);
  const contentOf = contentId === ours.content ? 'ours' : 'theirs';

  const metadata = new ThreeWay();
  const number = (name: 'mode' | 'uid' | 'gid'): number =>
    metadata.pick(base?.attributes[name], ours.attributes[name], theirs.attributes[name], Object.is);
  const target = metadata.pick(base, ours, theirs, sameTarget).target;
  const size = target?.length ?? { ours, theirs }[contentOf].attributes.size;
  const mtime = mergeMtime(base, ours, theirs);
  const ctime = laterOfChanged(base, ours, theirs, ctimeOf);
  const btime = new ThreeWay().pick(base && btimeOf(base), btimeOf(ours), btimeOf(theirs), sameTime);
  const attributes: InodeAttributes = {
    ino: ours.attributes.ino,
    mode: number('mode'),
    uid: number('uid'),
    gid: number('gid'),
    size,
    nlink: ours.attributes.nlink,
    rdev: mergeRdev(metadata, base, ours, theirs),
    mtimeSec: mtime.sec,
    mtimeNsec: mtime.nsec,
    ctimeSec: ctime.sec,
    ctimeNsec: ctime.nsec,
    btimeSec: btime.sec,
    btimeNsec: btime.nsec,
  };
  const xattrs = mergeXattrs(metadata, base, ours, theirs);
  return {
    state: { attributes, content: contentId, target, xattrs },
    contentOf,
    contentDisputed: content.disputed,
    metadataDisputed: metadata.disputed,
  };
}

/** A device's number is an attribute as any other; where a file came from is no dispute. */
function mergeRdev(
  metadata: ThreeWay,
  base: InodeState | undefined,
  ours: InodeState,
  theirs: InodeState,
): number {
  const picker = isDevice(ours.attributes.mode) ? metadata : new ThreeWay();
  return picker.pick(base?.attributes.rdev, ours.attributes.rdev, theirs.attributes.rdev, Object.is);
}

/** Whether a side has changed anything but what follows from changes elsewhere: times of directories, ctimes, link counts. */
export function isEdited(base: InodeState, side: InodeState): boolean {
  const { attributes } = side;
  return (
    base.content !== side.content ||
    !sameTarget(base, side) ||
    differInMetadata(base, side) ||
    (!isDirectory(attributes.mode) && !sameTime(mtimeOf(base), mtimeOf(side)))
  );
}

/** In mode, owner, device or extended attributes. */
export function differInMetadata(one: InodeState, other: InodeState): boolean {
  const [a, b] = [one.attributes, other.attributes];
  if (a.mode !== b.mode || a.uid !== b.uid || a.gid !== b.gid || deviceNumber(a) !== deviceNumber(b))
    return true;
  return !sameXattrs(one.xattrs, other.xattrs);
}

/** The mtime goes with the content where one side alone has changed that. */
function mergeMtime(base: InodeState | undefined, ours: InodeState, theirs: InodeState): Time {
  if (isDirectory(ours.attributes.mode)) return laterOfChanged(base, ours, theirs, mtimeOf);
  const isChanged = (side: InodeState): boolean =>
    base === undefined || side.content !== base.content || !sameTarget(side, base);
  if (isChanged(ours) !== isChanged(theirs)) return mtimeOf(isChanged(ours) ? ours : theirs);
  return new ThreeWay().pick(base && mtimeOf(base), mtimeOf(ours), mtimeOf(theirs), sameTime);
}

function laterOfChanged(
  base: InodeState | undefined,
  ours: InodeState,
  theirs: InodeState,
  timeOf: (state: InodeState) => Time,
): Time {
  const [a, b] = [timeOf(ours), timeOf(theirs)];
  const time = new ThreeWay();
  const picked = time.pick(base && timeOf(base), a, b, sameTime);
  if (!time.disputed) return picked;
  return a.sec > b.sec || (a.sec === b.sec && a.nsec > b.nsec) ? a : b;
}

function mergeXattrs(
  metadata: ThreeWay,
  base: InodeState | undefined,
  ours: InodeState,
  theirs: InodeState,
): ReadonlyMap<string, Buffer> {
  const merged = new Map<string, Buffer>();
  // What is not there is a value like any other: null.
  for (const name of new Set([...ours.xattrs.keys(), ...theirs.xattrs.keys()])) {
    const value = metadata.pick<Buffer | null>(
      base?.xattrs.get(name) ?? null,
      ours.xattrs.get(name) ?? null,
      theirs.xattrs.get(name) ?? null,
      (a, b) => (a === null || b === null ? a === b : a.equals(b)),
    );
    if (value !== null) merged.set(name, value);
  }
  return merged;
}
