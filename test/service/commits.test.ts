import { createHash, randomUUID } from 'node:crypto';
import t, { type Test } from 'tap';
import { chunkListContentId, nextChunkLength, PackWriter } from '../../src/blocks/index.js';
import {
  blockIdOf,
  contentIdOf,
  PACKED_FILE_MAX_BYTES,
  ROOT_INO,
  WHOLE_HASH_MAX_BYTES,
} from '../../src/core/index.js';
import { checkManifest, resolvePath, walk } from '../../src/manifest/index.js';
import { readContent } from '../../src/snapshot/index.js';
import { patternedBytes } from '../fixtures/patterned-bytes.js';
import { startPostgres, whyNoPostgres } from '../fixtures/postgres-server.js';
import { ask, jsonOf, type Answer, type Ask } from './plain-http.js';
import { startServiceSite, type ServiceSite } from './service-site.js';

const MIB = 1024 * 1024;

const sha256 = (bytes: Buffer): Buffer => createHash('sha256').update(bytes).digest();

/** A client of nothing but the documentation: cuts, packs, and asks what is missing. */
class CommitClient {
  requests = 0;
  readonly blocks = new Map<string, Buffer>();
  readonly #site: ServiceSite;
  readonly #workspace: string;
  readonly #pack = new PackWriter();
  #packed: ((block: string) => void)[] = [];

  constructor(site: ServiceSite, workspace = 'demo') {
    this.#site = site;
    this.#workspace = workspace;
  }

  async ask(path: string, options: Ask & { json?: unknown } = {}): Promise<Answer> {
    this.requests += 1;
    const { json, ...plain } = options;
    const headers = { ...(json !== undefined && { 'content-type': 'application/json' }), ...plain.headers };
    const body = json === undefined ? plain.body : Buffer.from(JSON.stringify(json));
    return ask(this.#site, `/v1/workspaces/${this.#workspace}/commits${path}`, {
      ...plain,
      headers,
      ...(body !== undefined && { body }),
    });
  }

  /** A change that puts a file; a small one's block is known when the pack is closed, at the latest by `closePack`. */
  put(path: string, bytes: Buffer): object {
    const put = { kind: 'put', path, content: {} as object };
    if (bytes.length <= PACKED_FILE_MAX_BYTES) {
      const at = this.#pack.append(bytes);
      this.#packed.push((block) => {
        const chunks = [{ block, length: bytes.length, at }];
        put.content = { hash: contentIdOf(sha256(bytes)), size: bytes.length, chunks };
      });
      if (this.#pack.full) this.closePack();
      return put;
    }
    const chunks: { block: string; length: number }[] = [];
    for (let offset = 0; offset < bytes.length;) {
      const length = nextChunkLength(bytes, offset, bytes.length);
      chunks.push({ block: this.#keep(bytes.subarray(offset, offset + length)), length });
      offset += length;
    }
    const hash =
      bytes.length > WHOLE_HASH_MAX_BYTES
        ? chunkListContentId(chunks.map(({ block, length }) => ({ id: block as never, length })))
        : contentIdOf(sha256(bytes));
    put.content = { hash, size: bytes.length, chunks };
    return put;
  }

  closePack(): void {
    if (this.#pack.length === 0) return;
    const block = this.#keep(this.#pack.take());
    for (const isPacked of this.#packed.splice(0)) isPacked(block);
  }

  #keep(raw: Buffer): string {
    const id = blockIdOf(sha256(raw));
    this.blocks.set(id, raw);
    return id;
  }

  async upload(commit: string, ids: readonly string[]): Promise<void> {
    const waiting = [...ids];
    const uploadSome = async (): Promise<void> => {
      for (let id = waiting.pop(); id !== undefined; id = waiting.pop()) {
        const { status, body } = await this.putBlock(commit, id, this.blocks.get(id) ?? Buffer.alloc(0));
        if (status !== 204) throw new Error(`${String(status)} ${body.toString()}`);
      }
    };
    await Promise.all(Array.from({ length: 8 }, uploadSome));
  }

  putBlock(commit: string, id: string, body: Buffer): Promise<Answer> {
    return this.ask(`/${commit}/blocks/${id}`, { method: 'PUT', body });
  }

  async open(
    json: object,
  ): Promise<{ status: number; id: string; missing: string[]; version?: { seq: number } }> {
    const answer = await this.ask('', { method: 'POST', json });
    return { status: answer.status, ...(jsonOf(answer) as { id: string; missing: string[] }) };
  }

  finish(commit: string): Promise<Answer> {
    return this.ask(`/${commit}/finish`, { method: 'POST' });
  }
}

async function siteWithWorkspace(t: Test, options: { catalog?: string } = {}): Promise<ServiceSite> {
  const site = await startServiceSite(t, options);
  await site.service.context.catalog.ensureWorkspace('demo');
  return site;
}

/** Path to bytes of the head, whose manifest breaks no rule. */
async function contentsOf(t: Test, site: ServiceSite, workspace = 'demo'): Promise<Record<string, string>> {
  const { catalog, manifests, blocks } = site.service.context;
  const lease = await manifests.lease((await catalog.version(workspace)).root);
  const { reader } = lease;
  t.same([...checkManifest(reader)], []);
  const contents: Record<string, string> = {};
  for (const { path } of walk(reader, ROOT_INO)) {
    const ino = resolvePath(reader, path) ?? 0;
    if (reader.content(ino) === undefined) {
      contents[path.toString('latin1')] = reader.symlink(ino)?.toString() ?? '/';
      continue;
    }
    const pieces: Buffer[] = [];
    for await (const piece of readContent(reader, blocks, ino)) pieces.push(piece);
    contents[path.toString('latin1')] = blockIdOf(sha256(Buffer.concat(pieces)));
  }
  lease.release();
  return contents;
}

const idOf = (bytes: Buffer): string => blockIdOf(sha256(bytes));

/** From the first request to the version, as the documentation has it. */
async function checkCommit(t: Test, site: ServiceSite): Promise<void> {
  const client = new CommitClient(site);
  const large = patternedBytes('large', 20 * MIB);
  const middle = patternedBytes('middle', 3 * MIB);
  const small = patternedBytes('small', 5000);
  const changes = [
    client.put('data/large', large),
    client.put('data/middle', middle),
    client.put('src/small', small),
    client.put('src/other', patternedBytes('other', 6000)),
    {
      kind: 'put',
      path: 'inline/tiny',
      content: { bytes: Buffer.from('tiny').toString('base64') },
      mode: 0o755,
    },
    { kind: 'put', path: 'inline/more', content: { bytes: patternedBytes('more', 2000).toString('base64') } },
    { kind: 'put', pathBase64: Buffer.from([0x61, 0xff]).toString('base64'), content: { bytes: '' } },
    { kind: 'mkdir', path: 'src', mtime: { sec: 5, nsec: 6 } },
    { kind: 'symlink', path: 'link', target: 'src/small' },
    {
      kind: 'put',
      path: 'zeros',
      content: { hash: idOf(Buffer.alloc(MIB)), size: MIB, chunks: [{ length: MIB }] },
    },
  ];
  client.closePack();
  const request = { key: 'first', base: 0, message: 'all of it', changes };
  const opened = await client.open(request);
  t.equal(opened.status, 201);
  t.same([...opened.missing].sort(), [...client.blocks.keys()].sort());
  t.match(jsonOf(await client.finish(opened.id)), { status: 409, code: 'missing-blocks' });

  // A part of them, in another order, one of them twice; then the client has forgotten all, and the service has been away.
  const some = opened.missing.slice(0, -2).reverse();
  await client.upload(opened.id, [...some, ...some.slice(0, 1)]);
  await site.stop();
  await site.restart();
  const again = await client.open(request);
  t.equal(again.status, 200);
  t.equal(again.id, opened.id, 'a key is one commit');
  t.same([...again.missing].sort(), opened.missing.slice(-2).sort(), 'and goes on where it was');
  await client.upload(again.id, again.missing);
  t.match(jsonOf(await client.ask(`/${again.id}`)), { missing: [] });
  const finished = await client.finish(again.id);
  t.match(jsonOf(finished), {
    created: true,
    version: { seq: 1, message: 'all of it', author: 'a test', files: 8 },
  });
  t.same(jsonOf(await client.finish(again.id)), jsonOf(finished), 'finishing again changes nothing');
  t.match(await client.open(request), { status: 200, version: { seq: 1 }, missing: [] });
  t.match(jsonOf(await client.ask('', { method: 'POST', json: { ...request, message: 'x' } })), {
    status: 409,
    code: 'key-reused',
  });
  t.same(await contentsOf(t, site), {
    data: '/',
    'data/large': idOf(large),
    'data/middle': idOf(middle),
    src: '/',
    'src/small': idOf(small),
    'src/other': idOf(patternedBytes('other', 6000)),
    inline: '/',
    'inline/tiny': idOf(Buffer.from('tiny')),
    'inline/more': idOf(patternedBytes('more', 2000)),
    'a\xff': idOf(Buffer.alloc(0)),
    link: 'src/small',
    zeros: idOf(Buffer.alloc(MIB)),
  });

  // What is there need not be sent again, under other names and after others have changed the head.
  const next = {
    key: 'next',
    base: 1,
    changes: [client.put('copy', middle), { kind: 'delete', path: 'data' }],
  };
  const second = await client.open(next);
  t.same(second.missing, []);
  await ask(site, '/v1/workspaces/demo/versions/head/files/theirs', {
    method: 'PUT',
    body: Buffer.from('x'),
  });
  const refused = await client.finish(second.id);
  t.match(jsonOf(refused), { status: 409, code: 'conflict' });
  t.equal(refused.headers['cairn-head'], '2');
  const third = await client.open({ ...next, key: 'once more', base: 2 });
  t.match(jsonOf(await client.finish(third.id)), { version: { seq: 3 } });
  const paths = Object.keys(await contentsOf(t, site));
  t.ok(paths.includes('copy') && paths.includes('theirs') && !paths.includes('data/large'));
}

void t.test('a version is committed: what changes, what is missing, the end', async (t) => {
  await checkCommit(t, await siteWithWorkspace(t));
});

const why = whyNoPostgres();
void t.test('and so it is over PostgreSQL', { skip: why ?? false }, async (t) => {
  const server = await startPostgres();
  t.teardown(() => server.stop());
  await checkCommit(t, await siteWithWorkspace(t, { catalog: await server.newUrl() }));
});

void t.test('ten changes take two requests, and a third only where blocks are missing', async (t) => {
  const site = await siteWithWorkspace(t);
  const client = new CommitClient(site);
  const changes = Array.from({ length: 10 }, (_, index) => ({
    kind: 'put',
    path: `f${String(index)}`,
    content: { bytes: patternedBytes(index, 3000).toString('base64') },
  }));
  const { id, missing } = await client.open({ key: 'a', base: 0, changes });
  t.same(missing, []);
  t.equal((await client.finish(id)).status, 200);
  t.equal(client.requests, 2);
});

void t.test('what is not what it is said to be is refused, and nothing is published', async (t) => {
  const site = await siteWithWorkspace(t);
  const client = new CommitClient(site);
  const bytes = patternedBytes('bytes', 300_000);
  const put = client.put('f', bytes) as { content: { hash: string; chunks: object[] } };
  const [block] = [...client.blocks.keys()];
  const finishOf = async (json: object): Promise<unknown> => {
    const { id, missing } = await client.open({ base: 0, key: randomUUID(), ...json });
    await client.upload(id, missing);
    return jsonOf(await client.finish(id));
  };
  const { id } = await client.open({ key: 'a', base: 0, changes: [put] });
  t.match(jsonOf(await client.putBlock(id, block ?? '', bytes.subarray(1))), { status: 422, code: 'unfit' });
  t.equal((await client.putBlock(id, block ?? '', Buffer.alloc(0))).status, 400);
  t.equal((await client.putBlock(id, block ?? '', Buffer.alloc(4 * MIB + 1))).status, 413);
  t.equal((await client.putBlock('none', block ?? '', bytes)).status, 404);

  const content = put.content;
  const other = contentIdOf(sha256(Buffer.from('other')));
  const wrong: [string, object, number][] = [
    ['another hash', { ...content, hash: other }, 422],
    [
      'bytes beyond the block',
      { ...content, size: bytes.length + 1, chunks: [{ block, length: bytes.length + 1 }] },
      422,
    ],
    ['less of it', { ...content, size: 10, chunks: [{ block, length: 10 }] }, 422],
  ];
  for (const [what, wrongContent, status] of wrong) {
    t.match(
      await finishOf({ changes: [{ kind: 'put', path: 'f', content: wrongContent }] }),
      { status },
      what,
    );
  }
  const malformed: [string, object][] = [
    ['chunks that are not the size', { kind: 'put', path: 'f', content: { ...content, size: 5 } }],
    ['two paths', { kind: 'mkdir', path: 'f', pathBase64: 'Zg==' }],
    ['no path', { kind: 'mkdir' }],
    ['no target', { kind: 'symlink', path: 'f' }],
    ['a field nobody knows', { kind: 'mkdir', path: 'f', colour: 'red' }],
    ['an unknown kind', { kind: 'rename', path: 'f' }],
  ];
  for (const [what, change] of malformed) {
    t.equal((await client.open({ key: randomUUID(), base: 0, changes: [change] })).status, 400, what);
  }
  t.match(await finishOf({ changes: [{ kind: 'mkdir', path: '../f' }] }), { status: 400 });
  t.match(await finishOf({ changes: [{ kind: 'delete', path: 'none' }] }), { status: 404 });
  t.equal((await client.open({ key: randomUUID(), base: 7, changes: [] })).status, 404);
  t.match(await finishOf({ changes: [client.put('d/f', bytes), client.put('d', bytes)] }), {
    status: 409,
    code: 'conflict',
  });
  t.equal((await site.service.context.catalog.workspace('demo')).headSeq, 0);
});

void t.test('a commit that nobody finishes is given up', async (t) => {
  const site = await siteWithWorkspace(t);
  const client = new CommitClient(site);
  const json = { key: 'a', base: 0, changes: [client.put('f', patternedBytes('f', 300_000))] };
  const { id } = await client.open(json);
  await site.service.context.commits.expire(Date.now() + 23 * 3_600_000);
  t.equal((await client.ask(`/${id}`)).status, 200);
  await site.service.context.commits.expire(Date.now() + 25 * 3_600_000);
  t.equal((await client.ask(`/${id}`)).status, 404);
  t.equal((await client.finish(id)).status, 404);
  const again = await client.open(json);
  t.equal(again.status, 201, 'its key can be used again');
  t.not(again.id, id);
  t.equal((await client.ask(`/${again.id}`, { method: 'DELETE' })).status, 204);
  t.equal((await client.ask(`/${again.id}`)).status, 404);
});

void t.test('knowing an id is no right: what another workspace holds is missing here', async (t) => {
  const site = await siteWithWorkspace(t);
  const { catalog, manifests } = site.service.context;
  await catalog.ensureWorkspace('secret');
  const theirs = new CommitClient(site, 'secret');
  const shared = patternedBytes('shared', 3000);
  const theirChanges = [theirs.put('private', patternedBytes('private', 3000)), theirs.put('shared', shared)];
  theirs.closePack();
  const opened = await theirs.open({ key: 'a', base: 0, changes: theirChanges });
  await theirs.upload(opened.id, opened.missing);
  t.equal((await theirs.finish(opened.id)).status, 200);

  const ours = new CommitClient(site);
  const stolen = await ours.open({ key: 'a', base: 0, changes: theirChanges });
  t.same(stolen.missing, [...theirs.blocks.keys()]);
  t.equal((await ours.finish(stolen.id)).status, 409);

  // Who has one of their files does not get the block in which it stands beside others.
  const inline = { kind: 'put', path: 'shared', content: { bytes: shared.toString('base64') } };
  const { id } = await ours.open({ key: 'b', base: 0, changes: [inline] });
  t.equal((await ours.finish(id)).status, 200);
  await ask(site, '/v1/workspaces/demo/versions/head/files/again', { method: 'PUT', body: shared });
  const lease = await manifests.lease((await catalog.version('demo')).root);
  const [theirBlock] = theirs.blocks.keys();
  t.notOk([...lease.reader.blocks()].includes(theirBlock as never));
  lease.release();
});

void t.test('a first import is a request for each block, and two', async (t) => {
  const site = await siteWithWorkspace(t);
  const client = new CommitClient(site);
  const files = process.env['CAIRN_TEST_LARGE'] === '1' ? 100_000 : 4000;
  const changes: object[] = [];
  for (let index = 0; index < files; index++) {
    const path = `d${String(index % 97)}/e${String(index % 11)}/f${String(index)}`;
    changes.push(client.put(path, patternedBytes(index, 500 + (index % 7000))));
  }
  client.closePack();
  const { id, missing } = await client.open({ key: 'import', base: 0, changes });
  await client.upload(id, missing);
  const finished = await client.finish(id);
  t.match(jsonOf(finished), { version: { seq: 1, files } }, finished.body.toString().slice(0, 300));
  t.equal(
    client.requests,
    client.blocks.size + 2,
    `${String(files)} files in ${String(client.blocks.size)} blocks`,
  );
  const picked = await ask(
    site,
    `/v1/workspaces/demo/versions/1/files/d${String(1234 % 97)}/e${String(1234 % 11)}/f1234`,
  );
  t.ok(picked.body.equals(patternedBytes(1234, 500 + 1234)));
});
