import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  cpSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import t from 'tap';
import { blockKey } from '../../src/blocks/index.js';
import type { Version } from '../../src/catalog/index.js';
import { ROOT_INO, type Ino } from '../../src/core/index.js';
import { checkManifest, resolvePath, walk, type ManifestReader } from '../../src/manifest/index.js';
import { readContent, restoreTree } from '../../src/snapshot/index.js';
import { compareTrees } from '../fixtures/compare-trees.js';
import { buildOddities, randomBytesOf } from '../fixtures/oddities.js';
import { keysOf, scratchStores, type Stores } from './stores.js';

const MIB = 1024 * 1024;

// Whole trees are written, imported and compared: what that takes says nothing of whether it is right.
t.setTimeout(0);

async function withManifest<Result>(
  stores: Stores,
  version: Version,
  use: (reader: ManifestReader) => Result | Promise<Result>,
): Promise<Result> {
  const reader = await stores.open(version);
  try {
    return await use(reader);
  } finally {
    reader.close();
  }
}

function inoAt(reader: ManifestReader, path: string): Ino | undefined {
  return resolvePath(reader, Buffer.from(path));
}

/** Everything the catalog says of a version, and what its manifest says, must be the same. */
async function catalogAgrees(stores: Stores, version: Version): Promise<boolean> {
  const rows = await stores.catalog.files(version.workspace, version.seq, { limit: 100_000 });
  const fromCatalog = rows.map(
    ({ path, hash, size, mode }) => `${path.toString('hex')} ${hash ?? ''} ${String(size)} ${String(mode)}`,
  );
  const fromManifest = await withManifest(stores, version, (reader) =>
    Array.from(walk(reader, ROOT_INO), ({ path, inode }) => {
      const hash = reader.content(inode.ino) ?? '';
      return `${path.toString('hex')} ${hash} ${String(inode.size)} ${String(inode.mode)}`;
    }),
  );
  return JSON.stringify(fromCatalog.sort()) === JSON.stringify(fromManifest.sort());
}

await t.test('M-3, M-5, C-7: a tree of oddities comes back as it was', async (t) => {
  const stores = await scratchStores(t);
  buildOddities(stores.source);
  const imported = await stores.import(stores.source);
  t.equal(imported.created, true);
  t.equal(imported.version.seq, 1);
  t.same(imported.skipped, []);

  const restored = await stores.restore(imported.version, `${stores.dir}/restored`);
  t.same(compareTrees(stores.source, `${stores.dir}/restored`, { holes: true }), []);
  t.same(restored.skipped, []);
  t.same(
    [restored.files, restored.directories, restored.others, restored.bytes],
    [imported.files, imported.directories, imported.others, imported.bytes],
  );

  await withManifest(stores, imported.version, (reader) => {
    t.same([...checkManifest(reader)], []);
  });
  t.ok(await catalogAgrees(stores, imported.version), 'path → hash is that of the manifest');
});

await t.test('importing an unchanged tree again makes no version and stores nothing', async (t) => {
  const stores = await scratchStores(t);
  buildOddities(stores.source, { largeBytes: MIB, sparseBytes: 20 * MIB });
  const first = await stores.import(stores.source);
  const puts = stores.objects.counters.requests.put;
  const again = await stores.import(stores.source);
  t.equal(again.created, false);
  t.same(again.version, first.version);
  t.equal(again.reusedFiles, again.files);
  t.equal(stores.objects.counters.requests.put, puts);
  t.equal((await stores.catalog.workspace('demo')).headSeq, 1);

  execFileSync('cp', ['-a', stores.source, `${stores.dir}/copy`]);
  const copied = await stores.import(`${stores.dir}/copy`);
  t.equal(copied.created, false, 'nor does a copy of it, whose files have numbers of their own');
});

await t.test(
  'M-4: what goes on from one version to the next keeps its inode number and its cookie',
  async (t) => {
    const stores = await scratchStores(t);
    const { source } = stores;
    mkdirSync(`${source}/a/gone`, { recursive: true });
    mkdirSync(`${source}/b`);
    mkdirSync(`${source}/becomes-file`);
    for (const name of [
      'a/kept',
      'a/changed',
      'a/gone/x',
      'a/gone/y',
      'b/one',
      'becomes-file/x',
      'becomes-folder',
    ]) {
      writeFileSync(`${source}/${name}`, name.repeat(100));
    }
    linkSync(`${source}/b/one`, `${source}/b/two`);
    writeFileSync(`${source}/b/loses-a-name`, 'x'.repeat(1000));
    linkSync(`${source}/b/loses-a-name`, `${source}/a/lost`);
    writeFileSync(`${source}/b/splits`, 'y'.repeat(1000));
    linkSync(`${source}/b/splits`, `${source}/a/split-off`);
    writeFileSync(`${source}/z-gains-a-name`, 'z'.repeat(1000));
    symlinkSync('a', `${source}/link`);
    const first = await stores.import(source);

    appendFileSync(`${source}/a/changed`, 'more');
    rmSync(`${source}/a/gone`, { recursive: true });
    rmSync(`${source}/becomes-file`, { recursive: true });
    writeFileSync(`${source}/becomes-file`, 'a file now');
    unlinkSync(`${source}/becomes-folder`);
    mkdirSync(`${source}/becomes-folder/new`, { recursive: true });
    unlinkSync(`${source}/a/lost`);
    unlinkSync(`${source}/a/split-off`);
    writeFileSync(`${source}/a/split-off`, 'a file of its own');
    linkSync(`${source}/z-gains-a-name`, `${source}/a/new-name`);
    unlinkSync(`${source}/link`);
    symlinkSync('b', `${source}/link`);
    chmodSync(`${source}/b/one`, 0o640);
    const second = await stores.import(source);
    t.equal(second.created, true);
    t.equal(second.version.parentSeq, 1);

    await withManifest(stores, first.version, (before) =>
      withManifest(stores, second.version, (after) => {
        for (const path of [
          'a',
          'a/kept',
          'a/changed',
          'b/one',
          'b/two',
          'b/loses-a-name',
          'z-gains-a-name',
          'link',
        ]) {
          t.equal(inoAt(after, path), inoAt(before, path), `${path} keeps its number`);
        }
        t.equal(
          inoAt(after, 'a/new-name'),
          inoAt(before, 'z-gains-a-name'),
          'a new name, seen first, is of the old inode',
        );
        t.not(inoAt(after, 'b/splits'), inoAt(after, 'a/split-off'));
        for (const path of ['becomes-file', 'becomes-folder']) {
          t.ok((inoAt(after, path) ?? 0) >= before.nextIno, `${path}, of another type, is another inode`);
        }
        const a = inoAt(before, 'a') ?? 0;
        t.equal(
          after.lookup(a, Buffer.from('changed'))?.cookie,
          before.lookup(a, Buffer.from('changed'))?.cookie,
        );
        t.same([...checkManifest(after)], []);
      }),
    );
    await stores.restore(second.version, `${stores.dir}/second`);
    t.same(compareTrees(source, `${stores.dir}/second`), []);
    t.ok(await catalogAgrees(stores, first.version), 'the catalog still answers for the first version');
    t.ok(await catalogAgrees(stores, second.version), 'and for the second');
    t.equal((await stores.import(source)).created, false);
  },
);

await t.test(
  'a change of times alone is a new version; one that nothing could bring back is not',
  async (t) => {
    const stores = await scratchStores(t);
    const path = `${stores.source}/file`;
    writeFileSync(path, 'content');
    await stores.import(stores.source);
    // Only ctime differs afterwards.
    chmodSync(path, 0o600);
    chmodSync(path, 0o644);
    t.equal((await stores.import(stores.source)).created, false);
    writeFileSync(path, 'content');
    t.equal((await stores.import(stores.source)).created, true);
  },
);

await t.test('content that the store has is not stored again, for whatever workspace', async (t) => {
  const stores = await scratchStores(t);
  buildOddities(stores.source, { largeBytes: 20 * MIB });
  await stores.import(stores.source);
  const before = await keysOf(stores.objects);

  const copy = `${stores.dir}/copy`;
  mkdirSync(copy);
  for (const name of ['many', 'large', 'sizes'])
    cpSync(`${stores.source}/${name}`, `${copy}/${name}`, { recursive: true });
  const other = await stores.import(copy, { workspace: 'other' });
  await withManifest(stores, other.version, (reader) => {
    const missing = [...reader.blocks()].filter((id) => !before.has(blockKey(id)));
    t.same(missing, []);
  });
  await stores.restore(other.version, `${stores.dir}/restored`);
  t.same(compareTrees(copy, `${stores.dir}/restored`), []);
});

await t.test('content that was embedded is stored where a lower threshold asks for it', async (t) => {
  const stores = await scratchStores(t);
  writeFileSync(`${stores.source}/small`, 'x'.repeat(5000));
  await stores.import(stores.source, { embedBelowBytes: 1 << 20 });
  const again = await stores.import(stores.source, { workspace: 'other', embedBelowBytes: 0 });
  await withManifest(stores, again.version, (reader) => {
    const ino = inoAt(reader, 'small') ?? 0;
    t.equal(reader.embedded(ino), undefined);
    t.equal(reader.extents(ino, 0, 5000).length, 1);
  });
  await stores.restore(again.version, `${stores.dir}/restored`);
  t.same(compareTrees(stores.source, `${stores.dir}/restored`), []);
});

await t.test('C-7: files up to far beyond 128 KiB can be embedded', async (t) => {
  const stores = await scratchStores(t);
  writeFileSync(`${stores.source}/large`, randomBytesOf(1, 3 * MIB));
  const { version } = await stores.import(stores.source, { embedBelowBytes: 4 * MIB });
  await withManifest(stores, version, (reader) => {
    t.equal(reader.embedded(inoAt(reader, 'large') ?? 0)?.length, 3 * MIB);
    t.same([...reader.blocks()], []);
  });
  await stores.restore(version, `${stores.dir}/restored`);
  t.same(compareTrees(stores.source, `${stores.dir}/restored`), []);
});

await t.test(
  'C-5: a file of 5 GiB that is nearly all hole is neither read, nor stored, nor written in full',
  async (t) => {
    const stores = await scratchStores(t);
    buildOddities(stores.source, { sparseBytes: 5 * 1024 * MIB, largeBytes: MIB });
    const { version, storedBytes } = await stores.import(stores.source);
    t.ok(storedBytes < 64 * MIB);
    await stores.restore(version, `${stores.dir}/restored`);
    t.same(compareTrees(`${stores.source}/sparse`, `${stores.dir}/restored/sparse`, { holes: true }), []);
  },
);

await t.test('any range of a file can be read, holes as zeros', async (t) => {
  const stores = await scratchStores(t);
  buildOddities(stores.source, { largeBytes: 20 * MIB, sparseBytes: 40 * MIB });
  const { version } = await stores.import(stores.source);
  await withManifest(stores, version, async (reader) => {
    for (const path of [
      'large/random',
      'sparse/huge',
      'sparse/small',
      'sizes/4096',
      'sizes/255',
      'sizes/0',
      'sizes/zeros-large',
    ]) {
      const expected = readFileSync(`${stores.source}/${path}`);
      const ino = inoAt(reader, path) ?? 0;
      const half = Math.floor(expected.length / 2);
      for (const range of [
        undefined,
        { start: 0, end: 1 },
        { start: half, end: half + 3 * MIB + 1 },
        { start: expected.length - 10, end: expected.length + 10 },
        { start: expected.length + 5, end: expected.length + 10 },
      ]) {
        const start = Math.max(0, range?.start ?? 0);
        const clamped = range === undefined ? undefined : { ...range, start };
        const pieces: Buffer[] = [];
        for await (const piece of readContent(reader, stores.blocks, ino, clamped)) pieces.push(piece);
        const same = Buffer.concat(pieces).equals(expected.subarray(start, range?.end));
        t.ok(same, `${path} ${JSON.stringify(clamped ?? 'whole')}`);
      }
    }
  });
});

await t.test('one file, or one directory, of a version can be restored', async (t) => {
  const stores = await scratchStores(t);
  buildOddities(stores.source, { largeBytes: 5 * MIB });
  const { version } = await stores.import(stores.source);
  await withManifest(stores, version, async (reader) => {
    const { blocks } = stores;
    await restoreTree({ reader, blocks, ino: inoAt(reader, 'links') ?? 0, dest: `${stores.dir}/links` });
    t.same(compareTrees(`${stores.source}/links`, `${stores.dir}/links`), []);
    await restoreTree({
      reader,
      blocks,
      ino: inoAt(reader, 'large/random') ?? 0,
      dest: `${stores.dir}/random`,
    });
    t.same(compareTrees(`${stores.source}/large/random`, `${stores.dir}/random`), []);
  });
});

await t.test('nothing is restored over what is there, and a restore that fails leaves nothing', async (t) => {
  const stores = await scratchStores(t);
  buildOddities(stores.source, { largeBytes: 5 * MIB });
  const { version } = await stores.import(stores.source);
  mkdirSync(`${stores.dir}/full`);
  writeFileSync(`${stores.dir}/full/mine`, 'mine');
  await t.rejects(stores.restore(version, `${stores.dir}/full`), { code: 'conflict' });
  await t.rejects(stores.restore(version, `${stores.dir}/full/mine`), { code: 'conflict' });
  t.equal(readFileSync(`${stores.dir}/full/mine`, 'utf8'), 'mine');
  await t.rejects(stores.restore(version, `${stores.dir}/no/such/place`), { code: 'not-found' });

  mkdirSync(`${stores.dir}/empty`);
  const keys = [...(await keysOf(stores.objects))].filter((key) => key.startsWith('blocks/'));
  for (const key of keys) await stores.objects.delete(key);
  await t.rejects(stores.restore(version, `${stores.dir}/empty`), { code: 'not-found' });
  t.same(readdirSync(`${stores.dir}/empty`), []);
  await t.rejects(stores.restore(version, `${stores.dir}/new`), { code: 'not-found' });
  t.notOk(readdirSync(stores.dir).includes('new'));
});
