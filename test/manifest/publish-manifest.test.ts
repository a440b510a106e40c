import { createHash, randomBytes } from 'node:crypto';
import {
  closeSync,
  copyFileSync,
  existsSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { CairnError, MANIFEST_PIECE_BYTES, type ManifestRoot } from '../../src/core/index.js';
import {
  checkManifest,
  fetchManifest,
  openManifest,
  publishManifest,
  type PublishedManifest,
} from '../../src/manifest/index.js';
import { Machines, publishChanges, publishFiles } from './machines.js';
import { dump } from './tree-model.js';
import { contentIdFor, syntheticFileIno } from './trees.js';

const INDEX_HEADER_BYTES = 24;
const RUN_BYTES = 40;
function sha256Hex(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

void t.test('M-9, M-10: what is stored is the database, by the rules alone', async (t) => {
  const machines = new Machines(t.testdir());
  t.teardown(() => machines.close());
  const machine = await machines.add();
  const published = await publishFiles(machine, 20_000);
  t.equal(published.path, join(machine.dir, `${published.root}.sqlite`));
  t.notOk(existsSync(join(machine.dir, 'first.building')));

  const index = readFileSync(machines.objectPath('manifests', published.root));
  t.equal(sha256Hex(index), published.root);
  t.equal(index.toString('latin1', 0, 4), 'CRNM');
  t.equal(index.readUInt32LE(4), 1);
  const database = readFileSync(published.path);
  t.equal(index.readBigUInt64LE(8), BigInt(database.length));
  const runs = index.readUInt32LE(16);
  t.equal(index.readUInt32LE(20), 0);
  t.equal(index.length, INDEX_HEADER_BYTES + runs * RUN_BYTES);
  const parts: Buffer[] = [];
  for (let at = INDEX_HEADER_BYTES; at < index.length; at += RUN_BYTES) {
    const [first, length] = [index.readUInt32LE(at), index.readUInt32LE(at + 4)];
    const id = index.toString('hex', at + 8, at + RUN_BYTES);
    if (at + RUN_BYTES < index.length) t.equal(length % MANIFEST_PIECE_BYTES, 0);
    const raw = await machine.blocks.get(id as PublishedManifest['newBlocks'][number]['id']);
    parts.push(raw.subarray(first, first + length));
  }
  t.ok(Buffer.concat(parts).equals(database));
  t.equal(published.newBlocks.length, runs);
  t.equal(
    published.newBlocks.reduce((sum, { rawBytes }) => sum + rawBytes, 0),
    database.length,
  );
});

void t.test('M-11: ten changed files of 100,000 cost a few pieces, to publish and to follow', async (t) => {
  const machines = new Machines(t.testdir());
  t.teardown(() => machines.close());
  const [writer, follower] = [await machines.add(), await machines.add()];
  const first = await publishFiles(writer, 100_000);
  await fetchManifest({ ...follower, root: first.root });

  const changed = Array.from({ length: 10 }, (_, index) => index * 9_973);
  const second = await publishChanges(writer, first, changed);
  t.equal(second.newBlocks.length, 1);
  const rawBytes = second.newBlocks.reduce((sum, block) => sum + block.rawBytes, 0);
  t.ok(rawBytes <= 40 * MANIFEST_PIECE_BYTES, `${String(rawBytes)} bytes of new pieces`);

  const getsBefore = follower.objects.counters.requests.get;
  const path = await fetchManifest({ ...follower, root: second.root });
  t.equal(follower.objects.counters.requests.get - getsBefore, 2, 'the index and one block');
  t.ok(readFileSync(path).equals(readFileSync(second.path)));
  const reader = openManifest(path);
  t.same([...checkManifest(reader)], []);
  t.equal(reader.content(syntheticFileIno(9_973)), contentIdFor(`${first.root} 9973`));
  reader.close();
});

void t.test(
  'M-11: a long line of descent is gathered as it scatters, a part with each version',
  async (t) => {
    const machines = new Machines(t.testdir());
    t.teardown(() => machines.close());
    const machine = await machines.add();
    let version = await publishFiles(machine, 30_000);
    const pieces = Math.ceil(readFileSync(version.path).length / MANIFEST_PIECE_BYTES);
    const runsMax = 64 + 16 * Math.ceil(pieces / 64);
    let gathered = 0;
    for (let step = 1; step <= 60; step++) {
      const changed = Array.from({ length: 40 }, (_, index) => (step * 613 + index * 743) % 30_000);
      const child = await publishChanges(machine, version, changed);
      version = child;
      const runs = readFileSync(machines.objectPath('manifests', child.root)).readUInt32LE(16);
      t.ok(runs <= runsMax, `${String(runs)} runs`);
      const stored = child.newBlocks.reduce((sum, block) => sum + block.rawBytes, 0) / MANIFEST_PIECE_BYTES;
      t.ok(stored < pieces / 2, `${String(stored)} of ${String(pieces)} pieces`);
      gathered += stored - child.writtenPieces.size;
    }
    t.ok(gathered > 0, `${String(gathered)} pieces that had not changed`);
    const other = await machines.add();
    t.ok(
      readFileSync(await fetchManifest({ ...other, root: version.root })).equals(readFileSync(version.path)),
    );
  },
);

void t.test('a manifest published again is the same, and costs no new object', async (t) => {
  const machines = new Machines(t.testdir());
  t.teardown(() => machines.close());
  const machine = await machines.add();
  const first = await publishFiles(machine, 500);
  const copy = join(machine.dir, 'copy');
  copyFileSync(first.path, copy);
  const again = await publishManifest({
    ...machine,
    path: copy,
    parent: { root: first.root, writtenPieces: new Set() },
  });
  t.equal(again.root, first.root);
  t.same(again.newBlocks, []);
});

void t.test('law 1: there is no index before what the manifest refers to is stored', async (t) => {
  const machines = new Machines(t.testdir());
  t.teardown(() => machines.close());
  const machine = await machines.add();
  const { path } = await publishFiles(machine, 500);
  const index = machines.objectPath('manifests');
  rmSync(index, { recursive: true });
  const published = (contentStored: Promise<void>): Promise<PublishedManifest> => {
    const copy = join(machine.dir, 'copy');
    copyFileSync(path, copy);
    return publishManifest({ ...machine, path: copy, contentStored });
  };
  const failed = Promise.reject(new Error('the store has gone'));
  failed.catch(() => undefined);
  await t.rejects(published(failed), { message: 'the store has gone' });
  t.notOk(existsSync(index));
  const { root } = await published(Promise.resolve());
  t.ok(existsSync(machines.objectPath('manifests', root)));
});

void t.test('a parent this machine does not have costs a whole manifest, not an error', async (t) => {
  const machines = new Machines(t.testdir());
  t.teardown(() => machines.close());
  const machine = await machines.add();
  const first = await publishFiles(machine, 500);
  for (const name of readdirSync(machine.dir)) if (name.endsWith('.ok')) rmSync(join(machine.dir, name));
  const second = await publishChanges(machine, first, [1]);
  t.equal(
    second.newBlocks.reduce((sum, block) => sum + block.rawBytes, 0),
    readFileSync(second.path).length,
  );
});

void t.test(
  'a manifest that is there is opened without a request, and a damaged one is replaced',
  async (t) => {
    const machines = new Machines(t.testdir());
    t.teardown(() => machines.close());
    const [writer, reader] = [await machines.add(), await machines.add()];
    const { root, path: original } = await publishFiles(writer, 2_000);
    const bytes = readFileSync(original);
    const path = await fetchManifest({ ...reader, root });
    const gets = reader.objects.counters.requests.get;
    t.equal(await fetchManifest({ ...reader, root }), path);
    t.equal(reader.objects.counters.requests.get, gets);

    const sound = openManifest(original);
    t.teardown(() => {
      sound.close();
    });
    for (const damage of [
      () => {
        const fd = openSync(path, 'r+');
        writeSync(fd, randomBytes(1), 0, 1, Math.floor(bytes.length / 3));
        writeSync(fd, Buffer.of((bytes[5000] ?? 0) ^ 1), 0, 1, 5000);
        closeSync(fd);
      },
      () => {
        writeFileSync(path, bytes.subarray(0, 8192));
      },
      () => {
        rmSync(path);
      },
      () => {
        writeFileSync(join(reader.dir, `${root}.index`), 'damaged');
      },
      () => {
        writeFileSync(join(reader.dir, `${root}.ok`), '');
      },
    ]) {
      damage();
      const again = openManifest(await fetchManifest({ ...reader, root }));
      t.same(dump(again), dump(sound));
      again.close();
      t.ok(readFileSync(path).equals(bytes));
    }
    t.same(
      readdirSync(reader.dir).sort(),
      [`${root}.index`, `${root}.ok`, `${root}.sqlite`],
      'nothing is left behind',
    );
  },
);

void t.test('any number of fetches of one manifest at once agree', async (t) => {
  const machines = new Machines(t.testdir());
  t.teardown(() => machines.close());
  const [writer, reader] = [await machines.add(), await machines.add()];
  const { root, path: original } = await publishFiles(writer, 5_000);
  const paths = await Promise.all(Array.from({ length: 8 }, () => fetchManifest({ ...reader, root })));
  t.equal(new Set(paths).size, 1);
  t.ok(readFileSync(join(reader.dir, `${root}.sqlite`)).equals(readFileSync(original)));
  t.equal(readdirSync(reader.dir).length, 3);
});

/** The index of `count` times the whole 4 MiB of one block. */
function repeatedRun(sound: Buffer, count: number): Buffer {
  const header = Buffer.from(sound.subarray(0, 24));
  header.writeBigUInt64LE(BigInt(count) * 4n * 1024n * 1024n, 8);
  header.writeUInt32LE(count, 16);
  const run = Buffer.from(sound.subarray(24, 64));
  run.writeUInt32LE(0, 0);
  run.writeUInt32LE(4 * 1024 * 1024, 4);
  return Buffer.concat([header, ...Array.from({ length: count }, () => run)]);
}

void t.test('M-10: an index that breaks a rule is refused before a block is fetched', async (t) => {
  const machines = new Machines(t.testdir());
  t.teardown(() => machines.close());
  const machine = await machines.add();
  const { root } = await publishFiles(machine, 3_000);
  const sound = readFileSync(machines.objectPath('manifests', root));
  const changed = (change: (index: Buffer) => void): Buffer => {
    const index = Buffer.from(sound);
    change(index);
    return index;
  };
  const hostile: [string, Buffer, RegExp][] = [
    ['magic', changed((index) => index.writeUInt8(0, 0)), /wrong magic/],
    ['version', changed((index) => index.writeUInt32LE(2, 4)), /unknown format version 2/],
    ['size', changed((index) => index.writeBigUInt64LE(2n ** 34n, 8)), /add up/],
    ['absurd size', changed((index) => index.writeBigUInt64LE(2n ** 63n, 8)), /size 9223372036854776000/],
    ['one block over and over, to fill the disk', repeatedRun(sound, 5000), /size 20971520000/],
    ['part of a page', changed((index) => index.writeBigUInt64LE(4097n, 8)), /size 4097/],
    ['no size', changed((index) => index.writeBigUInt64LE(0n, 8)), /size 0/],
    ['huge count', changed((index) => index.writeUInt32LE(0xffff_ffff, 16)), /do not hold 4294967295 runs/],
    ['reserved', changed((index) => index.writeUInt32LE(1, 20)), /reserved/],
    ['run beyond any block', changed((index) => index.writeUInt32LE(4 * 1024 * 1024, 24)), /run of/],
    ['empty run', changed((index) => index.writeUInt32LE(0, 28)), /run of 0/],
    ['run of part of a piece', changed((index) => index.writeUInt32LE(4096, 28)), /run of 4096|add up/],
    ['cut off', sound.subarray(0, sound.length - 1), /do not hold/],
    ['only a header', sound.subarray(0, 10), /wrong magic/],
  ];
  for (const [what, index, fault] of hostile) {
    const hostileRoot = sha256Hex(index) as ManifestRoot;
    await machine.objects.put(`manifests/${hostileRoot}`, index);
    await t.rejects(
      fetchManifest({ ...machine, root: hostileRoot }),
      { code: 'corrupt', message: fault },
      what,
    );
  }

  const absent = sha256Hex(Buffer.from('absent')) as ManifestRoot;
  await t.rejects(fetchManifest({ ...machine, root: absent }), { code: 'not-found' });
  await machine.objects.put(`manifests/${absent}`, sound);
  await t.rejects(fetchManifest({ ...machine, root: absent }), { code: 'corrupt', message: /another root/ });
});

void t.test('a run beyond the block it names is refused, and leaves nothing behind', async (t) => {
  const machines = new Machines(t.testdir());
  t.teardown(() => machines.close());
  const machine = await machines.add();
  const { root } = await publishFiles(machine, 3_000);
  const index = readFileSync(machines.objectPath('manifests', root));
  index.writeUInt32LE(2 * 1024 * 1024, INDEX_HEADER_BYTES);
  const hostileRoot = sha256Hex(index) as ManifestRoot;
  await machine.objects.put(`manifests/${hostileRoot}`, index);
  const before = readdirSync(machine.dir);
  await t.rejects(fetchManifest({ ...machine, root: hostileRoot }), {
    code: 'corrupt',
    message: /shorter than its runs/,
  });
  t.same(readdirSync(machine.dir), before);
});

void t.test('a fetch that is aborted ends, and leaves nothing behind', async (t) => {
  const machines = new Machines(t.testdir());
  t.teardown(() => machines.close());
  const [writer, reader] = [await machines.add(), await machines.add()];
  const { root } = await publishFiles(writer, 3_000);
  const reason = new CairnError('failed', 'enough');
  await t.rejects(fetchManifest({ ...reader, root, signal: AbortSignal.abort(reason) }), reason);
  t.same(existsSync(reader.dir) ? readdirSync(reader.dir) : [], []);
});
