import t from 'tap';
import { openCatalog } from '../../src/catalog/index.js';
import { catalogContract, publicationOn } from '../contract/catalog.js';
import { startPostgres, whyNoPostgres } from '../fixtures/postgres-server.js';

const why = whyNoPostgres();
if (why !== undefined) {
  t.plan(0, why);
} else {
  const server = await startPostgres();
  t.teardown(() => server.stop());

  catalogContract(t, 'postgres', () => {
    const url = server.newUrl();
    return async () => await openCatalog(await url);
  });

  void t.test('a connection that breaks is replaced by the next that is needed', async (t) => {
    const catalog = await openCatalog(await server.newUrl());
    t.teardown(() => catalog.close());
    await catalog.ensureWorkspace('w');
    await server.dropConnections();
    // Each connection of the pool is found broken once.
    for (let failures = 0; failures < 20; failures += 1) {
      try {
        await catalog.publish(publicationOn(0));
        break;
      } catch (error) {
        t.match(error, { code: 'unreachable' });
      }
    }
    t.match(await catalog.version('w'), { seq: 1 });
  });

  void t.test('what is wrong with the server is told without the password', async (t) => {
    const shown = 'postgres://ada@127.0.0.1:1/nothing';
    await t.rejects(openCatalog('postgres://ada:secret@127.0.0.1:1/nothing'), {
      code: 'unreachable',
      message: new RegExp(`^catalog ${shown}: `),
    });
    const url = await server.newUrl();
    await t.rejects(openCatalog(url.replace(/\/t[0-9a-f]+\?/, '/nothing?')), { code: 'not-found' });
  });
}
