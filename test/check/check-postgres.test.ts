import { appendFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import t, { type Test } from 'tap';
import { randomBytesOf } from '../fixtures/oddities.js';
import { startPostgres, whyNoPostgres, type PostgresServer } from '../fixtures/postgres-server.js';
import { openStores } from '../snapshot/stores.js';
import { check, startSite } from './check-site.js';

const why = whyNoPostgres();
if (why !== undefined) {
  t.plan(0, why);
} else {
  const server = await startPostgres();
  t.teardown(() => server.stop());
  await t.test('a catalog in PostgreSQL is checked as one in SQLite is', (t) => damaged(t, server));
  await t.test('a check while others publish finds nothing wrong', (t) => busy(t, server));
}

async function damaged(t: Test, server: PostgresServer): Promise<void> {
  const catalog = await server.newUrl();
  const { home } = await startSite(t, catalog);
  const sound = await check(home, { catalog });
  t.same(sound.findings, []);
  t.equal(sound.summary.versions, 3);

  const sql = async (text: string): Promise<void> => {
    const client = new pg.Client({ connectionString: catalog });
    await client.connect();
    await client.query(text);
    await client.end();
  };
  const damages: [statement: string, undo: string, found: RegExp][] = [
    [
      'UPDATE workspace SET head_seq = 2',
      'UPDATE workspace SET head_seq = 3',
      /head of workspace "demo"|impossible versions/,
    ],
    [
      `UPDATE file SET size = size + 1 WHERE path = 'new'::bytea`,
      `UPDATE file SET size = size - 1 WHERE path = 'new'::bytea`,
      /paths of demo@3 have another hash, size or mode/,
    ],
    [
      `UPDATE content SET extents = set_byte(extents, 20, 255 - get_byte(extents, 20))`,
      `UPDATE content SET extents = set_byte(extents, 20, 255 - get_byte(extents, 20))`,
      /where content .* is stored does not verify/,
    ],
  ];
  for (const [statement, undo, found] of damages) {
    await sql(statement);
    const { findings } = await check(home, { catalog });
    t.ok(findings.length > 0, statement);
    for (const { what } of findings) t.match(what, found);
    const repairing = await check(home, { catalog, repair: true });
    t.match(repairing.findings[0]?.advice, /only a catalog in SQLite is repaired/);
    t.equal(repairing.summary.left, findings.length);
    await sql(undo);
  }
  t.same((await check(home, { catalog })).findings, []);
}

async function busy(t: Test, server: PostgresServer): Promise<void> {
  for (const catalog of [await server.newUrl(), undefined]) {
    const { home, dir } = await startSite(t, catalog);
    const tree = join(dir, 'others');
    mkdirSync(tree);
    const checked = new AbortController();
    let published = 0;
    const publishing = (async () => {
      while (!checked.signal.aborted) {
        appendFileSync(join(tree, 'growing'), randomBytesOf(published, 50_000));
        // Opened for each, as a command does: between two of them nobody has the catalog open.
        const stores = await openStores(home, { catalog });
        await stores.import(tree, { workspace: 'others' });
        await stores.close();
        published += 1;
      }
    })();
    for (let times = 0; times < 8; times++) {
      const { findings } = await check(home, { ...(catalog !== undefined && { catalog }) });
      t.same(findings, [], `check ${String(times)}`);
    }
    checked.abort();
    await publishing;
    t.ok(published > 1, `${String(published)} versions were published meanwhile`);
  }
}
