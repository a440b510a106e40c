/** A workspace's row with a byte, or a value, changed: whoever reads the row is refused, and the check says so. */
import { copyFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import pg from 'pg';
import t, { type Test } from 'tap';
import { CatalogAudit, CatalogRepair, openCatalog, type Catalog } from '../../src/catalog/index.js';
import { CairnError } from '../../src/core/index.js';
import { fileNamed, publicationOn } from '../contract/catalog.js';
import { startPostgres, whyNoPostgres } from '../fixtures/postgres-server.js';

const large = process.env['CAIRN_TEST_LARGE'] === '1';
const EVERY_BIT = [1, 2, 4, 8, 16, 32, 64, 128];

/** A fork with a quota: no value that a workspace of itself may have is NULL. */
const FORK = 'fork-of-w';

async function fill(url: string): Promise<void> {
  const catalog = await openCatalog(url);
  await catalog.ensureWorkspace('w');
  await catalog.publish(publicationOn(0, { added: [fileNamed('a'), fileNamed('b')] }));
  await catalog.publish(publicationOn(1, { removed: [Buffer.from('a')] }));
  await catalog.forkWorkspace({ workspace: 'w', seq: 1, name: FORK, author: 'ada', publishId: 'p' });
  await catalog.reserveNumbers(FORK, 1000);
  await catalog.changeWorkspace(FORK, { quotaBytes: 123_456_789, readOnly: true });
  await catalog.close();
}

/** Whatever says what the row of the fork says. */
async function read(catalog: Catalog): Promise<unknown[]> {
  return [
    await catalog.workspace(FORK),
    (await catalog.workspaces()).filter(({ name }) => name === FORK),
    await catalog.version(FORK),
    await catalog.files(FORK, 1),
    await catalog.file(FORK, 1, Buffer.from('a')),
  ];
}

async function problemsOf(url: string, scratch: string): Promise<string[]> {
  let audit: CatalogAudit | undefined;
  try {
    audit = await CatalogAudit.open(url, scratch);
    return [...(audit?.problems() ?? [])].map(({ what }) => what);
  } catch (error) {
    // What SQLite says of its pages.
    if (!(error instanceof CairnError) && !(error instanceof Database.SqliteError)) throw error;
    return [error.message];
  } finally {
    audit?.close();
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Where the one row with `text` begins, and where it ends, in the file: its header, then its values. */
function rowWith(bytes: Buffer, text: string, from: string): { begin: number; end: number } {
  const at = bytes.indexOf(text);
  if (at < 0 || bytes.includes(text, at + 1)) throw new Error(`${text} is not there once`);
  const name = bytes.lastIndexOf(from, at);
  // The header's first byte is its length; the types of 14 values follow.
  for (let begin = name - 1; begin > name - 40; begin--) {
    if (begin + bytes.readUInt8(begin) !== name) continue;
    let end = name;
    for (let type = begin + 1; type < name; type++) end += sizeOf(bytes, type);
    return { begin, end };
  }
  throw new Error('no row');
}

function sizeOf(bytes: Buffer, at: number): number {
  const type = bytes.readUInt8(at);
  // The types of these rows are a byte each.
  if (type >= 128) throw new Error('a longer type');
  return type >= 12 ? Math.floor((type - 12) / 2) : ([0, 1, 2, 3, 4, 6, 8, 8, 0, 0][type] ?? 0);
}

t.test('each byte of a workspace’s row, changed in the file, is refused and reported', async (t) => {
  const dir = t.testdir();
  const sound = join(dir, 'sound.db');
  await fill(`sqlite://${sound}`);
  const raw = new Database(sound);
  const { generation } = raw.prepare('SELECT generation FROM workspace WHERE name = ?').get(FORK) as {
    generation: string;
  };
  // Nothing is left of rows as they were before.
  raw.pragma('journal_mode = DELETE');
  raw.exec('VACUUM');
  raw.close();
  const bytes = readFileSync(sound);
  const { begin, end } = rowWith(bytes, generation, FORK);
  t.ok(end - begin > 75, `${String(end - begin)} bytes`);

  const file = join(dir, 'damaged.db');
  const url = `sqlite://${file}`;
  const expected = await readCopy(sound, file);
  t.same(await problemsOf(url, join(dir, 'scratch')), []);
  let refused = 0;
  for (let at = begin; at < end; at++) {
    for (const change of large ? EVERY_BIT : [1 << (at % 8)]) {
      const what = `byte ${String(at - begin)} xor ${String(change)}`;
      const damaged = Buffer.from(bytes);
      damaged.writeUInt8(damaged.readUInt8(at) ^ change, at);
      writeFileSync(file, damaged);
      const problems = await problemsOf(url, join(dir, 'scratch'));
      t.ok(problems.length > 0, `${what} is reported`);
      try {
        t.same(await readCopy(undefined, file), expected, `${what}: what was read is right`);
      } catch (error) {
        if (!(error instanceof CairnError)) throw error;
        t.match(error.code, /^(corrupt|not-found)$/, `${what}: ${error.message}`);
        refused++;
      }
    }
  }
  t.ok(refused > (end - begin) * 0.95, `${String(refused)} refused`);
});

/** Reads from the file, or from a copy of another that is put in its place. */
async function readCopy(from: string | undefined, file: string): Promise<unknown[]> {
  for (const suffix of ['-wal', '-shm']) rmSync(file + suffix, { force: true });
  if (from !== undefined) copyFileSync(from, file);
  const catalog = await openCatalog(`sqlite://${file}`);
  try {
    return await read(catalog);
  } finally {
    await catalog.close();
  }
}

interface Place {
  dir: string;
  url: string;
  run: (statement: string) => Promise<unknown[]>;
}

async function everyValue(t: Test, { dir, url, run }: Place): Promise<void> {
  const scratch = join(dir, 'scratch');
  await fill(url);
  const catalog = await openCatalog(url);
  t.teardown(() => catalog.close());
  const expected = await read(catalog);
  const rowsBefore = await run('SELECT * FROM workspace ORDER BY id');
  const where = `WHERE generation = '${(await catalog.workspace(FORK)).generation}'`;
  const fork = { seq: 1, name: 'another', author: 'ada', publishId: 'q', workspace: FORK };
  for (const [change, undo] of [
    [`read_only = 0`, `read_only = 1`],
    ['quota_bytes = 123456788', 'quota_bytes = 123456789'],
    ['quota_bytes = NULL', 'quota_bytes = 123456789'],
    ['next_number = next_number - 1', 'next_number = next_number + 1'],
    ['trashed_at_ms = 1', 'trashed_at_ms = NULL'],
    ['created_at_ms = created_at_ms + 1', 'created_at_ms = created_at_ms - 1'],
    ['recorded_seq = 1', 'recorded_seq = 0'],
    ['base_seq = 2', 'base_seq = 1'],
    ['base_workspace_id = NULL, base_seq = NULL', 'base_workspace_id = 1, base_seq = 1'],
    ['purged = 1', 'purged = 0'],
    ['checksum = checksum + 1', 'checksum = checksum - 1'],
  ] as const) {
    await run(`UPDATE workspace SET ${change} ${where}`);
    const corrupt = { code: 'corrupt' };
    const uses: Record<string, () => Promise<unknown>> = {
      read: () => read(catalog),
      list: () => catalog.workspaces(),
      files: () => catalog.files(FORK, 1),
      tags: () => catalog.tags(FORK),
      publish: () => catalog.publish({ ...publicationOn(1), workspace: FORK }),
      reserve: () => catalog.reserveNumbers(FORK, 0),
      ensure: () => catalog.ensureWorkspace(FORK),
      change: () => catalog.changeWorkspace(FORK, { readOnly: false }),
      trash: () => catalog.trashWorkspace(FORK),
      undelete: () => catalog.undeleteWorkspace(FORK),
      fork: () => catalog.forkWorkspace(fork),
    };
    for (const [what, done] of Object.entries(uses)) {
      await t.rejects(done(), corrupt, `${what}, ${change}`);
    }
    const problems = await problemsOf(url, scratch);
    t.match(
      problems.filter((what) => /workspace "fork-of-w": its row .* does not verify/.test(what)).length,
      1,
      `${change}: ${problems.join('; ')}`,
    );
    await run(`UPDATE workspace SET ${undo} ${where}`);
    t.same(await read(catalog), expected);
  }
  t.same(await run('SELECT * FROM workspace ORDER BY id'), rowsBefore, 'nothing that was refused was done');

  await run(`UPDATE workspace SET name = 'fork-of-x' ${where}`);
  await t.rejects(catalog.workspace('fork-of-x'), { code: 'corrupt' });
  const audit = await CatalogAudit.open(url, scratch);
  const [problem] = [...(audit?.problems() ?? [])];
  audit?.close();
  t.match(problem?.remedy, { kind: 'row' });
  if (problem?.remedy?.kind !== 'row') throw new Error('nothing mends it');
  const repair = await CatalogRepair.open(url);
  await repair.restoreRow(problem.remedy.row);
  await repair.close();
  t.same(await run('SELECT * FROM workspace ORDER BY id'), rowsBefore, 'one byte is put back');
}

t.test('each value of a workspace’s row, changed in SQLite, is refused and reported', async (t) => {
  const dir = t.testdir();
  const file = join(dir, 'catalog.db');
  const raw = (statement: string): Promise<unknown[]> => {
    const database = new Database(file);
    try {
      const prepared = database.prepare(statement);
      return Promise.resolve(prepared.reader ? prepared.all() : [prepared.run()]);
    } finally {
      database.close();
    }
  };
  await everyValue(t, { dir, url: `sqlite://${file}`, run: raw });
});

const why = whyNoPostgres();
t.test(
  'each value of a workspace’s row, changed in PostgreSQL, is refused and reported',
  { skip: why ?? false },
  async (t) => {
    const server = await startPostgres();
    t.teardown(() => server.stop());
    const url = await server.newUrl();
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    try {
      const run = async (statement: string): Promise<unknown[]> =>
        (await client.query<Record<string, unknown>>(statement)).rows;
      await everyValue(t, { dir: t.testdir(), url, run });
    } finally {
      await client.end();
    }
  },
);
