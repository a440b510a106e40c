import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import t, { type Test } from 'tap';
import { checkManifest } from '../../src/manifest/index.js';
import { patternedBytes } from '../fixtures/patterned-bytes.js';
import { scratchFolder } from '../fixtures/scratch-folder.js';
import { ask, jsonOf, type Answer, type Ask } from './plain-http.js';
import { startServiceSite, type ServiceSite } from './service-site.js';

const MIB = 1024 * 1024;

const HEAD = '/v1/workspaces/demo/versions/head/files';

const put = (site: ServiceSite, path: string, body: Buffer | Readable, more: Ask = {}): Promise<Answer> =>
  ask(site, `${HEAD}/${path}`, { method: 'PUT', body, ...more });

interface Listing {
  version: number;
  entries: { name?: string; nameBase64?: string; kind: string; target?: string }[];
  next?: string;
}

const listingOf = (answer: Answer): Listing => jsonOf(answer) as Listing;

async function siteWithWorkspace(t: Test): Promise<ServiceSite> {
  const site = await startServiceSite(t);
  await site.service.context.catalog.ensureWorkspace('demo');
  return site;
}

/** Every manifest of the workspace breaks no rule, and nobody holds one any more. */
async function checkVersions(t: Test, site: ServiceSite): Promise<void> {
  const { catalog, manifests } = site.service.context;
  for (const { root, seq } of await catalog.versions('demo')) {
    const lease = await manifests.lease(root);
    t.same([...checkManifest(lease.reader)], [], `version ${String(seq)} breaks no rule`);
    lease.release();
  }
}

void t.test('files are put, read and deleted by path, and each change is a version', async (t) => {
  const site = await siteWithWorkspace(t);
  const created = await put(site, 'src/deep/main.c', Buffer.from('int main;'), {
    headers: { 'content-type': 'application/json' },
  });
  t.equal(created.status, 201, created.body.toString());
  t.match(jsonOf(created), { created: true, version: { seq: 1, files: 1, author: 'a test' } });

  const read = await ask(site, `${HEAD}/src/deep/main.c`);
  t.equal(read.status, 200);
  t.equal(read.body.toString(), 'int main;');
  const hash = createHash('sha256').update('int main;').digest('hex');
  t.match(read.headers, {
    etag: `"${hash}"`,
    'content-length': '9',
    'content-type': 'application/octet-stream',
    'accept-ranges': 'bytes',
    'cache-control': 'private, no-cache',
    'cairn-version': '1',
    'cairn-mode': '100644',
    'last-modified': /GMT$/,
  });
  t.match(
    (await ask(site, '/v1/workspaces/demo/versions/1/files/src/deep/main.c')).headers['cache-control'],
    /immutable/,
  );

  const again = await put(site, 'src/deep/main.c', Buffer.from('int main;'));
  t.match(jsonOf(again), { created: false, version: { seq: 1 } }, 'what differs in nothing makes no version');
  const query = '?message=made%20it%20run&mode=755&mtimeMs=-1500';
  t.equal((await put(site, `src/deep/main.c${query}`, Buffer.from('changed'))).status, 200);
  const changed = await ask(site, `${HEAD}/src/deep/main.c`, { method: 'HEAD' });
  t.match(changed.headers, {
    'cairn-mode': '100755',
    'content-length': '7',
    'last-modified': 'Wed, 31 Dec 1969 23:59:58 GMT',
  });
  t.equal(changed.body.length, 0);
  t.equal((await site.service.context.catalog.version('demo')).message, 'made it run');
  t.equal(
    (await ask(site, '/v1/workspaces/demo/versions/1/files/src/deep/main.c')).body.toString(),
    'int main;',
  );

  t.equal(
    (await ask(site, `${HEAD}/src`, { method: 'DELETE' })).status,
    409,
    'a folder with something in it stays',
  );
  t.equal((await ask(site, `${HEAD}/src?recursive=true`, { method: 'DELETE' })).status, 200);
  t.equal((await ask(site, `${HEAD}/src/deep/main.c`)).status, 404);
  t.equal((await ask(site, `${HEAD}/src`, { method: 'DELETE' })).status, 404);
  t.equal((await put(site, '', Buffer.from('x'))).status, 409, 'the root is a folder');
  t.equal((await put(site, 'a/../b', Buffer.from('x'))).status, 400);
  t.equal((await ask(site, '/v1/workspaces/demo/versions/1/files/x', { method: 'PUT' })).status, 405);
  t.equal((await ask(site, '/v1/workspaces/demo/versions/9/files/x')).status, 404);
  t.equal((await ask(site, '/v1/workspaces/none/versions/head/files/x')).status, 404);
  await checkVersions(t, site);
});

void t.test('a path is bytes, escaped in the URL', async (t) => {
  const site = await siteWithWorkspace(t);
  const names = [
    '%ff%fe',
    'a%2Fb',
    'h%C3%A4%C3%9Flich',
    '100%25',
    'a?b'.replace('?', '%3F'),
    '~x',
    '%0A',
    '+ +'.replaceAll(' ', '%20'),
  ];
  for (const name of names) {
    t.equal((await put(site, `names/${name}`, Buffer.from(name))).status, 201, name);
    t.equal((await ask(site, `${HEAD}/names/${name}`)).body.toString(), name);
  }
  const { entries } = listingOf(await ask(site, `${HEAD}/names`));
  t.same(
    entries.map(({ name, nameBase64 }) => name ?? nameBase64),
    [Buffer.from([0xff, 0xfe]).toString('base64'), 'a', 'häßlich', '100%', 'a?b', '~x', '\n', '+ +'],
  );
  for (const wrong of ['%', '%f', '%zz', 'a%0']) {
    t.equal((await ask(site, `${HEAD}/${wrong}`)).status, 400, wrong);
  }
  for (const none of ['names/', 'names/%00', '%2e%2e/x', 'names/none']) {
    t.ok([200, 404].includes((await ask(site, `${HEAD}/${none}`)).status), none);
  }
});

void t.test('ranges and conditions of a file are as RFC 9110 has them', async (t) => {
  const site = await siteWithWorkspace(t);
  const bytes = patternedBytes('file', 5 * MIB);
  const { etag = '' } = (await put(site, 'f?mtimeMs=1700000000500', bytes)).headers;
  await put(site, 'empty', Buffer.alloc(0));
  const part = async (range: string, more: Record<string, string> = {}, path = 'f'): Promise<Answer> =>
    ask(site, `${HEAD}/${path}`, { headers: { range, ...more } });

  for (const [range, start, end] of [
    ['bytes=0-0', 0, 1],
    ['bytes=5-', 5, bytes.length],
    ['bytes=-7', bytes.length - 7, bytes.length],
    ['bytes=1000000-3000000', 1_000_000, 3_000_001],
    ['bytes=100-999999999999', 100, bytes.length],
    ['bytes=-999999999999', 0, bytes.length],
  ] as const) {
    const answer = await part(range);
    t.equal(answer.status, 206, range);
    t.equal(
      answer.headers['content-range'],
      `bytes ${String(start)}-${String(end - 1)}/${String(bytes.length)}`,
    );
    t.equal(answer.headers['content-length'], String(end - start));
    t.ok(answer.body.equals(bytes.subarray(start, end)));
  }
  for (const range of [`bytes=${String(bytes.length)}-`, 'bytes=-0']) {
    const answer = await part(range);
    t.equal(answer.status, 416, range);
    t.equal(answer.headers['content-range'], `bytes */${String(bytes.length)}`);
  }
  t.equal((await part('bytes=0-', {}, 'empty')).status, 416);
  for (const range of ['bytes=5-2', 'bytes=0-1,5-6', 'lines=1-2', 'bytes=', 'bytes=a-b']) {
    t.ok((await part(range)).body.equals(bytes), `${range} is passed over`);
  }
  const date = 'Tue, 14 Nov 2023 22:13:20 GMT';
  t.equal((await part('bytes=0-0', { 'if-range': etag })).status, 206);
  t.equal((await part('bytes=0-0', { 'if-range': '"other"' })).status, 200);
  t.equal((await part('bytes=0-0', { 'if-range': date })).status, 206);
  t.equal((await part('bytes=0-0', { 'if-range': 'Tue, 14 Nov 2023 22:13:21 GMT' })).status, 200);

  const conditional = async (headers: Record<string, string>): Promise<number> =>
    (await ask(site, `${HEAD}/f`, { headers })).status;
  t.equal(await conditional({ 'if-none-match': etag }), 304);
  t.equal(await conditional({ 'if-none-match': `"a", W/${etag}` }), 304);
  t.equal(await conditional({ 'if-none-match': '*' }), 304);
  t.equal(await conditional({ 'if-none-match': '"a"', 'if-modified-since': date }), 200, 'the tag decides');
  t.equal(await conditional({ 'if-modified-since': date }), 304);
  t.equal(await conditional({ 'if-modified-since': 'nonsense' }), 200);
  t.equal(await conditional({ 'if-match': etag }), 200);
  t.equal(await conditional({ 'if-match': `W/${etag}` }), 412);
  t.equal(await conditional({ 'if-unmodified-since': 'Tue, 14 Nov 2023 22:13:19 GMT' }), 412);

  const change = async (headers: Record<string, string>, path = 'f'): Promise<number> =>
    (await put(site, path, Buffer.from(JSON.stringify(headers)), { headers })).status;
  t.equal(await change({ 'if-none-match': '*' }), 412, 'something is there');
  t.equal(await change({ 'if-match': '"other"' }), 412);
  t.equal(await change({ 'if-match': etag }, 'none'), 412, 'nothing is there');
  t.equal(await change({ 'if-match': etag }), 200);
  t.equal(await change({ 'if-match': etag }), 412, 'it is another by now');
  t.equal(await change({ 'if-none-match': '*' }, 'new'), 201);
  t.equal((await ask(site, `${HEAD}/f`, { method: 'DELETE', headers: { 'if-match': etag } })).status, 412);
});

void t.test('a folder is a listing in pages, and an archive', async (t) => {
  const site = await siteWithWorkspace(t);
  for (let index = 0; index < 7; index++) await put(site, `a/f${String(index)}`, Buffer.from(String(index)));
  await put(site, 'a/sub/large', patternedBytes('large', 3 * MIB));
  const seen: string[] = [];
  for (let query = '?limit=3'; ;) {
    const page = listingOf(await ask(site, `${HEAD}/a${query}`));
    t.ok(page.entries.length <= 3);
    seen.push(...page.entries.map(({ name, kind }) => `${kind} ${name ?? ''}`));
    if (page.next === undefined) break;
    query = `?limit=3&after=${page.next}`;
  }
  t.same(seen, [...Array.from({ length: 7 }, (_, index) => `file f${String(index)}`), 'directory sub']);

  const folder = scratchFolder(t);
  for (const [archive, program] of [
    ['tar', (file: string, to: string) => execFileSync('tar', ['-xf', file, '-C', to])],
    ['zip', (file: string, to: string) => execFileSync('unzip', ['-q', file, '-d', to])],
  ] as const) {
    const answer = await ask(site, `${HEAD}/a?archive=${archive}`);
    t.equal(answer.status, 200);
    const to = join(folder, archive);
    mkdirSync(to);
    writeFileSync(join(folder, `a.${archive}`), answer.body);
    program(join(folder, `a.${archive}`), to);
    t.ok(readFileSync(join(to, 'sub', 'large')).equals(patternedBytes('large', 3 * MIB)));
    t.equal(readFileSync(join(to, 'f6'), 'utf8'), '6');
  }
});

void t.test('a token for some paths sees those, and what leads to them', async (t) => {
  const site = await siteWithWorkspace(t);
  for (const path of ['a/b/one', 'a/c/two', 'three']) await put(site, path, Buffer.from(path));
  const token = await site.token({ path: 'a/b', can: ['read', 'write'] });
  const status = async (path: string, method = 'GET'): Promise<number> =>
    (
      await ask(site, `${HEAD}/${path}`, {
        token,
        method,
        ...(method === 'PUT' && { body: Buffer.from('x') }),
      })
    ).status;
  t.equal(await status('a/b/one'), 200);
  for (const path of ['a/c/two', 'a/c', 'three', 'none']) t.equal(await status(path), 404, path);
  for (const [path, names] of [
    ['', ['a']],
    ['a', ['b']],
    ['a/b', ['one']],
  ] as const) {
    const { entries } = listingOf(await ask(site, `${HEAD}/${path}`, { token }));
    t.same(
      entries.map(({ name }) => name),
      names,
    );
  }
  t.equal(await status('a?archive=tar'), 404, 'an archive would hold more');
  t.equal(await status('a/b?archive=tar'), 200);
  t.equal(await status('a/b/new', 'PUT'), 201);
  for (const path of ['a/new', 'a/bc', 'three', '']) {
    t.equal(await status(path, 'PUT'), 404, `${path} is not its to write`);
    t.equal(await status(path, 'DELETE'), 404);
  }
  const reader = await site.token({ can: ['read'] });
  t.equal((await put(site, 'x', Buffer.from('x'), { token: reader })).status, 403);
});

void t.test('writers at the same time make one version each, and none is lost', async (t) => {
  const site = await siteWithWorkspace(t);
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, index) => put(site, `d/f${String(index)}`, Buffer.from(String(index)))),
  );
  t.same([...new Set(answers.map(({ status }) => status))], [201]);
  const version = await site.service.context.catalog.version('demo');
  t.equal(version.seq, 20);
  t.equal(version.files, 20);
  const claims = await Promise.all(
    Array.from({ length: 10 }, (_, index) =>
      put(site, 'claim', Buffer.from(String(index)), { headers: { 'if-none-match': '*' } }),
    ),
  );
  t.same(claims.map(({ status }) => status).sort(), [201, ...Array.from({ length: 9 }, () => 412)]);
  await checkVersions(t, site);
});

/** Some bytes again and again, which differ from megabyte to megabyte. */
async function* manyBytes(megabytes: number): AsyncGenerator<Buffer> {
  const piece = patternedBytes('piece', MIB);
  for (let index = 0; index < megabytes; index++) {
    piece.writeUInt32LE(index, 0);
    yield Buffer.from(piece);
    await Promise.resolve();
  }
}

void t.test('a large file goes in and out in bounded memory', async (t) => {
  const site = await siteWithWorkspace(t);
  const megabytes = process.env['CAIRN_TEST_LARGE'] === '1' ? 4096 : 200;
  const hash = createHash('sha256');
  for await (const piece of manyBytes(megabytes)) hash.update(piece);
  const before = process.memoryUsage().rss;
  const answer = await put(site, 'large', Readable.from(manyBytes(megabytes)));
  t.equal(answer.status, 201, answer.body.toString());
  const read = createHash('sha256');
  let peak = process.memoryUsage().rss;
  const reading = await fetch(`${site.url}${HEAD}/large`, {
    headers: { authorization: `Bearer ${site.adminToken}` },
  });
  t.equal(reading.headers.get('content-length'), String(megabytes * MIB));
  const body: AsyncIterable<Uint8Array> = reading.body ?? Readable.from([]);
  for await (const piece of body) {
    read.update(piece);
    peak = Math.max(peak, process.memoryUsage().rss);
  }
  t.equal(read.digest('hex'), hash.digest('hex'));
  const grownMib = (peak - before) / MIB;
  t.ok(grownMib < 150, `client and service together grew by ${grownMib.toFixed()} MiB`);
});

void t.test('a reader that goes away lets go of what it read', async (t) => {
  const site = await siteWithWorkspace(t);
  await put(site, 'd/large', Readable.from(manyBytes(40)));
  const { manifests, catalog } = site.service.context;
  for (const path of ['d/large', 'd?archive=tar', 'd?archive=zip']) {
    await new Promise<void>((resolve, reject) => {
      const request = httpRequest(
        `${site.url}${HEAD}/${path}`,
        { headers: { authorization: `Bearer ${site.adminToken}` } },
        (response) => {
          response.once('data', () => {
            response.destroy();
            resolve();
          });
          response.once('error', reject);
        },
      );
      request.once('error', () => undefined);
      request.end();
    });
  }
  const { root } = await catalog.version('demo');
  while (manifests.usersOf(root) > 0) await new Promise((resolve) => setImmediate(resolve));
  t.equal(manifests.usersOf(root), 0);
});

void t.test('so many archives are made at once and no more; who leaves makes room', async (t) => {
  const site = await siteWithWorkspace(t);
  await put(site, 'd/large', Readable.from(manyBytes(40)));
  const held: IncomingMessage[] = [];
  const archive = async (): Promise<number> => {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const headers = { authorization: `Bearer ${site.adminToken}` };
      httpRequest(`${site.url}${HEAD}/d?archive=tar`, { headers }, resolve).once('error', reject).end();
    });
    const { statusCode = 0 } = response;
    if (statusCode === 200) held.push(response);
    else {
      t.ok(Number(response.headers['retry-after']) > 0);
      response.resume();
    }
    return statusCode;
  };
  let status = 200;
  while (status === 200 && held.length < 1000) status = await archive();
  t.equal(status, 503);
  t.ok(held.length >= 4, String(held.length));
  t.equal((await ask(site, `${HEAD}/d?archive=tar`, { method: 'HEAD' })).status, 200, 'which makes none');
  held.pop()?.destroy();
  while ((status = await archive()) === 503) await new Promise((resolve) => setImmediate(resolve));
  t.equal(status, 200);
  for (const response of held) response.destroy();
});
