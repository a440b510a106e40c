import { CompiledQuery } from 'kysely';
import t from 'tap';
import { fileRowsOf } from '../../src/catalog/file-queries.js';
import { openCatalog } from '../../src/catalog/index.js';
import { openPostgresDatabase } from '../../src/catalog/postgres-database.js';
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

  void t.test('a page of a listing reads a page of rows, of a base as well', async (t) => {
    const url = await server.newUrl();
    const catalog = await openCatalog(url);
    t.teardown(() => catalog.close());
    const db = openPostgresDatabase(url, url);
    t.teardown(() => db.destroy());
    const page = { prefix: Buffer.alloc(0), after: Buffer.from('a'), limit: 10 };
    for (const nearer of [[], [{ workspaceId: 2, seq: 5 }]]) {
      const { sql, parameters } = fileRowsOf(db, { workspaceId: 1, seq: 5 }, nearer, page).compile();
      const { rows } = await db.executeQuery(CompiledQuery.raw(`EXPLAIN ${sql}`, [...parameters]));
      const plan = JSON.stringify(rows);
      t.match(plan, /Merge Append/);
      t.notMatch(plan, /Sort\b {2}\(/, 'merged, not sorted');
    }
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
