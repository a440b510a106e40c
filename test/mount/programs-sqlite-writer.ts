/**
 * One of several programs that write into one SQLite database: `node programs-sqlite-writer.js <database> <writer> <log> <stop file>`. Each
 * transaction adds a row and counts it in a second table. After each, the log, which is not on the mount, says how many are committed.
 */
import { existsSync, openSync, writeSync } from 'node:fs';
import Database from 'better-sqlite3';

const [file = '', writer = '', log = '', stopFile = ''] = process.argv.slice(2);
const database = new Database(file, { timeout: 60_000 });
database.pragma('synchronous = FULL');
database.pragma('wal_autocheckpoint = 60');
const add = database.prepare('INSERT INTO entry(writer, number, text) VALUES (?, ?, ?)');
const count = database.prepare('UPDATE counter SET entries = entries + 1 WHERE id = 1');
const transaction = database.transaction((number: number) => {
  count.run();
  add.run(writer, number, 'x'.repeat((number * 37) % 2500));
});

const idle = new Int32Array(new SharedArrayBuffer(4));
const logFd = openSync(log, 'w');
let committed = 0;
do {
  transaction.immediate(committed + 1);
  committed += 1;
  writeSync(logFd, String(committed).padEnd(10), 0);
  // Who waits looks again after up to 100 ms: somebody who never pauses would keep the database for itself.
  Atomics.wait(idle, 0, 0, 1 + ((committed * 7) % 20));
} while (!existsSync(stopFile));
database.close();
