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

  const sql = async (text: string): Promise<unknown[]> => {
    const client = new pg.Client({ connectionString: catalog });
    await client.connect();
    const { rows } = await client.query<Record<string, unknown>>(text);
    await client.end();
    return rows;
  };
  const allRows = async (): Promise<unknown[][]> => [
    await sql('SELECT * FROM workspace ORDER BY id'),
    await sql('SELECT * FROM version ORDER BY workspace_id, seq'),
    await sql('SELECT * FROM file ORDER BY workspace_id, path, from_seq'),
    await sql('SELECT * FROM content ORDER BY hash'),
    await sql('SELECT * FROM block ORDER BY id'),
  ];
  const before = await allRows();
  const damages: [statement: string, found: RegExp][] = [
    ['UPDATE workspace SET head_seq = 2', /head of workspace "demo"|impossible versions/],
    [
      `UPDATE file SET size = size + 1 WHERE path = 'new'::bytea`,
      /paths of demo@3 have another hash, size or mode/,
    ],
    [`DELETE FROM file WHERE to_seq IS NOT NULL`, /paths of demo@[12] have another hash, size or mode/],
    [
      `UPDATE content SET extents = set_byte(extents, 20, 255 - get_byte(extents, 20))`,
      /where content .* is stored does not verify/,
    ],
    [
      `INSERT INTO block VALUES (sha256('nothing'), 10, 10)`,
      /is not in the store, and an import would count on it/,
    ],
  ];
  for (const [statement, found] of damages) {
    await sql(statement);
    const { findings } = await check(home, { catalog });
    t.ok(findings.length > 0, statement);
    for (const { what } of findings) t.match(what, found);
    const repairing = await check(home, { catalog, repair: true });
    t.equal(
      repairing.summary.left,
      0,
      `${statement}: ${repairing.findings.map(({ advice }) => advice).join('; ')}`,
    );
    t.strictSame(await allRows(), before, `${statement}: all rows are as they were`);
  }
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
