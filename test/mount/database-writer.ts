/**
 * A program with an SQLite database in WAL mode: `node database-writer.js <dir> <log> <stop file>` commits small transactions and writes
 * into the log, which is not on the mount, how many are committed. Each transaction moves an amount between two accounts and adds a row, so the sum of the
 * accounts is always the same.
 */
import { existsSync, openSync, writeSync } from 'node:fs';
import Database from 'better-sqlite3';

const [dir = '', log = '', stopFile = ''] = process.argv.slice(2);
const database = new Database(`${dir}/database.sqlite`);
database.pragma('journal_mode = WAL');
database.pragma('wal_autocheckpoint = 40');
database.exec(
  'CREATE TABLE account(id INTEGER PRIMARY KEY, amount INTEGER); INSERT INTO account VALUES (1, 0), (2, 0)',
);
database.exec('CREATE TABLE entry(id INTEGER PRIMARY KEY, text TEXT)');
const move = database.prepare('UPDATE account SET amount = amount + ? WHERE id = ?');
const add = database.prepare('INSERT INTO entry(text) VALUES (?)');
const transaction = database.transaction((amount: number) => {
  move.run(amount, 1);
  move.run(-amount, 2);
  add.run('x'.repeat(amount % 900));
});

const logFd = openSync(log, 'w');
let committed = 0;
do {
  transaction(committed);
  committed += 1;
  writeSync(logFd, String(committed), 0);
} while (committed % 10 !== 0 || !existsSync(stopFile));
database.close();
process.stdout.write(String(committed));
