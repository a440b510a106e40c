import { appendFileSync, cpSync, existsSync, readdirSync, rmSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { S_IFREG } from '../../src/core/index.js';
import { UpperLayer } from '../../src/upper/index.js';
import { patternedBytes } from '../fixtures/patterned-bytes.js';
import { scratchFolder } from '../fixtures/scratch-folder.js';
import { newInode } from './new-inode.js';

/*
 * One layer whose files survive a power loss each for itself: the journal as it was last synced, or grown without its last page, a segment or a file
 * without what was not synced. What no order of the disk's writes must break; test/power/ does it with a real disk.
 */

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
