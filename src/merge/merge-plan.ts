import { CairnError, ROOT_INO, S_IFMT, joinPath, type Ino } from '../core/index.js';
import type { ManifestReader } from '../manifest/index.js';
import { inodeState, sameTime, btimeOf, type InodeState } from './inode-state.js';
import { mergeInode, type MergedInode } from './merge-inode.js';
import { nameKey, namesByKey, sortedNames, type Name, type Names } from './merge-names.js';
import type { ConflictKind, MergeConflict } from './merge-report.js';

/** The three versions of a merge. */
export interface MergeSides {
  /** What both others come from. */
  base: ManifestReader;
  ours: ManifestReader;
  theirs: ManifestReader;
}

/** An inode of which the result may have something else than theirs has. */
export interface PlannedInode {
  ino: Ino;
  base: InodeState | undefined;
  ours: InodeState | undefined;
  theirs: InodeState | undefined;
  /** Of what both sides have. */
  merged: MergedInode | undefined;
  /** In the result, of which it is no part without one, unless it is the root. */
  names: Names;
}

/** A new file for what theirs had in a file of which the result has ours' content. */
export interface PlannedCopy {
  ino: Ino;
  from: PlannedInode;
  name: Name;
}

/** A conflict of an inode or of one name, before it is known what paths the result has. */
interface Dispute {
  kind: ConflictKind;
  at: Ino | Name;
  kept: MergeConflict['kept'];
  beside?: Name;
}

/**
 * What a merge is going to do. The result is theirs but for the inodes that are planned: those that ours changed, and whatever of
 * theirs is in their way. Whatever is planned to have a name has it from ours or theirs, or was given it here, and of what is not planned
 * both have the same, or only theirs has changed it: so ours and theirs can only meet at names of planned inodes of ours.
 */
export class MergePlan implements MergeSides {
  readonly base: ManifestReader;
  readonly ours: ManifestReader;
  readonly theirs: ManifestReader;
  readonly copies: PlannedCopy[] = [];
  disputes: Dispute[] = [];
  /** Inodes that one side deleted and the other one, named here, kept. */
  readonly survivors = new Map<Ino, 'ours' | 'theirs'>();
  /** How many pairs of inodes, one of each side, became one. */
  joined = 0;
  readonly #inodes = new Map<Ino, PlannedInode>();

  constructor({ base, ours, theirs }: MergeSides) {
    this.base = base;
    this.ours = ours;
    this.theirs = theirs;
  }

  /** What is planned up to now, in order of number. */
  inodes(): PlannedInode[] {
    return [...this.#inodes.values()].sort((a, b) => a.ino - b.ino);
  }

  planned(ino: Ino): PlannedInode | undefined {
    return this.#inodes.get(ino);
  }

  /**
   * Plans an inode, with no names yet. Throws `CairnError('conflict')` where its number is not that of one inode in all three
   * versions. In a version made by an import the file that took another's name goes on under its number, with a birth of its own.
   */
  add(ino: Ino): PlannedInode {
    const [base, ours, theirs] = [this.base, this.ours, this.theirs].map((side) => inodeState(side, ino));
    const isOfOneType = [base, ours, theirs].every((one) => sameType(one, ours ?? theirs));
    const isBornOnce =
      base !== undefined ||
      ours === undefined ||
      theirs === undefined ||
      sameTime(btimeOf(ours), btimeOf(theirs));
    if (!isOfOneType || !isBornOnce) throw givenOutTwice(`inode number ${String(ino)}`);
    const merged = ours === undefined || theirs === undefined ? undefined : mergeInode(base, ours, theirs);
    const planned: PlannedInode = { ino, base, ours, theirs, merged, names: new Map() };
    this.#inodes.set(ino, planned);
    return planned;
  }

  /** As it is planned; what was not is planned as theirs has it. */
  addFromTheirs(ino: Ino): PlannedInode {
    const known = this.#inodes.get(ino);
    if (known !== undefined) return known;
    const planned = this.add(ino);
    planned.names = namesIn(this.theirs, ino);
    return planned;
  }

  /** Whether it is planned that an inode has this name. */
  hasName(ino: Ino, name: Name): boolean {
    return this.#inodes.get(ino)?.names.has(nameKey(name)) ?? false;
  }

  /** The place of a directory in the result, or where it will be if it is kept. */
  placeOf(directory: Ino): Name | undefined {
    for (const names of [
      this.#inodes.get(directory)?.names,
      namesIn(this.theirs, directory),
      namesIn(this.ours, directory),
    ]) {
      for (const name of names?.values() ?? []) return name;
    }
    return undefined;
  }

  /** Takes back that the two sides moved an inode to different places. */
  moveIsAgreed(ino: Ino): void {
    this.disputes = this.disputes.filter(
      ({ kind, at }) => at !== ino || (kind !== 'renamed-twice' && kind !== 'renamed-changed'),
    );
  }

  /** The conflicts, once all is planned. */
  conflicts(): MergeConflict[] {
    const survivals = [...this.survivors].map(([at, kept]): Dispute => ({
      kind: 'deleted-changed',
      at,
      kept,
    }));
    return [...this.disputes, ...survivals]
      .map(({ kind, at, kept, beside }): MergeConflict => {
        const path = this.#pathOf(typeof at === 'number' ? this.#firstName(at) : at);
        return beside === undefined
          ? { kind, path, kept }
          : { kind, path, kept, beside: this.#pathOf(beside) };
      })
      .sort((a, b) => Buffer.compare(a.path, b.path) || (a.kind < b.kind ? -1 : 1));
  }

  #firstName(ino: Ino): Name | undefined {
    return sortedNames(this.#inodes.get(ino)?.names.values() ?? [])[0];
  }

  #pathOf(name: Name | undefined): Buffer {
    const names: Buffer[] = [];
    for (let at = name; at !== undefined; at = this.placeOf(at.parent)) names.push(at.name);
    return names.reduceRight((path, part) => joinPath(path, part), Buffer.alloc(0));
  }
}

export function namesIn(side: ManifestReader, ino: Ino): Names {
  return namesByKey(ino === ROOT_INO ? [] : side.namesOf(ino));
}

/** What both sides together make of an inode, or what the only side has that has it. */
export function resultOf({ ino, ours, theirs, merged }: PlannedInode): InodeState {
  const state = merged?.state ?? ours ?? theirs;
  if (state === undefined) throw new Error(`inode ${String(ino)} is on neither side`);
  return state;
}

export function givenOutTwice(what: string): CairnError {
  return new CairnError('conflict', `cannot merge: both sides have given ${what} to something new`, {
    hint: 'copy what was changed here to a mount of the newest version',
  });
}

function sameType(one: InodeState | undefined, other: InodeState | undefined): boolean {
  return (
    one === undefined || other === undefined || ((one.attributes.mode ^ other.attributes.mode) & S_IFMT) === 0
  );
}
