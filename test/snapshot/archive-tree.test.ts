import { execFileSync } from 'node:child_process';
import {
  createWriteStream,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import t from 'tap';
import type { BlockStore } from '../../src/blocks/index.js';
import { ROOT_INO } from '../../src/core/index.js';
import { resolvePath } from '../../src/manifest/index.js';
import { setModificationTime } from '../../src/posix/index.js';
import { tarTree, zipTree } from '../../src/snapshot/index.js';
import { compareTrees } from '../fixtures/compare-trees.js';
import { buildOddities, randomBytesOf } from '../fixtures/oddities.js';
import { scratchStores } from './stores.js';

const MIB = 1024 * 1024;
const ZIPPED_FILES = process.env['CAIRN_TEST_LARGE'] === '1' ? 20_000 : 1_200;

void t.test(
  'a tar archive of a version gives back all of it but sockets and extended attributes',
  async (t) => {
    const stores = await scratchStores(t);
    const { source, dir } = stores;
    buildOddities(source, { largeBytes: 3 * MIB, sparseBytes: 9 * MIB });
    rmSync(join(source, 'xattrs'), { recursive: true });
    rmSync(join(source, 'special', 'socket'), { force: true });
    // Around what a header holds, and beyond it.
    for (const length of [99, 100, 101, 255]) writeFileSync(join(source, 'n'.repeat(length)), String(length));
    for (const length of [99, 100, 101, 4095])
      symlinkSync('t'.repeat(length), join(source, `link-${String(length)}`));
    linkSync(join(source, 'n'.repeat(255)), join(source, 'other-name'));
    writeFileSync(join(source, 'old'), '');
    setModificationTime(Buffer.from(join(source, 'old')), -2, 300_000_000);
    const { version } = await stores.import(source);
    const reader = await stores.open(version);
    const archive = join(dir, 'tree.tar');
    await pipeline(
      Readable.from(tarTree({ reader, blocks: stores.blocks, ino: ROOT_INO })),
      createWriteStream(archive),
    );
    const dest = join(dir, 'extracted');
    mkdirSync(dest);
    execFileSync('tar', ['-xpf', archive, '-C', dest, '--delay-directory-restore'], {
      env: { ...process.env, LC_ALL: 'C' },
      stdio: 'pipe',
    });
    // The folder itself is not in it.
    execFileSync('touch', ['-r', source, dest]);
    t.same(compareTrees(source, dest), []);

    // A folder is archived by the paths below it.
    const ino = resolvePath(reader, Buffer.from('sizes')) ?? 0;
    const listed = execFileSync('tar', ['-tf', '-'], {
      input: Buffer.concat(await Readable.from(tarTree({ reader, blocks: stores.blocks, ino })).toArray()),
    });
    t.same(listed.toString().split('\n').filter(Boolean).sort(), readdirSync(join(source, 'sizes')).sort());
    reader.close();
  },
);

void t.test('a zip archive of a version gives back files, folders and symbolic links', async (t) => {
  const stores = await scratchStores(t);
  const { source, dir } = stores;
  mkdirSync(join(source, 'folder', 'empty'), { recursive: true });
  writeFileSync(join(source, 'folder', 'häßlich'), randomBytesOf(1, 3 * MIB));
  writeFileSync(join(source, 'folder', 'run'), 'echo', { mode: 0o755 });
  writeFileSync(join(source, 'nothing'), '');
  symlinkSync('folder/run', join(source, 'link'));
  for (let index = 0; index < 700; index++)
    writeFileSync(join(source, `f${String(index)}`), `file ${String(index)}`);
  writeFileSync(Buffer.concat([Buffer.from(`${source}/broken-`), Buffer.from([0xff])]), 'bytes');
  writeFileSync(join(source, 'C:drive\\..\\x'), 'colon');
  const { version } = await stores.import(source);
  const reader = await stores.open(version);
  const archive = join(dir, 'tree.zip');
  await pipeline(
    Readable.from(zipTree({ reader, blocks: stores.blocks, ino: ROOT_INO })),
    createWriteStream(archive),
  );
  execFileSync('unzip', ['-tq', archive]);
  const dest = join(dir, 'extracted');
  execFileSync('unzip', ['-q', archive, '-d', dest], { env: { ...process.env, LC_ALL: 'C.UTF-8' } });
  t.equal(readdirSync(dest).length, readdirSync(source).length);
  t.ok(readFileSync(join(dest, 'folder', 'häßlich')).equals(readFileSync(join(source, 'folder', 'häßlich'))));
  t.equal(lstatSync(join(dest, 'folder', 'run')).mode & 0o777, 0o755);
  t.ok(lstatSync(join(dest, 'folder', 'empty')).isDirectory());
  t.equal(readlinkSync(join(dest, 'link')), 'folder/run');
  t.equal(readFileSync(join(dest, 'f699'), 'utf8'), 'file 699');
  t.equal(readFileSync(join(dest, 'broken-%FF'), 'utf8'), 'bytes');
  t.equal(readFileSync(join(dest, 'C%3Adrive%5C..%5Cx'), 'utf8'), 'colon');
  reader.close();
});

void t.test('an archive is made no faster than it is read, and ends with its reader', async (t) => {
  const stores = await scratchStores(t);
  const { source } = stores;
  for (let index = 0; index < 40; index++)
    writeFileSync(join(source, `f${String(index)}`), randomBytesOf(index, 2 * MIB));
  const { version } = await stores.import(source);
  const reader = await stores.open(version);
  for (const archiveTree of [tarTree, zipTree]) {
    let gets = 0;
    const blocks: BlockStore = Object.assign(Object.create(stores.blocks) as BlockStore, {
      get: (id: Parameters<BlockStore['get']>[0]) => {
        gets += 1;
        return stores.blocks.get(id);
      },
    });
    const archive = archiveTree({ reader, blocks, ino: ROOT_INO });
    await archive.next();
    // Whatever was begun comes to its end while other files are read.
    for (const { ino } of reader.inodes()) {
      for (const { block } of reader.extents(ino, 0, 1)) await stores.blocks.get(block);
    }
    t.ok(gets > 0 && gets < 20, `of some 80 blocks ${String(gets)} are fetched`);
    await archive.return(undefined);
    const atEnd = gets;
    for (const { ino } of reader.inodes()) {
      for (const { block } of reader.extents(ino, 0, 1)) await stores.blocks.get(block);
    }
    t.equal(gets, atEnd, 'and no more when its reader is gone');
  }
  reader.close();
});

void t.test('an archive of a version that cannot be read breaks off', async (t) => {
  const stores = await scratchStores(t);
  writeFileSync(join(stores.source, 'a'), randomBytesOf(1, MIB));
  const { version } = await stores.import(stores.source);
  const reader = await stores.open(version);
  const blocks: BlockStore = Object.assign(Object.create(stores.blocks) as BlockStore, {
    get: () => Promise.reject(new Error('the store is away')),
  });
  for (const archiveTree of [tarTree, zipTree]) {
    await t.rejects(Readable.from(archiveTree({ reader, blocks, ino: ROOT_INO })).toArray(), {
      message: 'the store is away',
    });
  }
  reader.close();
});

void t.test('a zip archive of thousands of files has each of them', async (t) => {
  const stores = await scratchStores(t);
  const { source, dir } = stores;
  for (let folder = 0; folder < 4; folder++) {
    mkdirSync(join(source, String(folder)));
    symlinkSync('elsewhere', join(source, String(folder), 'link'));
    for (let file = 0; file < ZIPPED_FILES / 4; file++)
      writeFileSync(join(source, String(folder), String(file)), `file ${String(file)} `.repeat(60));
  }
  const { version } = await stores.import(source);
  const reader = await stores.open(version);
  const archive = join(dir, 'tree.zip');
  const before = process.memoryUsage().rss;
  let peak = before;
  async function* watched(): AsyncGenerator<Buffer> {
    for await (const piece of zipTree({ reader, blocks: stores.blocks, ino: ROOT_INO })) {
      peak = Math.max(peak, process.memoryUsage().rss);
      yield piece;
    }
  }
  await pipeline(Readable.from(watched()), createWriteStream(archive));
  const dest = join(dir, 'unzipped');
  execFileSync('unzip', ['-q', archive, '-d', dest]);
  t.same(compareTrees(source, dest, { times: false }), []);
  t.ok(peak - before < 200 * MIB, `grew by ${((peak - before) / MIB).toFixed()} MiB`);
});
