import fc from 'fast-check';
import { join } from 'node:path';
import t from 'tap';
import { ROOT_INO } from '../../src/core/index.js';
import {
  createManifest,
  createManifestFrom,
  diffManifests,
  openManifest,
  walk,
  type ManifestBuilder,
  type ManifestReader,
} from '../../src/manifest/index.js';
import { TreeModel, type Change } from './tree-model.js';
import {
  ROOT_COOKIE,
  contentIdFor,
  directoryWith,
  feedSyntheticTree,
  fileWith,
  inodeWith,
  syntheticFileIno,
} from './trees.js';

const DIRECTORY = 2;
const FILE = 3;
const OTHER = 4;
const NEW = 10;

/** `a/` (2) with the files `a/file` (3) and `a/other` (4). */
function feedSmallTree(builder: ManifestBuilder): void {
  builder.putInode(directoryWith(ROOT_INO, 1));
  builder.putInode(directoryWith(DIRECTORY));
  builder.putDentry(ROOT_INO, ROOT_COOKIE, Buffer.from('a'), DIRECTORY);
  for (const [ino, name] of [
    [FILE, 'file'],
    [OTHER, 'other'],
  ] as const) {
    builder.putInode(fileWith(ino, 100));
    builder.setContent(ino, { id: contentIdFor(name), extents: [] });
    builder.putDentry(DIRECTORY, ROOT_COOKIE + ino, Buffer.from(name), ino);
  }
  builder.setNext(NEW, 100);
}

/** The differences of two versions as lines: `kind path`, with ` < from` for what was renamed. */
function linesOf(earlier: ManifestReader, later: ManifestReader): string[] {
  return diffManifests(earlier, later).map(
    ({ kind, path, from }) =>
      `${kind} ${path.toString('latin1')}${from === undefined ? '' : ` < ${from.toString('latin1')}`}`,
  );
}

void t.test('each kind of change has its kind of difference', async (t) => {
  const dir = t.testdir();
  const parentPath = join(dir, 'parent');
  const builder = createManifest(parentPath);
  feedSmallTree(builder);
  builder.finish();
  const parent = openManifest(parentPath);
  t.teardown(() => {
    parent.close();
  });
  let count = 0;
  const check = (
    what: string,
    change: (builder: ManifestBuilder) => void,
    there: string[],
    back: string[],
  ): void => {
    const path = join(dir, `child-${String(count++)}`);
    const child = createManifestFrom(parentPath, path);
    change(child);
    child.finish();
    const reader = openManifest(path);
    t.same(linesOf(parent, reader), there, what);
    t.same(linesOf(reader, parent), back, `${what}, backwards`);
    reader.close();
  };
  const file = Buffer.from('file');

  check('nothing', () => undefined, [], []);
  check(
    'other bytes',
    (b) => {
      b.setContent(FILE, { id: contentIdFor('new'), extents: [] });
    },
    ['modified a/file'],
    ['modified a/file'],
  );
  check(
    'another mtime',
    (b) => {
      b.putInode({ ...fileWith(FILE, 100), mtimeNsec: 5 });
    },
    ['metadata a/file'],
    ['metadata a/file'],
  );
  check(
    'another extended attribute',
    (b) => {
      b.setXattrs(FILE, [{ name: Buffer.from('user.n'), value: Buffer.from('v') }]);
    },
    ['metadata a/file'],
    ['metadata a/file'],
  );
  check(
    'another ctime and link count only',
    (b) => {
      b.putInode({ ...fileWith(FILE, 100), ctimeSec: 5, nlink: 2 });
    },
    [],
    [],
  );
  check(
    'a directory with all in it renamed',
    (b) => {
      b.removeDentry(ROOT_INO, Buffer.from('a'));
      b.putDentry(ROOT_INO, 50, Buffer.from('b'), DIRECTORY);
    },
    ['renamed b < a'],
    ['renamed a < b'],
  );
  check(
    'a file moved, and written to',
    (b) => {
      b.removeDentry(DIRECTORY, file);
      b.putDentry(ROOT_INO, 50, Buffer.from('\xff\n', 'latin1'), FILE);
      b.setContent(FILE, { id: contentIdFor('new'), extents: [] });
    },
    ['renamed \xff\n < a/file', 'modified \xff\n'],
    ['renamed a/file < \xff\n', 'modified a/file'],
  );
  check(
    'a file with another name too',
    (b) => {
      b.putDentry(ROOT_INO, 50, Buffer.from('hard'), FILE);
      b.putInode({ ...fileWith(FILE, 100), nlink: 2 });
    },
    ['added hard'],
    ['removed hard'],
  );
  check(
    'a file replaced by another of its name',
    (b) => {
      b.removeInode(FILE);
      b.putInode(fileWith(NEW, 7));
      b.setContent(NEW, { id: contentIdFor('new'), extents: [] });
      b.removeDentry(DIRECTORY, file);
      b.putDentry(DIRECTORY, 50, file, NEW);
      b.setNext(NEW + 1, 100);
    },
    ['modified a/file'],
    ['modified a/file'],
  );
  check(
    'a file replaced by another of its name that has an extended attribute',
    (b) => {
      b.removeInode(FILE);
      b.putInode(fileWith(NEW, 7));
      b.setContent(NEW, { id: contentIdFor('new'), extents: [] });
      b.setXattrs(NEW, [{ name: Buffer.from('user.n'), value: Buffer.from('v') }]);
      b.removeDentry(DIRECTORY, file);
      b.putDentry(DIRECTORY, 50, file, NEW);
      b.setNext(NEW + 1, 100);
    },
    ['modified a/file'],
    ['modified a/file'],
  );
  check(
    'a file moved over another',
    (b) => {
      b.removeInode(FILE);
      b.removeDentry(DIRECTORY, file);
      b.removeDentry(DIRECTORY, Buffer.from('other'));
      b.putDentry(DIRECTORY, 50, file, OTHER);
    },
    ['removed a/file', 'renamed a/file < a/other'],
    ['added a/file', 'renamed a/other < a/file'].sort(),
  );
  check(
    'two files exchanged',
    (b) => {
      b.removeDentry(DIRECTORY, file);
      b.removeDentry(DIRECTORY, Buffer.from('other'));
      b.putDentry(DIRECTORY, 50, file, OTHER);
      b.putDentry(DIRECTORY, 51, Buffer.from('other'), FILE);
    },
    ['renamed a/file < a/other', 'renamed a/other < a/file'],
    ['renamed a/file < a/other', 'renamed a/other < a/file'],
  );
  check(
    'a directory replaced by another with the same file in it',
    (b) => {
      b.removeInode(DIRECTORY);
      b.removeDentry(ROOT_INO, Buffer.from('a'));
      b.removeDentry(DIRECTORY, file);
      b.removeDentry(DIRECTORY, Buffer.from('other'));
      b.removeInode(OTHER);
      b.putInode({ ...directoryWith(NEW), mtimeSec: directoryWith(DIRECTORY).mtimeSec });
      b.putDentry(ROOT_INO, 50, Buffer.from('a'), NEW);
      b.putDentry(NEW, 51, file, FILE);
      b.setNext(NEW + 1, 100);
    },
    ['removed a/other'],
    ['added a/other'],
  );
  check(
    'a file replaced by a directory',
    (b) => {
      b.removeInode(FILE);
      b.removeDentry(DIRECTORY, file);
      b.putInode(directoryWith(NEW));
      b.putDentry(DIRECTORY, 50, file, NEW);
      b.setNext(NEW + 1, 100);
    },
    ['removed a/file', 'added a/file'],
    ['removed a/file', 'added a/file'],
  );
});

void t.test('versions that give inode numbers to other files are compared by path', async (t) => {
  const dir = t.testdir();
  const [one, other] = [createManifest(join(dir, 'one')), createManifest(join(dir, 'other'))];
  feedSmallTree(one);
  one.finish();
  const shifted = 20;
  other.putInode(directoryWith(ROOT_INO, 1));
  other.putInode({ ...directoryWith(FILE), btimeSec: 7, mtimeSec: directoryWith(DIRECTORY).mtimeSec });
  other.putDentry(ROOT_INO, ROOT_COOKIE, Buffer.from('a'), FILE);
  other.putInode(
    inodeWith(shifted, fileWith(FILE, 0).mode, { size: 100, mtimeSec: fileWith(FILE, 0).mtimeSec }),
  );
  other.setContent(shifted, { id: contentIdFor('file'), extents: [] });
  other.putDentry(FILE, 90, Buffer.from('file'), shifted);
  other.putInode({ ...fileWith(DIRECTORY, 5), btimeSec: 7 });
  other.setContent(DIRECTORY, { id: contentIdFor('else'), extents: [] });
  other.putDentry(FILE, 91, Buffer.from('other'), DIRECTORY);
  other.setNext(100, 100);
  other.finish();
  const [earlier, later] = [openManifest(join(dir, 'one')), openManifest(join(dir, 'other'))];
  t.same(linesOf(earlier, later), ['modified a/other']);
  earlier.close();
  later.close();
});

void t.test('a change of ten files of 100,000 is ten differences', async (t) => {
  const dir = t.testdir();
  const builder = createManifest(join(dir, 'parent'));
  feedSyntheticTree(builder, 100_000);
  builder.finish();
  const child = createManifestFrom(join(dir, 'parent'), join(dir, 'child'));
  for (let file = 0; file < 100_000; file += 10_000) {
    child.setContent(syntheticFileIno(file), { id: contentIdFor('new'), extents: [] });
  }
  child.removeDentry(ROOT_INO, Buffer.from('directory-23'));
  child.putDentry(ROOT_INO, 900_000, Buffer.from('moved'), 23);
  child.setNext(900_000, 900_001);
  child.finish();
  const [earlier, later] = [openManifest(join(dir, 'parent')), openManifest(join(dir, 'child'))];
  const differences = diffManifests(earlier, later);
  t.equal(differences.filter(({ kind }) => kind === 'modified').length, 10);
  t.equal(differences.length, 11);
  earlier.close();
  later.close();
});

/** What a version has at each path, less what a difference leaves out. */
function rowsOf(reader: ManifestReader): Map<string, string> {
  const rows = new Map<string, string>();
  for (const { path, inode } of walk(reader, ROOT_INO)) {
    const { ino, mode, mtimeSec, mtimeNsec } = inode;
    const xattrs = reader.xattrs(ino).map(({ value }) => value.toString());
    rows.set(
      path.toString('latin1'),
      JSON.stringify([ino, mode, mtimeSec, mtimeNsec, reader.content(ino), xattrs]),
    );
  }
  return rows;
}

void t.test(
  'the differences, applied to one version, say where the other differs, and nowhere else',
  async (t) => {
    const dir = t.testdir();
    const changes: fc.Arbitrary<Change> = fc.record({
      kind: fc.constantFrom(
        'file',
        'directory',
        'symlink',
        'link',
        'remove',
        'rename',
        'rename',
        'write',
        'chmod',
        'xattr',
      ),
      a: fc.nat(1000),
      b: fc.nat(1000),
      size: fc.nat(2000),
    });
    let run = 0;
    fc.assert(
      fc.property(
        fc.array(changes, { maxLength: 30 }),
        fc.array(changes, { maxLength: 15 }),
        (first, second) => {
          const [one, other] = [join(dir, `${String(++run)}-a`), join(dir, `${String(run)}-b`)];
          const model = new TreeModel();
          for (const change of first) model.apply(change);
          const builder = createManifest(one);
          model.feed(builder);
          builder.finish();
          model.forgetChanges();
          for (const change of second) model.apply(change);
          const child = createManifestFrom(one, other);
          model.feedChanges(child);
          child.finish();
          const [earlier, later] = [openManifest(one), openManifest(other)];
          try {
            const [before, after] = [rowsOf(earlier), rowsOf(later)];
            const differences = diffManifests(earlier, later).map((difference) => ({
              ...difference,
              path: difference.path.toString('latin1'),
              from: difference.from?.toString('latin1'),
            }));
            const told = new Set(differences.map(({ path }) => path));
            const renamed = differences.filter(({ kind }) => kind === 'renamed');
            const isBelow = (path: string, roots: (string | undefined)[]): boolean =>
              roots.some((root) => root !== undefined && (path === root || path.startsWith(`${root}/`)));
            for (const [path, row] of after) {
              if (before.get(path) === row || told.has(path)) continue;
              if (
                !isBelow(
                  path,
                  renamed.map(({ path: root }) => root),
                )
              )
                throw new Error(`untold: ${path}`);
            }
            for (const path of before.keys()) {
              if (after.has(path) || told.has(path)) continue;
              if (
                !isBelow(
                  path,
                  renamed.map(({ from }) => from),
                )
              )
                throw new Error(`untold removal: ${path}`);
            }
            for (const { kind, path, from, before: inodeBefore, after: inodeAfter } of differences) {
              if (path === '') continue;
              const isRight = {
                added: after.has(path) && inodeBefore === undefined,
                removed: before.has(path) && inodeAfter === undefined,
                renamed: after.has(path) && before.has(from ?? '') && inodeBefore?.ino === inodeAfter?.ino,
                modified: after.has(path),
                metadata: after.has(path),
              }[kind];
              if (!isRight) throw new Error(`wrongly told: ${kind} ${path}`);
            }
          } finally {
            earlier.close();
            later.close();
          }
        },
      ),
      { numRuns: 150 },
    );
    t.ok(run >= 150);
  },
);
