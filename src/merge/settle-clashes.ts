import { ROOT_INO, isDirectory, isRegular, type Ino } from '../core/index.js';
import { entriesOf } from '../manifest/index.js';
import { holdTheSame } from './inode-state.js';
import { differInMetadata } from './merge-inode.js';
import { nameKey, sortedNames, type Name } from './merge-names.js';
import { namesIn, resultOf, type MergePlan, type PlannedInode } from './merge-plan.js';

/** Where new inodes and entries get their numbers from: each is above all that is in use on either side, and given out once. */
export interface NumberSource {
  ino(): Ino;
  cookie(): number;
}

export interface ConflictNames {
  numbers: NumberSource;
  /** A name to put something beside `name` under; `attempt` counts from 0 while it is taken. */
  conflictName: (name: Buffer, attempt: number) => Buffer;
}

/** One name for an inode of ours and another one of theirs. */
interface Clash {
  ours: Ino;
  theirs: Ino;
  name: Name;
}

/**
 * Gives each name to one inode: ours where both sides have one there. Two directories become one, and so do two files that hold the
 * same; else theirs gets a name beside. Then does the same for the content of files that both sides have changed.
 */
export function settleClashes(plan: MergePlan, names: ConflictNames): void {
  new Settlement(plan, names).settle();
}

class Settlement {
  readonly #plan: MergePlan;
  readonly #names: ConflictNames;
  /** Of two directories that became one, each other. */
  readonly #joinedWith = new Map<Ino, Ino>();
  readonly #given = new Set<string>();
  readonly #clashes: Clash[] = [];

  constructor(plan: MergePlan, names: ConflictNames) {
    this.#plan = plan;
    this.#names = names;
  }

  settle(): void {
    this.#findClashes();
    // Directories that become one add to the list while it is worked off.
    for (const clash of this.#clashes) this.#settleOne(clash);
    for (const planned of this.#plan.inodes()) {
      if (planned.merged?.contentDisputed === true) this.#putContentBeside(planned);
    }
  }

  #findClashes(): void {
    for (const planned of this.#plan.inodes()) {
      for (const name of this.#namesOfOurs(planned)) {
        const theirs = this.#plan.theirs.lookup(name.parent, name.name)?.ino;
        if (theirs === undefined || theirs === planned.ino) continue;
        // What is not planned stays where theirs has it.
        if (this.#plan.planned(theirs) !== undefined && !this.#plan.hasName(theirs, name)) continue;
        this.#clashes.push({ ours: planned.ino, theirs, name });
      }
    }
  }

  #settleOne({ ours, theirs, name }: Clash): void {
    const [winner, loser] = [this.#plan.addFromTheirs(ours), this.#plan.addFromTheirs(theirs)];
    loser.names.delete(nameKey(name));
    const [here, there] = [resultOf(winner), resultOf(loser)];
    // What both sides have is in use under its own number, and may not become something else.
    if (loser.ours === undefined && winner.theirs === undefined && bothDirectories(winner, loser)) {
      this.#join(winner, loser, name);
      this.#moveEntries(theirs, ours);
      return;
    }
    if (loser.ours === undefined && holdTheSame(here, there)) {
      this.#join(winner, loser, name);
      return;
    }
    const beside = this.#freeName(name);
    loser.names.set(nameKey(beside), beside);
    const before = this.#plan.base.lookup(name.parent, name.name);
    const modes = [this.#plan.base.inode(before?.ino ?? 0), here.attributes, there.attributes];
    if (modes.every((inode) => inode !== undefined && isRegular(inode.mode))) {
      // A file that a side replaced by a new one of its name, as editors save: that the old one is gone is no news.
      for (const { ino } of [winner, loser]) this.#plan.survivors.delete(ino);
      this.#plan.disputes.push({ kind: 'content', at: name, kept: 'both', beside });
    } else {
      this.#plan.disputes.push({ kind: 'name', at: name, kept: 'both', beside });
    }
  }

  #join(winner: PlannedInode, loser: PlannedInode, name: Name): void {
    const { disputes, survivors } = this.#plan;
    this.#plan.joined += 1;
    for (const { ino } of [winner, loser]) survivors.delete(ino);
    if (differInMetadata(resultOf(winner), resultOf(loser)))
      disputes.push({ kind: 'metadata', at: name, kept: 'ours' });
  }

  /** What is left of theirs in the directory `from` is in ours' directory `to` from now on. */
  #moveEntries(from: Ino, to: Ino): void {
    this.#joinedWith.set(from, to).set(to, from);
    for (const { name, cookie, ino } of entriesOf(this.#plan.theirs, from)) {
      const planned = this.#plan.addFromTheirs(ino);
      const inOurs = this.#plan.ours.lookup(to, name)?.ino;
      const wasThere = this.#plan.base.lookup(to, name)?.ino === ino;
      // Theirs has it in the same place as ours, or has left it where it was.
      if (inOurs === ino || wasThere) this.#plan.moveIsAgreed(ino);
      if (!planned.names.delete(nameKey({ parent: from, name }))) continue;
      if (wasThere && inOurs !== ino && this.#isGone(planned)) continue;
      const moved = inOurs === ino ? { parent: to, name } : { parent: to, name, cookie };
      planned.names.set(nameKey(moved), moved);
      // What is not planned of what ours has in a directory that theirs removed is gone with it.
      if (inOurs === undefined || inOurs === ino || !this.#plan.hasName(inOurs, moved)) continue;
      this.#clashes.push({ ours: inOurs, theirs: ino, name: moved });
    }
  }

  /**
   * Whether a name that ours removed, and theirs left where it was, is gone: unless that would lose something. Where theirs removed
   * all names that ours left, those are taken.
   */
  #isGone({ ino, base, ours, theirs, names }: PlannedInode): boolean {
    if (ours === undefined) {
      if (theirs === undefined || isDirectory(theirs.attributes.mode) || base?.content !== theirs.content)
        return false;
      if (names.size === 0) this.#plan.survivors.delete(ino);
      return true;
    }
    if (names.size > 0) return true;
    for (const [key, name] of namesIn(this.#plan.ours, ino)) if (this.#isFree(name)) names.set(key, name);
    if (names.size > 0) this.#plan.disputes.push({ kind: 'renamed-changed', at: ino, kept: 'ours' });
    return names.size > 0;
  }

  /** Whether an entry that is not planned yet can have this name. */
  #isFree({ parent, name }: Name): boolean {
    const directory = this.#plan.planned(parent);
    const isDirectoryThere =
      parent === ROOT_INO ||
      (directory === undefined ? this.#plan.theirs.inode(parent) !== undefined : directory.names.size > 0);
    return isDirectoryThere && this.#plan.theirs.lookup(parent, name) === undefined;
  }

  #putContentBeside(planned: PlannedInode): void {
    const [name] = this.#namesOfOurs(planned);
    if (name === undefined) throw new Error(`inode ${String(planned.ino)} has lost its names`);
    const beside = this.#freeName(name);
    this.#plan.copies.push({ ino: this.#names.numbers.ino(), from: planned, name: beside });
    this.#plan.disputes.push({ kind: 'content', at: name, kept: 'both', beside });
  }

  /** The names an inode has in ours and in the result. */
  #namesOfOurs({ ino, names }: PlannedInode): Name[] {
    return sortedNames(names.values()).filter(
      ({ parent, name }) => this.#plan.ours.lookup(parent, name)?.ino === ino,
    );
  }

  /** A name beside another that nothing has, here, there or in the result. */
  #freeName({ parent, name }: Name): Name {
    const directories = [parent, this.#joinedWith.get(parent) ?? parent];
    for (let attempt = 0; ; attempt++) {
      const given = { parent, name: this.#names.conflictName(name, attempt) };
      const key = nameKey(given);
      const isTaken = directories.some(
        (directory) =>
          this.#plan.ours.lookup(directory, given.name) !== undefined ||
          this.#plan.theirs.lookup(directory, given.name) !== undefined,
      );
      if (isTaken || this.#given.has(key)) continue;
      this.#given.add(key);
      return { ...given, cookie: this.#names.numbers.cookie() };
    }
  }
}

function bothDirectories(one: PlannedInode, other: PlannedInode): boolean {
  return [one, other].every((planned) => isDirectory(resultOf(planned).attributes.mode));
}
