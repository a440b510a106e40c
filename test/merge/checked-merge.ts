import { copyFileSync } from 'node:fs';
import { ROOT_INO, type Ino } from '../../src/core/index.js';
import {
  changeManifest,
  checkManifest,
  openManifest,
  walk,
  type ManifestReader,
} from '../../src/manifest/index.js';
import { mergeManifests, type MergeReport, type MergeSides } from '../../src/merge/index.js';

export interface Merged {
  result: ManifestReader;
  report: MergeReport;
  /** `kind path`, ` | path` of what was put beside, ` (theirs)` where that was kept. */
  conflicts: string[];
}

/** Merges into a new manifest at `path`, with numbers above all in use, and holds the result against what is true of every one. */
export function checkedMerge(sides: MergeSides, path: string): Merged {
  const { ours, theirs } = sides;
  copyFileSync(theirs.path, path);
  const builder = changeManifest(path);
  let nextIno = Math.max(ours.nextIno, theirs.nextIno);
  let nextCookie = Math.max(ours.nextCookie, theirs.nextCookie);
  let report: MergeReport;
  try {
    report = mergeManifests({
      ...sides,
      result: builder,
      numbers: { ino: () => nextIno++, cookie: () => nextCookie++ },
      conflictName: (name, attempt) => Buffer.concat([name, Buffer.from(`~${String(attempt + 1)}`)]),
    });
    builder.finish();
  } catch (error) {
    builder.abandon();
    throw error;
  }
  const result = openManifest(path);
  try {
    for (const { rule, what } of checkManifest(result)) throw new Error(`${rule}: ${what}`);
    for (const ino of differing(theirs, result)) {
      if (!report.touched.has(ino)) throw new Error(`inode ${String(ino)} is not told as touched`);
    }
  } catch (error) {
    result.close();
    throw error;
  }
  const conflicts = report.conflicts.map(({ kind, path: at, kept, beside }) => {
    const there = beside === undefined ? '' : ` | ${beside.toString('latin1')}`;
    return `${kind} ${at.toString('latin1')}${there}${kept === 'theirs' ? ' (theirs)' : ''}`;
  });
  return { result, report, conflicts };
}

/** Inodes that have, in one of two versions, a path at which the other has something else. */
function differing(one: ManifestReader, other: ManifestReader): Set<Ino> {
  const [rows, otherRows] = [rowsByPath(one), rowsByPath(other)];
  const found = new Set<Ino>();
  for (const [some, others] of [
    [rows, otherRows],
    [otherRows, rows],
  ] as const) {
    for (const [path, { ino, row }] of some) if (others.get(path)?.row !== row) found.add(ino);
  }
  return found;
}

function rowsByPath(reader: ManifestReader): Map<string, { ino: Ino; row: string }> {
  const rows = new Map<string, { ino: Ino; row: string }>();
  for (const { path, inode } of walk(reader, ROOT_INO)) {
    const { ino, mode, size, uid, mtimeSec } = inode;
    const row = JSON.stringify([ino, mode, size, uid, mtimeSec, reader.content(ino)]);
    rows.set(path.toString('latin1'), { ino, row });
  }
  return rows;
}
