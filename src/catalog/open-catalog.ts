import { existsSync } from 'node:fs';
import type { Kysely } from 'kysely';
import { CairnError } from '../core/index.js';
import type { Catalog } from './catalog.js';
import { CatalogInUse } from './catalog-in-use.js';
import { migrateToLatest, type SchemaDialect } from './migrations.js';
import type { CatalogSchema } from './schema.js';
import type { ServiceCatalog, TokenAdministration } from './service-catalog.js';
import { SqlCatalog } from './sql-catalog.js';
import { openSqliteDatabase, sqliteSchemaDialect } from './sqlite-database.js';
import { CATALOG_URL_HINT as HINT, sqlitePath } from './sqlite-path.js';

interface OpenDatabase {
  db: Kysely<CatalogSchema>;
  dialect: SchemaDialect;
}

/** What the URL of a catalog stands for. */
type Place = { kind: 'sqlite'; path: string } | { kind: 'postgres' };

/**
 * Opens the catalog at `sqlite:///absolute/file`, creating it when it is not there, or the one in the database `postgres://user@host/database`, and
 * brings its schema to this release's; or that of the service at `https://host`, whose token `home`, the home folder, may hold.
 * @throws CairnError `usage` (no URL of a catalog), `unsupported` (another scheme, a catalog of a newer release, another program's
 * database), `not-found` (no such database), `access-denied`, `corrupt`, `no-space`, `unreachable` (busy for a minute, no server), `failed`.
 */
export async function openCatalog(url: string, home?: string): Promise<Catalog> {
  if (isServiceUrl(url)) return await openRemoteCatalog(url, home);
  const { db, shown } = await openMigrated(url);
  return new SqlCatalog(shown, db);
}

/** The catalog with all that a service keeps beside it. Throws as `openCatalog` does. */
export async function openServiceCatalog(url: string): Promise<ServiceCatalog> {
  // What only a service needs is loaded by none else.
  const { SqlServiceCatalog } = await import('./sql-service-catalog.js');
  const { db, shown } = await openMigrated(url);
  return new SqlServiceCatalog(shown, db);
}

/** The tokens of the catalog at `url`, or of the service there, whose administrator's token `home` may hold. */
export async function openTokenAdministration(
  url: string,
  home: string,
): Promise<{ tokens: TokenAdministration; close(): Promise<void> }> {
  if (!isServiceUrl(url)) return await openServiceCatalog(url);
  const [{ RemoteTokenRegister }, { ServiceClient, serviceToken }] = await Promise.all([
    import('./remote-token-register.js'),
    import('../wire/index.js'),
  ]);
  const client = new ServiceClient({ url, token: await serviceToken(url, home) });
  return { tokens: new RemoteTokenRegister(client), close: () => Promise.resolve() };
}

async function openMigrated(url: string): Promise<{ db: Kysely<CatalogSchema>; shown: string }> {
  const place = placeOf(url);
  const { db, dialect } = await openDatabase(place, url);
  const shown = shownUrl(place, url);
  try {
    await migrateToLatest(db, dialect, shown);
  } catch (error) {
    await db.destroy();
    throw error;
  }
  return { db, shown };
}

/**
 * The catalog at `url` for somebody who knows that it has versions: asking it throws what `openCatalog` does, and `unreachable` where there is no
 * file, for then its file system is not mounted; none is made.
 *
 * @throws CairnError `usage` (no URL of a catalog), `unsupported` (another scheme).
 */
export function openCatalogInUse(url: string, home: string): Catalog {
  if (isServiceUrl(url)) return new CatalogInUse(url, () => openRemoteCatalog(url, home));
  const place = placeOf(url);
  return new CatalogInUse(shownUrl(place, url), async () => {
    if (place.kind !== 'sqlite' || existsSync(place.path)) return await openCatalog(url);
    throw new CairnError('unreachable', `the catalog ${place.path} is not there`, {
      hint: 'mount the file system it is on, or check --catalog; cairn import makes one',
    });
  });
}

/** Whether a catalog is a service's: what of it is asked for it tells, its rows it does not. */
export function isServiceUrl(url: string): boolean {
  return /^https?:/i.test(url) && URL.canParse(url);
}

/** `home`: the home folder, in which its token may be. Nothing is asked yet. */
async function openRemoteCatalog(url: string, home: string | undefined): Promise<Catalog> {
  // What checks answers takes as long to load as a small command takes.
  const [{ RemoteCatalog }, { ServiceClient, serviceToken }] = await Promise.all([
    import('./remote-catalog.js'),
    import('../wire/index.js'),
  ]);
  const token = home === undefined ? undefined : await serviceToken(url, home);
  return new RemoteCatalog(new ServiceClient({ url, token }));
}

export async function openDatabase(place: Place, url: string): Promise<OpenDatabase> {
  if (place.kind === 'sqlite') {
    return { db: await openSqliteDatabase(place.path), dialect: sqliteSchemaDialect };
  }
  // Loading its client takes as long as a small command does.
  const { openPostgresDatabase, postgresSchemaDialect } = await import('./postgres-database.js');
  return { db: openPostgresDatabase(url, shownUrl(place, url)), dialect: postgresSchemaDialect };
}

export function placeOf(url: string): Place {
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(url)?.[1]?.toLowerCase();
  switch (scheme) {
    case 'sqlite':
      return { kind: 'sqlite', path: sqlitePath(url) };
    case 'postgres':
    case 'postgresql':
      if (URL.canParse(url)) return { kind: 'postgres' };
      throw new CairnError('usage', 'not the URL of a PostgreSQL database', { hint: HINT });
    case undefined:
      throw new CairnError('usage', `not the URL of a catalog: ${url}`, { hint: HINT });
    default:
      // The rest of the URL may hold a password.
      throw new CairnError('unsupported', `no catalogs of scheme ${scheme}:`, { hint: HINT });
  }
}

/** The URL without a password, for messages and logs. */
export function shownUrl(place: Place, url: string): string {
  if (place.kind === 'sqlite') return url;
  const { protocol, username, host, pathname } = new URL(url);
  return `${protocol}//${username === '' ? '' : `${username}@`}${host}${pathname}`;
}
