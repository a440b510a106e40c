import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { Readable } from 'node:stream';
import { pathToFileURL } from 'node:url';
import { execa, execaSync } from 'execa';
import t from 'tap';
import { openObjectStore } from '../../src/objects/index.js';
import { DirectoryStore } from '../../src/objects/directory-store.js';
import { TemporaryFiles } from '../../src/objects/temporary-files.js';
import { keysOf, objectStoreContract, refused } from '../contract/object-store.js';

const NOBODY = 65534;
const folder = t.testdir({});
let stores = 0;
const newFolder = (): string => join(folder, `store-${String((stores += 1))}`);

await objectStoreContract(t, 'directory', () => openObjectStore(pathToFileURL(newFolder()).href));

await t.test('nothing is left in the folder of unfinished writes', async (t) => {
  const root = newFolder();
  const store = await DirectoryStore.open(root);
  await Promise.all(
    Array.from({ length: 8 }, () => store.put('object', Buffer.from('bytes'), { ifAbsent: true })),
  );
  await store.put('object', Buffer.from('bytes'));
  await t.rejects(store.putStream('other', Readable.from([Buffer.alloc(10), 42])));
  t.same(readdirSync(join(root, 'tmp')), []);
  t.equal(statSync(join(root, 'object')).mode & 0o222, 0, 'an object cannot be written to');
});

await t.test('opening removes what dead writers left, and leaves alone what may be going on', async (t) => {
  const root = newFolder();
  const temporaries = await TemporaryFiles.in(join(root, 'tmp'));
  const ended = await execa(process.execPath, ['-p', 'process.pid']);
  const ownName = basename(temporaries.newPath());
  const names = {
    ofThisProcess: ownName,
    ofDeadProcess: ownName.replace(`.${String(process.pid)}.`, `.${ended.stdout}.`),
    ofOtherMachine: ownName.replace(/^[0-9a-f]{16}\.\d+/, `0123456789abcdef.${ended.stdout}`),
    ofOtherMachineLongAgo: ownName.replace(/^[0-9a-f]{16}/, 'fedcba9876543210'),
    ofSomeoneElse: 'notes.txt',
  };
  mkdirSync(join(root, 'tmp'), { recursive: true });
  for (const name of Object.values(names)) writeFileSync(join(root, 'tmp', name), 'unfinished');
  const twoDaysAgo = new Date(Date.now() - 2 * 86_400_000);
  for (const name of [names.ofOtherMachineLongAgo, names.ofSomeoneElse]) {
    utimesSync(join(root, 'tmp', name), twoDaysAgo, twoDaysAgo);
  }
  await DirectoryStore.open(root);
  t.same(
    readdirSync(join(root, 'tmp')).sort(),
    [names.ofThisProcess, names.ofOtherMachine, names.ofSomeoneElse].sort(),
  );
});

await t.test('a folder that was never there is not found, and made by the first write only', async (t) => {
  const root = join(newFolder(), 'deep', 'below');
  const store = await DirectoryStore.open(root);
  await refused(t, store.get('object'), 'not-found', `no folder ${root}`);
  t.same(await keysOf(store, ''), []);
  t.equal(await store.head('object'), undefined);
  t.throws(() => statSync(root), { code: 'ENOENT' });
  await store.put('blocks/ab/object', Buffer.from('bytes'));
  t.equal((await store.get('blocks/ab/object')).toString(), 'bytes');
});

await t.test('a folder that has gone is unreachable, and not made again', async (t) => {
  const root = newFolder();
  const store = await DirectoryStore.open(root);
  await store.put('blocks/ab/object', Buffer.from('bytes'));
  renameSync(root, `${root}-elsewhere`);
  await refused(t, store.get('blocks/ab/object'), 'unreachable', root);
  await refused(t, store.head('blocks/ab/object'), 'unreachable', root);
  await refused(t, store.delete('blocks/ab/object'), 'unreachable', root);
  await refused(t, keysOf(store, ''), 'unreachable', root);
  await refused(t, store.put('blocks/ab/object', Buffer.from('bytes')), 'unreachable', root);
  await refused(t, store.put('blocks/ab/object', Buffer.from('bytes')), 'unreachable', root);
  t.throws(() => statSync(root), { code: 'ENOENT' });
  renameSync(`${root}-elsewhere`, root);
  t.equal(await store.put('blocks/ab/object', Buffer.from('bytes'), { ifAbsent: true }), 'exists');
});

await t.test(
  'a store in use that is not mounted is unreachable, and none is made in its place',
  async (t) => {
    const root = newFolder();
    const writer = await DirectoryStore.open(root);
    await writer.put('manifests/object', Buffer.from('bytes'));
    for (const inItsPlace of ['nothing', 'an empty folder']) {
      renameSync(root, `${root}-elsewhere`);
      if (inItsPlace === 'an empty folder') mkdirSync(root);
      const store = await DirectoryStore.open(root, { inUse: true });
      await refused(t, store.get('manifests/object'), 'unreachable', root, inItsPlace);
      await refused(t, store.head('manifests/object'), 'unreachable', root, inItsPlace);
      await refused(t, store.put('blocks/ab/object', Buffer.from('bytes')), 'unreachable', root, inItsPlace);
      if (inItsPlace === 'an empty folder') rmdirSync(root);
      else t.throws(() => statSync(root), { code: 'ENOENT' });
      renameSync(`${root}-elsewhere`, root);
      await store.put('blocks/ab/object', Buffer.from('bytes'));
      t.equal((await store.get('manifests/object')).toString(), 'bytes', 'mounted, it goes on');
    }
  },
);

await t.test('a folder within the store that has gone is made again by the retry', async (t) => {
  const root = newFolder();
  const store = await openObjectStore(pathToFileURL(root).href);
  await store.put('blocks/ab/object', Buffer.from('bytes'));
  rmSync(join(root, 'blocks'), { recursive: true });
  await store.put('blocks/ab/object', Buffer.from('bytes'));
  t.equal((await store.get('blocks/ab/object')).toString(), 'bytes');
  t.equal(store.counters.retries, 1);
});

await t.test('files that are not objects are not listed', async (t) => {
  const root = newFolder();
  const store = await DirectoryStore.open(root);
  await store.put('object', Buffer.from('bytes'));
  writeFileSync(join(root, 'tmp', 'unfinished'), '');
  writeFileSync(join(root, 'no key'), '');
  mkdirSync(join(root, 'lost+found'), { mode: 0 });
  t.same(await keysOf(store, ''), ['object']);
});

await t.test('a store that can only be read is read, and refuses writes as access denied', async (t) => {
  // Outside the checkout, which another user may not be able to enter.
  const root = mkdtempSync(join(tmpdir(), 'cairn-directory-store-'));
  t.teardown(() => {
    rmSync(root, { recursive: true });
  });
  const writable = await DirectoryStore.open(root);
  await writable.put('blocks/ab/object', Buffer.from('bytes'));
  const folders = [root, join(root, 'blocks'), join(root, 'blocks/ab'), join(root, 'tmp')];
  for (const path of folders) chmodSync(path, 0o555);
  await asOrdinaryUser(async () => {
    const store = await DirectoryStore.open(root);
    t.equal((await store.get('blocks/ab/object')).toString(), 'bytes');
    t.equal(await store.put('blocks/ab/object', Buffer.from('bytes'), { ifAbsent: true }), 'exists');
    await refused(t, store.put('blocks/ab/other', Buffer.from('bytes')), 'access-denied', root);
    await refused(t, store.put('manifests/other', Buffer.from('bytes')), 'access-denied', root);
    await refused(t, store.delete('blocks/ab/object'), 'access-denied', root);
    await refused(
      t,
      (await DirectoryStore.open(join(root, 'new'))).put('a', Buffer.alloc(1)),
      'access-denied',
      root,
    );
  });
  for (const path of folders) chmodSync(path, 0o700);
  chmodSync(root, 0);
  await asOrdinaryUser(() => refused(t, DirectoryStore.open(join(root, 'new')), 'access-denied', root));
  chmodSync(root, 0o700);
});

await t.test('a full disk is no space left, and leaves nothing', async (t) => {
  const mountpoint = newFolder();
  mkdirSync(mountpoint);
  const mounted = execaSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'none', mountpoint], { reject: false });
  if (mounted.failed) {
    t.pass('not run: this user may not mount');
    return;
  }
  t.teardown(() => execaSync('umount', [mountpoint]));
  const store = await DirectoryStore.open(mountpoint);
  await refused(t, store.put('large', Buffer.alloc(2 * 1024 * 1024)), 'no-space', 'large');
  t.same(await keysOf(store, ''), []);
  t.same(readdirSync(join(mountpoint, 'tmp')), []);
  await store.put('small', Buffer.from('bytes'));
});

await t.test('a URL that is not one of a store is a mistake in usage', async (t) => {
  const file = join(folder, 'file');
  writeFileSync(file, '');
  const urls = [
    'store',
    '/srv/store',
    'file:relative',
    'file://host/dir',
    'file:///dir?x=1',
    'file:///a%2Fb',
    'ftp://host/',
    's3://',
    's3:bucket',
  ];
  urls.push(
    's3://bucket/a//b',
    's3://bucket/a b',
    's3://bucket/../b',
    pathToFileURL(file).href,
    `${pathToFileURL(file).href}/below`,
  );
  for (const url of urls)
    await refused(
      t,
      openObjectStore(url),
      'usage',
      url.startsWith(pathToFileURL(file).href) ? file : url,
      url,
    );
  t.equal(
    (await openObjectStore(`${pathToFileURL(folder).href}/with%20space/`)).url,
    `${pathToFileURL(folder).href}/with%20space`,
  );
});

/** Runs `body` without root's power to ignore modes. */
async function asOrdinaryUser(body: () => Promise<void>): Promise<void> {
  if (process.geteuid?.() !== 0) return body();
  process.seteuid?.(NOBODY);
  try {
    await body();
  } finally {
    process.seteuid?.(0);
  }
}
