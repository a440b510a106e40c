import { fileURLToPath } from 'node:url';
import { CairnError } from '../core/index.js';
import type { Catalog } from './catalog.js';
import { migrateToLatest } from './migrations.js';
import { SqlCatalog } from './sql-catalog.js';
import { openSqliteDatabase, sqliteSchemaDialect } from './sqlite-database.js';

/**
 * Opens the catalog at `sqlite:///absolute/file`, creating it when it is not there, and brings its schema to this release's.
 * @throws CairnError `usage` (no URL of a file), `unsupported` (another scheme, a catalog of a newer release, another program's
 * database), `access-denied`, `corrupt`, `no-space`, `unreachable` (busy for a minute), `failed`.
 */
export async function openCatalog(url: string): Promise<Catalog> {
  const db = await openSqliteDatabase(sqlitePath(url));
  try {
    await migrateToLatest(db, sqliteSchemaDialect, url);
  } catch (error) {
    await db.destroy();
    throw error;
  }
  return new SqlCatalog(url, db);
}

function sqlitePath(url: string): string {
  const hint = 'a catalog is sqlite:///absolute/path/of/a/file';
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(url)?.[1]?.toLowerCase();
  if (scheme === undefined) throw new CairnError('usage', `not the URL of a catalog: ${url}`, { hint });
  // The rest of the URL may hold a password.
  if (scheme !== 'sqlite') throw new CairnError('unsupported', `no catalogs of scheme ${scheme}:`, { hint });
  const path = /^[^:]+:\/\/(\/[^?#]+)$/.exec(url)?.[1];
  try {
    if (path !== undefined) return fileURLToPath(`file://${path}`);
  } catch {
    // An escape that stands for a slash, or for nothing.
  }
  throw new CairnError('usage', `not the URL of a file: ${url}`, { hint });
}
