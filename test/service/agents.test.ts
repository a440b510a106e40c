import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { encodeBlock } from '../../src/blocks/index.js';
import type { ContentRow, Publication, Version } from '../../src/catalog/index.js';
import { blockIdOf, contentIdOf, type BlockId, type ManifestRoot } from '../../src/core/index.js';
import { manifestKey } from '../../src/manifest/index.js';
import { saveServiceToken, type Right, type ServiceClient } from '../../src/wire/index.js';
import { compareTrees } from '../fixtures/compare-trees.js';
import { scratchFolder } from '../fixtures/scratch-folder.js';
import { openStores, type Stores } from '../snapshot/stores.js';
import { startServiceSite, type ServiceSite } from './service-site.js';

/** A machine: a home folder with a token, and nothing else. */
async function machine(
  t: Test,
  site: ServiceSite,
  rights: { workspace?: string; can?: readonly Right[]; path?: string } = { can: ['read', 'write'] },
): Promise<Stores & { client: ServiceClient; source: string }> {
  const home = scratchFolder(t);
  const token = await site.token(rights);
  await saveServiceToken(site.url, token, home);
  const stores = await openStores(home, { service: site.url });
  t.teardown(() => stores.close());
  await site.service.context.catalog.ensureWorkspace('demo');
  const source = join(home, 'source');
  mkdirSync(source);
  return { ...stores, client: site.client(token), source };
}

/** Small, large, embedded, empty, sparse, equal, and names that are not UTF-8. */
function writeTree(dir: string): void {
  mkdirSync(join(dir, 'folder'));
  for (let i = 0; i < 300; i++)
    writeFileSync(join(dir, 'folder', String(i)), `file ${String(i)} `.repeat(60));
  writeFileSync(join(dir, 'tiny'), 'tiny');
  writeFileSync(join(dir, 'empty'), '');
  writeFileSync(join(dir, 'large'), randomBytes(3_000_000));
  writeFileSync(join(dir, 'huge'), Buffer.concat([randomBytes(1_000_000), Buffer.alloc(20_000_000)]));
  writeFileSync(Buffer.from(`${dir}/\xff\xfe`, 'latin1'), 'of any bytes '.repeat(50));
}

void t.test('what one machine imports through a service another restores from it', async (t) => {
  const site = await startServiceSite(t);
  const [one, other] = [await machine(t, site), await machine(t, site, { workspace: 'de*' })];
  writeTree(one.source);
  const { version } = await one.import(one.source);
  t.match(version, { workspace: 'demo', seq: 1 });
  const restored = join(other.home, 'restored');
  await other.restore(await other.catalog.version('demo'), restored);
  t.same(compareTrees(one.source, restored), []);

  writeFileSync(join(one.source, 'tiny'), 'other');
  rmSync(join(one.source, 'folder', '7'));
  renameSync(join(one.source, 'folder', '8'), join(one.source, 'moved'));
  const second = await one.import(one.source);
  t.match(second, { created: true, version: { seq: 2 } });
  const again = join(other.home, 'again');
  await other.restore(await other.catalog.version('demo'), again);
  t.same(compareTrees(one.source, again), []);
  t.match(await one.import(one.source), { created: false });
  await t.rejects(other.import(other.source), { code: 'access-denied' });
});

void t.test('law 7: of two imports of one head one is published, the other is told', async (t) => {
  const site = await startServiceSite(t);
  const one = await machine(t, site);
  writeFileSync(join(one.source, 'a'), 'a');
  await one.import(one.source);
  const stale = draftOf(await one.catalog.version('demo'), { parentSeq: 0, publishId: 'late' });
  await t.rejects(one.catalog.publish(stale), {
    code: 'conflict',
    message: 'workspace "demo" is at version 1, not at 0',
  });
  t.equal((await one.catalog.version('demo')).seq, 1);
});

void t.test('one writer does not use up the inode numbers of all', async (t) => {
  const site = await startServiceSite(t);
  const { catalog } = await machine(t, site);
  await t.rejects(catalog.reserveNumbers('demo', Number.MAX_SAFE_INTEGER - 2 ** 29), { code: 'unsupported' });
  t.ok((await catalog.reserveNumbers('demo', 1)) < 2 ** 32);
});

void t.test('knowing an id is no right', async (t) => {
  const site = await startServiceSite(t);
  const owner = await machine(t, site, { workspace: 'demo', can: ['read', 'write'] });
  const thief = await machine(t, site, { workspace: 'mine', can: ['read', 'write'] });
  writeTree(owner.source);
  const { version } = await owner.import(owner.source);
  const manifest = await owner.open(version);
  t.teardown(() => {
    manifest.close();
  });
  const [secret = '' as BlockId] = manifest.blocks();
  const content = fileContent(await owner.catalog.file('demo', 1, Buffer.from('large')));
  const get = (client: ServiceClient, path: string) => client.bytes({ path }, 1e7);

  t.ok((await get(owner.client, `/v1/blocks/${secret}`)).length > 0);
  t.ok((await get(owner.client, `/v1/blocks/${secret}?workspace=demo`)).length > 0);
  const absent = `/v1/blocks/${'0'.repeat(64)}`;
  for (const path of [`/v1/blocks/${secret}`, `/v1/manifests/${version.root}`, absent]) {
    for (const where of ['', '?workspace=demo', '?workspace=mine'])
      await t.rejects(get(thief.client, path + where), { status: 404, code: 'not-found' }, path + where);
  }
  const put = (path: string) => thief.client.done({ method: 'PUT', path, body: () => Buffer.from('x') });
  await t.rejects(put(`/v1/blocks/${secret}?workspace=demo`), { code: 'not-found', status: 404 });
  t.same(await thief.catalog.knownContents('mine', [content]), []);
  t.same(await thief.catalog.knownBlocks('mine', [secret]), new Set());
  t.equal((await owner.catalog.knownContents('demo', [content])).length, 1);
  t.same(await owner.catalog.knownBlocks('demo', [secret]), new Set([secret]));

  // A version of one's own that refers to it is a way to it, too.
  await site.service.context.catalog.ensureWorkspace('mine');
  const theft = draftOf(version, { workspace: 'mine', parentSeq: 0 });
  await t.rejects(thief.catalog.publish(theft), { code: 'usage', status: 422, problemCode: 'not-uploaded' });
  const index = await owner.objects.get(manifestKey(version.root));
  await thief.client.done({
    method: 'PUT',
    path: `/v1/manifests/${version.root}?workspace=mine`,
    body: () => index,
  });
  await t.rejects(thief.catalog.publish(theft), { code: 'usage', status: 422, problemCode: 'not-uploaded' });
  t.match(await site.service.context.catalog.workspace('mine'), { headSeq: 0 });

  const limited = await machine(t, site, { workspace: 'demo', path: 'folder' });
  for (const path of [`/v1/blocks/${secret}`, `/v1/manifests/${version.root}`])
    await t.rejects(
      get(limited.client, path),
      { code: 'access-denied', status: 403 },
      'a block holds what is beside a path',
    );
});

void t.test('what is put must be what its id says, and a version what its manifest says', async (t) => {
  const site = await startServiceSite(t);
  const one = await machine(t, site);
  writeTree(one.source);
  await one.import(one.source);
  const block = encodeBlock(randomBytes(1000));
  const put = (kind: string, id: string, body: Uint8Array, workspace = 'demo') =>
    one.client.done({ method: 'PUT', path: `/v1/${kind}/${id}?workspace=${workspace}`, body: () => body });
  const other = blockIdOf(createHash('sha256').update('other').digest());
  await t.rejects(put('blocks', other, block.object), { code: 'usage', status: 400 });
  await t.rejects(put('blocks', block.id, block.object.subarray(1)), { code: 'usage', status: 400 });
  await t.rejects(put('blocks', block.id, Buffer.alloc(0)), { code: 'usage', status: 400 });
  await t.rejects(put('blocks', block.id, Buffer.alloc(5_000_000)), { code: 'usage', status: 413 });
  await t.rejects(put('manifests', other, randomBytes(100)), { code: 'usage', status: 400 });
  await t.rejects(put('blocks', block.id, block.object, 'No Name'), { code: 'usage', status: 400 });
  t.same(await one.catalog.knownBlocks('demo', [block.id]), new Set());
  await put('blocks', block.id, block.object);
  await put('blocks', block.id, block.object);
  t.same(await one.catalog.knownBlocks('demo', [block.id]), new Set([block.id]));

  const head = await one.catalog.version('demo');
  const refused = async (parts: Partial<Publication>, why: RegExp): Promise<void> => {
    await t.rejects(one.catalog.publish(draftOf(head, parts)), { code: 'usage', status: 422, message: why });
    t.equal((await one.catalog.version('demo')).seq, 1);
  };
  const forged: ContentRow = {
    id: contentIdOf(createHash('sha256').update('what others will store').digest()),
    size: 10,
    extents: [{ offset: 0, length: 10, block: block.id, blockOffset: 0 }],
  };
  await refused({ contents: [forged] }, /the bytes of content [0-9a-f]+ are others/);
  await refused(
    { contents: [{ ...forged, extents: [{ offset: 0, length: 10, block: other, blockOffset: 0 }] }] },
    /not uploaded/,
  );
  await refused({ blocks: [{ id: other, rawBytes: 1, storedBytes: 1 }] }, /not uploaded/);
  await refused({ root: other as string as ManifestRoot }, /not uploaded/);
  const row = { path: Buffer.from('tiny'), hash: forged.id, size: 4, mode: 0o100644 };
  await refused({ removed: [row.path], added: [row] }, /its rows are not those of manifest/);
  await refused({ added: [{ ...row, path: Buffer.from('nowhere') }] }, /its rows are not those of manifest/);

  for (const body of ['', '{}\n', 'x\n', '{"kind":"added","rows":[]}\n', '{"kind":"version"}\n', '{"kind"']) {
    const request = one.client.done({
      method: 'POST',
      path: '/v1/workspaces/demo/publications',
      body: () => Buffer.from(body),
      headers: { 'content-type': 'application/x-ndjson' },
    });
    await t.rejects(request, { code: 'usage', status: 400 }, JSON.stringify(body));
  }
});

void t.test(
  'versions that others have published into the catalog are read through the service',
  async (t) => {
    const site = await startServiceSite(t);
    const reader = await machine(t, site, { workspace: 'demo' });
    const writer = await machine(t, site);
    writeTree(writer.source);
    const { context } = site.service;
    const direct = { catalog: context.catalog, objects: context.objects, blocks: context.blocks };
    const { version } = await writer.import(writer.source, direct);
    t.same(await context.blockAccess.unrecordedWorkspaces(), ['demo']);
    const restored = join(reader.home, 'restored');
    await reader.restore(await reader.catalog.version('demo'), restored);
    t.same(compareTrees(writer.source, restored), []);
    t.same(await context.blockAccess.unrecordedWorkspaces(), []);

    writeFileSync(join(writer.source, 'new'), randomBytes(10_000));
    await writer.import(writer.source, direct);
    writeFileSync(join(writer.source, 'newer'), randomBytes(10_000));
    t.match(
      await writer.import(writer.source),
      { version: { seq: 3 } },
      'and one over the wire follows them',
    );
    const again = join(reader.home, 'again');
    await reader.restore(await reader.catalog.version('demo'), again);
    t.same(compareTrees(writer.source, again), []);
    const without = site.client(await site.token({ workspace: 'other' }));
    const [block = ''] = (await writer.open(version)).blocks();
    await t.rejects(without.bytes({ path: `/v1/blocks/${block}` }, 1e7), { code: 'not-found', status: 404 });
  },
);

void t.test('an object is sent once to who may have it, and may be kept', async (t) => {
  const site = await startServiceSite(t);
  const one = await machine(t, site);
  writeTree(one.source);
  const { version } = await one.import(one.source);
  const path = `/v1/manifests/${version.root}`;
  const response = await one.client.response({ path });
  await response.arrayBuffer();
  t.equal(response.headers.get('etag'), `"${version.root}"`);
  t.match(response.headers.get('cache-control'), /^private, .*immutable/);
  const headers = { 'if-none-match': `"${version.root}"` };
  t.equal((await one.client.response({ path, headers })).status, 304);
  const head = await one.client.response({ method: 'HEAD', path });
  t.equal(
    Number(head.headers.get('content-length')),
    (await one.objects.get(manifestKey(version.root))).length,
  );
  const stranger = site.client(await site.token({ workspace: 'other' }));
  await t.rejects(stranger.response({ path, headers }), { code: 'not-found', status: 404 });
});

/** A publication that changes nothing on top of a version, but for `parts`. */
function draftOf(head: Version, parts: Partial<Publication>): Publication {
  return {
    workspace: head.workspace,
    parentSeq: head.seq,
    root: head.root,
    author: 'ada',
    message: '',
    publishId: `of ${JSON.stringify(Object.keys(parts))}`,
    createdAtMs: Date.now(),
    files: head.files,
    bytes: head.bytes,
    blocks: [],
    contents: [],
    removed: [],
    added: [],
    ...parts,
  };
}

function fileContent(row: { hash: ContentRow['id'] | undefined } | undefined): ContentRow['id'] {
  if (row?.hash === undefined) throw new Error('a file has a content');
  return row.hash;
}
