import { sql, type Kysely, type Transaction } from 'kysely';
import { isMigrated, migrateToLatest } from './migrations.js';
import { openPostgresDatabase, postgresSchemaDialect } from './postgres-database.js';
import { chunksOf } from './row-chunks.js';
import type { CatalogSchema } from './schema.js';
import { openSqliteDatabase, sqliteSchemaDialect } from './sqlite-database.js';

/** What a check reads; those that others refer to come first. */
const TABLES = ['workspace', 'version', 'tag', 'content', 'block', 'file'] as const;

/** Rows on their way at a time. */
const PAGE_ROWS = 5_000;

/**
 * Copies a catalog in PostgreSQL, as it is at one moment, into a new SQLite file at `path`: what checks the one checks the other. Returns false when there
 * is no catalog in the database. Throws `unsupported` for one of an earlier or a later release, and as the server does.
 */
export async function copyPostgresCatalog(url: string, shownUrl: string, path: string): Promise<boolean> {
  const from = openPostgresDatabase(url, shownUrl);
  try {
    if (!(await isMigrated(from, postgresSchemaDialect, shownUrl))) return false;
    const to = await openSqliteDatabase(path);
    try {
      await migrateToLatest(to, sqliteSchemaDialect, path);
      await from
        .transaction()
        .setIsolationLevel('repeatable read')
        .setAccessMode('read only')
        .execute(async (transaction) => {
          for (const table of TABLES) await copyTable(transaction, to, table);
        });
    } finally {
      await to.destroy();
    }
    return true;
  } finally {
    await from.destroy();
  }
}

async function copyTable(
  from: Transaction<CatalogSchema>,
  to: Kysely<CatalogSchema>,
  table: (typeof TABLES)[number],
): Promise<void> {
  await sql`DECLARE rows NO SCROLL CURSOR FOR SELECT * FROM ${sql.table(table)}`.execute(from);
  await to.transaction().execute(async (transaction) => {
    // A fork may come before what it is based on.
    await sql`PRAGMA defer_foreign_keys = ON`.execute(transaction);
    for (;;) {
      const { rows } = await sql<never>`FETCH ${sql.lit(PAGE_ROWS)} FROM rows`.execute(from);
      for (const chunk of chunksOf(rows)) await transaction.insertInto(table).values(chunk).execute();
      if (rows.length < PAGE_ROWS) break;
    }
  });
  await sql`CLOSE rows`.execute(from);
}
