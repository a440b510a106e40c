import { join } from 'node:path';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import { openCatalog, type Catalog } from '../../src/catalog/index.js';
import { serve } from '../../src/service/index.js';
import { saveServiceToken } from '../../src/wire/index.js';
import { catalogContract, publicationOn } from '../contract/catalog.js';
import { scratchFolder } from '../fixtures/scratch-folder.js';

/** A service whose publications need no manifest: what the contract publishes is rows alone. How to connect to it. */
async function startService(t: Test): Promise<() => Promise<Catalog>> {
  const dir = scratchFolder(t);
  const service = await serve({
    host: '127.0.0.1',
    port: 0,
    catalog: `sqlite://${join(dir, 'catalog.sqlite')}`,
    store: `file://${join(dir, 'store')}`,
    dir: join(dir, 'service'),
    cacheBudgetBytes: 1024 * 1024,
    log: pino({ level: 'silent' }),
    requestsPerSecond: 100_000,
    checkPublication: (publication) => Promise.resolve(new Set(publication.blocks.map(({ id }) => id))),
  });
  t.teardown(() => service.stop());
  const { token } = await service.context.tokens.create({
    holder: 'bob',
    workspace: '*',
    path: Buffer.alloc(0),
    can: ['read', 'write', 'admin'],
  });
  await saveServiceToken(service.url, token, dir);
  return () => openCatalog(service.url, dir);
}

catalogContract(
  t,
  'service',
  (t) => {
    const service = startService(t);
    return async () => await (await service)();
  },
  { readsInVain: true, modelVersions: 12 },
);

void t.test('a service that does not answer is told without the token', async (t) => {
  const home = scratchFolder(t);
  const url = 'http://127.0.0.1:1';
  await saveServiceToken(url, 'cairn_secret.token', home);
  const { ServiceClient } = await import('../../src/wire/index.js');
  const { RemoteCatalog } = await import('../../src/catalog/remote-catalog.js');
  const impatient = new RemoteCatalog(
    new ServiceClient({ url, token: 'cairn_secret.token', impatience: AbortSignal.abort() }),
  );
  for (const asking of [impatient.version('w'), impatient.publish(publicationOn(0))]) {
    const error = await asking.then(
      () => undefined,
      (error: unknown) => error,
    );
    t.match(error, { code: 'unreachable', message: /^http:\/\/127\.0\.0\.1:1: / });
    t.notOk(JSON.stringify(error).includes('secret') || String(error).includes('secret'));
  }
});
