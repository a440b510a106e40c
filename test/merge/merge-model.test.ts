import fc from 'fast-check';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { Ino } from '../../src/core/index.js';
import { createManifest, openManifest, type ManifestReader } from '../../src/manifest/index.js';
import { scratchFolder } from '../fixtures/scratch-folder.js';
import type { MergeSides } from '../../src/merge/index.js';
import { TreeModel, dump, type Change } from '../manifest/tree-model.js';
import { checkedMerge, type Merged } from './checked-merge.js';

const RUNS = process.env['CAIRN_TEST_LARGE'] === '1' ? 2000 : 80;

const changes: fc.Arbitrary<Change> = fc.record({
  kind: fc.constantFrom(
    'file',
    'directory',
    'directory',
    'symlink',
    'link',
    'remove',
    'remove',
    'rename',
    'rename',
    'rename',
    'replace',
    'remake',
    'write',
    'write',
    'chmod',
    'xattr',
  ),
  a: fc.nat(1000),
  b: fc.nat(1000),
  size: fc.nat(2000),
});

/** Where a side's new numbers and times begin. */
const OURS = 10_000;
const THEIRS = 20_000;

/** Files in which a side changed the content, or that it added, with what they hold. */
function changedContents(base: ManifestReader, side: ManifestReader): Map<Ino, string> {
  const changed = new Map<Ino, string>();
  for (const { ino } of side.inodes()) {
    const content = side.content(ino);
    if (content !== undefined && content !== base.content(ino)) changed.set(ino, content);
  }
  return changed;
}

const namesOf = (reader: ManifestReader, ino: Ino): string[] =>
  reader.namesOf(ino).map(({ parent, name }) => `${String(parent)}/${name.toString('latin1')}`);

/** Inodes whose own attributes or names a side changed, and the directories it changed names in. */
function changedInodes(base: ManifestReader, side: ManifestReader): Set<Ino> {
  const changed = new Set<Ino>();
  for (const [one, other] of [
    [base, side],
    [side, base],
  ] as const) {
    for (const { nlink, ...inode } of one.inodes()) {
      const { nlink: otherNlink = 0, ...otherInode } = other.inode(inode.ino) ?? {};
      if (JSON.stringify(inode) !== JSON.stringify(otherInode)) changed.add(inode.ino);
      if (namesOf(one, inode.ino).join() !== namesOf(other, inode.ino).join()) changed.add(inode.ino);
      if (nlink !== otherNlink) changed.add(inode.ino);
    }
  }
  return changed;
}

function checkNothingIsLost({ base, ours, theirs }: MergeSides, { result, report }: Merged): void {
  const held = new Set([...result.inodes()].map(({ ino }) => result.content(ino)));
  for (const side of [ours, theirs]) {
    for (const [ino, content] of changedContents(base, side)) {
      if (!held.has(content as never)) throw new Error(`the content of inode ${String(ino)} is lost`);
    }
  }
  for (const { ino } of theirs.inodes()) {
    const isExpected =
      ours.inode(ino) !== undefined || (base.inode(ino) === undefined && report.joined === 0);
    if (isExpected && result.inode(ino) === undefined) throw new Error(`inode ${String(ino)} is lost`);
  }
}

function checkOursIsKept({ base, ours }: MergeSides, { result }: Merged): void {
  for (const [ino, content] of changedContents(base, ours)) {
    if (result.content(ino) !== content) throw new Error(`inode ${String(ino)} has other content`);
    const names = namesOf(result, ino);
    for (const name of namesOf(ours, ino)) {
      if (!names.includes(name)) throw new Error(`inode ${String(ino)} has lost its name ${name}`);
    }
  }
  for (const { ino, mode } of ours.inodes()) {
    const before = base.inode(ino);
    if (before?.mode !== mode && result.inode(ino)?.mode !== mode)
      throw new Error(`inode ${String(ino)} has another mode`);
    if (before !== undefined) continue;
    if (namesOf(result, ino).join() !== namesOf(ours, ino).join())
      throw new Error(`inode ${String(ino)} has other names`);
  }
}

/** Nothing is where neither side wanted it, but for what was put beside and what is in directories that became one. */
function checkNamesAreIntended({ base, ours, theirs }: MergeSides, { result, report }: Merged): void {
  for (const { ino } of result.inodes()) {
    const [inOurs, inTheirs, inBase] = [ours, theirs, base].map((side) => namesOf(side, ino));
    const names = namesOf(result, ino);
    for (const name of names) {
      const isIntended = inOurs?.includes(name) === true || inTheirs?.includes(name) === true;
      if (!isIntended && !name.includes('~') && report.joined === 0)
        throw new Error(`inode ${String(ino)} is at ${name}`);
    }
    for (const name of inBase ?? []) {
      if (inOurs?.includes(name) === true && inTheirs?.includes(name) === true && !names.includes(name))
        throw new Error(`inode ${String(ino)} is not at ${name} any more`);
    }
  }
}

/** Manifests, and merges of them, for one round. */
class Round {
  readonly #dir: string;
  readonly #open: ManifestReader[] = [];

  constructor(dir: string) {
    this.#dir = dir;
  }

  write(model: TreeModel): ManifestReader {
    const path = this.#newPath();
    const builder = createManifest(path);
    model.feed(builder);
    builder.finish();
    const reader = openManifest(path);
    this.#open.push(reader);
    return reader;
  }

  merge(sides: MergeSides): Merged {
    const merged = checkedMerge(sides, this.#newPath());
    this.#open.push(merged.result);
    return merged;
  }

  end(): void {
    for (const reader of this.#open.splice(0)) {
      reader.close();
      rmSync(reader.path);
    }
  }

  #newPath(): string {
    return join(this.#dir, String(this.#open.length));
  }
}

function checkSame(what: string, { result, conflicts }: Merged, expected: ManifestReader): void {
  const [is, should] = [JSON.stringify(dump(result), null, 1), JSON.stringify(dump(expected), null, 1)];
  if (is !== should) throw new Error(`${what}:\n${is}\nnot\n${should}`);
  if (what !== AGAIN && conflicts.length > 0) throw new Error(`${what}: ${conflicts.join(', ')}`);
}

const AGAIN = 'merged again';

/** Merges, and holds the result against everything that is true of any. `note` is told what happened. */
function checkRound(round: Round, sides: MergeSides, note: (what: string) => void): void {
  const merged = round.merge(sides);
  for (const { kind } of merged.report.conflicts) note(kind);
  if (merged.report.joined > 0) note('joined');
  checkNothingIsLost(sides, merged);
  checkOursIsKept(sides, merged);
  checkNamesAreIntended(sides, merged);
  checkSame(AGAIN, round.merge({ ...sides, theirs: merged.result }), merged.result);
  checkOneSided(round, sides);
  if (!isDisjoint(sides) || merged.conflicts.length > 0 || merged.report.joined > 0) return;
  note('disjoint');
  const { base, ours, theirs } = sides;
  checkSame('the other way round', round.merge({ base, ours: theirs, theirs: ours }), merged.result);
}

void t.test(
  'whatever two sides do, the result is a tree, nothing is lost, and nothing of ours is changed',
  async (t) => {
    const dir = scratchFolder(t);
    const seen = new Map<string, number>();
    fc.assert(
      fc.property(
        fc.array(changes, { minLength: 5, maxLength: 25 }),
        fc.array(changes, { maxLength: 8 }),
        fc.array(changes, { maxLength: 8 }),
        (common, byOurs, byTheirs) => {
          const model = new TreeModel();
          for (const change of common) model.apply(change);
          const [oursModel, theirsModel] = [model.branch(OURS), model.branch(THEIRS)];
          for (const change of byOurs) oursModel.apply(change);
          for (const change of byTheirs) theirsModel.apply(change);
          const round = new Round(dir);
          try {
            const sides = {
              base: round.write(model),
              ours: round.write(oursModel),
              theirs: round.write(theirsModel),
            };
            checkRound(round, sides, (what) => seen.set(what, (seen.get(what) ?? 0) + 1));
          } finally {
            round.end();
          }
        },
      ),
      { numRuns: RUNS },
    );
    const counts = [...seen].map(([what, times]) => `${what} ${String(times)}`);
    t.ok(seen.size > 3, counts.sort().join(', '));
  },
);

/** What only one side did, or both did the same, is the result. */
function checkOneSided(round: Round, { base, ours, theirs }: MergeSides): void {
  for (const side of [ours, theirs]) {
    checkSame('only ours changed something', round.merge({ base, ours: side, theirs: base }), side);
    checkSame('only theirs changed something', round.merge({ base, ours: base, theirs: side }), side);
    checkSame('both changed the same', round.merge({ base, ours: side, theirs: side }), side);
  }
}

function isDisjoint({ base, ours, theirs }: MergeSides): boolean {
  const byTheirs = changedInodes(base, theirs);
  return [...changedInodes(base, ours)].every((ino) => !byTheirs.has(ino));
}
