import { closeSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'better-sqlite3';
import {
  type CompiledQuery,
  Kysely,
  SqliteAdapter,
  SqliteDialect,
  SqliteDriver,
  type DatabaseConnection,
  type Driver,
  type QueryResult,
  type TransactionSettings,
} from 'kysely';
import { CairnError, messageOf, systemCode } from '../core/index.js';
import type { SchemaDialect } from './migrations.js';
import { PreparedStatements } from './prepared-statements.js';
import type { CatalogSchema } from './schema.js';

/** Everything of the catalog that is SQLite's own: the file, its settings, its locks, its errors, and where its DDL differs. */

export const sqliteSchemaDialect: SchemaDialect = {
  bytesType: 'blob',
  identity: (column) => column.primaryKey(),
};

/** "CRNC", in the file's header: tells a catalog from other databases. */
const APPLICATION_ID = 0x4352_4e43;

/** How long another process's transaction is waited for: a first import of 100,000 files holds the lock for about a second. */
const BUSY_LIMIT_MS = 60_000;
const BUSY_PAUSE_MS = 20;

/** What SQLite itself waits for, by blocking the thread: short operations only (opening, a checkpoint, recovery). */
const BLOCKING_WAIT_MS = 5_000;

/** Page cache, in KiB: large enough that the transaction of a first import does not spill, and write its index pages many times. */
const CACHE_KIB = 64 * 1024;

/**
 * Opens or creates the database file (mode 0600, its folder 0700), ready for transactions of several processes: write-ahead log, a
 * commit survives power loss, foreign keys hold. A transaction takes the write lock when it begins.
 * @throws CairnError `access-denied`, `corrupt`, `no-space`, `unsupported` (a database of something else), `failed`.
 */
export async function openSqliteDatabase(path: string): Promise<Kysely<CatalogSchema>> {
  createFile(path);
  const database = await untilNotBusy(path, () => openConfigured(path));
  return new Kysely<CatalogSchema>({ dialect: new CatalogSqliteDialect(database) });
}

/** SQLite would create it with the umask's mode, for others to read until it is changed. */
function createFile(path: string): void {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    closeSync(openSync(path, 'a', 0o600));
  } catch (error) {
    const code = systemCode(error);
    const denied = code === 'EACCES' || code === 'EROFS' || code === 'EPERM';
    throw new CairnError(
      denied ? 'access-denied' : code === 'ENOSPC' ? 'no-space' : 'failed',
      `cannot open catalog ${path} for writing: ${messageOf(error)}`,
      { cause: error, ...(denied && { hint: 'check who owns the file and its folder' }) },
    );
  }
}

function openConfigured(path: string): Database.Database {
  const database = new Database(path, { fileMustExist: true, timeout: BLOCKING_WAIT_MS });
  try {
    claim(database, path);
    database.pragma('journal_mode = WAL');
    database.pragma('synchronous = FULL');
    database.pragma('foreign_keys = ON');
    database.pragma('cell_size_check = ON');
    database.pragma(`cache_size = -${String(CACHE_KIB)}`);
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

/** Marks a database that is new as a catalog, and refuses one that is something else's. One transaction: others may be at it. */
function claim(database: Database.Database, path: string): void {
  if (database.pragma('application_id', { simple: true }) === APPLICATION_ID) return;
  database
    .transaction(() => {
      if (database.pragma('application_id', { simple: true }) === APPLICATION_ID) return;
      if (database.prepare('select 1 from sqlite_schema').get() !== undefined) {
        throw new CairnError('unsupported', `${path} is a database, but not a catalog`, {
          hint: 'name the catalog file, or one that does not exist yet',
        });
      }
      database.pragma(`application_id = ${String(APPLICATION_ID)}`);
    })
    .immediate();
}

class CatalogSqliteDialect extends SqliteDialect {
  readonly #database: Database.Database;

  constructor(database: Database.Database) {
    super({ database });
    this.#database = database;
  }

  override createDriver(): Driver {
    return new CatalogSqliteDriver(this.#database);
  }

  override createAdapter(): SqliteAdapter {
    return new CatalogSqliteAdapter();
  }
}

/** Has migrations run within a transaction, which SQLite can and Kysely does not ask for by itself. */
class CatalogSqliteAdapter extends SqliteAdapter {
  override get supportsTransactionalDdl(): boolean {
    return true;
  }
}

class CatalogSqliteDriver extends SqliteDriver {
  readonly #database: Database.Database;

  constructor(database: Database.Database) {
    super({ database: new PreparedStatements(database) });
    this.#database = database;
  }

  override async acquireConnection(): Promise<DatabaseConnection> {
    return new TranslatingConnection(await super.acquireConnection(), this.#database.name);
  }

  /** A transaction that began by reading cannot become a writer once another process has written: one that may write never has to. */
  override async beginTransaction(
    connection: DatabaseConnection,
    settings?: TransactionSettings,
  ): Promise<void> {
    if (settings?.accessMode === 'read only') {
      await super.beginTransaction(connection);
      return;
    }
    await untilNotBusy(this.#database.name, () => {
      this.#database.pragma('busy_timeout = 0');
      try {
        this.#database.exec('begin immediate');
      } finally {
        this.#database.pragma(`busy_timeout = ${String(BLOCKING_WAIT_MS)}`);
      }
    });
  }

  /** SQLite may have rolled back by itself (disk full, input/output error); what it threw then is the error to see. */
  override async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    if (this.#database.inTransaction) await super.rollbackTransaction(connection);
  }
}

class TranslatingConnection implements DatabaseConnection {
  readonly #connection: DatabaseConnection;
  readonly #path: string;

  constructor(connection: DatabaseConnection, path: string) {
    this.#connection = connection;
    this.#path = path;
  }

  async executeQuery<R>(query: CompiledQuery): Promise<QueryResult<R>> {
    try {
      return await this.#connection.executeQuery<R>(query);
    } catch (error) {
      throw translated(error, this.#path);
    }
  }

  streamQuery<R>(query: CompiledQuery, chunkSize?: number): AsyncIterableIterator<QueryResult<R>> {
    return this.#connection.streamQuery<R>(query, chunkSize);
  }
}

/** Repeats `action` while another process holds the lock, leaving the thread to others in between. */
async function untilNotBusy<Result>(path: string, action: () => Result): Promise<Result> {
  const deadlineMs = performance.now() + BUSY_LIMIT_MS;
  for (;;) {
    try {
      return action();
    } catch (error) {
      if (!isBusy(error) || performance.now() > deadlineMs) throw translated(error, path);
    }
    await sleep(BUSY_PAUSE_MS * (0.5 + Math.random()));
  }
}

function isBusy(error: unknown): boolean {
  return error instanceof Database.SqliteError && error.code.startsWith('SQLITE_BUSY');
}

/** SQLite's error as one for a person. What is left is this program's mistake (syntax, constraints) and stays as it is. */
function translated(error: unknown, path: string): unknown {
  if (!(error instanceof Database.SqliteError)) return error;
  // Extended codes have more words: SQLITE_IOERR_WRITE.
  const code = error.code.split('_').slice(0, 2).join('_');
  const detail = `catalog ${path}: ${error.message}`;
  switch (code) {
    case 'SQLITE_BUSY':
      return new CairnError('unreachable', detail, {
        hint: 'another process has been writing to it for a minute; try again when it is done',
        cause: error,
      });
    case 'SQLITE_CORRUPT':
    case 'SQLITE_NOTADB':
      return new CairnError('corrupt', detail, { hint: 'restore the file from a backup', cause: error });
    case 'SQLITE_READONLY':
    case 'SQLITE_CANTOPEN':
    case 'SQLITE_PERM':
    case 'SQLITE_AUTH':
      return new CairnError('access-denied', detail, {
        hint: 'check who owns the file and its folder',
        cause: error,
      });
    case 'SQLITE_FULL':
      return new CairnError('no-space', detail, { hint: 'free some space on its disk', cause: error });
    case 'SQLITE_IOERR':
      return new CairnError('failed', detail, { cause: error });
    default:
      return error;
  }
}
