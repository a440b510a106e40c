import type { Ino } from '../core/index.js';

/** A place in a tree: what a dentry says, less the inode. */
export interface Name {
  parent: Ino;
  name: Buffer;
  /** Of an entry that neither side has as it is: the cookie it gets. */
  cookie?: number;
}

/** By `nameKey`. */
export type Names = Map<string, Name>;

export function nameKey({ parent, name }: Name): string {
  return `${String(parent)}/${name.toString('latin1')}`;
}

export function namesByKey(names: Iterable<Name>): Names {
  return new Map([...names].map((name) => [nameKey(name), name]));
}

/** In order of directory, then name: so that what is decided does not depend on how a tree came about. */
export function sortedNames(names: Iterable<Name>): Name[] {
  return [...names].sort((a, b) => a.parent - b.parent || Buffer.compare(a.name, b.name));
}

export interface MergedNames {
  names: Names;
  /** Both sides moved it from one place to different ones: ours is taken. */
  renamedTwice: boolean;
  /** Names of theirs that were not taken, or taken away, because ours holds on to its own. */
  overruled: boolean;
}

/**
 * Merges the names of an inode that is in both versions and is no directory: each name for itself, whoever added or removed it has it.
 * A move is a name removed and a name added: where both sides moved one name away, and where ours holds on (`oursHolds`) to a name that
 * theirs moved away, the name theirs moved it to is not taken either, so that the file does not end up in two places.
 */
export function mergeNames(base: Names, ours: Names, theirs: Names, oursHolds: boolean): MergedNames {
  const onlyIn = (one: Names, ...others: Names[]): Name[] =>
    [...one].filter(([key]) => !others.some((other) => other.has(key))).map(([, name]) => name);

  const addedByTheirs = onlyIn(theirs, base, ours);
  const removedByBoth = onlyIn(base, ours, theirs).length;
  const movedByBoth = Math.min(removedByBoth, onlyIn(ours, base, theirs).length, addedByTheirs.length);
  const heldBack = oursHolds ? [...base.keys()].filter((key) => ours.has(key) && !theirs.has(key)).length : 0;

  const taken = sortedNames(addedByTheirs).slice(movedByBoth + heldBack);
  const kept = [...ours].filter(([key]) => oursHolds || theirs.has(key) || !base.has(key));
  const names: Names = new Map([...kept, ...taken.map((name): [string, Name] => [nameKey(name), name])]);
  if (names.size > 0) return { names, renamedTwice: movedByBoth > 0, overruled: heldBack > 0 };
  // Each removed the names the other one left: nobody wanted the file gone.
  return { names: new Map(ours), renamedTwice: false, overruled: true };
}

/** As `mergeNames`, for a directory, which has one name, and the root none. */
export function mergePlaces(base: Names, ours: Names, theirs: Names): MergedNames {
  const [before, here, there] = [base, ours, theirs].map((names) => [...names.keys()][0]);
  if (here === before) return { names: theirs, renamedTwice: false, overruled: false };
  return { names: ours, renamedTwice: there !== before && there !== here, overruled: false };
}
