import { chmodSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { blockKey, encodeBlock } from '../../src/blocks/index.js';
import { ask, type Answer } from './plain-http.js';
import { startServiceSite, type ServiceSite } from './service-site.js';

/** A block that was put for a workspace, and how to get it. */
async function someBlock(
  t: Test,
): Promise<{ site: ServiceSite; object: Buffer; file: string; get: () => Promise<Answer> }> {
  const site = await startServiceSite(t);
  const { id, object: bytes } = encodeBlock(Buffer.from('what several agents want '.repeat(400)));
  const object = Buffer.from(bytes);
  const path = `/v1/blocks/${id}?workspace=demo`;
  const headers = { 'content-type': 'application/octet-stream' };
  t.equal((await ask(site, path, { method: 'PUT', headers, body: object })).status, 204);
  const file = fileURLToPath(`${site.service.context.objects.url}/${blockKey(id)}`);
  return { site, object, file, get: () => ask(site, path) };
}

void t.test('a block that many ask for is fetched from the store twice at most', async (t) => {
  const { site, object, get } = await someBlock(t);
  const { requests } = site.service.context.objects.counters;
  const before = requests.get;
  for (let round = 0; round < 3; round++) {
    const answers = await Promise.all(Array.from({ length: 20 }, get));
    for (const { status, body } of answers) t.ok(status === 200 && body.equals(object));
  }
  t.ok(requests.get - before <= 2 && requests.get > before, String(requests.get - before));
});

void t.test('a block that does not verify is not kept', async (t) => {
  const { object, file, get } = await someBlock(t);
  const damaged = Buffer.from(object);
  damaged.writeUInt8(damaged.readUInt8(damaged.length - 1) ^ 1, damaged.length - 1);
  const store = (bytes: Buffer): void => {
    chmodSync(file, 0o644);
    writeFileSync(file, bytes);
  };
  store(damaged);
  for (let round = 0; round < 3; round++) t.ok((await get()).body.equals(damaged), 'its reader refuses it');
  store(object);
  t.ok((await get()).body.equals(object));
});
