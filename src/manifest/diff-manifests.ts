import { deviceNumber, ROOT_INO, S_IFMT, type Ino, type InodeAttributes } from '../core/index.js';
import { ManifestComparison, type NamedInode } from './manifest-comparison.js';
import { corruptManifest } from './manifest-database.js';
import { PathFinder, entriesOf } from './manifest-paths.js';
import type { ManifestReader } from './manifest-reader.js';

/**
 * One difference between two versions, by path: in the later one, but for what was removed. `modified`: other
 * bytes or another link target; `metadata`: only mode, owner, device, mtime or extended attributes. Only one
 * of `before` and `after` is there for what was removed or added.
 */
export interface ManifestDifference {
  kind: 'added' | 'removed' | 'modified' | 'metadata' | 'renamed';
  path: Buffer;
  /** Of what was renamed: its path in the earlier version. */
  from?: Buffer;
  before?: InodeAttributes;
  after?: InodeAttributes;
}

/**
 * What differs between two versions, in order of path (bytes); what is at one path in order removed, renamed,
 * added, modified. A directory that was renamed is one entry, whatever is in it. A file replaced by another
 * of its name, as editors save, is `modified`. Sizes, link counts, ctime and btime do not count: they follow
 * from the rest.
 *
 * Reads both manifests through, comparing in SQL; holds in memory what differs. Throws
 * `CairnError('corrupt')`.
 */
export function diffManifests(earlier: ManifestReader, later: ManifestReader): ManifestDifference[] {
  const comparison = new ManifestComparison(earlier, later);
  try {
    return new ManifestDiff(earlier, later, comparison).differences();
  } finally {
    comparison.close();
  }
}

/** Names by directory, then by name as latin1: one character a byte. */
class NameSet {
  readonly #byParent = new Map<Ino, Map<string, NamedInode>>();

  add(name: NamedInode): void {
    let names = this.#byParent.get(name.parent);
    if (names === undefined) {
      names = new Map();
      this.#byParent.set(name.parent, names);
    }
    names.set(name.name.toString('latin1'), name);
  }

  parents(): IterableIterator<Ino> {
    return this.#byParent.keys();
  }

  in(parent: Ino): Map<string, NamedInode> | undefined {
    return this.#byParent.get(parent);
  }

  has(parent: Ino, name: Buffer): boolean {
    return this.#byParent.get(parent)?.has(name.toString('latin1')) ?? false;
  }

  *all(): IterableIterator<NamedInode> {
    for (const names of this.#byParent.values()) yield* names.values();
  }
}

class ManifestDiff {
  readonly #earlier: ManifestReader;
  readonly #later: ManifestReader;
  readonly #comparison: ManifestComparison;
  readonly #earlierPaths: PathFinder;
  readonly #laterPaths: PathFinder;
  /** Names of which the earlier, or the later version has no like: same place, same inode. */
  readonly #gone = new NameSet();
  readonly #fresh = new NameSet();
  /** Of those, the names reported as added. */
  readonly #added = new NameSet();
  readonly #reused: ReadonlySet<Ino>;
  readonly #found: ManifestDifference[] = [];

  constructor(earlier: ManifestReader, later: ManifestReader, comparison: ManifestComparison) {
    this.#earlier = earlier;
    this.#later = later;
    this.#comparison = comparison;
    this.#earlierPaths = new PathFinder(earlier);
    this.#laterPaths = new PathFinder(later);
    this.#reused = new Set(comparison.reusedNumbers());
  }

  differences(): ManifestDifference[] {
    for (const name of this.#comparison.namesGone()) this.#gone.add(name);
    for (const name of this.#comparison.namesAdded()) this.#fresh.add(name);
    for (const ino of this.#reused) {
      addNamesAround(this.#earlier, ino, this.#gone);
      addNamesAround(this.#later, ino, this.#fresh);
    }
    this.#pairReplaced();
    this.#pairRenamed();
    for (const ino of this.#comparison.changedInodes()) this.#compareShared(ino);
    return this.#found.sort(byPathThenKind);
  }

  /** The number stands for the same inode in both versions. */
  #isShared(ino: Ino): boolean {
    return (
      !this.#reused.has(ino) && this.#earlier.inode(ino) !== undefined && this.#later.inode(ino) !== undefined
    );
  }

  /**
   * Takes off the list what stands at the same path in both versions though the entry, or the directory it is
   * in, is another one.
   */
  #pairReplaced(): void {
    const pairs: [Ino, Ino][] = [];
    for (const parent of this.#gone.parents()) if (this.#isShared(parent)) pairs.push([parent, parent]);
    for (let pair = pairs.pop(); pair !== undefined; pair = pairs.pop()) {
      const [gone, fresh] = [this.#gone.in(pair[0]), this.#fresh.in(pair[1])];
      if (gone === undefined || fresh === undefined) continue;
      for (const [key, before] of gone) {
        const after = fresh.get(key);
        if (after === undefined || !this.#standsFor(before.ino, after.ino)) continue;
        gone.delete(key);
        fresh.delete(key);
        if (before.ino === after.ino && this.#isShared(after.ino)) continue;
        this.#compare(before.ino, after.ino, this.#laterPaths.pathOfName(after));
        pairs.push([before.ino, after.ino]);
      }
    }
  }

  /**
   * The same inode; or two of a type of which each version has only one, so that neither was moved here or
   * away.
   */
  #standsFor(before: Ino, after: Ino): boolean {
    const [beforeShared, afterShared] = [this.#isShared(before), this.#isShared(after)];
    if (beforeShared || afterShared) return beforeShared && before === after;
    return (inodeIn(this.#earlier, before).mode & S_IFMT) === (inodeIn(this.#later, after).mode & S_IFMT);
  }

  /** What is left on the list: an inode with a name less and a name more was renamed. */
  #pairRenamed(): void {
    const goneOf = new Map<Ino, NamedInode[]>();
    for (const gone of this.#gone.all()) {
      const names = goneOf.get(gone.ino);
      if (names === undefined) goneOf.set(gone.ino, [gone]);
      else names.push(gone);
    }
    for (const fresh of this.#fresh.all()) {
      const path = this.#laterPaths.pathOfName(fresh);
      const after = inodeIn(this.#later, fresh.ino);
      const gone = this.#isShared(fresh.ino) ? goneOf.get(fresh.ino)?.shift() : undefined;
      if (gone === undefined) {
        this.#found.push({ kind: 'added', path, after });
        this.#added.add(fresh);
      } else {
        const [from, before] = [this.#earlierPaths.pathOfName(gone), inodeIn(this.#earlier, gone.ino)];
        this.#found.push({ kind: 'renamed', path, from, before, after });
      }
    }
    for (const gone of [...goneOf.values()].flat()) {
      const [path, before] = [this.#earlierPaths.pathOfName(gone), inodeIn(this.#earlier, gone.ino)];
      this.#found.push({ kind: 'removed', path, before });
    }
  }

  /**
   * An inode of both versions that is not the same in both: a difference at each of its names that is not
   * itself new.
   */
  #compareShared(ino: Ino): void {
    if (this.#reused.has(ino)) return;
    if (ino === ROOT_INO) this.#compare(ino, ino, Buffer.alloc(0));
    for (const { parent, name } of this.#later.namesOf(ino)) {
      if (this.#added.has(parent, name)) continue;
      this.#compare(ino, ino, this.#laterPaths.pathOfName({ parent, name }));
    }
  }

  #compare(beforeIno: Ino, afterIno: Ino, path: Buffer): void {
    const [before, after] = [inodeIn(this.#earlier, beforeIno), inodeIn(this.#later, afterIno)];
    if (!this.#haveSameBytes(beforeIno, afterIno)) {
      this.#found.push({ kind: 'modified', path, before, after });
    } else if (!this.#haveSameMetadata(before, after)) {
      this.#found.push({ kind: 'metadata', path, before, after });
    }
  }

  #haveSameBytes(before: Ino, after: Ino): boolean {
    if (this.#earlier.content(before) !== this.#later.content(after)) return false;
    const [target, laterTarget] = [this.#earlier.symlink(before), this.#later.symlink(after)];
    return target === undefined || laterTarget === undefined
      ? target === laterTarget
      : target.equals(laterTarget);
  }

  #haveSameMetadata(before: InodeAttributes, after: InodeAttributes): boolean {
    if (
      before.mode !== after.mode ||
      before.uid !== after.uid ||
      before.gid !== after.gid ||
      deviceNumber(before) !== deviceNumber(after) ||
      before.mtimeSec !== after.mtimeSec ||
      before.mtimeNsec !== after.mtimeNsec
    ) {
      return false;
    }
    const [xattrs, laterXattrs] = [this.#earlier.xattrs(before.ino), this.#later.xattrs(after.ino)];
    return (
      xattrs.length === laterXattrs.length &&
      xattrs.every(({ name, value }, index) => {
        const other = laterXattrs[index];
        return other !== undefined && name.equals(other.name) && value.equals(other.value);
      })
    );
  }
}

/** Where an inode is named from and, of a directory, what it names. */
function addNamesAround(reader: ManifestReader, ino: Ino, names: NameSet): void {
  for (const { parent, name } of reader.namesOf(ino)) names.add({ parent, name, ino });
  for (const entry of entriesOf(reader, ino)) names.add({ parent: ino, name: entry.name, ino: entry.ino });
}

function inodeIn(reader: ManifestReader, ino: Ino): InodeAttributes {
  const inode = reader.inode(ino);
  if (inode === undefined) throw corruptManifest(reader.path, `inode ${String(ino)} is named but not there`);
  return inode;
}

const KIND_ORDER = ['removed', 'renamed', 'added', 'modified', 'metadata'];

function byPathThenKind(a: ManifestDifference, b: ManifestDifference): number {
  return Buffer.compare(a.path, b.path) || KIND_ORDER.indexOf(a.kind) - KIND_ORDER.indexOf(b.kind);
}
