import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { encodeBlock } from '../../src/blocks/index.js';
import { UPLOAD_TERM_MS } from '../../src/catalog/index.js';
import { blockIdOf, type BlockId } from '../../src/core/index.js';
import { openObjectStore } from '../../src/objects/index.js';
import { saveServiceToken, type ServiceClient } from '../../src/wire/index.js';
import { compareTrees } from '../fixtures/compare-trees.js';
import { withEnvironment } from '../fixtures/environment.js';
import { FaultyProxy, type ProxiedRequest } from '../fixtures/faulty-proxy.js';
import { startS3 } from '../fixtures/s3-server.js';
import { scratchFolder } from '../fixtures/scratch-folder.js';
import { keysOf, openStores, type Stores } from '../snapshot/stores.js';
import { ask, jsonOf, type Answer } from './plain-http.js';
import { startServiceSite, type ServiceSite } from './service-site.js';

t.setTimeout(120_000);
const s3 = await startS3();
t.teardown(() => s3.stop());

interface DirectSite extends ServiceSite {
  /** Between everybody and S3. */
  wire: FaultyProxy;
  store: string;
}

/** A service over SQLite and S3. */
async function directSite(t: Test, options: { direct?: boolean } = { direct: true }): Promise<DirectSite> {
  const wire = await FaultyProxy.start(s3.endpoint);
  t.teardown(() => wire.stop());
  withEnvironment(t, { ...s3.env, AWS_ENDPOINT_URL_S3: wire.endpoint });
  const store = s3.newUrl();
  const site = await startServiceSite(t, { ...options, store });
  await site.service.context.catalog.ensureWorkspace('demo');
  return Object.assign(site, { wire, store });
}

/** A machine with a token, and nothing else. @param url of the service. */
async function machine(
  t: Test,
  site: ServiceSite,
  url = site.url,
): Promise<Stores & { source: string; client: ServiceClient }> {
  const home = scratchFolder(t);
  const token = await site.token({ can: ['read', 'write'] });
  await saveServiceToken(url, token, home);
  const stores = await openStores(home, { service: url });
  t.teardown(() => stores.close());
  const source = join(home, 'source');
  mkdirSync(source);
  return { ...stores, source, client: site.client(token) };
}

function writeTree(dir: string): void {
  mkdirSync(join(dir, 'folder'));
  for (let i = 0; i < 20; i++)
    writeFileSync(join(dir, 'folder', String(i)), `file ${String(i)} `.repeat(300));
  writeFileSync(join(dir, 'large'), randomBytes(1_500_000));
}

const isPresigned = ({ path }: ProxiedRequest): boolean => path.includes('X-Amz-Signature=');

/** Answered so far: `PUT /v1/blocks/:id 204` and how often. */
async function answered(site: ServiceSite): Promise<Map<string, number>> {
  const { body } = await ask(site, '/metrics');
  const counts = new Map<string, number>();
  const line = /^cairn_requests_total\{method="(\w+)",route="([^"]+)",status="(\d+)"\} (\d+)$/gm;
  for (const [, method, route, status, count] of body.toString().matchAll(line))
    counts.set(`${method ?? ''} ${route ?? ''} ${status ?? ''}`, Number(count));
  return counts;
}

async function whoseBlocksGoThrough(site: ServiceSite): Promise<string[]> {
  const routes = [...(await answered(site)).keys()];
  return routes.filter((route) => /^(PUT|GET) \/v1\/blocks\/.* 20\d$/.test(route));
}

function checkSecrets(t: Test, site: DirectSite): void {
  const bearers = site.wire.requests.filter(({ headers }) => headers.authorization?.startsWith('Bearer'));
  t.same(bearers, [], 'no token goes to S3');
  const presigned = site.wire.requests.filter(isPresigned);
  t.notOk(
    presigned.some(({ headers }) => headers.authorization !== undefined),
    'what is presigned goes with nothing else',
  );
  t.notOk(
    site.log.some((line) => line.includes('X-Amz-')),
    'no log has a URL’s query',
  );
}

const sha256 = (bytes: Buffer): string => blockIdOf(createHash('sha256').update(bytes).digest());

async function urlsFor(
  client: ServiceClient,
  kind: 'urls' | 'uploads',
  blocks: readonly string[],
  workspace = 'demo',
): Promise<{ direct: boolean; urls: Record<string, string> }> {
  const path = `/v1/workspaces/${workspace}/${kind}`;
  const bytes = await client.bytes({ method: 'POST', path, json: { blocks } }, 1e7);
  return JSON.parse(bytes.toString()) as { direct: boolean; urls: Record<string, string> };
}

/** What S3 says to a put of nothing: this server may close the connection on which it has refused a body. */
async function statusOfPut(url: URL): Promise<number> {
  return (await fetch(url, { method: 'PUT' })).status;
}

async function put(url: string | undefined, body: Buffer): Promise<number> {
  return (await fetch(url ?? '', { method: 'PUT', body: new Uint8Array(body) })).status;
}

function commit(
  site: ServiceSite,
  path: string,
  options: { method: string; json?: object },
): Promise<Answer> {
  return ask(site, `/v1/workspaces/demo/commits${path}`, {
    method: options.method,
    ...(options.json && {
      headers: { 'content-type': 'application/json' },
      body: Buffer.from(JSON.stringify(options.json)),
    }),
  });
}

void t.test('agents publish and read through a service without their blocks passing it', async (t) => {
  const site = await directSite(t);
  const [one, other] = [await machine(t, site), await machine(t, site)];
  writeTree(one.source);
  t.match(await one.import(one.source), { created: true, version: { seq: 1 } });
  const keys = await keysOf(site.service.context.objects);
  t.same(
    [...keys].filter((key) => key.startsWith('uploads/')),
    [],
    'what was put is in its place',
  );
  const { bytesOut } = site.service.context.objects.counters;
  t.ok(bytesOut > 1_500_000, 'where the service has put it, from what it verified');

  await other.restore(await other.catalog.version('demo'), join(other.home, 'restored'));
  t.same(compareTrees(one.source, join(other.home, 'restored')), []);
  writeFileSync(join(one.source, 'folder', '7'), randomBytes(5000));
  t.match(await one.import(one.source), { version: { seq: 2 } });
  await other.restore(await other.catalog.version('demo'), join(other.home, 'again'));
  t.same(compareTrees(one.source, join(other.home, 'again')), []);

  t.same(await whoseBlocksGoThrough(site), []);
  t.ok(site.wire.requests.some(isPresigned));
  checkSecrets(t, site);

  await t.test('what nobody needs in a day is gone, and nothing else', async (t) => {
    const { objects, staged } = site.service.context;
    const id = sha256(Buffer.from('unused'));
    const { urls } = await urlsFor(one.client, 'uploads', [id]);
    const stored = await keysOf(objects);
    await put(urls[id], Buffer.from('unused'));
    await staged.expire(Date.now());
    t.equal((await keysOf(objects)).size, stored.size + 1, 'it has its day');
    await staged.expire(Date.now() + UPLOAD_TERM_MS + 60_000);
    t.same(await keysOf(objects), stored);
  });

  await t.test('when S3 cannot be reached the error names it, and not the URL', async (t) => {
    const { root } = await one.catalog.version('demo');
    const impatient = await openObjectStore(site.url, {
      home: one.home,
      workspace: 'demo',
      impatience: AbortSignal.abort(),
    });
    t.teardown(() => impatient.close());
    site.wire.choose = (request) => (isPresigned(request) ? { kind: 'reset' } : undefined);
    const error = await impatient.get(`manifests/${root}`).then(
      () => undefined,
      (reason: unknown) => reason as Error,
    );
    t.match(error, { code: 'unreachable', message: new RegExp(`manifests/${root}.* at 127.0.0.1`) });
    t.notMatch(JSON.stringify([error?.message, error?.stack, String(error?.cause)]), /X-Amz/);
  });
});

void t.test('without --direct nothing is presigned, and who wants to be sent away is answered', async (t) => {
  const site = await directSite(t, {});
  const [one, other] = [await machine(t, site), await machine(t, site)];
  writeTree(one.source);
  await one.import(one.source);
  await other.restore(await other.catalog.version('demo'), join(other.home, 'restored'));
  t.same(compareTrees(one.source, join(other.home, 'restored')), []);
  t.same(site.wire.requests.filter(isPresigned), []);
  t.match(await urlsFor(one.client, 'urls', []), { direct: false, urls: {} });
  const asked = (await answered(site)).get('POST /v1/workspaces/:ws/uploads 200') ?? 0;
  t.ok(asked <= 1, `it says so once to each, not ${String(asked)} times`);
});

void t.test('--direct on a store that is not in S3 is one clear line', async (t) => {
  await t.rejects(startServiceSite(t, { direct: true }), {
    code: 'usage',
    message: /^--direct needs a store in S3/,
  });
});

void t.test('agents and services of other releases go on as they did', async (t) => {
  const site = await directSite(t);
  const one = await machine(t, site);
  writeTree(one.source);
  await one.import(one.source);
  const { root } = await one.catalog.version('demo');
  // An agent that knows nothing of redirects does not ask for one.
  const block = [...(await one.open(await one.catalog.version('demo'))).blocks()][0] ?? '';
  for (const path of [`/v1/blocks/${block}`, `/v1/manifests/${root}`])
    t.equal((await ask(site, path)).status, 200);
  t.equal((await ask(site, `/v1/blocks/${block}?direct=true`)).status, 307);

  // A service that has no such routes.
  const old = await FaultyProxy.start(site.url);
  t.teardown(() => old.stop());
  old.choose = ({ path }) =>
    /\/(urls|uploads)$/.test(path) ? { kind: 'status', status: 404, code: 'old' } : undefined;
  const other = await machine(t, site, old.endpoint.replace(/\/$/, ''));
  writeFileSync(join(one.source, 'large'), randomBytes(700_000));
  t.match(await other.import(one.source), { version: { seq: 2 } });
  t.ok((await answered(site)).has('PUT /v1/blocks/:id 204'), 'its blocks go through the service');
});

void t.test(
  'a URL that has ended is asked for anew; where S3 refuses all, the service passes on',
  async (t) => {
    const site = await directSite(t);
    const one = await machine(t, site);
    writeTree(one.source);
    let refusals = 0;
    const refused = new Set<string>();
    site.wire.choose = (request) => {
      const { pathname } = new URL(request.path, s3.endpoint);
      if (!isPresigned(request) || refused.has(pathname)) return undefined;
      refused.add(pathname);
      refusals += 1;
      return { kind: 'status', status: 403, code: 'ExpiredRequest' };
    };
    await one.import(one.source);
    t.ok(refusals > 0, 'each block was refused once');
    t.same(await whoseBlocksGoThrough(site), []);

    const other = await machine(t, site);
    await other.open(await other.catalog.version('demo'));
    refused.clear();
    await other.restore(await other.catalog.version('demo'), join(other.home, 'restored'));
    t.same(compareTrees(one.source, join(other.home, 'restored')), []);

    site.wire.choose = (request) =>
      isPresigned(request) ? { kind: 'status', status: 403, code: 'AccessDenied' } : undefined;
    const third = await machine(t, site);
    await third.restore(await third.catalog.version('demo'), join(third.home, 'restored'));
    t.same(compareTrees(one.source, join(third.home, 'restored')), []);
    writeFileSync(join(one.source, 'large'), randomBytes(700_000));
    t.match(await third.import(one.source), { version: { seq: 2 } });
    checkSecrets(t, site);
  },
);

void t.test('what a client puts is a block only if it verifies, and for its workspace alone', async (t) => {
  const site = await directSite(t);
  const { client, ...agent } = await machine(t, site);
  const { catalog, objects } = site.service.context;
  await catalog.ensureWorkspace('mine');
  const theirs = randomBytes(200_000);
  writeFileSync(join(agent.source, 'theirs'), theirs);
  await agent.import(agent.source);
  const held = sha256(theirs) as BlockId;
  const before = await objects.get(`blocks/${held.slice(0, 2)}/${held}`);

  // To another workspace's, knowing a hash: what is staged there is looked at by nobody but the service.
  const poison = Buffer.from('poison');
  const { urls } = await urlsFor(client, 'uploads', [held], 'mine');
  t.equal(await put(urls[held], poison), 200);
  const file = (path: string, bytes: Buffer): object => ({
    kind: 'put',
    path,
    content: {
      hash: sha256(bytes),
      size: bytes.length,
      chunks: [{ block: sha256(bytes), length: bytes.length }],
    },
  });
  const take = { key: 'theft', base: 0, changes: [file('stolen', theirs)] };
  const inMine = (path: string, json?: object): Promise<Answer> =>
    ask(site, `/v1/workspaces/mine/commits${path}`, {
      method: 'POST',
      ...(json && {
        headers: { 'content-type': 'application/json' },
        body: Buffer.from(JSON.stringify(json)),
      }),
    });
  const { id } = jsonOf(await inMine('', take)) as { id: string };
  t.match(jsonOf(await inMine(`/${id}/finish`)), {
    status: 422,
    code: 'unfit',
    detail: `what was uploaded as block ${held} is something else`,
  });
  t.ok(before.equals(await objects.get(`blocks/${held.slice(0, 2)}/${held}`)), 'nobody’s block changed');
  t.match(jsonOf(await inMine(`/${id}/finish`)), { status: 409, code: 'missing-blocks' });
  t.match(await urlsFor(client, 'urls', [held], 'mine'), { direct: true, urls: {} }, 'and it reads none');

  // A URL is for its one object.
  const url = new URL(urls[held] ?? '');
  const generation = (await catalog.workspace('demo')).generation;
  const moved = new URL(url.href.replace(/uploads\/[^/]+/, `uploads/${generation}`));
  t.equal(await statusOfPut(moved), 403, 'not another workspace’s');
  moved.pathname = url.pathname.replace(/uploads\/[^/]+/, `blocks/${held.slice(0, 2)}`);
  t.equal(await statusOfPut(moved), 403, 'and not the block itself');
  t.equal((await fetch(url)).status, 403, 'nor to read');

  // What was put is counted for the workspace it was put for.
  const mine = randomBytes(150_000);
  const put1 = await urlsFor(client, 'uploads', [sha256(mine)], 'mine');
  await put(put1.urls[sha256(mine)], mine);
  const opened = await commit(site, '', {
    method: 'POST',
    json: { key: 'other', base: 1, changes: [file('mine', mine)] },
  });
  t.match(jsonOf(opened), { missing: [sha256(mine)] });
  checkSecrets(t, site);
});

void t.test('a commit whose blocks are put into S3, raw or as objects', async (t) => {
  const site = await directSite(t);
  const files = ['raw', 'object', 'late'].map((path) => ({ path, bytes: randomBytes(200_000) }));
  const changes = files.map(({ path, bytes }) => {
    const id = sha256(bytes);
    return {
      kind: 'put',
      path,
      content: { hash: id, size: bytes.length, chunks: [{ block: id, length: bytes.length }] },
    };
  });
  const [raw, object, late] = files.map(({ bytes }) => bytes);
  if (raw === undefined || object === undefined || late === undefined) throw new Error('three files');
  const request = { key: 'k', base: 0, changes };
  const opened = jsonOf(await commit(site, '', { method: 'POST', json: request })) as {
    id: string;
    missing: string[];
    uploads: Record<string, string>;
  };
  t.same(Object.keys(opened.uploads).sort(), opened.missing.toSorted());
  t.equal(await put(opened.uploads[sha256(raw)], raw), 200);
  t.equal(await put(opened.uploads[sha256(object)], Buffer.from(encodeBlock(object).object)), 200);
  t.match(jsonOf(await commit(site, '', { method: 'POST', json: request })), { missing: [sha256(late)] });
  t.equal(await put(opened.uploads[sha256(late)], Buffer.alloc(5_000_000)), 200);
  t.match(jsonOf(await commit(site, `/${opened.id}/finish`, { method: 'POST' })), { status: 422 });
  t.match(jsonOf(await commit(site, `/${opened.id}`, { method: 'GET' })), { missing: [sha256(late)] });
  t.equal(await put(opened.uploads[sha256(late)], late), 200);
  const read = site.service.context.objects.counters.requests;
  const readBefore = read.get;
  t.match(jsonOf(await commit(site, `/${opened.id}/finish`, { method: 'POST' })), { version: { seq: 1 } });
  t.equal(read.get - readBefore, 1, 'each was read once');
  for (const { path, bytes } of files) {
    const { body } = await ask(site, `/v1/workspaces/demo/versions/head/files/${path}`);
    t.ok(body.equals(bytes), path);
  }
});
