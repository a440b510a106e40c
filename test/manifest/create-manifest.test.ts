import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { ROOT_INO, S_IFIFO, S_IFLNK } from '../../src/core/index.js';
import { checkManifest, createManifest, createManifestFrom, openManifest } from '../../src/manifest/index.js';
import { TreeModel, dump, type Change } from './tree-model.js';
import {
  ROOT_COOKIE,
  blockIdFor,
  contentIdFor,
  directoryWith,
  feedSyntheticTree,
  fileWith,
  inodeWith,
  syntheticFileIno,
} from './trees.js';

const changes: fc.Arbitrary<Change> = fc.record({
  kind: fc.constantFrom(
    'file',
    'file',
    'directory',
    'symlink',
    'link',
    'remove',
    'rename',
    'write',
    'chmod',
    'xattr',
  ),
  a: fc.nat(1000),
  b: fc.nat(1000),
  size: fc.nat(2000),
});

void t.test(
  'M-2..M-8: a chain of manifests made from one another is equal to one made from nothing',
  async (t) => {
    const dir = t.testdir();
    let run = 0;
    fc.assert(
      fc.property(
        fc.array(fc.array(changes, { maxLength: 12 }), { minLength: 1, maxLength: 5 }),
        (batches) => {
          run++;
          const model = new TreeModel();
          let path = join(dir, `${String(run)}-0`);
          const first = createManifest(path);
          model.feed(first);
          first.finish();
          model.forgetChanges();
          for (const [index, batch] of batches.entries()) {
            const childPath = join(dir, `${String(run)}-${String(index + 1)}`);
            const builder = createManifestFrom(path, childPath);
            for (const change of batch) model.apply(change);
            model.feedChanges(builder);
            builder.finish();
            path = childPath;
          }
          const freshPath = join(dir, `${String(run)}-fresh`);
          const builder = createManifest(freshPath);
          model.feed(builder);
          builder.finish();

          const [chained, fresh] = [openManifest(path), openManifest(freshPath)];
          try {
            const violations = [...checkManifest(chained), ...checkManifest(fresh)];
            if (violations.length > 0) throw new Error(JSON.stringify(violations));
            if (JSON.stringify(dump(chained)) !== JSON.stringify(dump(fresh)))
              throw new Error('trees differ');
          } finally {
            chained.close();
            fresh.close();
          }
        },
      ),
      { numRuns: 150 },
    );
    t.ok(run >= 150);
  },
);

void t.test('M-4: names of any bytes come back as they went in', async (t) => {
  const names = [
    Buffer.from([0xff, 0xfe, 0x80]),
    Buffer.from('two\nlines'),
    Buffer.alloc(255, 0xc3),
    Buffer.from('...'),
    Buffer.from(' '),
    Buffer.from('\\'),
    Buffer.from('CON'),
    Buffer.from('é'),
    Buffer.from('é', 'latin1'),
  ];
  const path = join(t.testdir(), 'manifest');
  const builder = createManifest(path);
  builder.putInode(directoryWith(ROOT_INO));
  for (const [index, name] of names.entries()) {
    const ino = 2 + index;
    builder.putInode(inodeWith(ino, S_IFIFO | 0o600));
    builder.putDentry(ROOT_INO, ROOT_COOKIE + index, name, ino);
  }
  builder.setNext(2 + names.length, ROOT_COOKIE + names.length);
  builder.finish();

  const reader = openManifest(path);
  t.teardown(() => {
    reader.close();
  });
  t.same([...checkManifest(reader)], []);
  t.same(
    reader.list(ROOT_INO, 0, 100).map(({ name }) => name),
    names,
  );
  for (const [index, name] of names.entries()) {
    t.equal(reader.lookup(ROOT_INO, name)?.ino, 2 + index);
    t.same(reader.namesOf(2 + index), [{ parent: ROOT_INO, name }]);
  }
  t.equal(reader.lookup(ROOT_INO, Buffer.from('absent')), undefined);
  t.same(reader.counters, { files: 0, directories: 1, others: names.length, bytes: 0 });
});

void t.test('a listing is in pages, in cookie order', async (t) => {
  const path = join(t.testdir(), 'manifest');
  const builder = createManifest(path);
  feedSyntheticTree(builder, 100);
  builder.finish();
  const reader = openManifest(path);
  t.teardown(() => {
    reader.close();
  });
  const listed: number[] = [];
  let after = 0;
  for (;;) {
    const page = reader.listWithInodes(2, after, 7);
    for (const { cookie, ino, inode } of page) {
      t.equal(inode.ino, ino);
      t.same(reader.inode(ino), inode);
      listed.push(cookie);
      after = cookie;
    }
    if (page.length < 7) break;
  }
  t.equal(listed.length, 20);
  t.same(
    listed,
    [...listed].sort((a, b) => a - b),
  );
  t.same(reader.list(2, after, 7), []);
});

void t.test('M-6: extents are asked for by range', async (t) => {
  const path = join(t.testdir(), 'manifest');
  const builder = createManifest(path);
  builder.putInode(directoryWith(ROOT_INO));
  builder.putInode(fileWith(2, 1000));
  builder.putDentry(ROOT_INO, ROOT_COOKIE, Buffer.from('file'), 2);
  const extents = [
    { offset: 100, length: 100, block: blockIdFor('a'), blockOffset: 0 },
    { offset: 200, length: 50, block: blockIdFor('b'), blockOffset: 11 },
    { offset: 900, length: 100, block: blockIdFor('a'), blockOffset: 100 },
  ];
  builder.setContent(2, { id: contentIdFor('file'), extents });
  builder.setNext(3, ROOT_COOKIE + 1);
  builder.finish();
  const reader = openManifest(path);
  t.teardown(() => {
    reader.close();
  });
  const offsets = (offset: number, length: number): number[] =>
    reader.extents(2, offset, length).map((extent) => extent.offset);
  t.same(reader.extents(2, 0, 1000), extents);
  t.same(offsets(0, 100), []);
  t.same(offsets(0, 101), [100]);
  t.same(offsets(199, 1), [100]);
  t.same(offsets(199, 2), [100, 200]);
  t.same(offsets(250, 650), []);
  t.same(offsets(250, 651), [900]);
  t.same(offsets(999, Number.MAX_SAFE_INTEGER), [900]);
  t.same([...reader.blocks()], [blockIdFor('a'), blockIdFor('b')]);
});

void t.test('M-6: a block no extent refers to any more is none of the version', async (t) => {
  const dir = t.testdir();
  const builder = createManifest(join(dir, 'parent'));
  feedSyntheticTree(builder, 300);
  builder.finish();
  const child = createManifestFrom(join(dir, 'parent'), join(dir, 'child'));
  for (let file = 256; file < 300; file++)
    child.setContent(syntheticFileIno(file), { id: contentIdFor('x'), extents: [] });
  child.finish();
  const reader = openManifest(join(dir, 'child'));
  t.same([...reader.blocks()], [blockIdFor('block 0')]);
  t.same([...checkManifest(reader)], []);
  reader.close();
});

void t.test('the parent is left as it was, and an abandoned manifest leaves nothing', async (t) => {
  const dir = t.testdir();
  const [parent, child] = [join(dir, 'parent'), join(dir, 'child')];
  const builder = createManifest(parent);
  feedSyntheticTree(builder, 40);
  builder.finish();
  const before = readFileSync(parent);
  const changed = createManifestFrom(parent, child);
  changed.removeInode(syntheticFileIno(1));
  changed.abandon();
  t.notOk(existsSync(child));
  t.ok(readFileSync(parent).equals(before));
});

void t.test('rows that break a rule are refused when they are put', async (t) => {
  const builder = createManifest(join(t.testdir(), 'manifest'));
  t.teardown(() => {
    builder.abandon();
  });
  for (const name of ['', '.', '..', 'a/b', 'a\0b', 'x'.repeat(256)]) {
    t.throws(() => {
      builder.putDentry(ROOT_INO, ROOT_COOKIE, Buffer.from(name), 2);
    }, /not to be put/);
  }
  builder.putInode(fileWith(2, 10));
  const extent = { offset: 0, length: 5, block: blockIdFor('a'), blockOffset: 0 };
  for (const extents of [
    [{ ...extent, length: 0 }],
    [{ ...extent, offset: -1 }],
    [{ ...extent, blockOffset: 4 * 1024 * 1024 }],
    [extent, { ...extent, offset: 4 }],
  ]) {
    t.throws(() => {
      builder.setContent(2, { id: contentIdFor('a'), extents });
    }, /not to be put/);
  }
  t.throws(() => {
    builder.putInode({ ...fileWith(2, 10), size: -1 });
  }, /size/);
  t.throws(() => {
    builder.putInode(inodeWith(3, 0o644));
  }, /mode/);
  t.throws(() => {
    builder.setSymlink(3, Buffer.alloc(0));
  }, /symbolic link/);
  t.throws(() => {
    builder.setContent(99, { id: contentIdFor('a'), extents: [] });
  }, /not put/);
});

void t.test(
  'M-8: a manifest is not finished with numbers in use above those to be given out next',
  async (t) => {
    const dir = t.testdir();
    const builder = createManifest(join(dir, 'a'));
    builder.putInode(directoryWith(ROOT_INO));
    builder.putInode(inodeWith(7, S_IFLNK | 0o777, { size: 1 }));
    builder.putDentry(ROOT_INO, 9, Buffer.from('link'), 7);
    builder.setSymlink(7, Buffer.from('x'));
    t.throws(() => {
      builder.finish();
    }, /next_ino/);
    builder.setNext(8, 9);
    t.throws(() => {
      builder.finish();
    }, /next_cookie/);
    builder.setNext(8, 10);
    t.throws(() => {
      builder.setNext(7, 10);
    }, /next_ino/);
    builder.finish();
    const reader = openManifest(join(dir, 'a'));
    t.same([...checkManifest(reader)], []);
    reader.close();
  },
);
