import fc from 'fast-check';
import { copyFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { CairnError, type ErrorCode } from '../../src/core/index.js';
import {
  changeManifest,
  checkManifest,
  createManifest,
  openManifest,
  resolvePath,
  type ManifestReader,
} from '../../src/manifest/index.js';
import { ChangedTree } from '../../src/snapshot/publish/changed-tree.js';
import { numbersFrom } from '../../src/snapshot/publish/numbers-from.js';
import type { PathChange } from '../../src/snapshot/index.js';
import { scratchFolder } from '../fixtures/scratch-folder.js';
import { TreeModel, type Change } from '../manifest/tree-model.js';
import { contentIdFor } from '../manifest/trees.js';
import { PathModel, readTree } from './path-model.js';

const RUNS = process.env['CAIRN_TEST_LARGE'] === '1' ? 5000 : 250;

const NOW = { sec: 1_800_000_000, nsec: 5 };

const baseChanges: fc.Arbitrary<Change> = fc.record({
  kind: fc.constantFrom('file', 'directory', 'directory', 'symlink', 'link', 'rename', 'chmod', 'xattr'),
  a: fc.nat(1000),
  b: fc.nat(1000),
  size: fc.nat(2000),
});

/** Chooses a path of the tree, or one in a folder or a file of it, when the change is made. */
interface ChosenChange {
  kind: PathChange['kind'];
  choice: number;
  below: string;
  value: number;
  mode: number | undefined;
  mtime: number | undefined;
}

const chosenChanges: fc.Arbitrary<ChosenChange> = fc.record({
  kind: fc.constantFrom('put', 'put', 'put', 'mkdir', 'symlink', 'set', 'delete', 'delete'),
  choice: fc.nat(1000),
  below: fc.constantFrom('', '', 'a', 'b', 'a/\xff', 'again-1', 'a/a/b'),
  value: fc.nat(3),
  mode: fc.option(fc.constantFrom(0o600, 0o4755), { nil: undefined }),
  mtime: fc.option(fc.nat(5), { nil: undefined }),
});

function changeOf(chosen: ChosenChange, paths: readonly string[]): PathChange {
  const { kind, choice, below, value, mode, mtime } = chosen;
  const above = paths[choice % paths.length] ?? '';
  const path = Buffer.from([above, below].filter((part) => part !== '').join('/'), 'latin1');
  const attributes = {
    ...(mode !== undefined && { mode }),
    ...(mtime !== undefined && { mtime: { sec: mtime, nsec: 7 }, uid: mtime }),
  };
  switch (kind) {
    case 'put':
      return {
        kind,
        path,
        size: value,
        content: { id: contentIdFor(String(value)), extents: [] },
        ...attributes,
      };
    case 'symlink':
      return { kind, path, target: Buffer.from(`to ${String(value)}`), ...attributes };
    case 'mkdir':
    case 'set':
      return { kind, path, ...attributes };
    case 'delete':
      return { kind, path };
  }
}

/** The code of the error a change is refused with. */
function refusal(tree: ChangedTree, change: PathChange): ErrorCode | undefined {
  try {
    tree.apply(change);
    return undefined;
  } catch (error) {
    if (error instanceof CairnError) return error.code;
    throw error;
  }
}

/** An entry of an inode that was there under this name has its cookie; one that was deleted and made again may have another. */
function checkCookies(base: ManifestReader, result: ManifestReader): void {
  for (const { ino } of result.inodes()) {
    for (const { name, cookie, ino: named } of result.list(ino, 0, 10_000)) {
      const before = base.lookup(ino, name);
      if (before?.ino === named && before.cookie !== cookie)
        throw new Error(`${name.toString('latin1')} has another cookie`);
    }
  }
}

function checkTouched(base: ManifestReader, result: ManifestReader, touched: ReadonlySet<number>): void {
  const [before, after] = [readTree(base), readTree(result)];
  for (const path of new Set([...before.keys(), ...after.keys()])) {
    const [one, other] = [before.get(path), after.get(path)];
    if (JSON.stringify(one) === JSON.stringify(other)) continue;
    for (const node of [one, other]) {
      if (node?.ino !== undefined && !touched.has(node.ino))
        throw new Error(`${path} is not told as touched`);
    }
  }
}

void t.test('whatever paths are changed, the version is what a model makes of it', (t) => {
  const dir = scratchFolder(t);
  const [basePath, resultPath] = [join(dir, 'base'), join(dir, 'result')];
  const seen = new Map<string, number>();
  fc.assert(
    fc.property(
      fc.array(baseChanges, { maxLength: 15 }),
      fc.array(chosenChanges, { minLength: 1, maxLength: 15 }),
      (common, chosen) => {
        const trees = new TreeModel();
        for (const change of common) trees.apply(change);
        const built = createManifest(basePath);
        trees.feed(built);
        built.finish();
        const base = openManifest(basePath);
        const model = new PathModel(base, NOW);
        const tree = new ChangedTree({ base, numbers: numbersFrom(50_000), now: NOW });
        for (const choice of chosen) {
          const change = changeOf(choice, [...model.nodes.keys()]);
          const expected = model.apply(change);
          const is = refusal(tree, change);
          const what = `${change.kind} ${change.path.toString('latin1')}`;
          if (is !== expected) throw new Error(`${what}: ${String(is)}, not ${String(expected)}`);
          const noted = `${change.kind} ${is ?? 'done'}`;
          seen.set(noted, (seen.get(noted) ?? 0) + 1);
        }
        copyFileSync(basePath, resultPath);
        const builder = changeManifest(resultPath);
        tree.writeTo(builder);
        builder.finish();
        const result = openManifest(resultPath);
        try {
          for (const { rule, what } of checkManifest(result)) throw new Error(`${rule}: ${what}`);
          const expected = model.tree();
          const is = readTree(result);
          // The numbers of what is new are its own business, but for being new.
          for (const node of is.values()) if ((node.ino ?? 0) >= 50_000) node.ino = undefined;
          const text = (nodes: typeof is): string =>
            [...nodes]
              .map(([path, node]) => `${path} ${JSON.stringify(node)}`)
              .sort()
              .join('\n');
          if (text(is) !== text(expected)) throw new Error(`${text(is)}\nnot\n${text(expected)}`);
          checkCookies(base, result);
          checkTouched(base, result, tree.touched);
        } finally {
          result.close();
          base.close();
          for (const path of [basePath, resultPath]) rmSync(path);
        }
      },
    ),
    { numRuns: RUNS },
  );
  const counts = [...seen].map(([what, times]) => `${what} ${String(times)}`);
  t.ok(seen.size >= 10, counts.sort().join(', '));
  t.end();
});

void t.test('new content takes away what lets a file act as somebody else', (t) => {
  const dir = scratchFolder(t);
  const trees = new TreeModel();
  trees.apply({ kind: 'file', a: 0, b: 0, size: 50 });
  const ino = 2;
  const inode = trees.inodes.get(ino);
  if (inode === undefined) throw new Error('no file');
  inode.attributes = { ...inode.attributes, mode: inode.attributes.mode | 0o6111 };
  inode.xattrs = [
    { name: Buffer.from('security.capability'), value: Buffer.from('all') },
    { name: Buffer.from('user.kept'), value: Buffer.from('yes') },
  ];
  const builder = createManifest(join(dir, 'base'));
  trees.feed(builder);
  builder.finish();
  const base = openManifest(join(dir, 'base'));
  const [path] = [...readTree(base).keys()].filter((each) => each !== '');
  const tree = new ChangedTree({ base, numbers: numbersFrom(50_000), now: NOW });
  tree.apply({
    kind: 'put',
    path: Buffer.from(path ?? '', 'latin1'),
    size: 1,
    content: { id: contentIdFor('new'), extents: [] },
  });
  copyFileSync(base.path, join(dir, 'result'));
  const changed = changeManifest(join(dir, 'result'));
  tree.writeTo(changed);
  changed.finish();
  const result = openManifest(join(dir, 'result'));
  t.equal(resolvePath(result, Buffer.from(path ?? '', 'latin1')), ino, 'it is the same file');
  t.equal((result.inode(ino)?.mode ?? 0) & 0o7777, 0o755);
  t.same(
    result.xattrs(ino).map(({ name }) => name.toString()),
    ['user.kept'],
  );
  result.close();
  base.close();
  t.end();
});

void t.test('what is no path of a workspace is refused', (t) => {
  const tree = new ChangedTree({ base: undefined, numbers: numbersFrom(2, 3), now: NOW });
  for (const path of ['/a', 'a/', 'a//b', '.', 'a/../b', 'a/.', 'a\0b', 'x'.repeat(256)]) {
    t.throws(
      () => {
        tree.apply({ kind: 'mkdir', path: Buffer.from(path) });
      },
      { code: 'usage' },
      JSON.stringify(path.slice(0, 10)),
    );
  }
  t.end();
});
