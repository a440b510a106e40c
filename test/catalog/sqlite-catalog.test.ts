import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  closeSync,
  mkdtempSync,
  openSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import Database from 'better-sqlite3';
import { Kysely, Migrator, SqliteDialect } from 'kysely';
import t, { type Test } from 'tap';
import {
  fileRowsOf,
  type Level,
  newestFileRow,
  rowsBegunBetween,
  rowsEndedBetween,
} from '../../src/catalog/file-queries.js';
import { CatalogAudit, openCatalog, type Catalog } from '../../src/catalog/index.js';
import { catalogMigrations } from '../../src/catalog/migrations.js';
import { sqliteSchemaDialect } from '../../src/catalog/sqlite-database.js';
import type { BlockId } from '../../src/core/index.js';
import type { CatalogSchema } from '../../src/catalog/schema.js';
import { catalogContract, contentNamed, fileNamed, listWhole, publicationOn } from '../contract/catalog.js';

catalogContract(t, 'sqlite', (t) => {
  const file = catalogFile(t);
  return () => openCatalog(urlOf(file));
});

void t.test('the file is its owner’s alone, in a folder that is made for it', async (t) => {
  const file = catalogFile(t, 'a folder/ü%/catalog.db');
  const catalog = await openCatalog(urlOf(file));
  await catalog.ensureWorkspace('w');
  for (const suffix of ['', '-wal', '-shm']) t.equal(statSync(file + suffix).mode & 0o777, 0o600);
  await catalog.close();
  t.equal(statSync(file).mode & 0o777, 0o600);
});

void t.test('what is no catalog’s URL is refused with a hint', async (t) => {
  const hint = 'a catalog is sqlite:///absolute/path/of/a/file or postgres://user@host/database';
  for (const url of [
    '',
    'catalog.db',
    '/a/catalog.db',
    'sqlite:catalog.db',
    'sqlite://host/a',
    'sqlite:///a?mode=ro',
  ]) {
    await t.rejects(openCatalog(url), { code: 'usage', hint });
  }
  await t.rejects(openCatalog('mysql://ada:secret@host/db'), {
    code: 'unsupported',
    message: 'no catalogs of scheme mysql:',
    hint,
  });
});

void t.test('a catalog of a newer release is refused, and left as it is', async (t) => {
  const { file, catalog } = await newCatalog(t);
  await catalog.close();
  const raw = rawDatabase(t, file);
  raw.prepare('insert into kysely_migration values (?, ?)').run('9999_later', new Date().toISOString());
  await t.rejects(openCatalog(urlOf(file)), {
    code: 'unsupported',
    message: `${urlOf(file)} was written by a newer release (migration 9999_later)`,
    hint: 'upgrade CairnFS on this machine',
  });
});

void t.test('another program’s database is refused, and left as it is', async (t) => {
  const file = catalogFile(t);
  const raw = rawDatabase(t, file);
  raw.exec('create table recipes (name text)');
  await t.rejects(openCatalog(urlOf(file)), {
    code: 'unsupported',
    message: `${file} is a database, but not a catalog`,
  });
  t.same(raw.prepare('select name from sqlite_schema').pluck().all(), ['recipes']);
});

void t.test('a corrupt file is refused as corrupt, whether in its header or in its pages', async (t) => {
  const file = catalogFile(t);
  writeFileSync(file, 'not a database '.repeat(1000));
  await t.rejects(openCatalog(urlOf(file)), { code: 'corrupt', message: /^catalog .*catalog\.db: / });

  const { file: broken, catalog } = await newCatalog(t);
  await catalog.publish(
    publicationOn(0, { added: Array.from({ length: 5000 }, (_, i) => fileNamed(`f/${String(i)}`)) }),
  );
  await catalog.close();
  const raw = rawDatabase(t, broken);
  const pages = raw
    .prepare(`select pageno from dbstat where name = 'file' or name like 'sqlite_autoindex_file%'`)
    .pluck()
    .all() as number[];
  raw.close();
  const fd = openSync(broken, 'r+');
  for (const page of pages) writeSync(fd, Buffer.alloc(4096, 0xa5), 0, 4096, (page - 1) * 4096);
  closeSync(fd);
  const reopened = await openCatalog(urlOf(broken));
  t.teardown(() => reopened.close());
  await t.rejects(reopened.files('w', 1), { code: 'corrupt', message: /^catalog .*malformed/ });
});

void t.test('a file that may not be written is refused as such', async (t) => {
  // Not below the checkout, where the other user may have no way in.
  const folder = mkdtempSync(join(tmpdir(), 'cairn-catalog-'));
  t.teardown(() => {
    rmSync(folder, { recursive: true });
  });
  chmodSync(folder, 0o755);
  const file = join(folder, 'catalog.db');
  const catalog = await openCatalog(urlOf(file));
  await catalog.close();
  chmodSync(file, 0o400);
  const stranger = startProcess(t, 'stranger', file);
  t.match(await stranger.answer(), {
    code: 'access-denied',
    message: `cannot open catalog ${file} for writing: EACCES: permission denied, open '${file}'`,
  });
});

void t.test('law 7: processes that create one catalog and race on its head lose nothing', async (t) => {
  const file = catalogFile(t);
  const racers = Array.from({ length: 4 }, () => startProcess(t, 'racer', file));
  for (const racer of racers) t.equal(await racer.answer(), 'ready');
  const catalog = await openCatalog(urlOf(file));
  t.teardown(() => catalog.close());
  const rounds = 25;
  for (let parentSeq = 0; parentSeq < rounds; parentSeq++) {
    for (const racer of racers) racer.ask(String(parentSeq));
    const answers = (await Promise.all(racers.map((racer) => racer.answer()))) as {
      won?: string;
      lost?: string;
    }[];
    const winners = answers.flatMap((answer) => answer.won ?? []);
    t.equal(winners.length, 1);
    t.equal(answers.filter((answer) => answer.lost === 'conflict').length, racers.length - 1);
    t.match(await catalog.version('w'), { seq: parentSeq + 1, publishId: winners[0] });
  }
  t.equal((await listWhole(catalog, rounds, { limit: 1000 })).length, rounds * 50);
});

void t.test(
  'law 3: a publisher killed in the middle leaves the head and the rows as they were',
  async (t) => {
    const { file, catalog } = await newCatalog(t);
    await catalog.publish(publicationOn(0, { added: [fileNamed('a')] }));
    const publisher = startProcess(t, 'stuck-publisher', file);
    t.equal(await publisher.answer(), 'writing');
    t.ok(statSync(`${file}-wal`).size > 1_000_000, 'with rows in the log that were never committed');
    t.equal((await catalog.workspace('w')).headSeq, 1, 'readers do not wait for it');
    await publisher.kill();

    t.same(await catalog.files('w', 1), [fileNamed('a')]);
    await catalog.close();
    const reopened = await openCatalog(urlOf(file));
    t.teardown(() => reopened.close());
    t.equal((await reopened.workspace('w')).headSeq, 1);
    t.same(await reopened.files('w', 1), [fileNamed('a')]);
    const raw = rawDatabase(t, file);
    t.equal(raw.prepare('select count(*) from file').pluck().get(), 1);
    t.equal(raw.pragma('integrity_check', { simple: true }), 'ok');
    t.equal((await reopened.publish(publicationOn(1))).seq, 2);
  },
);

void t.test('rows grow with what changes, not with versions times files', async (t) => {
  const { file, catalog } = await newCatalog(t);
  const files = 1000;
  const versions = 100;
  const changed = 10;
  const rows = Array.from({ length: files }, (_, i) => fileNamed(`f/${String(i)}`, '0'));
  await catalog.publish(publicationOn(0, { added: rows }));
  for (let parentSeq = 1; parentSeq <= versions; parentSeq++) {
    const added = rows
      .slice((parentSeq * changed) % files)
      .slice(0, changed)
      .map((row) => ({ ...row, hash: contentNamed(String(parentSeq)) }));
    await catalog.publish(publicationOn(parentSeq, { removed: added.map((row) => row.path), added }));
  }
  const raw = rawDatabase(t, file);
  t.equal(raw.prepare('select count(*) from file').pluck().get(), files + versions * changed);
  for (const seq of [1, 50, 101]) t.equal((await listWhole(catalog, seq, { limit: 300 })).length, files);
});

void t.test('lookups, listings and changes are answered from indexes', async (t) => {
  const { file } = await newCatalog(t);
  const raw = rawDatabase(t, file);
  const db = new Kysely<CatalogSchema>({ dialect: new SqliteDialect({ database: raw }) });
  const planOf = ({ sql, parameters }: { sql: string; parameters: readonly unknown[] }): string[] =>
    (raw.prepare(`explain query plan ${sql}`).all(...parameters) as { detail: string }[]).map(
      (row) => row.detail,
    );

  t.same(planOf(newestFileRow(db, [{ workspaceId: 1, seq: 5 }], Buffer.from('a')).compile()), [
    'SEARCH file USING INDEX sqlite_autoindex_file_1 (workspace_id=? AND path=? AND from_seq<?)',
  ]);
  const none = Buffer.alloc(0);
  for (const range of [
    { prefix: none, after: none, limit: 10 },
    { prefix: Buffer.from('a/'), after: none, limit: 10 },
    { prefix: Buffer.from('a/'), after: Buffer.from('a/b'), limit: 10 },
  ]) {
    const listing = planOf(fileRowsOf(db, { workspaceId: 1, seq: 5 }, [], range).compile());
    const byFork = 'SEARCH file USING INDEX sqlite_autoindex_file_2 (workspace_id=? AND fork=? AND path>?';
    t.equal(listing.filter((step) => step.startsWith(byFork)).length, 32, 'the open rows, and 31 fork nodes');
    t.notOk(
      listing.some((step) => step.includes('SCAN') || step.includes('TEMP B-TREE')),
      'merged, not sorted',
    );
  }

  const levels = [5, 4, 3].map((workspaceId) => ({ workspaceId, seq: 5 })) as [Level, Level, Level];
  const lookup = planOf(newestFileRow(db, levels, Buffer.from('a')).compile());
  t.equal(lookup.filter((step) => step.includes('(workspace_id=? AND path=? AND from_seq<?)')).length, 3);
  t.notOk(lookup.some((step) => step.includes('SCAN file')));
  const page = fileRowsOf(db, levels[2], levels.slice(0, 2), {
    prefix: none,
    after: Buffer.from('a'),
    end: Buffer.from('b'),
    limit: 10,
  });
  const ofBase = planOf(page.compile());
  const within =
    'SEARCH file USING INDEX sqlite_autoindex_file_2 (workspace_id=? AND fork=? AND path>? AND path<?)';
  t.equal(
    ofBase.filter((step) => step === within).length,
    32,
    'a base is walked from the page’s begin to its end',
  );
  const inNearer =
    'SEARCH nearer_file USING COVERING INDEX sqlite_autoindex_file_1 (workspace_id=? AND path=?)';
  t.equal(ofBase.filter((step) => step === inNearer).length, 32);
  t.notOk(
    ofBase.some((step) => step.includes('SCAN file') || step.includes('TEMP B-TREE')),
    'merged, not sorted',
  );

  t.match(
    planOf(rowsBegunBetween(db, 1, 4, 5).compile())[0],
    'USING INDEX file_from (workspace_id=? AND from_seq>?',
  );
  t.match(
    planOf(rowsEndedBetween(db, 1, 4, 5).compile())[0],
    'USING INDEX file_to (workspace_id=? AND to_seq>?',
  );
  const changesPage = { limit: 10, after: Buffer.from('a') };
  t.match(
    planOf(rowsEndedBetween(db, 1, 4, 5, changesPage).compile())[1],
    'USING INDEX file_to (workspace_id=? AND to_seq>?',
  );
  t.match(
    planOf(rowsBegunBetween(db, 1, 4, 5, changesPage).compile())[1],
    'USING INDEX file_from (workspace_id=? AND from_seq>?',
  );
});

void t.test('a head that is not the newest version is neither shown nor published on', async (t) => {
  const { file, catalog } = await newCatalog(t);
  await catalog.publish(publicationOn(0));
  await catalog.publish(publicationOn(1));
  for (const head of [0, 1, 3]) {
    rawDatabase(t, file).exec(`update workspace set head_seq = ${String(head)}`);
    const damaged = { code: 'corrupt', message: /the head of workspace "w" is version \d in the catalog/ };
    await t.rejects(catalog.version('w'), damaged);
    await t.rejects(catalog.publish(publicationOn(head)), damaged);
  }
  rawDatabase(t, file).exec('update workspace set head_seq = 2');
  t.match(await catalog.version('w'), { seq: 2 });
});

void t.test(
  'a row of content in which a byte changed is not built on; one without a checksum is read',
  async (t) => {
    const { file, catalog } = await newCatalog(t);
    const id = contentNamed('a');
    const extents = [{ offset: 0, length: 10, block: id as string as BlockId, blockOffset: 7 }];
    await catalog.publish(publicationOn(0, { contents: [{ id, size: 10, extents }] }));
    const raw = rawDatabase(t, file);
    const { extents: packed } = raw.prepare('select extents from content').get() as { extents: Buffer };
    const write = raw.prepare('update content set extents = ?');
    for (let at = 0; at < packed.length; at++) {
      const damaged = Buffer.from(packed);
      damaged.writeUInt8(damaged.readUInt8(at) ^ 0x04, at);
      write.run(damaged);
      await t.rejects(catalog.knownContents('w', [id]), { code: 'corrupt', message: new RegExp(id) });
    }
    write.run(packed);
    raw.exec('update content set size = 11');
    await t.rejects(catalog.knownContents('w', [id]), { code: 'corrupt' });
    raw.exec('update content set size = 10');
    write.run(packed.subarray(0, -4));
    t.same(await catalog.knownContents('w', [id]), [{ id, size: 10, extents }]);
  },
);

void t.test('a row of a version or a tag in which a byte changed is refused by its name', async (t) => {
  const { file, catalog } = await newCatalog(t);
  // What is no Unicode is stored as what can be read back.
  await catalog.publish(publicationOn(0, { message: 'half a \ud83d pair' }));
  await catalog.publish(publicationOn(1));
  await catalog.setTag('w', 'first', 1);
  t.equal((await catalog.version('w', 1)).message, 'half a \ufffd pair');
  const raw = rawDatabase(t, file);
  for (const damage of [
    `author = 'adb'`,
    `message = 'half b ' || substr(message, 8)`,
    'created_at_ms = created_at_ms + 1',
    'files = files + 1',
    'bytes = bytes + 1',
    'root = zeroblob(32)',
    `root = ''`,
    `publish_id = 'another'`,
    'checksum = checksum + 1',
  ]) {
    const undo = raw.prepare('select * from version where seq = 1').get() as Record<string, unknown>;
    raw.exec(`update version set ${damage} where seq = 1`);
    const refused = { code: 'corrupt', message: "the catalog's row of version w@1 does not verify" };
    await t.rejects(catalog.version('w', 1), refused, damage);
    await t.rejects(catalog.versions('w'), refused);
    await t.rejects(catalog.taggedVersion('w', 'first'), refused);
    t.match(await catalog.version('w'), { seq: 2 }, 'others are read');
    const columns = Object.keys(undo).map((column) => `${column} = @${column}`);
    raw.prepare(`update version set ${columns.join()} where seq = 1`).run(undo);
  }
  t.match(await catalog.taggedVersion('w', 'first'), { seq: 1 });
  raw.exec('update tag set seq = 2');
  const refused = { code: 'corrupt', message: "the catalog's row of tag w@first does not verify" };
  await t.rejects(catalog.taggedVersion('w', 'first'), refused);
  await t.rejects(catalog.tags('w'), refused);
  await catalog.setTag('w', 'first', 2);
  t.match(await catalog.taggedVersion('w', 'first'), { seq: 2 });
});

void t.test('versions, tags and forks of an earlier release are read, and not checked before', async (t) => {
  const { file, catalog } = await newCatalog(t);
  await catalog.close();
  const earlier = `${file}.earlier`;
  const raw = rawDatabase(t, earlier);
  raw.pragma(`application_id = ${String(rawDatabase(t, file).pragma('application_id', { simple: true }))}`);
  const db = new Kysely<CatalogSchema>({ dialect: new SqliteDialect({ database: raw }) });
  const provider = { getMigrations: () => Promise.resolve(catalogMigrations(sqliteSchemaDialect)) };
  const { error } = await new Migrator({ db, provider }).migrateTo('0005_open_commits');
  t.equal(error, undefined);
  raw.exec(`
    insert into workspace (name, head_seq, created_at_ms) values ('w', 1, 0), ('fork', 1, 0);
    insert into version select id, 1, 0, randomblob(32), 'ada', 'of ' || name, 0, 1, 1, 'p' from workspace;
    insert into tag select id, 'first', 1, 0 from workspace;
    insert into file select id, cast('a' as blob), null, 0, 33188, 1, null, 0 from workspace`);
  await t.rejects(CatalogAudit.open(urlOf(earlier), `${earlier}.scratch`), {
    code: 'unsupported',
    hint: 'any command that uses it, as cairn log, brings it to this one',
  });
  const migrated = await openCatalog(urlOf(earlier));
  t.teardown(() => migrated.close());
  for (const name of ['w', 'fork']) {
    t.match(await migrated.taggedVersion(name, 'first'), { seq: 1, message: `of ${name}` });
    t.match(await migrated.files(name, 1), [{ path: Buffer.from('a') }]);
  }
});

function catalogFile(t: Test, path = 'catalog.db'): string {
  return join(t.testdir(), path);
}

function urlOf(file: string): string {
  return `sqlite://${file.split('/').map(encodeURIComponent).join('/')}`;
}

async function newCatalog(t: Test): Promise<{ file: string; catalog: Catalog }> {
  const file = catalogFile(t);
  const catalog = await openCatalog(urlOf(file));
  t.teardown(() => catalog.close());
  await catalog.ensureWorkspace('w');
  return { file, catalog };
}

function rawDatabase(t: Test, file: string): Database.Database {
  const raw = new Database(file);
  t.teardown(() => {
    raw.close();
  });
  return raw;
}

interface CatalogProcess {
  ask(line: string): void;
  /** The next line it says. */
  answer(): Promise<unknown>;
  kill(): Promise<void>;
}

function startProcess(t: Test, role: string, file: string): CatalogProcess {
  const script = fileURLToPath(new URL('catalog-process.js', import.meta.url));
  const child = spawn(process.execPath, [script, role, urlOf(file)], { stdio: ['pipe', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]() as AsyncIterator<
    string,
    undefined
  >;
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL');
    await exited;
  };
  t.teardown(kill);
  return {
    ask: (line) => child.stdin.write(`${line}\n`),
    answer: async () => {
      const line = await lines.next();
      if (line.done === true) throw new Error(`${role} ended without an answer`);
      return JSON.parse(line.value) as unknown;
    },
    kill,
  };
}
