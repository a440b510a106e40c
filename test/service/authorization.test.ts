import t, { type Test } from 'tap';
import { attenuateToken, type Right } from '../../src/wire/index.js';
import { ROUTE_RIGHTS } from './route-rights.js';
import { startServiceSite, type ServiceSite } from './service-site.js';

/** What becomes of a request: `in`: who asks may; `hidden`: there is no such workspace for him. */
type Outcome = 'in' | 'no token' | 'hidden' | 'forbidden';

interface Kind {
  name: string;
  token: string | undefined;
  /** Where the token is good at all. */
  isGood: boolean;
  /** Its rights in the workspace asked for. */
  can: readonly Right[];
  isPathLimited: boolean;
  isAdministrator: boolean;
}

const WORKSPACE = 'team-a';
const ALL = ['read', 'write', 'admin'] as const;
const PARAMETERS: Readonly<Record<string, string>> = { v: '1', tag: 'stable', '*': 'docs/a' };

async function kindsOf(site: ServiceSite): Promise<Kind[]> {
  const none = { isGood: false, can: [], isPathLimited: false, isAdministrator: false };
  const good = { ...none, isGood: true };
  const revoked = await site.token({ can: ALL });
  await site.service.context.tokens.revoke(revoked.slice(6, revoked.indexOf('.')));
  const everything = await site.token({ can: ALL });
  const kinds: Kind[] = [
    { ...none, name: 'no token', token: undefined },
    { ...none, name: 'no token at all in the header', token: '' },
    { ...none, name: 'a forged token', token: `${everything.slice(0, -4)}AAAA` },
    {
      ...none,
      name: 'a token that ended',
      token: await site.token({ can: ALL, expiresAtMs: Date.now() - 1 }),
    },
    { ...none, name: 'a derived token that ended', token: attenuateToken(everything, { untilMs: 1 }) },
    { ...none, name: 'a revoked token', token: revoked },
    {
      ...none,
      name: 'a token derived from a revoked one',
      token: attenuateToken(revoked, { can: ['read'] }),
    },
    {
      ...good,
      name: 'a token for another workspace',
      token: await site.token({ workspace: 'other', can: ALL }),
    },
    {
      ...good,
      name: 'a token derived for another',
      token: attenuateToken(everything, { workspace: 'other' }),
    },
    { ...good, name: 'a token without rights', token: attenuateToken(everything, { can: [] }) },
    {
      ...good,
      name: 'a token for paths that exclude each other',
      token: attenuateToken(await site.token({ can: ALL, path: 'docs' }), { path: Buffer.from('src') }),
      isPathLimited: true,
    },
    { ...good, name: 'who administers the service', token: everything, can: ALL, isAdministrator: true },
    { ...good, name: 'admin there', token: await site.token({ workspace: 'team-*', can: ALL }), can: ALL },
  ];
  for (const can of [['read'], ['write'], ['admin'], ['read', 'write']] as const) {
    const name = can.join(' and ');
    kinds.push(
      { ...good, name, token: await site.token({ workspace: 'team-*', can }), can },
      {
        ...good,
        name: `derived: ${name}`,
        token: attenuateToken(everything, { workspace: WORKSPACE, can }),
        can,
      },
      {
        ...good,
        name: `${name}, everywhere`,
        token: await site.token({ can }),
        can,
        // Without the rights of a reader one administers all the same.
        isAdministrator: can.includes('admin' as never),
      },
      {
        ...good,
        name: `${name}, of a folder`,
        token: await site.token({ workspace: 'team-*', path: 'docs', can }),
        can,
        isPathLimited: true,
      },
    );
  }
  return kinds;
}

function expected(rights: string, kind: Kind): Outcome {
  if (rights === 'anybody') return 'in';
  if (!kind.isGood) return 'no token';
  if (rights === 'any token') return 'in';
  if (rights === 'administrator') return kind.isAdministrator ? 'in' : 'forbidden';
  const [right, ...where] = rights.split(' ');
  if (kind.can.length === 0) return 'hidden';
  if (!kind.can.includes(right as Right)) return 'forbidden';
  return where.join(' ') === 'everywhere' && kind.isPathLimited ? 'forbidden' : 'in';
}

const HIDDEN = { status: 404, detail: `no workspace "${WORKSPACE}"` };

async function ask(
  site: ServiceSite,
  method: string,
  url: string,
  kind: Kind,
  workspace: string,
  address: string,
) {
  const path = url.replaceAll(/:(\w+)|\*/g, (part, name: string | undefined) =>
    name === 'ws' ? workspace : (PARAMETERS[name ?? part] ?? '00'),
  );
  const response = await site.service.app.inject({
    method: method as 'GET',
    url: path,
    headers: kind.token === undefined ? {} : { authorization: `Bearer ${kind.token}` },
    // Who guesses at tokens is held up by his address.
    remoteAddress: address,
  });
  const isProblem = response.headers['content-type'] === 'application/problem+json' && method !== 'HEAD';
  const { detail = '' } = isProblem ? response.json<{ detail: string }>() : {};
  return { status: response.statusCode, detail, body: response.body };
}

function outcomeOf(
  { status, detail }: { status: number; detail: string },
  method: string,
  kind: Kind,
): Outcome {
  if (status === 401) return 'no token';
  if (status === 403) return 'forbidden';
  // HEAD has no words; a kind that may see the workspace would not be told 404 for it.
  const isHidden =
    status === HIDDEN.status && (method === 'HEAD' ? kind.can.length === 0 : detail === HIDDEN.detail);
  return isHidden ? 'hidden' : 'in';
}

async function prepared(t: Test): Promise<ServiceSite> {
  const site = await startServiceSite(t);
  await site.publish(WORKSPACE, { 'docs/a': 'text' });
  await site.service.context.catalog.setTag(WORKSPACE, 'stable', 1);
  return site;
}

void t.test(
  'every route asks for the right that is written down for it, of every kind of token',
  async (t) => {
    const site = await prepared(t);
    const { routeTable } = site.service.app;
    t.same(
      routeTable.map(({ method, url }) => `${method} ${url}`).sort(),
      Object.keys(ROUTE_RIGHTS).sort(),
      'a route that is new has its line in route-rights.ts',
    );
    const kinds = await kindsOf(site);
    let requests = 0;
    for (const { method, url } of routeTable) {
      const rights = ROUTE_RIGHTS[`${method} ${url}`] ?? '';
      for (const kind of kinds) {
        requests += 1;
        const answer = await ask(
          site,
          method,
          url,
          kind,
          WORKSPACE,
          `10.0.${String(requests >> 8)}.${String(requests & 255)}`,
        );
        const found = outcomeOf(answer, method, kind);
        if (found !== expected(rights, kind) || answer.status >= 500) {
          t.fail(`${method} ${url} by ${kind.name}: ${found} (${String(answer.status)} ${answer.detail})`);
        }
        await site.service.context.catalog.undeleteWorkspace(WORKSPACE).catch(() => undefined);
      }
    }
    t.ok(requests > 500);
  },
);

void t.test('what a token may not know of answers as what is not there', async (t) => {
  const site = await prepared(t);
  const stranger = (await kindsOf(site)).find(({ name }) => name === 'a token for another workspace');
  for (const { method, url, scope } of site.service.app.routeTable) {
    if (scope === 'service' || stranger === undefined) continue;
    const there = await ask(site, method, url, stranger, WORKSPACE, '10.1.0.1');
    const nowhere = await ask(site, method, url, stranger, 'no-such', '10.1.0.1');
    const blurred = ({ status, body }: typeof there, name: string) => [
      status,
      body.replaceAll(name, '…').replaceAll(/"instance":"[^"]*"/g, ''),
    ];
    t.same(blurred(there, WORKSPACE), blurred(nowhere, 'no-such'), `${method} ${url}`);
  }
});
