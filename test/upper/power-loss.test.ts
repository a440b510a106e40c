import { appendFileSync, cpSync, existsSync, readdirSync, rmSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { S_IFREG } from '../../src/core/index.js';
import { UpperLayer, type LayerInode } from '../../src/upper/index.js';
import { patternedBytes } from '../fixtures/patterned-bytes.js';
import { scratchFolder } from '../fixtures/scratch-folder.js';
import { newInode } from './new-inode.js';

/*
 * One layer whose files survive a power loss each for itself: the journal as it was last synced, or grown without its last page, a segment or a file
 * without what was not synced. What no order of the disk's writes must break; test/power/ does it with a real disk.
 */

const KIB = 1024;
const MIB = 1024 * KIB;
const NOTHING = Buffer.alloc(0);

function openEmpty(t: Test): UpperLayer {
  const dir = join(scratchFolder(t), 'layer');
  UpperLayer.create(dir, { nextIno: 10, nextCookie: 3, lastUnique: '', lastReply: NOTHING });
  return UpperLayer.open(dir, true);
}

function write(layer: UpperLayer, ino: number, offset: number, data: Buffer): void {
  const inode = { ...(layer.inode(ino) ?? newInode(ino, S_IFREG | 0o600)) };
  layer.writeData(inode, offset, data);
  inode.size = Math.max(inode.size, offset + data.length);
  layer.putInode(inode);
  layer.commit('', NOTHING);
}

function change(layer: UpperLayer, ino: number, how: (inode: LayerInode) => void): void {
  const inode = { ...layer.inode(ino)! };
  how(inode);
  layer.putInode(inode);
  layer.commit('', NOTHING);
}

function remove(layer: UpperLayer, ino: number): void {
  layer.deleteInode(layer.inode(ino)!);
  layer.commit('', NOTHING);
}

function bytesOf(layer: UpperLayer, ino: number): Buffer {
  const { size } = layer.inode(ino)!;
  const bytes = Buffer.alloc(size);
  for (const extent of layer.extents(ino, 0, size)) {
    const { offset, length } = extent;
    layer.readExtent(ino, extent, offset, bytes.subarray(offset, offset + length));
  }
  return bytes;
}

/** The only journal of a layer that was not folded. */
function journalOf(dir: string): string {
  return join(
    dir,
    readdirSync(dir).find((name) => name.startsWith('journal-'))!,
  );
}

/** The layer after a power loss that left it as `damage` makes it. */
function afterLoss(t: Test, layer: UpperLayer, damage: (dir: string) => void): UpperLayer {
  const dir = join(scratchFolder(t), 'lost');
  cpSync(layer.dir, dir, { recursive: true });
  damage(dir);
  layer.close();
  const lost = UpperLayer.open(dir, true);
  t.teardown(() => {
    lost.close();
  });
  return lost;
}

t.test('what a journal that was not synced gives back is still there', async (t) => {
  const changes: Record<string, (layer: UpperLayer, ino: number, inode: LayerInode) => void> = {
    removed: (layer, ino) => {
      remove(layer, ino);
    },
    'cut short': (layer, ino) => {
      change(layer, ino, (inode) => {
        layer.truncateData(inode, 10);
        inode.size = 10;
      });
    },
    punched: (layer, ino) => {
      change(layer, ino, (inode) => {
        layer.zeroData(inode, 0, 200 * KIB);
      });
    },
  };
  for (const [name, how] of Object.entries(changes)) {
    await t.test(`of a file that was ${name}`, async (t) => {
      const layer = openEmpty(t);
      const data = patternedBytes(name, 400 * KIB);
      write(layer, 10, 0, data);
      const synced = statSync(journalOf(layer.dir)).size;
      how(layer, 10, layer.inode(10)!);
      const lost = afterLoss(t, layer, (dir) => {
        truncateSync(journalOf(dir), synced);
      });
      t.ok(bytesOf(lost, 10).equals(data));
    });
  }
  await t.test('of a log segment', async (t) => {
    const layer = openEmpty(t);
    const data = patternedBytes('segment', 128 * KIB);
    write(layer, 10, 0, data);
    const synced = statSync(journalOf(layer.dir)).size;
    remove(layer, 10);
    // The segment is full, and nothing in it lives. These come and go in the next one.
    for (let ino = 11; ino < 11 + 64 * 8; ino += 1) write(layer, ino, 0, data);
    const lost = afterLoss(t, layer, (dir) => {
      truncateSync(journalOf(dir), synced);
    });
    t.ok(bytesOf(lost, 10).equals(data));
  });
});

t.test(
  'space is given back when much of it waits, when the layer is closed, and when it is opened',
  async (t) => {
    const layer = openEmpty(t);
    const ownFiles = (): string[] => readdirSync(join(layer.dir, 'data')).sort();
    for (const ino of [10, 11]) write(layer, ino, 0, patternedBytes(ino, ino === 10 ? MIB : 5 * MIB));
    remove(layer, 10);
    t.same(ownFiles(), ['10', '11'], 'a little waits');
    const killed = join(scratchFolder(t), 'killed');
    remove(layer, 11);
    t.same(ownFiles(), [], 'much at once does not');
    for (let ino = 20; ino < 84; ino += 1) {
      write(layer, ino, 0, patternedBytes(ino, MIB));
      remove(layer, ino);
    }
    t.same(ownFiles(), [], 'nor does much together');
    write(layer, 12, 0, patternedBytes(12, MIB));
    remove(layer, 12);
    cpSync(layer.dir, killed, { recursive: true });
    layer.close();
    t.same(ownFiles(), []);
    UpperLayer.open(killed, true).close();
    t.same(readdirSync(join(killed, 'data')), [], 'what a process that was killed had waiting');
  },
);

t.test('what was written and lost is zeros, and never what is written next', async (t) => {
  const layer = openEmpty(t);
  write(layer, 10, 0, patternedBytes('lost', 20 * KIB));
  for (const left of [0, 4 * KIB]) {
    const lost = afterLoss(t, layer, (dir) => {
      truncateSync(join(dir, 'log-0'), left);
    });
    write(lost, 11, 0, patternedBytes('next', 20 * KIB));
    t.ok(
      bytesOf(lost, 10)
        .subarray(left)
        .equals(Buffer.alloc(20 * KIB - left)),
      `after ${String(left)} bytes`,
    );
  }
  const without = afterLoss(t, layer, (dir) => {
    rmSync(join(dir, 'log-0'));
  });
  write(without, 11, 0, patternedBytes('next', 20 * KIB));
  t.ok(bytesOf(without, 10).equals(Buffer.alloc(20 * KIB)), 'without the segment');
});

t.test('a sealed layer whose segment was lost reads as zeros', async (t) => {
  const layer = openEmpty(t);
  write(layer, 10, 0, patternedBytes('lost', 20 * KIB));
  layer.close();
  rmSync(join(layer.dir, 'log-0'));
  const sealed = UpperLayer.open(layer.dir, false);
  t.ok(bytesOf(sealed, 10).equals(Buffer.alloc(20 * KIB)));
  sealed.close();
});

t.test('what was synced stays where it is when a part of it is written again', async (t) => {
  const layer = openEmpty(t);
  const data = patternedBytes('synced', 20 * KIB);
  write(layer, 10, 0, data);
  write(layer, 10, 8 * KIB, patternedBytes('again', 4 * KIB));
  t.ok(existsSync(join(layer.dir, 'data', '10')), 'in a file of its own');
  const lost = afterLoss(t, layer, (dir) => {
    truncateSync(join(dir, 'data', '10'), 0);
  });
  const bytes = bytesOf(lost, 10);
  t.ok(bytes.subarray(0, 8 * KIB).equals(data.subarray(0, 8 * KIB)));
  t.ok(bytes.subarray(12 * KIB).equals(data.subarray(12 * KIB)));
});

t.test('a journal that grew without its last page being written ends where it was', async (t) => {
  const layer = openEmpty(t);
  write(layer, 10, 0, patternedBytes(1, 100));
  const lost = afterLoss(t, layer, (dir) => {
    appendFileSync(journalOf(dir), Buffer.alloc(3_000));
  });
  t.ok(bytesOf(lost, 10).equals(patternedBytes(1, 100)));
  write(lost, 11, 0, patternedBytes(2, 100));
  const again = afterLoss(t, lost, () => undefined);
  t.ok(bytesOf(again, 11).equals(patternedBytes(2, 100)), 'and goes on from there');
});

t.test('a journal whose predecessor lost its end is not read: it builds on what was lost', async (t) => {
  const layer = openEmpty(t);
  write(layer, 10, 0, patternedBytes(1, 100));
  const end = statSync(journalOf(layer.dir)).size;
  // Folded after a megabyte; the database, however, is not written back.
  const before = join(scratchFolder(t), 'before');
  cpSync(layer.dir, before, { recursive: true });
  const names = (): string[] => readdirSync(layer.dir).filter((name) => name.startsWith('journal-'));
  for (let ino = 11; names().length === 1; ino += 1) write(layer, ino, 0, patternedBytes(ino, 100));
  const lost = afterLoss(t, layer, (dir) => {
    for (const name of readdirSync(dir).filter((file) => file.startsWith('upper.sqlite'))) {
      rmSync(join(dir, name));
      if (existsSync(join(before, name))) cpSync(join(before, name), join(dir, name));
    }
    truncateSync(join(dir, 'journal-1'), end);
  });
  t.same(
    [...lost.inodes()].map(({ ino }) => ino),
    [10],
  );
});
