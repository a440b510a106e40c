import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import type { Catalog } from '../../src/catalog/index.js';
import { changesSchema, versionSchema, type ServiceClient } from '../../src/wire/index.js';
import { fileNamed, publicationOn } from '../contract/catalog.js';
import { startServiceSite } from './service-site.js';

const CHANGES = '/v1/workspaces/w/changes';

async function changes(client: ServiceClient, query: Record<string, string | number> = {}) {
  return await client.json(changesSchema, { path: CHANGES, query });
}

/** Four versions: files come, one changes, nothing, one goes. */
async function publishHistory(catalog: Catalog): Promise<void> {
  const files = ['a', 'dir/b', 'dir/c', 'other/d', '\u00ff'].map((name) => fileNamed(name));
  await catalog.publish(publicationOn(0, { added: files }));
  const changed = fileNamed('dir/b', 'changed');
  await catalog.publish(publicationOn(1, { removed: [changed.path], added: [changed] }));
  await catalog.publish(publicationOn(2));
  await catalog.publish(publicationOn(3, { removed: [Buffer.from('a')] }));
}

void t.test('the journal is read from a cursor on, in pages of any size, each change once', async (t) => {
  const site = await startServiceSite(t);
  const { catalog } = site.service.context;
  const { generation } = await catalog.ensureWorkspace('w');
  await publishHistory(catalog);
  const client = site.client();
  const start = `${generation}.0.`;
  const whole = await changes(client, { since: start });
  t.same(
    whole.changes.map((change) => [
      change.seq,
      'path' in change ? change.path : '',
      'before' in change,
      'after' in change,
    ]),
    [
      [1, 'a', false, true],
      [1, 'dir/b', false, true],
      [1, 'dir/c', false, true],
      [1, 'other/d', false, true],
      [1, '\u00ff', false, true],
      [2, 'dir/b', true, true],
      [4, 'a', true, false],
    ],
  );
  t.same(
    whole.versions.map(({ seq }) => seq),
    [1, 2, 3, 4],
  );
  for (const limit of [1, 2, 3, 6, 7]) {
    const seen: unknown[] = [];
    const versions: number[] = [];
    let since = start;
    for (;;) {
      const page = await changes(client, { since, limit });
      t.ok(page.changes.length <= limit);
      seen.push(...page.changes);
      versions.push(...page.versions.map(({ seq }) => seq));
      if (page.cursor === since) break;
      since = page.cursor;
    }
    t.same(seen, whole.changes);
    t.same(versions, [1, 2, 3, 4]);
  }
  const now = await changes(client);
  t.same(now, { cursor: whole.cursor, changes: [], versions: [] }, 'without a cursor: from now on');

  const limited = site.client(await site.token({ workspace: 'w', path: 'dir' }));
  const below = await changes(limited, { since: start });
  t.same(
    below.changes.map((change) => 'path' in change && change.path),
    ['dir/b', 'dir/c', 'dir/b'],
  );
  t.equal(below.cursor, whole.cursor);
  for (const since of ['another.0.', `${generation}.5.`])
    await t.rejects(changes(client, { since }), { code: 'conflict', status: 410, problemCode: 'generation' });
  for (const since of ['', 'x', '1.2', `${generation}.x.`, `${generation}.0.%`])
    if (since !== '') await t.rejects(changes(client, { since }), { code: 'usage', status: 400 });
});

void t.test('who waits is answered when somebody publishes, and not before', async (t) => {
  const site = await startServiceSite(t);
  const { catalog } = site.service.context;
  await catalog.ensureWorkspace('w');
  const client = site.client();
  const { cursor } = await changes(client);
  let isAnswered = false;
  const waiting = changes(client, { since: cursor, wait: 60 }).finally(() => (isAnswered = true));
  const newer = client.json(versionSchema, {
    path: '/v1/workspaces/w/newer',
    query: { after: 0, waitMs: 60_000 },
  });
  await sleep(300);
  t.equal(isAnswered, false);
  await catalog.publish(publicationOn(0, { added: [fileNamed('a')] }));
  const page = await waiting;
  t.match(page, { changes: [{ seq: 1, path: 'a' }], versions: [{ seq: 1 }] });
  t.match(await newer, { seq: 1 });
  t.same(await changes(client, { since: page.cursor, wait: 1 }), {
    cursor: page.cursor,
    changes: [],
    versions: [],
  });
  const none = await client.bytes({ path: '/v1/workspaces/w/newer', query: { after: 1, waitMs: 100 } }, 100);
  t.equal(none.length, 0);
});

void t.test(
  'events come as versions do, go on from the last one seen, and end with the service',
  async (t) => {
    const site = await startServiceSite(t);
    const { catalog } = site.service.context;
    const { generation } = await catalog.ensureWorkspace('w');
    await catalog.publish(publicationOn(0, { added: [fileNamed('a')] }));
    const listen = async (headers: Record<string, string>) => {
      const response = await fetch(`${site.url}${CHANGES}`, {
        headers: { authorization: `Bearer ${site.adminToken}`, accept: 'text/event-stream', ...headers },
      });
      t.match(response.headers.get('content-type'), /^text\/event-stream/);
      return eventsOf(response);
    };
    const events = await listen({ 'last-event-id': `${generation}.0.` });
    t.match((await events.next()).value, {
      id: `${generation}.1.`,
      page: { changes: [{ seq: 1, path: 'a' }] },
    });
    const fresh = await listen({});
    t.match((await fresh.next()).value, { page: { changes: [] } });
    await catalog.publish(publicationOn(1, { added: [fileNamed('b')] }));
    for (const one of [events, fresh])
      t.match((await one.next()).value, {
        id: `${generation}.2.`,
        page: { changes: [{ seq: 2, path: 'b' }] },
      });
    await fresh.return(undefined);
    const [ended] = await Promise.all([events.next().catch(() => ({ done: true })), site.stop()]);
    t.equal(ended.done, true, 'a service that stops does not wait for who listens');
  },
);

void t.test('who waits is let go when the token is revoked, or ends', async (t) => {
  const site = await startServiceSite(t);
  const { catalog, tokens } = site.service.context;
  const { generation } = await catalog.ensureWorkspace('w');
  const begun = (path: string): number => site.log.filter((line) => line.includes(path)).length;
  /** Three requests that wait; resolves when they do, with what becomes of them. */
  const wait = async (token: string): Promise<Promise<unknown>[]> => {
    const client = site.client(token);
    const events = eventsOf(
      await fetch(`${site.url}${CHANGES}`, {
        headers: { authorization: `Bearer ${token}`, accept: 'text/event-stream' },
      }),
    );
    t.match((await events.next()).value, { page: { changes: [] } });
    const before = begun('wait');
    const polls: Promise<unknown>[] = [
      changes(client, { since: `${generation}.0.`, wait: 60 }),
      client.done({ path: '/v1/workspaces/w/newer', query: { after: 0, waitMs: 60_000 } }),
    ];
    const refused = polls.map((poll) =>
      t.rejects(
        poll.then(() => undefined),
        { code: 'access-denied', status: 401 },
      ),
    );
    while (begun('wait') < before + polls.length) await new Promise((resolve) => setImmediate(resolve));
    return [events.next().then((next) => t.match(next, { done: true }, 'the stream ends')), ...refused];
  };
  const revoked = await site.token({});
  const waiting = [
    ...(await wait(revoked)),
    ...(await wait(await site.token({ expiresAtMs: Date.now() + 3_000 }))),
  ];
  await tokens.revoke(revoked.slice('cairn_'.length, revoked.indexOf('.')));
  await Promise.all(waiting);
});

interface Event {
  id: string;
  page: unknown;
}

async function* eventsOf(response: Response): AsyncGenerator<Event, undefined> {
  const decoder = new TextDecoder();
  let text = '';
  const body: AsyncIterable<Uint8Array> = response.body ?? ([][Symbol.iterator]() as never);
  for await (const part of body) {
    text += decoder.decode(part, { stream: true });
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const [, id = '', data = ''] = /^id: (.*)\ndata: (.*)$/.exec(text.slice(0, end)) ?? [];
      text = text.slice(end + 2);
      if (data !== '') yield { id, page: JSON.parse(data) as unknown };
    }
  }
  return undefined;
}
