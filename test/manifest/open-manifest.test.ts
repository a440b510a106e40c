import Database from 'better-sqlite3';
import fc from 'fast-check';
import { appendFileSync, copyFileSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { CairnError, ROOT_INO, S_IFLNK } from '../../src/core/index.js';
import {
  checkManifest,
  createManifest,
  diffManifests,
  openManifest,
  walk,
  type ManifestReader,
} from '../../src/manifest/index.js';
import { TABLES, DENTRY_INDEXES } from '../../src/manifest/schema.js';
import { dump } from './tree-model.js';
import { ROOT_COOKIE, blockIdFor, contentIdFor, directoryWith, fileWith, inodeWith } from './trees.js';

const DIRECTORY = 2;
const PACKED = 3;
const EMBEDDED = 4;
const LINK = 5;

/** A root, a directory in it, and in that two files and a symbolic link. */
function buildSample(path: string): void {
  const builder = createManifest(path);
  builder.putInode(directoryWith(ROOT_INO, 1));
  builder.putInode(directoryWith(DIRECTORY));
  builder.putInode(fileWith(PACKED, 1000));
  builder.putInode(fileWith(EMBEDDED, 10));
  builder.putInode(inodeWith(LINK, S_IFLNK | 0o777, { size: 6 }));
  for (const [index, ino] of [DIRECTORY, PACKED, EMBEDDED, LINK].entries()) {
    const parent = ino === DIRECTORY ? ROOT_INO : DIRECTORY;
    builder.putDentry(parent, ROOT_COOKIE + index, Buffer.from(`entry ${String(ino)}`), ino);
  }
  builder.setContent(PACKED, {
    id: contentIdFor('packed'),
    extents: [
      { offset: 0, length: 400, block: blockIdFor('a'), blockOffset: 0 },
      { offset: 500, length: 500, block: blockIdFor('b'), blockOffset: 77 },
    ],
  });
  builder.setContent(EMBEDDED, { id: contentIdFor('embedded'), embedded: Buffer.alloc(10, 1), extents: [] });
  builder.setSymlink(LINK, Buffer.from('target'));
  builder.setXattrs(PACKED, [{ name: Buffer.from('user.name'), value: Buffer.alloc(300) }]);
  builder.setNext(6, ROOT_COOKIE + 4);
  builder.finish();
}

/** The sample after some SQL, as a hostile writer would make it. */
function tampered(path: string, ...statements: string[]): string {
  buildSample(path);
  const database = new Database(path);
  database.unsafeMode(true);
  for (const statement of statements) database.exec(statement);
  database.close();
  return path;
}

/** Reads all a manifest holds, every way there is. */
function readAll(reader: ManifestReader): void {
  dump(reader);
  for (const { inode } of walk(reader, ROOT_INO)) reader.extents(inode.ino, 1, inode.size);
  for (const { parent, name } of reader.namesOf(PACKED)) {
    reader.lookup(parent, name);
    reader.list(parent, 0, 10);
  }
  reader.xattr(PACKED, Buffer.from('user.name'));
  Array.from(reader.blocks());
}

const isCorrupt = (error: unknown): boolean => error instanceof CairnError && error.code === 'corrupt';

void t.test('M-1: FORMAT.md lists the schema', async (t) => {
  const listing = readFileSync('docs/FORMAT.md', 'utf8').replace(/\s+/g, ' ');
  for (const statement of [...TABLES, ...DENTRY_INDEXES]) {
    t.ok(listing.includes(`${statement};`), statement);
  }
});

void t.test('M-1: what is no manifest is refused, by its path and its fault', async (t) => {
  const dir = t.testdir();
  const path = join(dir, 'manifest');
  const refused = (fault: RegExp): void => {
    t.throws(() => openManifest(path), { code: 'corrupt', message: fault });
    t.throws(() => openManifest(path), { message: new RegExp(path) });
  };
  t.throws(() => openManifest(join(dir, 'absent')), { code: 'not-found' });
  writeFileSync(path, '');
  refused(/not an SQLite database/);
  writeFileSync(path, 'x'.repeat(10_000));
  refused(/not an SQLite database/);

  for (const [statement, fault] of [
    ['PRAGMA application_id = 1', /application_id 0x1/],
    ['PRAGMA user_version = 2', /user_version 2/],
    ['PRAGMA journal_mode = WAL', /WAL mode/],
    ['PRAGMA page_size = 8192; VACUUM', /page size 8192/],
    ['CREATE TRIGGER t AFTER INSERT ON inode BEGIN DELETE FROM inode; END', /unexpected trigger t/],
    ['CREATE VIEW v AS SELECT * FROM inode', /unexpected view v/],
    ['CREATE VIRTUAL TABLE f USING fts5(x)', /unexpected table f/],
    ['CREATE TABLE more(x)', /unexpected table more/],
    ['CREATE INDEX more ON inode(size)', /unexpected index more/],
    ['DROP INDEX dentry_ino', /missing: CREATE INDEX dentry_ino/],
    ['DROP TABLE xattr', /missing: CREATE TABLE xattr/],
    ['ALTER TABLE symlink ADD COLUMN more BLOB', /unexpected table symlink/],
    [
      'DROP TABLE xattr; CREATE VIEW xattr AS SELECT ino, target AS name, target AS value FROM symlink',
      /view xattr/,
    ],
  ] as const) {
    tampered(path, statement);
    refused(fault);
  }

  buildSample(path);
  appendFileSync(path, Buffer.alloc(4096));
  refused(/are not the \d+ pages/);
  buildSample(path);
  truncateSync(path, 8192);
  refused(/are not the \d+ pages/);
});

void t.test('M-3, M-8: a manifest without a root, or with impossible counters, is not opened', async (t) => {
  const path = join(t.testdir(), 'manifest');
  for (const [statement, fault] of [
    ['DELETE FROM inode', /no inodes/],
    ['DELETE FROM inode WHERE ino = 1', /inode 1 is not a directory/],
    ['UPDATE inode SET mode = 33188 WHERE ino = 1', /inode 1 is not a directory/],
    [`DELETE FROM meta WHERE key = 'bytes'`, /5 rows in meta/],
    [`INSERT INTO meta VALUES ('more', 1)`, /7 rows in meta/],
    [`UPDATE meta SET key = 'more' WHERE key = 'bytes'`, /meta bytes is undefined/],
    [`UPDATE meta SET value = -1 WHERE key = 'files'`, /meta files is -1/],
    [`UPDATE meta SET value = 9223372036854775807 WHERE key = 'bytes'`, /meta bytes is 9223372036854776000/],
    [`UPDATE meta SET value = 9007199254740991 WHERE key = 'files'`, /more inodes counted/],
    [
      `UPDATE meta SET value = 9007199254740991 WHERE key IN ('directories', 'next_ino');
       UPDATE meta SET value = 9007199254740000 WHERE key = 'directories'`,
      /more inodes counted than it has room for/,
    ],
    [`UPDATE meta SET value = 5 WHERE key = 'next_ino'`, /next_ino 5 is not above inode 5/],
  ] as const) {
    tampered(path, statement);
    t.throws(() => openManifest(path), { code: 'corrupt', message: fault }, statement);
  }
});

void t.test('rows that break a rule are refused when they are read', async (t) => {
  const path = join(t.testdir(), 'manifest');
  for (const [rule, statement] of [
    ['M-2', 'UPDATE inode SET mode = 420 WHERE ino = 3'],
    ['M-2', 'UPDATE inode SET mode = 1099511660836 WHERE ino = 3'],
    ['M-2', 'UPDATE inode SET size = -1 WHERE ino = 3'],
    ['M-2', 'UPDATE inode SET size = 9007199254740993 WHERE ino = 3'],
    ['M-2', 'UPDATE inode SET uid = 4294967296 WHERE ino = 3'],
    ['M-2', 'UPDATE inode SET mtime_nsec = 1000000000 WHERE ino = 3'],
    ['M-2', 'UPDATE inode SET ctime = 9223372036854775807 WHERE ino = 3'],
    ['M-2', 'UPDATE inode SET nlink = 0 WHERE ino = 3'],
    ['M-2', 'UPDATE inode SET content = NULL WHERE ino = 3'],
    ['M-2', `UPDATE inode SET content = x'00' WHERE ino = 3`],
    ['M-3', 'UPDATE dentry SET ino = 99 WHERE ino = 3'],
    ['M-3', 'UPDATE dentry SET ino = 1 WHERE ino = 3'],
    ['M-4', `UPDATE dentry SET name = x'2e2e' WHERE ino = 3`],
    ['M-4', `UPDATE dentry SET name = CAST('a/b' AS BLOB) WHERE ino = 3`],
    ['M-4', `UPDATE dentry SET name = x'6100' WHERE ino = 3`],
    ['M-4', `UPDATE dentry SET name = x'' WHERE ino = 3`],
    ['M-4', 'UPDATE dentry SET name = zeroblob(256) WHERE ino = 3'],
    ['M-4', 'UPDATE dentry SET cookie = 2 WHERE ino = 3'],
    ['M-5', `UPDATE symlink SET target = x'' WHERE ino = 5`],
    ['M-5', 'UPDATE symlink SET target = zeroblob(5000) WHERE ino = 5'],
    ['M-5', 'UPDATE xattr SET value = zeroblob(65537)'],
    ['M-6', 'UPDATE extent SET block_offset = 4194304 - 399 WHERE offset = 0'],
    ['M-6', 'UPDATE extent SET length = 501 WHERE offset = 500'],
    ['M-6', 'UPDATE extent SET length = 501 WHERE offset = 0'],
    ['M-6', 'UPDATE extent SET length = 0 WHERE offset = 0'],
    ['M-6', 'UPDATE extent SET length = -9223372036854775807 WHERE offset = 0'],
    ['M-6', 'UPDATE extent SET block_offset = -1 WHERE offset = 500'],
    ['M-6', 'UPDATE extent SET block = 99 WHERE offset = 500'],
    ['M-6', `UPDATE block SET id = x'00' WHERE idx = 1`],
    ['M-7', `UPDATE embedded SET bytes = x'00'`],
  ] as const) {
    const reader = openManifest(tampered(path, statement));
    t.throws(
      () => {
        readAll(reader);
      },
      { code: 'corrupt' },
      `${rule}: ${statement}`,
    );
    const rules = [...checkManifest(reader)].map((violation) => violation.rule);
    t.ok(rules.includes(rule), `${rule} is what checkManifest names, of ${rules.join(' ')}`);
    reader.close();
  }
});

void t.test('M-4: names that break a rule are refused by a comparison too', async (t) => {
  // It reads entries past the reader: a name of another type ended it with a programmer's error.
  const dir = t.testdir();
  const [sound, path] = [join(dir, 'sound'), join(dir, 'manifest')];
  buildSample(sound);
  const before = openManifest(sound);
  for (const statement of [
    'UPDATE dentry SET name = zeroblob(256) WHERE ino = 3',
    `UPDATE dentry SET name = x'2e2e' WHERE ino = 3`,
    'UPDATE dentry SET parent = -2 WHERE ino = 3',
  ]) {
    const after = openManifest(tampered(path, statement));
    t.throws(() => diffManifests(before, after), { code: 'corrupt', message: new RegExp(path) }, statement);
    t.throws(() => diffManifests(after, before), { code: 'corrupt', message: new RegExp(path) }, statement);
    after.close();
  }
  before.close();
});

void t.test('checkManifest finds rows that do not fit together', async (t) => {
  const path = join(t.testdir(), 'manifest');
  for (const [rule, statement] of [
    ['M-2', `UPDATE inode SET content = zeroblob(32) WHERE ino = 2`],
    ['M-3', 'DELETE FROM dentry WHERE ino = 3'],
    ['M-3', 'UPDATE dentry SET parent = 2 WHERE ino = 2'],
    ['M-3', `INSERT INTO dentry VALUES (1, 50, x'61', 2)`],
    ['M-3', `INSERT INTO dentry VALUES (1, 50, x'61', 3)`],
    ['M-3', 'UPDATE inode SET nlink = 2 WHERE ino = 1'],
    ['M-4', `INSERT INTO dentry VALUES (3, 50, x'61', 4)`],
    // The entry of the root has this cookie.
    ['M-4', 'UPDATE dentry SET cookie = 3 WHERE ino = 3'],
    ['M-5', 'DELETE FROM symlink'],
    ['M-5', `INSERT INTO symlink VALUES (3, x'61')`],
    ['M-5', `INSERT INTO xattr VALUES (77, x'61', x'61')`],
    ['M-6', 'INSERT INTO extent VALUES (2, 0, 1, 1, 0)'],
    ['M-6', 'INSERT INTO extent VALUES (77, 0, 1, 1, 0)'],
    ['M-7', `INSERT INTO embedded VALUES (2, x'')`],
    ['M-8', `UPDATE meta SET value = 1 WHERE key = 'files'`],
    ['M-8', `UPDATE meta SET value = 1011 WHERE key = 'bytes'`],
    ['M-8', `UPDATE meta SET value = 6 WHERE key = 'next_cookie'`],
  ] as const) {
    tampered(path, statement);
    const reader = openManifest(path);
    const rules = [...checkManifest(reader)].map((violation) => violation.rule);
    t.ok(rules.includes(rule), `${rule}: ${statement}, found ${rules.join(' ')}`);
    reader.close();
  }
});

void t.test('M-3: a directory within itself ends a walk, not the process', async (t) => {
  const reader = openManifest(
    tampered(join(t.testdir(), 'manifest'), `INSERT INTO dentry VALUES (2, 50, x'61', 2)`),
  );
  t.throws(() => Array.from(walk(reader, ROOT_INO)), { code: 'corrupt' });
  reader.close();
});

void t.test('M-3: a directory named many times over does not make a tree without end', async (t) => {
  // Twenty directories, each of which holds the next one twice: a million paths.
  const levels = Array.from({ length: 20 }, (_, level) => level + 10);
  const statements = levels.flatMap((ino) => [
    `INSERT INTO inode SELECT ${String(ino)}, mode, uid, gid, size, nlink, rdev, mtime, mtime_nsec, ctime, ctime_nsec, btime,
     btime_nsec, content FROM inode WHERE ino = 2`,
    ...['61', '62'].map(
      (name, index) =>
        `INSERT INTO dentry VALUES (${String(ino === 10 ? 2 : ino - 1)}, ${String(2 * ino + 100 + index)}, x'${name}', ${String(ino)})`,
    ),
  ]);
  const path = tampered(
    join(t.testdir(), 'manifest'),
    ...statements,
    `UPDATE meta SET value = 100 WHERE key = 'next_ino'`,
    `UPDATE meta SET value = 22 WHERE key = 'directories'`,
  );
  const reader = openManifest(path);
  let entries = 0;
  t.throws(
    () => {
      for (const entry of walk(reader, ROOT_INO)) entries += entry.path.length > 0 ? 1 : 0;
    },
    { code: 'corrupt', message: /named twice/ },
  );
  t.ok(entries < 100, `${String(entries)} entries`);
  reader.close();
});

void t.test('M-4: entries out of order in a page are no listing without end', async (t) => {
  const path = tampered(
    join(t.testdir(), 'manifest'),
    `INSERT INTO dentry VALUES (2, 60, CAST('the one before' AS BLOB), 3)`,
    `INSERT INTO dentry VALUES (2, 61, CAST('the one after' AS BLOB), 3)`,
  );
  const file = readFileSync(path);
  // In the row of the table, not in that of the index, the cookie is the byte before the name.
  const at = [...occurrences(file, 'the one after')].find((name) => file[name - 1] === 61) ?? 0;
  t.ok(at > 0);
  file[at - 1] = 59;
  writeFileSync(path, file);
  const reader = openManifest(path);
  for (const list of [reader.list.bind(reader), reader.listWithInodes.bind(reader)])
    t.throws(() => list(DIRECTORY, 0, 10), { code: 'corrupt', message: /cookie 59 after 60/ });
  reader.close();
});

function* occurrences(file: Buffer, text: string): Generator<number> {
  for (let at = file.indexOf(text); at >= 0; at = file.indexOf(text, at + 1)) yield at;
}

void t.test('bytes that no rule allows so many of are refused without being read', async (t) => {
  const path = join(t.testdir(), 'manifest');
  const HUGE = 64 * 1024 * 1024;
  for (const [what, statement, read] of [
    [
      'a name',
      `UPDATE dentry SET name = zeroblob(${String(HUGE)}) WHERE ino = 3`,
      (reader: ManifestReader) => reader.list(DIRECTORY, 0, 10),
    ],
    [
      'a listed name',
      `UPDATE dentry SET name = zeroblob(${String(HUGE)}) WHERE ino = 3`,
      (reader: ManifestReader) => reader.listWithInodes(DIRECTORY, 0, 10),
    ],
    [
      'a name of an inode',
      `UPDATE dentry SET name = zeroblob(${String(HUGE)}) WHERE ino = 3`,
      (reader: ManifestReader) => reader.namesOf(PACKED),
    ],
    [
      'a target',
      `UPDATE symlink SET target = zeroblob(${String(HUGE)})`,
      (reader: ManifestReader) => reader.symlink(LINK),
    ],
    [
      'a value',
      `UPDATE xattr SET value = zeroblob(${String(HUGE)})`,
      (reader: ManifestReader) => reader.xattrs(PACKED),
    ],
    [
      'one value',
      `UPDATE xattr SET value = zeroblob(${String(HUGE)})`,
      (reader: ManifestReader) => reader.xattr(PACKED, Buffer.from('user.name')),
    ],
    [
      'an embedded file',
      `UPDATE embedded SET bytes = zeroblob(${String(HUGE)})`,
      (reader: ManifestReader) => reader.embedded(EMBEDDED),
    ],
    [
      'an embedded file of that size',
      `UPDATE embedded SET bytes = zeroblob(${String(HUGE)}); UPDATE inode SET size = ${String(HUGE)} WHERE ino = 4`,
      (reader: ManifestReader) => reader.embedded(EMBEDDED),
    ],
    [
      'content',
      `UPDATE embedded SET bytes = zeroblob(${String(HUGE)})`,
      (reader: ManifestReader) => reader.contents(DIRECTORY, 0, 100_000, 100),
    ],
    [
      'many xattrs',
      `WITH RECURSIVE n(i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n WHERE i < 300000)
      INSERT INTO xattr SELECT 3, CAST('user.' || i AS BLOB), x'00' FROM n`,
      (reader: ManifestReader) => reader.xattrs(PACKED),
    ],
    [
      'many extents',
      `DELETE FROM extent; UPDATE inode SET size = 1000000 WHERE ino = 3;
      WITH RECURSIVE n(i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n WHERE i < 300000)
      INSERT INTO extent SELECT 3, i, 1, 1, 0 FROM n`,
      (reader: ManifestReader) => reader.extents(PACKED, 0, 1_000_000),
    ],
  ] as const) {
    const reader = openManifest(tampered(path, statement));
    const before = process.memoryUsage();
    t.throws(() => read(reader), { code: 'corrupt' }, what);
    const after = process.memoryUsage();
    const grown = after.arrayBuffers - before.arrayBuffers + (after.heapUsed - before.heapUsed);
    t.ok(grown < HUGE / 2, `${what}: ${String(grown)} bytes more`);
    reader.close();
  }
});

void t.test(
  'bytes flipped anywhere are found as corrupt, or harm no rule of single rows, and never crash',
  async (t) => {
    const dir = t.testdir();
    const [sound, flipped] = [join(dir, 'sound'), join(dir, 'flipped')];
    buildSample(sound);
    const bytes = readFileSync(sound);
    let refused = 0;
    const flips = fc.array(
      fc.record({ at: fc.nat(bytes.length - 1), mask: fc.integer({ min: 1, max: 255 }) }),
      {
        minLength: 1,
        maxLength: 8,
      },
    );
    fc.assert(
      fc.property(flips, (chosen) => {
        const damaged = Buffer.from(bytes);
        for (const { at, mask } of chosen) damaged.writeUInt8(damaged.readUInt8(at) ^ mask, at);
        writeFileSync(flipped, damaged);
        const original = openManifest(sound);
        let reader: ManifestReader | undefined;
        try {
          reader = openManifest(flipped);
          readAll(reader);
          Array.from(checkManifest(reader));
          diffManifests(original, reader);
        } catch (error) {
          if (!isCorrupt(error)) throw error;
          refused++;
        } finally {
          reader?.close();
          original.close();
        }
      }),
      {
        numRuns: 1500,
        // Near the header, the schema and the cells, where it hurts.
        examples: Array.from({ length: 100 }, (_, at) => [[{ at, mask: 0xff }]]),
      },
    );
    t.ok(refused > 0, `${String(refused)} refused`);
  },
);

void t.test('a hot journal beside the file does not change it', async (t) => {
  const dir = t.testdir();
  const path = join(dir, 'manifest');
  buildSample(path);
  const before = readFileSync(path);
  copyFileSync(path, `${path}-journal`);
  try {
    openManifest(path).close();
  } catch (error) {
    t.ok(isCorrupt(error));
  }
  t.ok(readFileSync(path).equals(before));
});
