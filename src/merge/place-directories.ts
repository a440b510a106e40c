import { ROOT_INO, isDirectory, type Ino } from '../core/index.js';
import { entriesOf } from '../manifest/index.js';
import { nameKey } from './merge-names.js';
import { namesIn, type MergePlan } from './merge-plan.js';

/** Takes back moves of theirs by which a directory would be within itself, because ours has moved another one. */
export function breakCycles(plan: MergePlan): void {
  const reached = new Set<Ino>([ROOT_INO]);
  for (const { ino, ours, names } of plan.inodes()) {
    // Theirs alone has no ring: in each is a directory that is where ours has it.
    if (ours === undefined || !isDirectory(ours.attributes.mode) || names.size === 0) continue;
    for (;;) {
      const ring = ringAbove(plan, ino, reached);
      if (ring.length === 0) break;
      takeBack(plan, ring);
    }
  }
}

/** The directories at or above one that form a ring. When there is none the root is above it, and all on the way are `reached`. */
function ringAbove(plan: MergePlan, ino: Ino, reached: Set<Ino>): Ino[] {
  const above = new Set<Ino>();
  for (let at = ino; !reached.has(at); at = plan.placeOf(at)?.parent ?? ROOT_INO) {
    if (above.has(at)) return [...above].slice([...above].indexOf(at));
    above.add(at);
  }
  for (const at of above) reached.add(at);
  return [];
}

/**
 * Ours alone has no ring either: in each is a directory that theirs has moved. Of several it is the newest, by number, that goes
 * where ours has it.
 */
function takeBack(plan: MergePlan, ring: readonly Ino[]): void {
  const moved = ring.filter((ino) => {
    const [place, inOurs] = [plan.placeOf(ino), [...namesIn(plan.ours, ino).keys()][0]];
    return inOurs !== undefined && place !== undefined && inOurs !== nameKey(place);
  });
  const ino = moved.reduce((newest, other) => Math.max(newest, other));
  const planned = plan.planned(ino) ?? plan.add(ino);
  planned.names = namesIn(plan.ours, ino);
  plan.disputes.push({ kind: 'cycle', at: ino, kept: 'ours' });
}

/** A directory that one side removed stays for what the other one has in it, and holds only that. */
export function keepDirectories(plan: MergePlan): void {
  const planned = plan.inodes();
  const named = planned.filter(({ names }) => names.size > 0);
  for (const { ino, names } of named) {
    for (const { parent } of names.values()) keep(plan, parent, !plan.survivors.has(ino));
  }
  for (const { ino, ours, theirs } of planned) {
    if (ours !== undefined || theirs === undefined || !isDirectory(theirs.attributes.mode)) continue;
    for (const entry of entriesOf(plan.theirs, ino)) {
      if (plan.planned(entry.ino) === undefined) keep(plan, ino, true);
    }
  }
}

/** `isConflict`: it is not kept for something that is a conflict of its own. */
function keep(plan: MergePlan, directory: Ino, isConflict: boolean): void {
  for (let ino: Ino | undefined = directory; ino !== undefined && ino !== ROOT_INO;) {
    const inOurs = plan.ours.inode(ino) !== undefined;
    const inTheirs = plan.theirs.inode(ino) !== undefined;
    const isRemoved = inOurs !== inTheirs && plan.base.inode(ino) !== undefined;
    if (!isRemoved) return;
    if (isConflict && ino === directory) plan.survivors.set(ino, inOurs ? 'ours' : 'theirs');
    const planned = plan.planned(ino) ?? plan.add(ino);
    if (planned.names.size > 0) return;
    planned.names = namesIn(inOurs ? plan.ours : plan.theirs, ino);
    ino = plan.placeOf(ino)?.parent;
  }
}
