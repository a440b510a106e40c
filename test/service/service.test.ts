import { connect } from 'node:net';
import { once } from 'node:events';
import t, { type Test } from 'tap';
import { z } from 'zod';
import {
  attenuateToken,
  auditEntrySchema,
  changeLineSchema,
  fileLineSchema,
  tagSchema,
  tokenRecordSchema,
  versionSchema,
  workspaceSchema,
  type ServiceClient,
  type ServiceRequest,
} from '../../src/wire/index.js';
import { startPostgres, whyNoPostgres } from '../fixtures/postgres-server.js';
import { startServiceSite, type ServiceSite } from './service-site.js';

const why = whyNoPostgres();
const postgres = why === undefined ? await startPostgres() : undefined;
t.teardown(() => postgres?.stop());

/** On both databases: in SQLite and in PostgreSQL what is asked is not the same SQL, and what a text may hold differs. */
async function eachDatabase(t: Test, body: (t: Test, site: ServiceSite) => Promise<void>): Promise<void> {
  await t.test('SQLite', async (t) => body(t, await startServiceSite(t)));
  await t.test('PostgreSQL', { skip: why ?? false }, async (t) => {
    const site = await startServiceSite(t, { catalog: (await postgres?.newUrl()) ?? '' });
    await body(t, site);
    await site.stop();
  });
}

type Query = NonNullable<ServiceRequest['query']>;

const refusal = (status: number) => ({ name: 'ServiceProblem', status });

async function linesOf<Schema extends z.ZodType>(
  client: ServiceClient,
  schema: Schema,
  path: string,
  query: Query = {},
): Promise<z.output<Schema>[]> {
  const lines = [];
  for await (const line of client.lines(schema, { path, query })) lines.push(line);
  return lines;
}

const W = '/v1/workspaces/team-a';

void t.test('workspaces are made, seen, changed, put away and had back', async (t) => {
  await eachDatabase(t, async (t, site) => {
    const client = site.client();
    t.match(await client.json(workspaceSchema, { method: 'PUT', path: W }), { name: 'team-a', headSeq: 0 });
    await client.done({ method: 'PUT', path: '/v1/workspaces/team-b' });
    const names = async (token: string) =>
      (await site.client(token).json(z.array(workspaceSchema), { path: '/v1/workspaces' })).map(
        ({ name }) => name,
      );
    t.same(await names(site.adminToken), ['team-a', 'team-b']);
    t.same(await names(await site.token({ workspace: '*-b' })), ['team-b']);
    t.same(await names(await site.token({ can: ['write'] })), []);

    const patch = (json: object): Promise<unknown> =>
      client.json(workspaceSchema, { method: 'PATCH', path: W, json });
    t.match(await patch({ readOnly: true, quotaBytes: 5 }), { readOnly: true, quotaBytes: 5 });
    await t.rejects(site.publish('team-a', { a: 'b' }), { code: 'access-denied' });
    await patch({ readOnly: false });
    await t.rejects(site.publish('team-a', { a: 'longer' }), { code: 'no-space' });
    await patch({ quotaBytes: null });
    await site.publish('team-a', { a: 'longer' });
    await t.rejects(patch({ name: 'team-b' }), { status: 409, code: 'conflict' });
    t.match(await patch({ name: 'team-c' }), { name: 'team-c', headSeq: 1 });
    const onlyA = site.client(await site.token({ workspace: 'team-*', can: ['read', 'admin'] }));
    await t.rejects(
      onlyA.done({ method: 'PATCH', path: '/v1/workspaces/team-c', json: { name: 'other' } }),
      refusal(403),
      'nobody takes a name where he may nothing',
    );

    const C = '/v1/workspaces/team-c';
    const { untilMs } = await client.json(z.object({ untilMs: z.int() }), { method: 'DELETE', path: C });
    t.ok(untilMs > Date.now());
    await t.rejects(client.json(workspaceSchema, { path: C }), refusal(404));
    await t.rejects(client.done({ method: 'PUT', path: C }), { status: 409, message: /is in the trash/ });
    t.match(await client.json(workspaceSchema, { method: 'POST', path: `${C}/undelete` }), {
      name: 'team-c',
      headSeq: 1,
    });
    await site.service.context.catalog.trashWorkspace('team-c');
  });
});

void t.test('versions are seen, named, compared, restored and forked', async (t) => {
  await eachDatabase(t, async (t, site) => {
    const client = site.client();
    const one = await site.publish('team-a', { 'docs/a': 'one', 'docs-b': 'same', 'src/c': 'gone' });
    const two = await site.publish('team-a', { 'docs/a': 'two', 'docs-b': 'same', 'src/d': 'new' });
    const { seq: ignoredSeq, ...sameFiles } = {
      seq: one.seq,
      root: one.root,
      files: one.files,
      bytes: one.bytes,
    };
    t.equal(ignoredSeq, 1);

    const get = (path: string) => client.json(versionSchema, { path: `${W}/${path}` });
    t.same(await get('versions/head'), two);
    t.same(await get('versions/1'), one);
    await t.rejects(get('versions/9'), refusal(404));
    await t.rejects(get('versions/stable'), refusal(404));
    const list = (query: Record<string, number>) =>
      client.json(z.array(versionSchema), { path: `${W}/versions`, query });
    t.same(await list({}), [two, one]);
    t.same(await list({ limit: 1, before: 2 }), [one]);

    const put = { method: 'PUT', path: `${W}/tags/stable`, json: { seq: 1 } } as const;
    t.match(await client.json(tagSchema, put), { name: 'stable', seq: 1 });
    t.same(await get('versions/stable'), one);
    t.same(await get('tags/stable'), one);
    t.match(await client.json(z.array(tagSchema), { path: `${W}/tags` }), [{ name: 'stable', seq: 1 }]);
    await t.rejects(client.done({ ...put, path: `${W}/tags/head` }), refusal(400));
    await t.rejects(client.done({ ...put, json: { seq: 7 } }), refusal(404));

    const pathsOf = async (given: ServiceClient, version: string, query: Query = {}) =>
      (await linesOf(given, fileLineSchema, `${W}/versions/${version}/paths`, query)).map((line) =>
        'path' in line ? line.path : '',
      );
    t.same(await pathsOf(client, '1'), ['docs', 'docs-b', 'docs/a', 'src', 'src/c']);
    t.same(await pathsOf(client, 'head', { prefix: 'docs' }), ['docs', 'docs-b', 'docs/a']);
    t.same(await pathsOf(client, '1', { after: 'docs-b', limit: 2 }), ['docs/a', 'src']);
    t.same(await pathsOf(client, '1', { afterBase64: Buffer.from('docs/a').toString('base64url') }), [
      'src',
      'src/c',
    ]);
    const docs = site.client(await site.token({ workspace: 'team-*', path: 'docs' }));
    t.same(await pathsOf(docs, '1'), ['docs', 'docs/a'], 'of a token for a folder that folder alone');
    t.same(await pathsOf(docs, '1', { limit: 1 }), ['docs']);
    t.same(await pathsOf(docs, '1', { after: 'docs' }), ['docs/a']);
    t.same(await pathsOf(docs, '1', { prefix: 'src' }), []);
    t.same(await pathsOf(docs, '1', { prefix: 'docs/a' }), ['docs/a']);

    const diffOf = (given: ServiceClient, version: string, query: Query = {}) =>
      linesOf(given, changeLineSchema, `${W}/versions/${version}/diff`, query);
    const changed = await diffOf(client, 'head');
    t.same(
      changed.map((line) => ('path' in line ? line.path : '')),
      ['docs/a', 'src/c', 'src/d'],
    );
    t.match(changed[1], { before: { size: 4 }, after: undefined });
    t.match(changed[2], { before: undefined, after: { size: 3 } });
    t.same(await diffOf(client, 'head', { from: 'stable' }), changed);
    t.equal((await diffOf(client, '1')).length, 5, 'the first version differs from nothing');
    t.same(await diffOf(client, '2', { limit: 1 }), changed.slice(0, 1));
    t.same(await diffOf(client, '2', { after: 'docs/a' }), changed.slice(1));
    t.match(await diffOf(docs, 'head'), [{ path: 'docs/a' }]);
    t.equal((await diffOf(docs, 'head')).length, 1);

    const restore = (json: object) =>
      client.json(versionSchema, { method: 'POST', path: `${W}/versions/1/restore`, json });
    await t.rejects(restore({ key: 'k', base: 1 }), refusal(409));
    const three = await restore({ key: 'k', base: 2 });
    t.match(three, { seq: 3, ...sameFiles, message: 'restore of @1', author: 'a test' });
    t.same(await restore({ key: 'k', base: 2 }), three, 'once for a key');
    t.same(await restore({ key: 'another' }), three, 'nothing where it is so already');
    t.same(await pathsOf(client, '3'), await pathsOf(client, '1'));

    const fork = {
      method: 'POST',
      path: `${W}/fork`,
      json: { name: 'mine', version: '2', key: 'f' },
    } as const;
    const forked = await client.json(versionSchema, fork);
    t.match(forked, { workspace: 'mine', seq: 1, root: two.root, message: 'fork of team-a@2' });
    t.same(await client.json(versionSchema, fork), forked);
    await t.rejects(client.done({ ...fork, json: { name: 'mine' } }), refusal(409));
    const reader = site.client(await site.token({ workspace: 'team-a' }));
    await t.rejects(reader.done({ ...fork, json: { name: 'team-a-2' } }), refusal(403));
    await client.done({ method: 'DELETE', path: `${W}/tags/stable` });
    await t.rejects(get('tags/stable'), refusal(404));
  });
});

void t.test('tokens are made, weakened without the service, and revoked', async (t) => {
  await eachDatabase(t, async (t, site) => {
    const client = site.client();
    await site.publish('team-a', { a: 'b' });
    const { token, record } = await client.json(z.object({ token: z.string(), record: tokenRecordSchema }), {
      method: 'POST',
      path: '/v1/tokens',
      json: {
        holder: 'ci',
        workspace: 'team-*',
        can: ['read', 'write'],
        path: { path: 'docs' },
        ttlMs: 60_000,
      },
    });
    t.match(record, { holder: 'ci', workspace: 'team-*', can: ['read', 'write'], path: { path: 'docs' } });
    const self = (given: string) => site.client(given).json(z.json(), { path: '/v1/token' });
    t.match(await self(token), {
      id: record.id,
      holder: 'ci',
      can: ['read', 'write'],
      path: { path: 'docs' },
    });
    const weaker = attenuateToken(token, { can: ['read'], workspace: 'team-a' });
    t.match(await self(weaker), { id: record.id, can: ['read'], workspaces: ['team-*', 'team-a'] });
    await t.rejects(self(attenuateToken(token, { untilMs: Date.now() - 1 })), refusal(401));
    await t.rejects(self(await site.token({ expiresAtMs: Date.now() - 1 })), refusal(401));

    await client.done({ method: 'DELETE', path: `/v1/tokens/${record.id}` });
    await t.rejects(self(token), { status: 401, code: 'access-denied' });
    await t.rejects(self(weaker), refusal(401), 'and all that were derived from it');
    await t.rejects(client.done({ method: 'DELETE', path: '/v1/tokens/00' }), refusal(404));
    const [listed] = (await client.json(z.array(tokenRecordSchema), { path: '/v1/tokens' })).filter(
      ({ id }) => id === record.id,
    );
    t.ok(listed?.revokedAtMs);
    for (const json of [
      {},
      { holder: 'x', workspace: '*', can: [] },
      { holder: 'x', workspace: '*', can: ['all'] },
      { holder: 'x\n', workspace: '*', can: ['read'] },
      { holder: 'x', workspace: '*', can: ['read'], more: true },
    ]) {
      await t.rejects(client.done({ method: 'POST', path: '/v1/tokens', json }), {
        status: 400,
        code: 'usage',
      });
    }
  });
});

void t.test('what another process revokes opens nothing soon after', async (t) => {
  const site = await startServiceSite(t);
  const other = await startServiceSite(t, { catalog: site.service.context.catalog.url });
  const token = await site.token({});
  const client = site.client(token);
  await client.done({ path: '/v1/token' });
  const { id } = await client.json(z.object({ id: z.string() }), { path: '/v1/token' });
  await other.service.context.tokens.revoke(id);
  const revokedAtMs = performance.now();
  let isOpen = true;
  while (isOpen && performance.now() - revokedAtMs < 30_000) {
    isOpen = await client.done({ path: '/v1/token' }).then(
      () => true,
      () => false,
    );
  }
  t.notOk(isOpen);
});

void t.test('who did what is in the audit log, also what was refused', async (t) => {
  await eachDatabase(t, async (t, site) => {
    const client = site.client();
    const auditOf = (query: Query) => client.json(z.array(auditEntrySchema), { path: '/v1/audit', query });
    await client.done({ method: 'PUT', path: W });
    await t.rejects(client.done({ method: 'PATCH', path: W, json: { name: 'Not A Name' } }));
    const stranger = site.client(await site.token({ workspace: 'other', can: ['read', 'write', 'admin'] }));
    await t.rejects(stranger.done({ method: 'DELETE', path: W }));
    await t.rejects(site.client('cairn_forged').done({ path: W }));
    for (let i = 0; i < 3; i++) await client.done({ path: W });
    await t.rejects(client.done({ path: '/v1/workspaces/a%00b' }), refusal(400));
    // The service writes down what came of a request after it was answered; when it has ended everything is.
    await site.stop();
    await site.restart();

    const entries = await auditOf({ workspace: 'team-a' });
    t.same(
      entries.map(({ action, status, actor }) => [action, status, actor]).sort(),
      [
        ['workspace.change', 400, 'a test'],
        ['workspace.create', 200, 'a test'],
        ['workspace.delete', 404, 'a test'],
        ['workspace.get', 200, 'a test'],
        ['workspace.get', 401, 'unknown'],
      ].sort(),
    );
    const reads = entries.filter(({ action, status }) => action === 'workspace.get' && status === 200);
    t.equal(
      reads.reduce((sum, { count }) => sum + count, 0),
      3,
      'what reads is counted',
    );
    const made = await auditOf({ action: 'workspace.create' });
    t.equal(made.length, 1);
    t.same(await auditOf({ action: 'workspace', workspace: 'team-a' }), entries, 'up to a dot');
    t.same(await auditOf({ action: 'work', workspace: 'team-a' }), []);
    t.same(await auditOf({ workspace: 'team-a', sinceMs: 0, limit: 2 }), entries.slice(0, 2));
    t.same(await auditOf({ workspace: 'team-a', before: entries[1]?.id }), entries.slice(2));
    t.same(await auditOf({ workspace: 'team-a', actor: made[0]?.tokenId, action: 'workspace.create' }), made);
    t.same(await auditOf({ workspace: 'team-a', since: Date.now() + 60_000 }), []);
    const [asked] = await auditOf({ action: 'audit.query', limit: 1 });
    t.match(asked, { action: 'audit.query', actor: 'a test' }, 'who reads it is in it');
    t.equal(asked?.status, undefined, 'from before it was answered');
  });
});

void t.test('a workspace is deleted for good when its time in the trash is over', async (t) => {
  const site = await startServiceSite(t);
  await site.publish('team-a', { a: 'b' });
  const { openServiceCatalog } = await import('../../src/catalog/index.js');
  const catalog = await openServiceCatalog(site.service.context.catalog.url);
  t.teardown(() => catalog.close());
  await catalog.catalog.setTag('team-a', 'stable', 1);
  const { generation } = await catalog.catalog.workspace('team-a');
  const { untilMs } = await catalog.catalog.trashWorkspace('team-a');
  t.same(await catalog.emptyTrash(untilMs - 1), []);
  t.same(await catalog.emptyTrash(untilMs), ['team-a']);
  await t.rejects(catalog.catalog.undeleteWorkspace('team-a'), { code: 'not-found' });
  const again = await catalog.catalog.ensureWorkspace('team-a');
  t.match(again, { headSeq: 0 });
  t.not(again.generation, generation);
});

void t.test(
  'a refusal is a problem document that says nothing of the inside, and the log has no token',
  async (t) => {
    const site = await startServiceSite(t);
    const problem = async (path: string, init: RequestInit = {}) => {
      const response = await fetch(site.url + path, {
        ...init,
        headers: { authorization: `Bearer ${site.adminToken}`, ...(init.headers as Record<string, string>) },
      });
      t.equal(response.headers.get('content-type'), 'application/problem+json', path);
      return { headers: response.headers, ...((await response.json()) as { instance: string }) };
    };
    const json = { 'content-type': 'application/json' };
    t.match(await problem('/nothing'), {
      status: 404,
      code: 'not-found',
      detail: 'there is no GET /nothing',
    });
    t.match(await problem('/v1/tokens', { method: 'POST', body: '{', headers: json }), {
      status: 400,
      code: 'usage',
    });
    t.match(await problem('/v1/tokens', { method: 'POST', body: 'x', headers: { 'content-type': 'a/b' } }), {
      status: 415,
    });
    const large = JSON.stringify('x'.repeat(2 * 1024 * 1024));
    t.match(await problem('/v1/tokens', { method: 'POST', body: large, headers: json }), {
      status: 413,
      code: 'too-large',
    });
    const none = await problem('/v1/token', { headers: { authorization: 'Basic eDp5' } });
    t.match(none, { status: 401, code: 'unauthenticated' });
    t.match(none.headers.get('www-authenticate'), /^Bearer/);

    await site.publish('team-a', { a: 'b' });
    const { catalog } = site.service.context;
    const real = catalog.workspace.bind(catalog);
    catalog.workspace = () => Promise.reject(new Error('the secret inside'));
    const failed = await problem('/v1/workspaces/team-a');
    catalog.workspace = real;
    t.match(failed, { status: 500, code: 'failed', detail: 'the request failed inside the service' });
    t.notMatch(JSON.stringify(failed), /secret/);
    const logged = site.log.filter((line) => line.includes(failed.instance));
    t.ok(
      logged.some((line) => line.includes('the secret inside')),
      'which the log tells, at the request’s id',
    );
    const secret = site.adminToken.split('.').at(-1) ?? '';
    t.ok(secret.length > 40 && !site.log.some((line) => line.includes(secret)));
  },
);

void t.test('one token cannot take all of the service, and guessing ends soon', async (t) => {
  const site = await startServiceSite(t, { requestsPerSecond: 5 });
  const statusOf = async (token: string): Promise<Response> =>
    fetch(`${site.url}/v1/token`, { headers: { authorization: `Bearer ${token}` } });
  const greedy = await site.token({});
  const statuses = [];
  for (let i = 0; i < 60; i++) statuses.push((await statusOf(greedy)).status);
  t.same(new Set(statuses), new Set([200, 429]));
  t.ok(Number((await statusOf(greedy)).headers.get('retry-after')) > 0);
  t.equal((await statusOf(await site.token({}))).status, 200, 'others are not held up');
  let guesses = 0;
  while ((await statusOf('cairn_guess')).status === 401 && guesses < 1000) guesses += 1;
  t.ok(guesses < 1000);
  t.equal((await statusOf(site.adminToken)).status, 200, 'nor who has a token, at the same address');
});

void t.test('a service that is told to end finishes what is under way', async (t) => {
  const site = await startServiceSite(t);
  await site.publish('team-a', { a: 'b' });
  const { catalog } = site.service.context;
  let goOn = (): void => undefined;
  const held = new Promise<void>((resolve) => (goOn = resolve));
  const real = catalog.workspace.bind(catalog);
  const begun = new Promise<void>((resolve) => {
    catalog.workspace = async (name) => {
      resolve();
      await held;
      return await real(name);
    };
  });
  const answer = site.client().json(workspaceSchema, { path: W });
  await begun;
  const idle = connect(Number(new URL(site.url).port), '127.0.0.1');
  await once(idle, 'connect');
  const closed = once(idle, 'close');
  idle.resume();
  const stopped = site.stop();
  await closed;
  goOn();
  t.match(await answer, { name: 'team-a' });
  await stopped;
  await t.rejects(fetch(site.url), 'and takes no more');
  await site.restart();
  t.match(
    await site.client().json(workspaceSchema, { path: W }),
    { headSeq: 1 },
    'all is there when it starts again',
  );
});

void t.test('it can be watched, and says what it can', async (t) => {
  const site = await startServiceSite(t);
  const get = async (path: string) => await (await fetch(site.url + path)).text();
  t.match(JSON.parse(await get('/healthz')), { status: 'up' });
  t.match(JSON.parse(await get('/readyz')), { status: 'up' });
  await site.client().done({ path: '/v1/token' });
  const metrics = await get('/metrics');
  t.match(metrics, /^cairn_requests_total\{method="GET",route="\/v1\/token",status="200"\} 1$/m);
  t.match(metrics, /^cairn_store_requests_total \d+$/m);
  const { paths, openapi } = JSON.parse(await get('/openapi.json')) as { paths: object; openapi: string };
  t.match(openapi, /^3\.1/);
  t.ok(Object.hasOwn(paths, '/v1/workspaces/{ws}/versions/{v}/paths'));
  t.match(await get('/docs'), /<title>Swagger UI<\/title>/);
});
