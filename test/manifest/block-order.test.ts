import { join } from 'node:path';
import Database from 'better-sqlite3';
import t from 'tap';
import { ROOT_INO, type BlockId } from '../../src/core/index.js';
import { BlockOrder, createManifest } from '../../src/manifest/index.js';
import {
  blockIdFor,
  contentIdFor,
  directoryWith,
  feedSyntheticTree,
  fileWith,
  ROOT_COOKIE,
  syntheticFileIno,
} from './trees.js';

const BLOCK_BYTES = 1000;

/**
 * A manifest of files in the root, in the order of their inode numbers, whose contents are these blocks. They are stored in the order
 * `stored`, of indexes, which is that of the blocks' numbers.
 */
function writeManifest(path: string, files: readonly (readonly string[])[], stored: readonly number[]): void {
  const builder = createManifest(path);
  builder.putInode(directoryWith(ROOT_INO));
  for (const index of stored) {
    const blocks = files[index] ?? [];
    const ino = ROOT_INO + 1 + index;
    builder.putInode(fileWith(ino, blocks.length * BLOCK_BYTES));
    builder.putDentry(ROOT_INO, ROOT_COOKIE + index, Buffer.from(`file-${String(index)}`), ino);
    const extents = blocks.map((name, at) => ({
      offset: at * BLOCK_BYTES,
      length: BLOCK_BYTES,
      block: blockIdFor(name),
      blockOffset: 0,
    }));
    builder.setContent(ino, { id: contentIdFor(String(index)), extents });
  }
  builder.setNext(ROOT_INO + 1 + files.length, ROOT_COOKIE + files.length);
  builder.finish();
}

function idsOf(order: BlockOrder): (BlockId | undefined)[] {
  return Array.from({ length: order.length }, (_, rank) => order.idAt(rank));
}

t.test('blocks are in the order of the files, whenever they were made', async (t) => {
  const path = join(t.testdir(), 'manifest');
  writeManifest(path, [['a'], ['a'], ['b'], ['c', 'd', 'e'], ['f']], [4, 3, 0, 2, 1]);
  const order = await BlockOrder.open(path);
  t.teardown(() => {
    order.close();
  });
  const expected = ['a', 'b', 'c', 'd', 'e', 'f'].map(blockIdFor);
  t.same(idsOf(order), expected);
  t.same(
    expected.map((id) => order.rankOf(id)),
    [0, 1, 2, 3, 4, 5],
  );
  t.equal(order.idAt(6), undefined);
  t.equal(order.rankOf(blockIdFor('another version’s')), undefined);
});

t.test('a large file is one unit, a shared block another', async (t) => {
  const path = join(t.testdir(), 'manifest');
  writeManifest(path, [['a'], ['b', 'c', 'd'], ['e'], ['e'], ['f', 'g']], [0, 1, 2, 3, 4]);
  const order = await BlockOrder.open(path);
  t.teardown(() => {
    order.close();
  });
  t.equal(order.units, 4);
  t.same(
    [0, 1, 2, 3, 4].map((unit) => order.firstRankOf(unit)),
    [0, 1, 4, 5, 7],
  );
  t.same(
    [0, 1, 2, 3, 4, 5, 6].map((rank) => order.unitOf(rank)),
    [0, 1, 1, 1, 2, 3, 3],
  );
});

t.test('what a unit’s files share with earlier ones is known', async (t) => {
  const path = join(t.testdir(), 'manifest');
  writeManifest(path, [['a'], ['b'], ['c'], ['a'], ['d'], ['b'], ['c']], [0, 1, 2, 3, 4, 5, 6]);
  const order = await BlockOrder.open(path);
  t.teardown(() => {
    order.close();
  });
  t.same(idsOf(order), ['a', 'b', 'c', 'd'].map(blockIdFor));
  t.same(
    [0, 1, 2, 3].map((unit) => order.sharedRanksOf(unit).sort()),
    [[], [], [0], [1, 2]],
  );
  t.same(order.sharedRanksOf(4), []);
});

t.test('numbers far beyond the files there are cost nothing', async (t) => {
  const path = join(t.testdir(), 'manifest');
  writeManifest(path, [['a'], ['b']], [0, 1]);
  const database = new Database(path);
  database.exec(`UPDATE meta SET value = 9007199254740991 WHERE key = 'next_ino';
    UPDATE inode SET ino = 9007199254740000 WHERE ino = 3; UPDATE extent SET ino = 9007199254740000 WHERE ino = 3`);
  database.close();
  const order = await BlockOrder.open(path);
  t.same(idsOf(order), ['a', 'b'].map(blockIdFor));
  order.close();
});

t.test('a version without blocks has an empty order', async (t) => {
  const path = join(t.testdir(), 'manifest');
  writeManifest(path, [[]], [0]);
  const order = await BlockOrder.open(path);
  t.equal(order.length, 0);
  t.equal(order.units, 0);
  t.equal(order.rankOf(blockIdFor('a')), undefined);
  order.close();
});

t.test('a tree of several pages keeps its order; reading it can be given up', async (t) => {
  const path = join(t.testdir(), 'manifest');
  const files = 10_000;
  const builder = createManifest(path);
  feedSyntheticTree(builder, files);
  builder.finish();
  const order = await BlockOrder.open(path);
  t.equal(order.length, Math.ceil(files / 256));
  t.ok(syntheticFileIno(files - 1) > 2048);
  for (let rank = 0; rank < order.length; rank++) {
    t.equal(order.idAt(rank), blockIdFor(`block ${String(rank * 256)}`));
    t.equal(order.unitOf(rank), rank);
  }
  order.close();

  const impatience = new AbortController();
  const opened = BlockOrder.open(path, impatience.signal);
  impatience.abort(new Error('enough'));
  await t.rejects(opened, { message: 'enough' });
});

t.test('a manifest that is not there, or none, is refused', async (t) => {
  const dir = t.testdir({ nonsense: 'nonsense' });
  await t.rejects(BlockOrder.open(join(dir, 'missing')), { code: 'not-found' });
  await t.rejects(BlockOrder.open(join(dir, 'nonsense')), { code: 'corrupt' });
});
