import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import Database from 'better-sqlite3';
import t from 'tap';
import { S_IFREG } from '../../src/core/index.js';
import { UpperLayer } from '../../src/upper/index.js';
import { newInode } from './new-inode.js';

const FIRST_INO = 10;
const NOTHING = Buffer.alloc(0);

/** A layer as the release before access times wrote it: one inode in the database, the next one in the journal alone. */
function writeLayerWithoutAtime(dir: string): void {
  UpperLayer.create(dir, { nextIno: FIRST_INO, nextCookie: 3, lastUnique: '', lastReply: NOTHING });
  const layer = UpperLayer.open(dir, true);
  layer.putInode(newInode(layer.allocateIno(), S_IFREG));
  layer.commit('1', NOTHING);
  layer.fold();
  layer.close();

  const db = new Database(join(dir, 'upper.sqlite'));
  for (const table of ['state', 'inode', 'dentry', 'symlink', 'xattr', 'extent'])
    db.exec(`ALTER TABLE ${table} DROP COLUMN checksum`);
  db.exec(
    'ALTER TABLE inode DROP COLUMN atime; ALTER TABLE inode DROP COLUMN atime_nsec; PRAGMA user_version = 2',
  );
  const { generation } = db.prepare('SELECT generation FROM state').get() as { generation: number };
  db.close();
  writeFileSync(join(dir, `journal-${String(generation)}`), recordWithoutAtime(FIRST_INO + 1));
}

function recordWithoutAtime(ino: number): Buffer {
  const [putInode, state] = [1, 11];
  // ino, mode, uid, gid, size, nlink, rdev, mtime, ctime, btime (each with nanoseconds), created, contentChanged, belowLimit, …
  const inode = [ino, S_IFREG, 0, 0, 0, 1, 0, 77, 5, 78, 6, 79, 7, 1, 1, 0, 0, 1];
  const body = Buffer.concat([
    Buffer.from([putInode]),
    doubles(inode),
    Buffer.from([state]),
    doubles([ino + 1, 4]),
    Buffer.from([1, 0, 0, 0]),
    Buffer.from('2'),
    Buffer.alloc(4),
  ]);
  const header = Buffer.alloc(8);
  header.writeUInt32LE(body.length, 0);
  header.writeUInt32LE(crc32(body), 4);
  return Buffer.concat([header, body]);
}

function doubles(values: number[]): Buffer {
  return Buffer.from(new Float64Array(values).buffer);
}

t.test('a layer from before access times opens: they are the mtimes', (t) => {
  const dir = t.testdir();
  writeLayerWithoutAtime(dir);
  for (let opening = 0; opening < 2; opening += 1) {
    const layer = UpperLayer.open(dir, true);
    t.match(layer.inode(FIRST_INO), { mtimeSec: 1, atimeSec: 1, atimeNsec: 0, ownsXattrs: 1 });
    const journaled = { mtimeSec: 77, mtimeNsec: 5, atimeSec: 77, atimeNsec: 5, ownsXattrs: 1 };
    t.match(layer.inode(FIRST_INO + 1), journaled);
    t.equal(layer.nextIno, FIRST_INO + 2);
    layer.close();
  }
  t.end();
});

t.test('so does a sealed one, which is only read', (t) => {
  const dir = t.testdir();
  writeLayerWithoutAtime(dir);
  const layer = UpperLayer.open(dir, false);
  t.match(layer.inode(FIRST_INO), { mtimeSec: 1, atimeSec: 1, atimeNsec: 0, ownsXattrs: 1 });
  layer.close();
  t.end();
});
