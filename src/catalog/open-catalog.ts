import { fileURLToPath } from 'node:url';
import type { Kysely } from 'kysely';
import { CairnError } from '../core/index.js';
import type { Catalog } from './catalog.js';
import { migrateToLatest, type SchemaDialect } from './migrations.js';
import type { CatalogSchema } from './schema.js';
import { SqlCatalog } from './sql-catalog.js';
import { openSqliteDatabase, sqliteSchemaDialect } from './sqlite-database.js';

const HINT = 'a catalog is sqlite:///absolute/path/of/a/file or postgres://user@host/database';

interface OpenDatabase {
  db: Kysely<CatalogSchema>;
  dialect: SchemaDialect;
  /** As it may be shown: without a password. */
  url: string;
}

/**
 * Opens the catalog at `sqlite:///absolute/file`, creating it when it is not there, or the one in the database `postgres://user@host/database`, and
 * brings its schema to this release's.
 * @throws CairnError `usage` (no URL of a catalog), `unsupported` (another scheme, a catalog of a newer release, another program's
 * database), `not-found` (no such database), `access-denied`, `corrupt`, `no-space`, `unreachable` (busy for a minute, no server), `failed`.
 */
export async function openCatalog(catalogUrl: string): Promise<Catalog> {
  const { db, dialect, url } = await openDatabase(catalogUrl);
  try {
    await migrateToLatest(db, dialect, url);
  } catch (error) {
    await db.destroy();
    throw error;
  }
  return new SqlCatalog(url, db);
}

async function openDatabase(url: string): Promise<OpenDatabase> {
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(url)?.[1]?.toLowerCase();
  switch (scheme) {
    case 'sqlite':
      return { db: await openSqliteDatabase(sqlitePath(url)), dialect: sqliteSchemaDialect, url };
    case 'postgres':
    case 'postgresql': {
      // Loading its client takes as long as a small command does.
      const { openPostgresDatabase, postgresSchemaDialect, withoutPassword } =
        await import('./postgres-database.js');
      if (!URL.canParse(url))
        throw new CairnError('usage', 'not the URL of a PostgreSQL database', { hint: HINT });
      return { db: openPostgresDatabase(url), dialect: postgresSchemaDialect, url: withoutPassword(url) };
    }
    case undefined:
      throw new CairnError('usage', `not the URL of a catalog: ${url}`, { hint: HINT });
    default:
      // The rest of the URL may hold a password.
      throw new CairnError('unsupported', `no catalogs of scheme ${scheme}:`, { hint: HINT });
  }
}

function sqlitePath(url: string): string {
  const path = /^[^:]+:\/\/(\/[^?#]+)$/.exec(url)?.[1];
  try {
    if (path !== undefined) return fileURLToPath(`file://${path}`);
  } catch {
    // An escape that stands for a slash, or for nothing.
  }
  throw new CairnError('usage', `not the URL of a file: ${url}`, { hint: HINT });
}
