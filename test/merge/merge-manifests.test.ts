import { join } from 'node:path';
import t, { type Test } from 'tap';
import { scratchFolder } from '../fixtures/scratch-folder.js';
import { dump } from '../manifest/tree-model.js';
import { LiteralTrees, inOrder, treeOf, type Tree } from './literal-trees.js';

interface Case {
  base: Tree;
  ours: Tree;
  theirs: Tree;
  result: Tree;
  conflicts?: string[];
}

/** Merges one case after the other, and ours again with each result: that must be the result. */
function checkIn(t: Test): (what: string, { base, ours, theirs, result, conflicts }: Case) => void {
  const dir = scratchFolder(t);
  return (what, { base, ours, theirs, result, conflicts = [] }) => {
    const trees = new LiteralTrees(dir);
    try {
      const sides = { base: trees.open(base), ours: trees.open(ours), theirs: trees.open(theirs) };
      const merged = trees.merge(sides);
      t.strictSame(treeOf(merged.result), inOrder(result), what);
      t.strictSame(merged.conflicts, conflicts, `${what}: conflicts`);
      const again = trees.merge({ ...sides, theirs: merged.result });
      t.strictSame(dump(again.result), dump(merged.result), `${what}: merged again`);
    } finally {
      trees.close();
    }
  };
}

void t.test('what only one side changed is taken', async (t) => {
  const check = checkIn(t);
  const base = { 'a/': '2', 'a/f': '3 old', g: '4 old', l: '5 -> here' };
  check('content of two files', {
    base,
    ours: { ...base, 'a/f': '3 mine mtime=5' },
    theirs: { ...base, g: '4 new mtime=6' },
    result: { ...base, 'a/f': '3 mine mtime=5', g: '4 new mtime=6' },
  });
  check('content here, attributes there', {
    base,
    ours: { ...base, g: '4 mine mtime=5 ctime=5' },
    theirs: { ...base, g: '4 old mode=755 uid=7 ctime=6 user.a=1' },
    result: { ...base, g: '4 mine mode=755 uid=7 mtime=5 ctime=6 user.a=1' },
  });
  check('attributes here, content there', {
    base,
    ours: { ...base, g: '4 old mode=755 gid=7 ctime=6 user.a=1' },
    theirs: { ...base, g: '4 new mtime=5 ctime=5' },
    result: { ...base, g: '4 new mode=755 gid=7 mtime=5 ctime=6 user.a=1' },
  });
  check('new things of all kinds', {
    base,
    ours: { ...base, 'mine/': '10', 'mine/f': '11 mine', 'mine/l': '12 -> there', 'mine/p': '13 |' },
    theirs: { ...base, 'new/': '20', 'new/f': '21 new', 'new/l': '22 -> where' },
    result: {
      ...base,
      ...{ 'mine/': '10', 'mine/f': '11 mine', 'mine/l': '12 -> there', 'mine/p': '13 |' },
      ...{ 'new/': '20', 'new/f': '21 new', 'new/l': '22 -> where' },
    },
  });
  check('one file deleted by each', {
    base,
    ours: { 'a/': '2', 'a/f': '3 old', l: '5 -> here' },
    theirs: { 'a/': '2', g: '4 old', l: '5 -> here' },
    result: { 'a/': '2', l: '5 -> here' },
  });
  check('the same deleted by both', {
    base,
    ours: { g: '4 old' },
    theirs: { g: '4 old' },
    result: { g: '4 old' },
  });
  check('a file only touched here, written there', {
    base,
    ours: { ...base, g: '4 old mtime=9' },
    theirs: { ...base, g: '4 new mtime=6' },
    result: { ...base, g: '4 new mtime=6' },
  });
  check('a link of another target there, another mode here', {
    base,
    ours: { ...base, l: '5 -> here uid=7' },
    theirs: { ...base, l: '5 -> elsewhere' },
    result: { ...base, l: '5 -> elsewhere uid=7' },
  });
  check('a ctime', {
    base,
    ours: { ...base, g: '4 old ctime=9' },
    theirs: { ...base, 'a/f': '3 old ctime=8' },
    result: { ...base, g: '4 old ctime=9', 'a/f': '3 old ctime=8' },
  });
  check('a directory with the later time there', {
    base,
    ours: { ...base, 'a/': '2 mtime=6', 'a/mine': '10 mine' },
    theirs: { ...base, 'a/': '2 mtime=7', 'a/new': '20 new' },
    result: { ...base, 'a/': '2 mtime=7', 'a/mine': '10 mine', 'a/new': '20 new' },
  });
  check('a directory with new entries of both has the later of its times', {
    base,
    ours: { ...base, 'a/': '2 mtime=7 ctime=7', 'a/mine': '10 mine' },
    theirs: { ...base, 'a/': '2 mtime=6 ctime=6', 'a/new': '20 new' },
    result: { ...base, 'a/': '2 mtime=7 ctime=7', 'a/mine': '10 mine', 'a/new': '20 new' },
  });
});

void t.test(
  'of content that both changed, ours stays in its file, and theirs is a new file beside it',
  async (t) => {
    const check = checkIn(t);
    const base = { 'a/': '2', 'a/f': '3 old' };
    check('with attributes of each', {
      base,
      ours: { ...base, 'a/f': '3 mine mtime=5' },
      theirs: { ...base, 'a/f': '3 new mode=600 mtime=6 user.n=v' },
      result: {
        ...base,
        'a/f': '3 mine mode=600 mtime=5 user.n=v',
        'a/f~1': '1000 new mode=600 mtime=6 user.n=v',
      },
      conflicts: ['content a/f | a/f~1'],
    });
    check('when the name beside is taken, under the next one', {
      base: { ...base, 'a/f~1': '4 there' },
      ours: { ...base, 'a/f~1': '4 there', 'a/f~2': '10 mine', 'a/f': '3 mine' },
      theirs: { ...base, 'a/f~1': '4 there', 'a/f~3': '20 new', 'a/f': '3 new' },
      result: {
        ...{ ...base, 'a/f~1': '4 there', 'a/f~2': '10 mine', 'a/f~3': '20 new' },
        ...{ 'a/f': '3 mine', 'a/f~4': '1000 new' },
      },
      conflicts: ['content a/f | a/f~4'],
    });
    check('the same change is none', {
      base,
      ours: { ...base, 'a/f': '3 same mtime=5' },
      theirs: { ...base, 'a/f': '3 same mtime=6' },
      result: { ...base, 'a/f': '3 same mtime=5' },
    });
    check('a file of several names gets one beside', {
      base: { ...base, g: '3 old' },
      ours: { ...base, 'a/f': '3 mine', g: '3 mine' },
      theirs: { ...base, 'a/f': '3 new', g: '3 new' },
      result: { ...base, 'a/f': '3 mine', g: '3 mine', 'g~1': '1000 new' },
      conflicts: ['content g | g~1'],
    });
    check('both replaced the file, as editors save', {
      base,
      ours: { ...base, 'a/f': '10 mine' },
      theirs: { ...base, 'a/f': '20 new' },
      result: { ...base, 'a/f': '10 mine', 'a/f~1': '20 new' },
      conflicts: ['content a/f | a/f~1'],
    });
    check('ours wrote into the file, theirs replaced it', {
      base,
      ours: { ...base, 'a/f': '3 mine' },
      theirs: { ...base, 'a/f': '20 new' },
      result: { ...base, 'a/f': '3 mine', 'a/f~1': '20 new' },
      conflicts: ['content a/f | a/f~1'],
    });
    check('ours replaced the file, theirs wrote into it', {
      base,
      ours: { ...base, 'a/f': '10 mine' },
      theirs: { ...base, 'a/f': '3 new' },
      result: { ...base, 'a/f': '10 mine', 'a/f~1': '3 new' },
      conflicts: ['content a/f | a/f~1'],
    });
    check('both came to the same, one by replacing', {
      base,
      ours: { ...base, 'a/f': '10 same' },
      theirs: { ...base, 'a/f': '3 same' },
      result: { ...base, 'a/f': '10 same' },
    });
    check('ours renamed the file as well', {
      base,
      ours: { 'a/': '2', 'a/g': '3 mine' },
      theirs: { ...base, 'a/f': '3 new' },
      result: { 'a/': '2', 'a/g': '3 mine', 'a/g~1': '1000 new' },
      conflicts: ['content a/g | a/g~1'],
    });
  },
);

void t.test('of an attribute that both changed ours is taken, and told', async (t) => {
  const check = checkIn(t);
  const base = { f: '3 old user.a=1 user.b=1', 'd/': '4', l: '5 -> here' };
  check('mode, owner and an extended attribute', {
    base,
    ours: { ...base, f: '3 old mode=600 uid=7 user.a=2 user.b=1' },
    theirs: { ...base, f: '3 old mode=755 uid=8 user.a=3 user.b=2 user.c=1' },
    result: { ...base, f: '3 old mode=600 uid=7 user.a=2 user.b=2 user.c=1' },
    conflicts: ['metadata f'],
  });
  check('an extended attribute removed here and changed there', {
    base,
    ours: { ...base, f: '3 old user.b=1' },
    theirs: { ...base, f: '3 old user.a=3 user.b=1' },
    result: { ...base, f: '3 old user.b=1' },
    conflicts: ['metadata f'],
  });
  check('the mode of a directory', {
    base,
    ours: { ...base, 'd/': '4 mode=700' },
    theirs: { ...base, 'd/': '4 mode=711' },
    result: { ...base, 'd/': '4 mode=700' },
    conflicts: ['metadata d'],
  });
  check('the target of a link', {
    base,
    ours: { ...base, l: '5 -> mine' },
    theirs: { ...base, l: '5 -> there' },
    result: { ...base, l: '5 -> mine' },
    conflicts: ['metadata l'],
  });
  check('the mode of the root', {
    base,
    ours: { ...base, '': '1 mode=700' },
    theirs: { ...base, '': '1 mode=711 user.r=1' },
    result: { ...base, '': '1 mode=700 user.r=1' },
    conflicts: ['metadata '],
  });
});

void t.test('of two things of one name ours has it, and theirs gets a name beside', async (t) => {
  const check = checkIn(t);
  const base = { 'a/': '2', f: '3 old' };
  check('two files', {
    base,
    ours: { ...base, 'a/n': '10 mine' },
    theirs: { ...base, 'a/n': '20 new' },
    result: { ...base, 'a/n': '10 mine', 'a/n~1': '20 new' },
    conflicts: ['name a/n | a/n~1'],
  });
  check('a file and a directory', {
    base,
    ours: { ...base, n: '10 mine' },
    theirs: { ...base, 'n/': '20', 'n/f': '21 new' },
    result: { ...base, n: '10 mine', 'n~1/': '20', 'n~1/f': '21 new' },
    conflicts: ['name n | n~1'],
  });
  check('a directory and a file', {
    base,
    ours: { ...base, 'n/': '10', 'n/f': '11 mine' },
    theirs: { ...base, n: '20 new' },
    result: { ...base, 'n/': '10', 'n/f': '11 mine', 'n~1': '20 new' },
    conflicts: ['name n | n~1'],
  });
  check('what theirs moved there keeps its number', {
    base,
    ours: { ...base, n: '10 mine' },
    theirs: { 'a/': '2', n: '3 old' },
    result: { 'a/': '2', n: '10 mine', 'n~1': '3 old' },
    conflicts: ['name n | n~1'],
  });
  check('two files of one content become one', {
    base,
    ours: { ...base, n: '10 same mtime=5' },
    theirs: { ...base, n: '20 same mtime=6' },
    result: { ...base, n: '10 same mtime=5' },
  });
  check('but what theirs moved there keeps its number, whatever it holds', {
    base: { ...base, m: '6 same' },
    ours: { ...base, m: '6 same', n: '10 same' },
    theirs: { ...base, n: '6 same' },
    result: { ...base, n: '10 same', 'n~1': '6 same' },
    conflicts: ['name n | n~1'],
  });
  check('two files of one content, of other modes', {
    base,
    ours: { ...base, n: '10 same' },
    theirs: { ...base, n: '20 same mode=755' },
    result: { ...base, n: '10 same' },
    conflicts: ['metadata n'],
  });
  check('two links to one target become one, to two do not', {
    base,
    ours: { ...base, l: '10 -> same', m: '11 -> mine' },
    theirs: { ...base, l: '20 -> same', m: '21 -> new' },
    result: { ...base, l: '10 -> same', m: '11 -> mine', 'm~1': '21 -> new' },
    conflicts: ['name m | m~1'],
  });
  check('a file of theirs that has another name too keeps that', {
    base,
    ours: { ...base, n: '10 same' },
    theirs: { ...base, n: '20 same', o: '20 same' },
    result: { ...base, n: '10 same', o: '20 same' },
  });
});

void t.test('two new directories of one name become one, all the way down', async (t) => {
  const check = checkIn(t);
  const base = { 'a/': '2', f: '3 old', 'm/': '4', 'm/in': '5 in' };
  check('directories', {
    base,
    ours: { ...base, 'n/': '10', 'n/f': '11 mine', 'n/s/': '12', 'n/s/same': '13 same', 'n/only/': '14' },
    theirs: {
      ...{ ...base, 'n/': '20 mtime=9', 'n/f': '21 new', 'n/g': '22 new' },
      ...{ 'n/s/': '23', 'n/s/same': '24 same', 'n/s/t/': '25', 'n/s/t/f': '26 new' },
    },
    result: {
      ...{ ...base, 'n/': '10', 'n/f': '11 mine', 'n/f~1': '21 new', 'n/g': '22 new', 'n/only/': '14' },
      ...{ 'n/s/': '12', 'n/s/same': '13 same', 'n/s/t/': '25', 'n/s/t/f': '26 new' },
    },
    conflicts: ['name n/f | n/f~1'],
  });
  check('what each moved into its own is in the one', {
    base,
    ours: { 'a/': '2', 'm/': '4', 'm/in': '5 in', 'n/': '10', 'n/f': '3 old' },
    theirs: { f: '3 old', 'm/': '4', 'm/in': '5 in', 'n/': '20', 'n/a/': '2', 'n/x': '21 x' },
    result: { 'm/': '4', 'm/in': '5 in', 'n/': '10', 'n/f': '3 old', 'n/a/': '2', 'n/x': '21 x' },
  });
  check('what each moved there from the same place, under its name', {
    base,
    ours: { 'a/': '2', 'm/': '4', 'm/in': '5 in', 'n/': '10', 'n/f': '3 old' },
    theirs: { 'a/': '2', 'm/': '4', 'm/in': '5 in', 'n/': '20', 'n/f': '3 old' },
    result: { 'a/': '2', 'm/': '4', 'm/in': '5 in', 'n/': '10', 'n/f': '3 old' },
  });
  check('theirs made a directory anew, with what was in it, where ours added and changed something', {
    base,
    ours: { ...base, 'm/in': '5 mine', 'm/mine': '10 mine' },
    theirs: { ...base, 'm/': '20', 'm/in': '5 in', 'm/new': '21 new' },
    result: { ...base, 'm/in': '5 mine', 'm/mine': '10 mine', 'm/new': '21 new' },
  });
  check('theirs made a directory anew, where ours only added something', {
    base,
    ours: { ...base, 'm/mine': '10 mine' },
    theirs: { ...base, 'm/': '20' },
    result: { ...base, 'm/mine': '10 mine' },
  });
  check('ours made a directory anew, with what was in it, where theirs added and changed something', {
    base,
    ours: { ...base, 'm/': '10', 'm/mine': '11 mine' },
    theirs: { ...base, 'm/in': '5 new', 'm/new': '20 new' },
    result: { ...base, 'm/': '10', 'm/in': '5 new', 'm/mine': '11 mine', 'm/new': '20 new' },
  });
  check(
    'theirs made a directory anew, where ours deleted one file, moved another and took a name of a third',
    {
      base: { 'm/': '4', 'm/a': '5 a', 'm/b': '6 b', 'm/c': '7 c', c: '7 c' },
      ours: { 'm/': '4', 'm/mine': '10 mine', b: '6 b', c: '7 c' },
      theirs: { 'm/': '20', 'm/a': '5 a', 'm/b': '6 b', 'm/c': '7 c', c: '7 c' },
      result: { 'm/': '4', 'm/mine': '10 mine', b: '6 b', c: '7 c' },
    },
  );
  check('theirs made a directory anew, and of a file in it each removed another name', {
    base: { 'm/': '4', 'm/f': '6 f', g: '6 f' },
    ours: { 'm/': '4', 'm/mine': '10 mine', g: '6 f' },
    theirs: { 'm/': '20', 'm/f': '6 f' },
    result: { 'm/': '4', 'm/mine': '10 mine', g: '6 f' },
    conflicts: ['renamed-changed g'],
  });
  check('theirs made a directory and one in it anew, where ours added something to the outer one', {
    base: { 'm/': '4', 'm/s/': '5', 'm/s/f': '6 f' },
    ours: { 'm/': '4', 'm/s/': '5', 'm/s/f': '6 f', 'm/mine': '10 mine' },
    theirs: { 'm/': '20', 'm/s/': '21', 'm/s/f': '6 f', 'm/s/new': '22 new' },
    result: { 'm/': '4', 'm/mine': '10 mine', 'm/s/': '21', 'm/s/f': '6 f', 'm/s/new': '22 new' },
  });
  check('but not one that both have had before', {
    base,
    ours: { ...base, 'n/': '10', 'n/mine': '11 mine' },
    theirs: { 'a/': '2', f: '3 old', 'n/': '4', 'n/in': '5 in' },
    result: { 'a/': '2', f: '3 old', 'n/': '10', 'n/mine': '11 mine', 'n~1/': '4', 'n~1/in': '5 in' },
    conflicts: ['name n | n~1'],
  });
  check('with another mode', {
    base,
    ours: { ...base, 'n/': '10' },
    theirs: { ...base, 'n/': '20 mode=700' },
    result: { ...base, 'n/': '10' },
    conflicts: ['metadata n'],
  });
});

void t.test('what one deleted and the other changed stays as the other has it', async (t) => {
  const check = checkIn(t);
  const base = { 'a/': '2', 'a/b/': '3', 'a/b/f': '4 old', 'a/g': '5 old' };
  check('a file deleted here, its content changed there', {
    base,
    ours: { 'a/': '2', 'a/b/': '3', 'a/g': '5 old' },
    theirs: { ...base, 'a/b/f': '4 new' },
    result: { ...base, 'a/b/f': '4 new' },
    conflicts: ['deleted-changed a/b/f (theirs)'],
  });
  check('a file of two names deleted here, one of them taken by something new, its content changed there', {
    base: { p: '6 old', q: '6 old' },
    ours: { q: '10 mine' },
    theirs: { p: '6 new', q: '6 new' },
    result: { p: '6 new', q: '10 mine', 'q~1': '6 new' },
    conflicts: ['content q | q~1'],
  });
  check('a file deleted here, its mode changed there, is gone', {
    base,
    ours: { 'a/': '2', 'a/b/': '3', 'a/g': '5 old' },
    theirs: { ...base, 'a/b/f': '4 old mode=600' },
    result: { 'a/': '2', 'a/b/': '3', 'a/g': '5 old' },
  });
  check('a file deleted there, changed here', {
    base,
    ours: { ...base, 'a/b/f': '4 mine', 'a/g': '5 old mode=600' },
    theirs: { 'a/': '2', 'a/b/': '3' },
    result: { ...base, 'a/b/f': '4 mine', 'a/g': '5 old mode=600' },
    conflicts: ['deleted-changed a/b/f', 'deleted-changed a/g'],
  });
  check('a directory deleted here, a file in it changed there', {
    base,
    ours: {},
    theirs: { ...base, 'a/b/f': '4 new' },
    result: { 'a/': '2', 'a/b/': '3', 'a/b/f': '4 new' },
    conflicts: ['deleted-changed a/b/f (theirs)'],
  });
  check('a directory deleted here, a file in it added there', {
    base,
    ours: {},
    theirs: { ...base, 'a/b/n': '20 new' },
    result: { 'a/': '2', 'a/b/': '3', 'a/b/n': '20 new' },
    conflicts: ['deleted-changed a/b (theirs)'],
  });
  check('a directory deleted here, something moved into it there', {
    base: { ...base, h: '6 old' },
    ours: { h: '6 old' },
    theirs: { ...base, 'a/h': '6 old' },
    result: { 'a/': '2', 'a/h': '6 old' },
    conflicts: ['deleted-changed a (theirs)'],
  });
  check('a directory deleted here, only moved there, is gone', {
    base,
    ours: { 'a/': '2', 'a/g': '5 old' },
    theirs: { 'a/': '2', 'a/g': '5 old', 'c/': '3', 'c/f': '4 old' },
    result: { 'a/': '2', 'a/g': '5 old' },
  });
  check('a directory deleted there, a file in it changed here', {
    base,
    ours: { ...base, 'a/b/f': '4 mine' },
    theirs: {},
    result: { 'a/': '2', 'a/b/': '3', 'a/b/f': '4 mine' },
    conflicts: ['deleted-changed a/b/f'],
  });
  check('a directory deleted there, a directory in it added here', {
    base,
    ours: { ...base, 'a/b/n/': '10', 'a/b/n/f': '11 mine' },
    theirs: {},
    result: { 'a/': '2', 'a/b/': '3', 'a/b/n/': '10', 'a/b/n/f': '11 mine' },
    conflicts: ['deleted-changed a/b'],
  });
  check('a directory deleted there, another mode here', {
    base,
    ours: { ...base, 'a/b/': '3 mode=700' },
    theirs: { 'a/': '2', 'a/g': '5 old' },
    result: { 'a/': '2', 'a/g': '5 old', 'a/b/': '3 mode=700' },
    conflicts: ['deleted-changed a/b'],
  });
  check('a directory deleted there, only its times here, is gone', {
    base,
    ours: { ...base, 'a/b/': '3 mtime=9 ctime=9' },
    theirs: { 'a/': '2', 'a/g': '5 old' },
    result: { 'a/': '2', 'a/g': '5 old' },
  });
  check('a file renamed here, deleted there', {
    base,
    ours: { 'a/': '2', 'a/b/': '3', 'a/b/f': '4 old', 'a/h': '5 old' },
    theirs: { 'a/': '2', 'a/b/': '3', 'a/b/f': '4 old' },
    result: { 'a/': '2', 'a/b/': '3', 'a/b/f': '4 old', 'a/h': '5 old' },
    conflicts: ['deleted-changed a/h'],
  });
  check('a file deleted here, renamed there', {
    base,
    ours: { 'a/': '2', 'a/b/': '3', 'a/b/f': '4 old' },
    theirs: { 'a/': '2', 'a/b/': '3', 'a/b/f': '4 old', 'a/h': '5 old' },
    result: { 'a/': '2', 'a/b/': '3', 'a/b/f': '4 old', 'a/h': '5 old' },
    conflicts: ['deleted-changed a/h (theirs)'],
  });
  check('a directory deleted here and made anew, a file in the old one changed there', {
    base,
    ours: { 'a/': '2', 'a/g': '5 old', 'a/b/': '10', 'a/b/mine': '11 mine' },
    theirs: { ...base, 'a/b/f': '4 new' },
    result: { 'a/': '2', 'a/g': '5 old', 'a/b/': '10', 'a/b/mine': '11 mine', 'a/b/f': '4 new' },
    conflicts: ['deleted-changed a/b/f (theirs)'],
  });
});

void t.test('names are merged each for itself', async (t) => {
  const check = checkIn(t);
  const base = { 'a/': '2', 'a/f': '3 old', 'd/': '4', 'd/e/': '5', 'd/e/x': '6 x' };
  check('renamed here, changed there', {
    base,
    ours: { 'a/': '2', 'a/g': '3 old', 'd/': '4', 'd/e/': '5', 'd/e/x': '6 x' },
    theirs: { ...base, 'a/f': '3 new' },
    result: { 'a/': '2', 'a/g': '3 new', 'd/': '4', 'd/e/': '5', 'd/e/x': '6 x' },
  });
  check('a directory renamed there, files in it changed and added here', {
    base,
    ours: { ...base, 'd/e/x': '6 mine', 'd/e/y': '10 mine' },
    theirs: { 'a/': '2', 'a/f': '3 old', 'a/e/': '5', 'a/e/x': '6 x', 'd/': '4' },
    result: { 'a/': '2', 'a/f': '3 old', 'a/e/': '5', 'a/e/x': '6 mine', 'a/e/y': '10 mine', 'd/': '4' },
  });
  check('a file renamed to two places is where ours has it', {
    base,
    ours: { ...without(base, 'a/f'), 'a/mine': '3 old' },
    theirs: { ...without(base, 'a/f'), 'a/new': '3 old' },
    result: { ...without(base, 'a/f'), 'a/mine': '3 old' },
    conflicts: ['renamed-twice a/mine'],
  });
  check('a directory renamed to two places is where ours has it', {
    base,
    ours: { 'a/': '2', 'a/f': '3 old', 'a/e/': '5', 'a/e/x': '6 x', 'd/': '4' },
    theirs: { 'a/': '2', 'a/f': '3 old', 'd/': '4', 'e/': '5', 'e/x': '6 x' },
    result: { 'a/': '2', 'a/f': '3 old', 'a/e/': '5', 'a/e/x': '6 x', 'd/': '4' },
    conflicts: ['renamed-twice a/e'],
  });
  check('renamed to the same place by both', {
    base,
    ours: { ...without(base, 'a/f'), g: '3 old' },
    theirs: { ...without(base, 'a/f'), g: '3 old' },
    result: { ...without(base, 'a/f'), g: '3 old' },
  });
  check('a file that ours changed is not moved away from it', {
    base,
    ours: { ...base, 'a/f': '3 mine' },
    theirs: { ...without(base, 'a/f'), 'a/new': '3 old' },
    result: { ...base, 'a/f': '3 mine' },
    conflicts: ['renamed-changed a/f'],
  });
  check('a file that ours only gave another mode is', {
    base,
    ours: { ...base, 'a/f': '3 old mode=600' },
    theirs: { ...without(base, 'a/f'), 'a/new': '3 old' },
    result: { ...without(base, 'a/f'), 'a/new': '3 old mode=600' },
  });
  check('two files exchanged here, one of them changed there', {
    base: { f: '3 f', g: '4 g' },
    ours: { f: '4 g', g: '3 f' },
    theirs: { f: '3 new', g: '4 g' },
    result: { f: '4 g', g: '3 new' },
  });
  check('two files exchanged there, one of them renamed here', {
    base: { f: '3 f', g: '4 g' },
    ours: { h: '3 f', g: '4 g' },
    theirs: { f: '4 g', g: '3 f' },
    result: { f: '4 g', h: '3 f' },
    conflicts: ['renamed-twice h'],
  });

  const linked = { p: '3 old', q: '3 old', 'd/': '4' };
  check('a link added by each', {
    base: { p: '3 old' },
    ours: { p: '3 old', mine: '3 old' },
    theirs: { p: '3 old', new: '3 old' },
    result: { p: '3 old', mine: '3 old', new: '3 old' },
  });
  check('of two names each renamed another', {
    base: linked,
    ours: { mine: '3 old', q: '3 old', 'd/': '4' },
    theirs: { p: '3 old', new: '3 old', 'd/': '4' },
    result: { mine: '3 old', new: '3 old', 'd/': '4' },
  });
  check('of two names both renamed one', {
    base: linked,
    ours: { mine: '3 old', q: '3 old', 'd/': '4' },
    theirs: { new: '3 old', q: '3 old', 'd/': '4' },
    result: { mine: '3 old', q: '3 old', 'd/': '4' },
    conflicts: ['renamed-twice mine'],
  });
  check('of two names both renamed one, and theirs added another', {
    base: linked,
    ours: { mine: '3 old', q: '3 old', 'd/': '4' },
    theirs: { 'd/': '4', 'd/new': '3 old', q: '3 old', new: '3 old' },
    result: { mine: '3 old', q: '3 old', 'd/': '4', 'd/new': '3 old' },
    conflicts: ['renamed-twice mine'],
  });
  check('of two names each deleted another: nobody wanted the file gone', {
    base: linked,
    ours: { q: '3 old', 'd/': '4' },
    theirs: { p: '3 old', 'd/': '4' },
    result: { q: '3 old', 'd/': '4' },
    conflicts: ['renamed-changed q'],
  });
  check('of two names one deleted here, the content changed there', {
    base: linked,
    ours: { q: '3 old', 'd/': '4' },
    theirs: { p: '3 new', q: '3 new', 'd/': '4' },
    result: { q: '3 new', 'd/': '4' },
  });
  check('of two names one deleted there, the content changed here', {
    base: linked,
    ours: { p: '3 mine', q: '3 mine', 'd/': '4' },
    theirs: { q: '3 old', 'd/': '4' },
    result: { p: '3 mine', q: '3 mine', 'd/': '4' },
    conflicts: ['renamed-changed p'],
  });
});

void t.test('moves that would put a directory into itself', async (t) => {
  const check = checkIn(t);
  const base = { 'a/': '2', 'a/f': '3 f', 'b/': '4', 'b/g': '5 g' };
  check('each moved one into the other: what ours moved is moved', {
    base,
    ours: { 'b/': '4', 'b/g': '5 g', 'b/a/': '2', 'b/a/f': '3 f' },
    theirs: { 'a/': '2', 'a/f': '3 f', 'a/b/': '4', 'a/b/g': '5 g' },
    result: { 'b/': '4', 'b/g': '5 g', 'b/a/': '2', 'b/a/f': '3 f' },
    conflicts: ['cycle b'],
  });
  check('through a new directory of theirs', {
    base,
    ours: { 'b/': '4', 'b/g': '5 g', 'b/a/': '2', 'b/a/f': '3 f' },
    theirs: { 'a/': '2', 'a/f': '3 f', 'a/n/': '20', 'a/n/b/': '4', 'a/n/b/g': '5 g' },
    result: { 'b/': '4', 'b/g': '5 g', 'b/a/': '2', 'b/a/f': '3 f', 'b/a/n/': '20' },
    conflicts: ['cycle b'],
  });
  check('where theirs has something else at the place it came from', {
    base,
    ours: { 'b/': '4', 'b/g': '5 g', 'b/a/': '2', 'b/a/f': '3 f' },
    theirs: { 'a/': '2', 'a/f': '3 f', 'a/b/': '4', 'a/b/g': '5 g', b: '20 new' },
    result: { 'b/': '4', 'b/g': '5 g', 'b/a/': '2', 'b/a/f': '3 f', 'b~1': '20 new' },
    conflicts: ['cycle b', 'name b | b~1'],
  });
  check('of three directories', {
    base: { 'a/': '2', 'b/': '3', 'c/': '4' },
    ours: { 'b/': '3', 'b/a/': '2', 'c/': '4' },
    theirs: { 'a/': '2', 'a/c/': '4', 'a/c/b/': '3' },
    result: { 'c/': '4', 'c/b/': '3', 'c/b/a/': '2' },
    conflicts: ['cycle c'],
  });
});

void t.test('numbers that mean two things are refused before anything is written', async (t) => {
  const base = { f: '3 old' };
  const refused: [string, Tree, Tree][] = [
    ['born at two times', { ...base, n: '10 mine' }, { ...base, m: '10 new btime=7' }],
    ['of two types', { ...base, n: '10 mine' }, { ...base, 'm/': '10' }],
    ['of another type than before', { f: '3 mine' }, { 'f/': '3' }],
  ];
  for (const [what, ours, theirs] of refused) {
    const trees = new LiteralTrees(scratchFolder(t));
    const sides = { base: trees.open(base), ours: trees.open(ours), theirs: trees.open(theirs) };
    const error = { name: 'CairnError', code: 'conflict', message: /inode number (10|3) / };
    t.throws(() => trees.merge(sides), error, what);
    trees.close();
  }
});

void t.test('cookies that mean two things are refused', async (t) => {
  const dir = scratchFolder(t);
  const [trees, otherTrees] = [new LiteralTrees(join(dir, 'a')), new LiteralTrees(join(dir, 'b'))];
  const base = { f: '3 old' };
  otherTrees.open(base);
  const sides = {
    base: trees.open(base),
    ours: trees.open({ ...base, n: '10 mine' }),
    theirs: otherTrees.open({ ...base, m: '11 new' }),
  };
  t.throws(() => trees.merge(sides), { name: 'CairnError', code: 'conflict', message: /cookie 4 / });
  trees.close();
  otherTrees.close();
});

void t.test('a file that an import found anew at a path goes on under its number', async (t) => {
  const check = checkIn(t);
  check('with another birth', {
    base: { f: '3 old', g: '4 old' },
    ours: { f: '3 mine', g: '4 old mode=600' },
    theirs: { f: '3 new btime=7', g: '4 new btime=7' },
    result: { f: '3 mine btime=7', 'f~1': '1000 new btime=7', g: '4 new mode=600 btime=7' },
    conflicts: ['content f | f~1'],
  });
});

function without(tree: Tree, path: string): Tree {
  return Object.fromEntries(Object.entries(tree).filter(([key]) => key !== path));
}
