import type Database from 'better-sqlite3';
import { LRUCache } from 'lru-cache';

/** The texts a service asks by, some times over: those of rows by the hundred come in as many forms as there are numbers of rows. */
const KEPT = 200;

/** Those of longer texts are for many rows, and preparing them costs little beside. */
const TEXT_MAX_LENGTH = 4096;

/**
 * A database whose statements are prepared once: Kysely prepares one for each query, which costs more than most queries. SQLite itself prepares a kept one again when the
 * schema has changed.
 */
export class PreparedStatements {
  readonly #database: Database.Database;
  readonly #kept = new LRUCache<string, Database.Statement>({ max: KEPT });

  constructor(database: Database.Database) {
    this.#database = database;
  }

  prepare(sql: string): Database.Statement {
    const kept = this.#kept.get(sql);
    if (kept !== undefined) return kept;
    // A limit that is a parameter alone would have SQLite plan the statement again each time it is run.
    const statement = this.#database.prepare(sql.replaceAll('limit ?', 'limit ? + 0'));
    if (sql.length <= TEXT_MAX_LENGTH) this.#kept.set(sql, statement);
    return statement;
  }

  close(): void {
    this.#kept.clear();
    this.#database.close();
  }
}
