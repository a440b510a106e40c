import { randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import t, { type Test } from 'tap';
import type { FileRow, Version } from '../../src/catalog/index.js';
import { EMBED_BELOW_DEFAULT_BYTES, ROOT_INO } from '../../src/core/index.js';
import { checkManifest, resolvePath, walk } from '../../src/manifest/index.js';
import {
  ContentPacker,
  publishChanges,
  readContent,
  storeContent,
  type PathChange,
} from '../../src/snapshot/index.js';
import { patternedBytes } from '../fixtures/patterned-bytes.js';
import { keysOf, scratchStores, type Stores } from './stores.js';

const MIB = 1024 * 1024;

/** A file to put. */
const bytesAt = (path: string, bytes: Buffer): { path: string; bytes: Buffer } => ({ path, bytes });

/** Stores files, and publishes them with other changes. */
async function publish(
  stores: Stores,
  base: Version | undefined,
  { files = [], changes = [] }: { files?: { path: string; bytes: Buffer }[]; changes?: PathChange[] },
  publishId = randomUUID(),
): Promise<{ version: Version; created: boolean }> {
  const { blocks, catalog, objects, home } = stores;
  const packer = new ContentPacker({
    blocks,
    catalog,
    workspace: 'demo',
    embedBelowBytes: EMBED_BELOW_DEFAULT_BYTES,
  });
  const puts: PathChange[] = [];
  for (const { path, bytes } of files) {
    const stored = await storeContent(piecesOf(bytes), packer);
    puts.push({ kind: 'put', path: Buffer.from(path, 'latin1'), ...stored });
  }
  return publishChanges({
    workspace: 'demo',
    base,
    changes: [...puts, ...changes],
    author: 'tester',
    message: 'some paths',
    publishId,
    atMs: 1_800_000_000_123,
    blocks: packer.newBlocks,
    contents: packer.newContents,
    catalog,
    objects,
    blockStore: blocks,
    manifestDir: `${home}/manifests`,
  });
}

/** Of lengths that fit nothing. */
function piecesOf(bytes: Buffer): Readable {
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += 77_777) pieces.push(bytes.subarray(at, at + 77_777));
  return Readable.from(pieces);
}

const rowText = ({ path, hash, size, mode }: FileRow): string =>
  `${path.toString('latin1')} ${hash ?? '-'} ${String(size)} ${mode.toString(8)}`;

/** The catalog's rows of a version are those of its manifest, and the manifest breaks no rule. */
async function checkVersion(t: Test, stores: Stores, version: Version): Promise<void> {
  const reader = await stores.open(version);
  try {
    t.same([...checkManifest(reader)], [], `version ${String(version.seq)} breaks no rule`);
    const inManifest = [...walk(reader, ROOT_INO)].map(({ path, inode }) =>
      rowText({ path, hash: reader.content(inode.ino), size: inode.size, mode: inode.mode }),
    );
    const inCatalog = await stores.catalog.files('demo', version.seq, { limit: 10_000 });
    t.same(inCatalog.map(rowText).sort(), inManifest.sort(), 'the catalog has its paths');
    t.equal(version.files, reader.counters.files);
    t.equal(version.bytes, reader.counters.bytes);
  } finally {
    reader.close();
  }
}

void t.test('versions are made of changes of paths, on a version or on nothing', async (t) => {
  const stores = await scratchStores(t);
  await stores.catalog.ensureWorkspace('demo');
  const large = patternedBytes('large', 3 * MIB);
  const first = await publish(stores, undefined, {
    files: [
      bytesAt('readme', Buffer.from('hello')),
      bytesAt('src/main.c', patternedBytes('main', 4000)),
      bytesAt('src/deep/copy.c', patternedBytes('main', 4000)),
      bytesAt('data/\xff.bin', large),
      bytesAt('data/empty', Buffer.alloc(0)),
      bytesAt('data/zeros', Buffer.alloc(9 * MIB)),
    ],
  });
  t.equal(first.version.seq, 1);
  await checkVersion(t, stores, first.version);

  const changed = Buffer.concat([large.subarray(0, MIB), Buffer.from('!'), large.subarray(MIB)]);
  const before = await keysOf(stores.objects);
  const second = await publish(stores, first.version, {
    files: [bytesAt('data/\xff.bin', changed)],
    changes: [
      { kind: 'delete', path: Buffer.from('src/deep') },
      { kind: 'symlink', path: Buffer.from('link'), target: Buffer.from('src/main.c') },
      { kind: 'mkdir', path: Buffer.from('new'), mode: 0o700 },
    ],
  });
  await checkVersion(t, stores, second.version);
  const added = [...(await keysOf(stores.objects))].filter((key) => !before.has(key));
  t.ok(added.length <= 5, `of a large file what changed is stored: ${String(added.length)} objects`);

  const [one, other] = [await stores.open(first.version), await stores.open(second.version)];
  for (const path of ['readme', 'src/main.c', 'data/\xff.bin', 'data']) {
    const bytes = Buffer.from(path, 'latin1');
    t.equal(resolvePath(other, bytes), resolvePath(one, bytes), `${path} keeps its inode`);
  }
  const pieces: Buffer[] = [];
  const ino = resolvePath(other, Buffer.from('data/\xff.bin', 'latin1')) ?? 0;
  for await (const piece of readContent(other, stores.blocks, ino)) pieces.push(piece);
  t.ok(Buffer.concat(pieces).equals(changed), 'the bytes are there');
  one.close();
  other.close();

  const again = await publish(stores, second.version, { files: [bytesAt('readme', Buffer.from('hello'))] });
  t.equal(again.created, false, 'what changes nothing makes no version');
  t.equal(again.version.seq, 2);

  await t.rejects(publish(stores, first.version, { files: [bytesAt('late', Buffer.from('x'))] }), {
    code: 'conflict',
  });
  const id = randomUUID();
  const change = { files: [bytesAt('once', Buffer.from('x'))] };
  const once = await publish(stores, second.version, change, id);
  const twice = await publish(stores, second.version, change, id);
  t.equal(twice.version.seq, once.version.seq, 'an id makes one version');
});

void t.test('content that came as a stream is the content an import makes of it', async (t) => {
  const stores = await scratchStores(t);
  const sizes = [
    0,
    1,
    255,
    256,
    131_072,
    131_073,
    4 * MIB,
    8 * MIB,
    8 * MIB + 1,
    16 * MIB,
    16 * MIB + 1,
    21_000_007,
  ];
  for (const size of sizes) {
    writeFileSync(join(stores.source, String(size)), patternedBytes(size, size));
  }
  // Holes, and a tail of zeros.
  const holes = Buffer.concat([Buffer.alloc(9 * MIB), patternedBytes('x', MIB), Buffer.alloc(6 * MIB)]);
  writeFileSync(join(stores.source, 'holes'), holes);
  const { version } = await stores.import(stores.source);
  const imported = await stores.open(version);
  const before = await keysOf(stores.objects);
  const packer = new ContentPacker({
    ...stores,
    workspace: 'demo',
    embedBelowBytes: EMBED_BELOW_DEFAULT_BYTES,
  });
  for (const name of [...sizes.map(String), 'holes']) {
    const bytes = name === 'holes' ? holes : patternedBytes(Number(name), Number(name));
    const { size, content } = await storeContent(piecesOf(bytes), packer);
    const ino = resolvePath(imported, Buffer.from(name)) ?? 0;
    t.equal(content.id, imported.content(ino), `${name} has the same id`);
    t.same(content.extents, imported.extents(ino, 0, size), 'and is in the same blocks');
    t.equal(size, bytes.length);
  }
  imported.close();
  t.same(packer.newBlocks, [], 'nothing was stored again');
  t.same(await keysOf(stores.objects), before);
});
