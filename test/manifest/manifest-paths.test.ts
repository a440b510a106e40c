import { join } from 'node:path';
import t from 'tap';
import { ROOT_INO, S_IFLNK } from '../../src/core/index.js';
import { createManifest, openManifest, pathOf, resolvePath, walk } from '../../src/manifest/index.js';
import { ROOT_COOKIE, contentIdFor, directoryWith, feedSyntheticTree, fileWith, inodeWith } from './trees.js';

const DEPTH = 2_000;

void t.test('directories two thousand deep are walked, named and found', async (t) => {
  const path = join(t.testdir(), 'manifest');
  const builder = createManifest(path);
  const name = Buffer.from('d\xff', 'latin1');
  for (let ino = ROOT_INO; ino <= DEPTH; ino++) {
    builder.putInode(directoryWith(ino, ino < DEPTH ? 1 : 0));
    if (ino > ROOT_INO) builder.putDentry(ino - 1, ROOT_COOKIE + ino, name, ino);
  }
  builder.setNext(DEPTH + 1, ROOT_COOKIE + DEPTH + 1);
  builder.finish();
  const reader = openManifest(path);
  t.teardown(() => {
    reader.close();
  });
  const walked = [...walk(reader, ROOT_INO)];
  t.equal(walked.length, DEPTH - 1);
  const deepest = Buffer.alloc(3 * (DEPTH - 1) - 1, Buffer.from('d\xff/', 'latin1'));
  t.ok(walked.at(-1)?.path.equals(deepest));
  t.ok(pathOf(reader, DEPTH).equals(deepest));
  t.equal(resolvePath(reader, deepest), DEPTH);
  t.same(pathOf(reader, ROOT_INO), Buffer.alloc(0));
});

void t.test('a path leads to an inode without following a symbolic link', async (t) => {
  const path = join(t.testdir(), 'manifest');
  const builder = createManifest(path);
  builder.putInode(directoryWith(ROOT_INO, 1));
  builder.putInode(directoryWith(2));
  builder.putInode(inodeWith(3, S_IFLNK | 0o777, { size: 1 }));
  builder.setSymlink(3, Buffer.from('a'));
  builder.putInode(fileWith(4, 0));
  builder.setContent(4, { id: contentIdFor(''), extents: [] });
  builder.putDentry(ROOT_INO, 3, Buffer.from('a'), 2);
  builder.putDentry(ROOT_INO, 4, Buffer.from('link'), 3);
  builder.putDentry(2, 5, Buffer.from('file'), 4);
  builder.setNext(5, 6);
  builder.finish();
  const reader = openManifest(path);
  t.teardown(() => {
    reader.close();
  });
  for (const [text, ino] of [
    ['', ROOT_INO],
    ['/', ROOT_INO],
    ['a', 2],
    ['a/', 2],
    ['/a//file', 4],
    ['link', 3],
    ['link/file', undefined],
    ['a/file/x', undefined],
    ['a/..', undefined],
    ['absent', undefined],
  ] as const) {
    t.equal(resolvePath(reader, Buffer.from(text)), ino, text);
  }
  t.equal(pathOf(reader, 4).toString(), 'a/file');
  t.throws(() => pathOf(reader, 99), { code: 'corrupt' });
});

void t.test('a walk goes through directories in cookie order, each before what it holds', async (t) => {
  const path = join(t.testdir(), 'manifest');
  const builder = createManifest(path);
  feedSyntheticTree(builder, 12_000);
  builder.finish();
  const reader = openManifest(path);
  t.teardown(() => {
    reader.close();
  });
  let last = 0;
  let inOrder = true;
  let count = 0;
  for (const { dentry, inode } of walk(reader, ROOT_INO)) {
    inOrder &&= dentry.cookie > last && inode.ino === dentry.ino;
    last = dentry.cookie;
    count++;
  }
  t.ok(inOrder);
  t.equal(count, 12_000 + 600);
  t.equal([...walk(reader, 2)][0]?.path.toString(), 'file-0.ts', 'paths are relative to where it starts');
});
