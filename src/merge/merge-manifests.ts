import type { Ino } from '../core/index.js';
import type { ManifestBuilder } from '../manifest/index.js';
import { MergePlan, type MergeSides } from './merge-plan.js';
import type { MergeReport } from './merge-report.js';
import { breakCycles, keepDirectories } from './place-directories.js';
import { planChanges } from './plan-changes.js';
import { settleClashes, type ConflictNames, type NumberSource } from './settle-clashes.js';
import { writePlan } from './write-plan.js';

export interface MergeOptions extends MergeSides, ConflictNames {
  /** A working copy of theirs, for the caller to finish, or to abandon after an error. */
  result: ManifestBuilder;
}

/**
 * Merges what two sides made of one version, `base`: `ours` is the tree that programs have before them, `theirs` the version that is
 * the head by now. Nothing of ours is changed: what ours edited keeps its number, its content and its names, and what theirs did to
 * the same is put beside it. No content that either side added or changed is lost. The rules, as a user sees them, are in SEMANTICS.md.
 *
 * The same versions always give the same result, but for the numbers from `numbers`. Finding what ours changed reads two manifests
 * through, in SQLite; all else is the work of ours' changes. Reads and writes manifests only.
 *
 * Throws `CairnError('conflict')` before anything is written where an inode number or a cookie means one thing in ours and another one
 * in theirs.
 */
export function mergeManifests({
  base,
  ours,
  theirs,
  result,
  numbers,
  conflictName,
}: MergeOptions): MergeReport {
  const given = new Highest(numbers);
  const plan = new MergePlan({ base, ours, theirs });
  planChanges(plan);
  breakCycles(plan);
  keepDirectories(plan);
  settleClashes(plan, { numbers: given, conflictName });

  const touched = writePlan(plan, result);
  result.setNext(
    Math.max(ours.nextIno, theirs.nextIno, given.highestIno + 1),
    Math.max(ours.nextCookie, theirs.nextCookie, given.highestCookie + 1),
  );
  return { conflicts: plan.conflicts(), joined: plan.joined, touched };
}

/** Remembers the highest numbers that were given out. */
class Highest implements NumberSource {
  highestIno: Ino = 0;
  highestCookie = 0;
  readonly #numbers: NumberSource;

  constructor(numbers: NumberSource) {
    this.#numbers = numbers;
  }

  ino(): Ino {
    const ino = this.#numbers.ino();
    this.highestIno = Math.max(this.highestIno, ino);
    return ino;
  }

  cookie(): number {
    const cookie = this.#numbers.cookie();
    this.highestCookie = Math.max(this.highestCookie, cookie);
    return cookie;
  }
}
