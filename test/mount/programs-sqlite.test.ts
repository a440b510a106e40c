import { readFileSync, writeFileSync } from 'node:fs';
import Database from 'better-sqlite3';
import t, { type Test } from 'tap';
import { whyNoMounts } from './ordinary-user.js';
import { snapshotElsewhere, startWorkplace, without, type Workplace } from './programs.js';
import { kill, run, runDone, scriptPath, until } from './site.js';

const WRITERS = ['a', 'b', 'c', 'd'];
const LIMIT_S = 120;
/** How many transactions are committed between one thing that happens and the next. */
const STRETCH = 100;
const ROUNDS = 2;
const SCHEMA = `CREATE TABLE entry(id INTEGER PRIMARY KEY, writer TEXT, number INTEGER, text TEXT, UNIQUE (writer, number));
  CREATE TABLE counter(id INTEGER PRIMARY KEY, entries INTEGER);
  INSERT INTO counter VALUES (1, 0)`;
/** Whether what a writer has written is all there, a row a line: `a|120|120`. */
const COUNTS = 'SELECT writer, count(*), max(number) FROM entry GROUP BY writer ORDER BY writer';

if (whyNoMounts !== undefined) {
  t.plan(0, whyNoMounts);
} else {
  const skip = await without('sqlite3');
  for (const mode of ['WAL', 'DELETE']) {
    t.test(
      `four programs write into an SQLite database, journal_mode = ${mode}: nothing that was committed is lost`,
      { skip },
      async (t) => {
        await fourWriters(t, mode);
      },
    );
  }
}

async function fourWriters(t: Test, mode: string): Promise<void> {
  const workplace = await startWorkplace(t);
  const { site, home, mountpoint } = workplace;
  const file = `${mountpoint}/database.sqlite`;
  const sqlite = async (database: string, sql: string): Promise<string> =>
    await runDone(['sqlite3', '-bail', '-cmd', '.timeout 60000', database, sql], { limit_s: LIMIT_S });
  await sqlite(file, `PRAGMA journal_mode = ${mode}; ${SCHEMA}`);

  const stopFile = `${site.base}/stop`;
  const log = (writer: string): string => `${site.base}/committed-${writer}`;
  const committed = (): number[] => WRITERS.map((writer) => Number(readFileSync(log(writer), 'latin1')));
  const writers = WRITERS.map(async (writer) => {
    writeFileSync(log(writer), '0');
    const args = [file, writer, log(writer), stopFile];
    return await run([process.execPath, scriptPath('programs-sqlite-writer.js'), ...args], {
      limit_s: LIMIT_S,
    });
  });
  const total = (): number => committed().reduce((sum, count) => sum + count, 0);
  const stretch = async (): Promise<void> => {
    const goal = total() + STRETCH;
    await until('the writers go on', () => Promise.resolve(total() >= goal));
  };
  await until('each writer begins', () => Promise.resolve(committed().every((count) => count > 0)));

  const versions: { seq: number; before: number[]; after: number[] }[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    await stretch();
    kill((await home.stats(mountpoint)).daemon.pid);
    await stretch();
    const before = committed();
    const { seq } = await home.snapshot(mountpoint);
    versions.push({ seq, before, after: committed().map((count) => count + 1) });
  }
  writeFileSync(stopFile, '');
  for (const writer of writers) t.match(await writer, { code: 0, stderr: '' }, 'no call failed');
  t.equal((await home.stats(mountpoint)).supervisor.restarts, ROUNDS);

  const all = WRITERS.map((writer, index) => {
    const count = String(committed()[index]);
    return `${writer}|${count}|${count}\n`;
  }).join('');
  t.comment(all.replaceAll('\n', ' '));
  const isWhole = async (database: string, where: string): Promise<void> => {
    t.equal(await sqlite(database, 'PRAGMA integrity_check'), 'ok\n', `the database is whole ${where}`);
    t.equal(await sqlite(database, COUNTS), all, 'and has what was committed');
  };
  await isWhole(file, 'on the mount');
  await isWhole(`file:${await snapshotElsewhere(workplace)}/database.sqlite?immutable=1`, 'in the version');
  await home.unmount(mountpoint);
  await home.mount('work', 'mnt');
  await isWhole(file, 'when it is mounted again');
  for (const version of versions) await checkVersion(t, workplace, version);
}

/** What a snapshot among all that writing has caught. */
async function checkVersion(
  t: Test,
  { site, home }: Workplace,
  { seq, before, after }: { seq: number; before: number[]; after: number[] },
): Promise<void> {
  const folder = `${site.base}/restored-${String(seq)}`;
  await home.json(['restore', `work@${String(seq)}`, folder]);
  const database = new Database(`${folder}/database.sqlite`);
  t.equal(database.pragma('integrity_check', { simple: true }), 'ok', `version ${String(seq)} is whole`);
  const entries = database.prepare('SELECT entries FROM counter').pluck().get();
  t.equal(
    database.prepare('SELECT count(*) FROM entry').pluck().get(),
    entries,
    'no transaction is there in part',
  );
  const rows = database.prepare(COUNTS).raw().all() as [string, number, number][];
  database.close();
  for (const [index, [writer, count, last]] of rows.entries()) {
    const [least = 0, most = 0] = [before[index], after[index]];
    t.equal(count, last, `of ${writer} none is missing`);
    t.ok(count >= least && count <= most, `${String(least)} ≤ ${String(count)} ≤ ${String(most)}`);
  }
  t.equal(rows.length, WRITERS.length);
}
