import { ROOT_INO, isDirectory, type Ino } from '../core/index.js';
import { ManifestComparison } from '../manifest/index.js';
import type { InodeState } from './inode-state.js';
import { isEdited } from './merge-inode.js';
import { mergeNames, mergePlaces, type Names } from './merge-names.js';
import { givenOutTwice, namesIn, type MergePlan, type MergeSides, type PlannedInode } from './merge-plan.js';

/**
 * Plans every inode that ours changed, added or removed, each for itself. Directories that one side has removed are not there yet
 * unless ours has changed them: that depends on what is in them. Throws `CairnError('conflict')` where a number was given out twice.
 */
export function planChanges(plan: MergePlan): void {
  refuseReusedCookies(plan);
  for (const ino of changedByOurs(plan)) {
    const planned = plan.add(ino);
    if (planned.merged?.metadataDisputed === true)
      plan.disputes.push({ kind: 'metadata', at: ino, kept: 'ours' });
    if (ino !== ROOT_INO) planned.names = plannedNames(plan, planned);
  }
}

function changedByOurs({ base, ours }: MergeSides): Ino[] {
  const comparison = new ManifestComparison(base, ours);
  try {
    const changed = new Set(comparison.changedInodes({ allTimes: true }));
    for (const { ino } of comparison.entriesGone()) changed.add(ino);
    for (const { ino } of comparison.entriesAdded()) changed.add(ino);
    return [...changed].sort((a, b) => a - b);
  } finally {
    comparison.close();
  }
}

function refuseReusedCookies({ base, ours, theirs }: MergeSides): void {
  const comparison = new ManifestComparison(ours, theirs);
  try {
    const [cookie] = comparison.reusedCookies(base.nextCookie);
    if (cookie !== undefined) throw givenOutTwice(`listing cookie ${String(cookie)}`);
  } finally {
    comparison.close();
  }
}

function plannedNames(plan: MergePlan, planned: PlannedInode): Names {
  const { ino, base, ours, theirs } = planned;
  const names = {
    base: namesIn(plan.base, ino),
    ours: namesIn(plan.ours, ino),
    theirs: namesIn(plan.theirs, ino),
  };
  if (ours !== undefined && theirs !== undefined) return mergedNames(plan, planned, ours, names);
  if (ours !== undefined) {
    if (base === undefined || isEdited(base, ours)) return surviving(plan, planned, 'ours', names.ours);
    return surviving(plan, planned, 'ours', addedNames(names.base, names.ours));
  }
  if (theirs === undefined || isDirectory(theirs.attributes.mode)) return new Map();
  const added = addedNames(names.base, names.theirs);
  const isChanged = base?.content !== theirs.content;
  return surviving(plan, planned, 'theirs', isChanged ? names.theirs : added);
}

function mergedNames(
  plan: MergePlan,
  { ino, base }: PlannedInode,
  state: InodeState,
  { base: before, ours, theirs }: Record<keyof MergeSides, Names>,
): Names {
  const oursHolds = base !== undefined && base.content !== state.content;
  const { names, renamedTwice, overruled } = isDirectory(state.attributes.mode)
    ? mergePlaces(before, ours, theirs)
    : mergeNames(before, ours, theirs, oursHolds);
  if (renamedTwice) plan.disputes.push({ kind: 'renamed-twice', at: ino, kept: 'ours' });
  if (overruled) plan.disputes.push({ kind: 'renamed-changed', at: ino, kept: 'ours' });
  return names;
}

/** The names of an inode that only one side has; where the other one removed it, and it stays, that is a conflict. */
function surviving(
  plan: MergePlan,
  { ino, base }: PlannedInode,
  side: 'ours' | 'theirs',
  names: Names,
): Names {
  if (base !== undefined && names.size > 0) plan.survivors.set(ino, side);
  return names;
}

function addedNames(before: Names, after: Names): Names {
  return new Map([...after].filter(([key]) => !before.has(key)));
}
