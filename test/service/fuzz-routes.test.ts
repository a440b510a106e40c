import { request as httpRequest } from 'node:http';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { startPostgres, whyNoPostgres } from '../fixtures/postgres-server.js';
import { requestOf, type ArbitraryRequest, type OpenApi } from './arbitrary-request.js';
import { startServiceSite, type ServiceSite } from './service-site.js';

/** Requests of every operation: `node dist/test/service/fuzz-routes.test.js 1000` sends as many. */
const RUNS = Number(process.argv[2] ?? 20);

/** In everything of the workspace that a stranger's token may not know of. */
const SECRET = 'zebra-secret';

/** Plain HTTP: a path is sent as it is, not tidied as a URL would be. */
function send(
  site: ServiceSite,
  token: string,
  { method, path, contentType, body }: ArbitraryRequest,
): Promise<{ status: number; type: string; text: string }> {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(site.url);
    const request = httpRequest({
      hostname,
      port,
      method,
      // Who asks to wait for what does not happen would wait a minute each time.
      path: path.replaceAll(' ', '%20').replace(/([?&]wait(?:Ms)?=)[1-9]\d{0,4}(?=&|$)/, '$11'),
      headers: {
        authorization: `Bearer ${token}`,
        ...(contentType !== undefined && { 'content-type': contentType }),
      },
    });
    request.once('error', reject);
    request.once('response', (response) => {
      const type = response.headers['content-type'] ?? '';
      // What goes on for ever has answered when it has begun.
      if (type.startsWith('text/event-stream')) {
        resolve({ status: response.statusCode ?? 0, type, text: '' });
        response.destroy();
        return;
      }
      response.toArray().then((parts: Buffer[]) => {
        resolve({ status: response.statusCode ?? 0, type, text: Buffer.concat(parts).toString('latin1') });
      }, reject);
    });
    request.end(body);
  });
}

async function fuzz(t: Test, catalog: string | undefined): Promise<void> {
  const site = await startServiceSite(t, catalog === undefined ? {} : { catalog });
  await site.publish('team-a', { [`${SECRET}/a`]: SECRET.repeat(20), b: 'of a' }, SECRET);
  const secretVersion = await site.publish('team-a', { [`${SECRET}/a`]: 'changed', b: 'of a' }, SECRET);
  await site.service.context.catalog.setTag('team-a', `${SECRET}-tag`, 1);
  const secretWorkspace = await site.service.context.catalog.workspace('team-a');
  const secrets = [SECRET, secretVersion.root, secretVersion.publishId, secretWorkspace.generation];
  await site.publish('team-b', { 'docs/a': 'of b', c: 'c' });
  await site.publish('team-b', { 'docs/a': 'changed', d: 'd' });
  const { root } = await site.publish('team-b', { 'docs/a': 'again', 'docs/b': 'new', d: 'd' });
  await site.service.context.catalog.setTag('team-b', 'stable', 2);
  const { paths } = JSON.parse(
    (await send(site, '', { method: 'GET', path: '/openapi.json', contentType: undefined, body: undefined }))
      .text,
  ) as OpenApi;
  const known = [
    'team-a',
    'team-b',
    'team-b',
    'nowhere',
    'head',
    '1',
    '2',
    '3',
    'stable',
    'docs/a',
    'docs',
    root,
  ];
  const strangers = [
    await site.token({ workspace: 'team-b' }),
    await site.token({ workspace: 'team-b', can: ['read', 'write'] }),
    await site.token({ workspace: 'team-b*', path: 'docs' }),
    await site.token({ workspace: 'other', can: ['read', 'write', 'admin'] }),
  ];
  const before = await site.service.context.catalog.workspaces();
  /** What was put in the trash, closed, or renamed is needed for the next. */
  const asBefore = async (): Promise<void> => {
    const { catalog } = site.service.context;
    for (const { name, generation } of before) {
      await catalog.undeleteWorkspace(name).catch(() => undefined);
      const now = (await catalog.workspaces()).find((workspace) => workspace.generation === generation);
      if (now === undefined) continue;
      await catalog
        .changeWorkspace(now.name, { name, readOnly: false, quotaBytes: null })
        .catch(() => undefined);
    }
  };
  /** Who administers the service may have given one workspace the name of another: then its readers may read that. */
  const isAsBefore = async (): Promise<boolean> => {
    const now = await site.service.context.catalog.workspaces();
    return before.every(({ name, generation }) =>
      now.some((workspace) => workspace.name === name && workspace.generation === generation),
    );
  };
  const statuses = new Map<number, number>();
  let operations = 0;
  for (const [path, methods] of Object.entries(paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      operations += 1;
      const requests = requestOf(path, method, operation, known);
      await fc.assert(
        fc.asyncProperty(requests, fc.constantFrom(site.adminToken, ...strangers), async (request, token) => {
          const { status, type, text } = await send(site, token, request);
          statuses.set(status, (statuses.get(status) ?? 0) + 1);
          const shown = `${request.method} ${request.path} ${request.body ?? ''} → ${String(status)} ${text.slice(0, 300)}`;
          if (status >= 500 && status !== 507) throw new Error(shown);
          if (status >= 400 && request.method !== 'HEAD' && !type.startsWith('application/problem+json')) {
            throw new Error(`no problem document: ${shown}`);
          }
          if (token === site.adminToken) return;
          // What a request said itself may stand in its answer.
          const asked = decodeURIComponentLoosely(request.path) + (request.body ?? '');
          const leaked = secrets.find((secret) => text.includes(secret) && !asked.includes(secret));
          if (leaked !== undefined && (await isAsBefore())) throw new Error(`leaked ${leaked}: ${shown}`);
        }),
        { numRuns: RUNS, seed: SEED },
      );
      await asBefore();
    }
  }
  t.ok(operations >= 20);
  // What is made takes a right and a whole body: of few requests none may come to that.
  for (const status of [200, 400, 403, 404, ...(RUNS >= 100 ? [201] : [])])
    t.ok((statuses.get(status) ?? 0) > 0, `some of ${String(status)}`);
  t.comment(`seed ${String(SEED)}`, Object.fromEntries(statuses));
}

function decodeURIComponentLoosely(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

const SEED = Number(process.argv[3] ?? Date.now() % 1_000_000);

void t.test('no request makes the service fail, and none tells of what its token may not read', async (t) => {
  await t.test('SQLite', (t) => fuzz(t, undefined));
  const why = whyNoPostgres();
  await t.test('PostgreSQL', { skip: why ?? false }, async (t) => {
    const server = await startPostgres();
    t.teardown(() => server.stop());
    await fuzz(t, await server.newUrl());
  });
});
