import {
  appendFileSync,
  copyFileSync,
  cpSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { crc32 } from 'node:zlib';
import t from 'tap';
import { S_IFREG } from '../../src/core/index.js';
import { UpperLayer } from '../../src/upper/index.js';
import { newInode } from './new-inode.js';

const FIRST_INO = 10;

/** A layer with one committed inode for each call of `commit`. */
function layerIn(dir: string): { layer: UpperLayer; commit: () => void } {
  UpperLayer.create(dir, { nextIno: FIRST_INO, nextCookie: 3, lastUnique: '', lastReply: Buffer.alloc(0) });
  const layer = UpperLayer.open(dir, true);
  const commit = (): void => {
    layer.putInode(newInode(layer.allocateIno(), S_IFREG | 0o644));
    layer.commit('', Buffer.alloc(0));
  };
  return { layer, commit };
}

/** The layer as a process that was killed left it. */
function copyOf(dir: string): string {
  const copy = `${dir}.copy`;
  cpSync(dir, copy, { recursive: true });
  return copy;
}

function inodesIn(dir: string): number {
  UpperLayer.recover(dir);
  const layer = UpperLayer.open(dir, false);
  try {
    return [...layer.inodes()].length;
  } finally {
    layer.close();
  }
}

t.test('zeros behind the last record, as power loss leaves them, end the reading', async (t) => {
  // Eight zeros are a length of 0 and the right checksum of nothing: the layer could not be opened any more.
  const dir = path.join(t.testdir(), 'layer');
  const { layer, commit } = layerIn(dir);
  commit();
  commit();
  const copy = copyOf(dir);
  layer.close();
  appendFileSync(path.join(copy, 'journal-1'), Buffer.alloc(5000));
  t.equal(inodesIn(copy), 2);
});

t.test(
  'what follows a journal that was cut off is not read, also by the process after the next',
  async (t) => {
    // The first recovery kept the beginning of journal 1, and gave on to journal 2: the second read what was there of that name.
    const dir = path.join(t.testdir(), 'layer');
    const { layer, commit } = layerIn(dir);
    const empty = copyOf(dir);
    commit();
    const cutAt = statSync(path.join(dir, 'journal-1')).size + 11;
    commit();
    layer.fold();
    commit();
    for (const name of ['journal-1', 'journal-2']) copyFileSync(path.join(dir, name), path.join(empty, name));
    layer.close();
    truncateSync(path.join(empty, 'journal-1'), cutAt);
    t.equal(inodesIn(empty), 1);
    t.equal(inodesIn(empty), 1);
  },
);

t.test('a record that is whole and makes no sense is named, and nothing is changed', async (t) => {
  const dir = path.join(t.testdir(), 'layer');
  const { layer, commit } = layerIn(dir);
  commit();
  const copy = copyOf(dir);
  layer.close();
  const file = path.join(copy, 'journal-1');
  const sound = readFileSync(file);
  for (const content of [
    Buffer.from([99]),
    Buffer.from([2, 1]),
    Buffer.from([2, 0, 0, 0, 0, 0, 0, 0xf0, 0x7f]),
    Buffer.from([3, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]),
    Buffer.alloc(100),
  ]) {
    const header = Buffer.alloc(8);
    header.writeUInt32LE(content.length, 0);
    header.writeUInt32LE(crc32(content), 4);
    writeFileSync(file, Buffer.concat([sound, header, content]));
    t.throws(() => inodesIn(copy), {
      code: 'corrupt',
      message: /journal-1 has a record that makes no sense/,
    });
  }
  writeFileSync(file, sound);
  t.equal(inodesIn(copy), 1);
});
