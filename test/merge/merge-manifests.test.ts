import t, { type Test } from 'tap';
import { dump } from '../manifest/tree-model.js';
import { checkedMerge } from './checked-merge.js';
import { LiteralTrees, treeOf, type Tree } from './literal-trees.js';

interface Case {
  base: Tree;
  ours: Tree;
  theirs: Tree;
  result: Tree;
  conflicts?: string[];
}

/** Merges, and merges ours again with the result: that must be the result. */
function check(t: Test, what: string, { base, ours, theirs, result, conflicts = [] }: Case): void {
  const trees = new LiteralTrees(t.testdir());
  const sides = { base: trees.open(base), ours: trees.open(ours), theirs: trees.open(theirs) };
  const merged = checkedMerge(sides, trees.newPath());
  t.strictSame(treeOf(merged.result), treeOf(trees.open(result)), what);
  t.same(merged.conflicts, conflicts, `${what}: conflicts`);
  const again = checkedMerge({ ...sides, theirs: merged.result }, trees.newPath());
  t.strictSame(dump(again.result), dump(merged.result), `${what}: merged again`);
}

void t.test('what only one side changed is taken', async (t) => {
  const base = { 'a/': '2', 'a/f': '3 old', g: '4 old' };
  check(t, 'content', {
    base,
    ours: { ...base, 'a/f': '3 mine' },
    theirs: { ...base, g: '4 new' },
    result: { 'a/': '2', 'a/f': '3 mine', g: '4 new' },
  });
});
