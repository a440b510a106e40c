import { ROOT_INO, isDirectory, type Ino, type InodeAttributes } from '../core/index.js';
import { walk, type ManifestBuilder, type XattrRow } from '../manifest/index.js';
import { fileContent, sameXattrs, type InodeState } from './inode-state.js';
import type { Name } from './merge-names.js';
import { namesIn, resultOf, type MergePlan, type PlannedCopy, type PlannedInode } from './merge-plan.js';

/**
 * Turns a working copy of theirs into the result. Returns the inodes, of theirs or of the result, that differ in a path, a content or
 * an attribute.
 */
export function writePlan(plan: MergePlan, result: ManifestBuilder): Set<Ino> {
  return new PlanWriter(plan, result).write();
}

/** An entry of the result that theirs does not have, or not with this cookie. */
interface NewEntry {
  ino: Ino;
  name: Name;
  cookie: number;
}

class PlanWriter {
  readonly #plan: MergePlan;
  readonly #result: ManifestBuilder;
  readonly #touched = new Set<Ino>();
  readonly #newEntries: NewEntry[] = [];
  /** By directory: how many subdirectories more than theirs it has. */
  readonly #moreSubdirectories = new Map<Ino, number>();

  constructor(plan: MergePlan, result: ManifestBuilder) {
    this.#plan = plan;
    this.#result = result;
  }

  write(): Set<Ino> {
    const inodes = this.#plan.inodes();
    // All that goes is gone before anything comes, and then all links are counted.
    for (const planned of inodes) this.#replaceNames(planned);
    for (const planned of inodes) this.#writeInode(planned);
    for (const directory of this.#moreSubdirectories.keys()) {
      if (this.#plan.planned(directory) === undefined) this.#writeLinkCount(directory);
    }
    for (const copy of this.#plan.copies) this.#writeCopy(copy);
    for (const { ino, name, cookie } of this.#newEntries) {
      this.#result.putDentry(name.parent, cookie, name.name, ino);
    }
    return this.#touched;
  }

  #replaceNames({ ino, names }: PlannedInode): void {
    const { theirs } = this.#plan;
    const before = namesIn(theirs, ino);
    for (const [key, name] of before) {
      if (names.has(key)) continue;
      this.#result.removeDentry(name.parent, name.name);
      this.#renamed(ino, name, -1);
    }
    for (const [key, name] of names) {
      const there = before.has(key) ? theirs.lookup(name.parent, name.name)?.cookie : undefined;
      const cookie = name.cookie ?? this.#cookieInOurs(ino, name, there === undefined) ?? there;
      if (cookie === undefined) throw new Error(`a name of inode ${String(ino)} is from neither side`);
      if (cookie === there) continue;
      if (there === undefined) this.#renamed(ino, name, 1);
      else this.#result.removeDentry(name.parent, name.name);
      this.#newEntries.push({ ino, name, cookie });
    }
  }

  /** Of an entry of ours; where theirs has it as well (not `isOnlyOurs`) only when ours has given it another one. */
  #cookieInOurs(ino: Ino, { parent, name }: Name, isOnlyOurs: boolean): number | undefined {
    const here = this.#plan.ours.lookup(parent, name);
    if (here?.ino !== ino) return undefined;
    const before = this.#plan.base.lookup(parent, name);
    return isOnlyOurs || before?.ino !== ino || before.cookie !== here.cookie ? here.cookie : undefined;
  }

  /** With a name of a directory go or come the paths of all that is below it. */
  #renamed(ino: Ino, { parent }: Name, more: 1 | -1): void {
    this.#touched.add(ino);
    const there = this.#plan.theirs.inode(ino);
    if (!isDirectory((there ?? this.#plan.ours.inode(ino))?.mode ?? 0)) return;
    this.#moreSubdirectories.set(parent, (this.#moreSubdirectories.get(parent) ?? 0) + more);
    if (there === undefined) return;
    for (const { dentry } of walk(this.#plan.theirs, ino)) this.#touched.add(dentry.ino);
  }

  #writeInode(planned: PlannedInode): void {
    const { ino, names, theirs } = planned;
    if (names.size === 0 && ino !== ROOT_INO) {
      if (theirs !== undefined) this.#touching(ino).removeInode(ino);
      return;
    }
    const state = resultOf(planned);
    const attributes = { ...state.attributes, nlink: this.#linkCount(planned) };
    if (!sameAttributes(attributes, theirs?.attributes)) this.#touching(ino).putInode(attributes);
    if (state.content !== undefined && state.content !== theirs?.content) {
      // What is not as theirs has it is ours.
      this.#touching(ino).setContent(ino, fileContent(this.#plan.ours, ino, state.content));
    }
    if (state.target !== undefined && theirs?.target?.equals(state.target) !== true) {
      this.#touching(ino).setSymlink(ino, state.target);
    }
    if (!sameXattrs(state.xattrs, theirs?.xattrs ?? new Map())) {
      this.#touching(ino).setXattrs(ino, xattrRows(state));
    }
  }

  /** The builder, for writing down that the result's inode is not as theirs has it. */
  #touching(ino: Ino): ManifestBuilder {
    this.#touched.add(ino);
    return this.#result;
  }

  #linkCount({ ino, names, theirs, ...planned }: PlannedInode): number {
    if (!isDirectory((theirs ?? planned.ours)?.attributes.mode ?? 0)) return names.size;
    return (theirs?.attributes.nlink ?? 2) + (this.#moreSubdirectories.get(ino) ?? 0);
  }

  /** Of a directory that has nothing else changed. */
  #writeLinkCount(directory: Ino): void {
    const inode = this.#plan.theirs.inode(directory);
    const more = this.#moreSubdirectories.get(directory) ?? 0;
    if (inode === undefined || more === 0) return;
    this.#touching(directory).putInode({ ...inode, nlink: inode.nlink + more });
  }

  #writeCopy({ ino, from, name }: PlannedCopy): void {
    const { theirs } = from;
    if (theirs?.content === undefined || name.cookie === undefined) throw new Error('a copy of no file');
    const result = this.#touching(ino);
    result.putInode({ ...theirs.attributes, ino, nlink: 1 });
    result.setContent(ino, fileContent(this.#plan.theirs, from.ino, theirs.content));
    result.setXattrs(ino, xattrRows(theirs));
    this.#newEntries.push({ ino, name, cookie: name.cookie });
  }
}

function xattrRows({ xattrs }: InodeState): XattrRow[] {
  return [...xattrs].map(([name, value]) => ({ name: Buffer.from(name, 'latin1'), value }));
}

function sameAttributes(one: InodeAttributes, other: InodeAttributes | undefined): boolean {
  if (other === undefined) return false;
  return (Object.keys(one) as (keyof InodeAttributes)[]).every((key) => one[key] === other[key]);
}
