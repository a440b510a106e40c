import { createHash } from 'node:crypto';
import {
  Kysely,
  PostgresDialect,
  type PostgresPool,
  type PostgresPoolClient,
  type PostgresQueryResult,
} from 'kysely';
import pg from 'pg';
import { CairnError, messageOf, systemCode, type ErrorCode } from '../core/index.js';
import type { SchemaDialect } from './migrations.js';
import type { CatalogSchema } from './schema.js';

/** Everything of the catalog that is PostgreSQL's own: connections, types, errors, and where its DDL differs. */

export const postgresSchemaDialect: SchemaDialect = {
  bytesType: 'bytea',
  identity: (column) => column.primaryKey().generatedByDefaultAsIdentity(),
};

const CONNECTIONS_MAX = 10;
const CONNECT_LIMIT_MS = 10_000;

/** bigint (pg_type.dat): all of the catalog's are exact as numbers. */
const INT8_OID = 20;

/** Statements up to this length are prepared once for a connection; longer ones are inserts of many rows, and the many of one length are the same. */
const PREPARED_MAX_LENGTH = 64 * 1024;

/**
 * A pool of connections to the database at `url`, each made when it is needed. What is wrong with the server or the URL is told by the first query, as a
 * CairnError: `unreachable`, `access-denied`, `not-found` (the database), `no-space`. They name it by `shownUrl`, which has no password.
 */
export function openPostgresDatabase(url: string, shownUrl: string): Kysely<CatalogSchema> {
  return new Kysely<CatalogSchema>({
    dialect: new PostgresDialect({ pool: new CatalogPool(url, shownUrl) }),
  });
}

class CatalogPool implements PostgresPool {
  readonly #pool: pg.Pool;
  readonly #shownUrl: string;
  /** Kysely knows a connection by its client. */
  readonly #clients = new WeakMap<pg.PoolClient, CatalogClient>();

  constructor(url: string, shownUrl: string) {
    this.#shownUrl = shownUrl;
    this.#pool = new pg.Pool({
      connectionString: url,
      application_name: 'cairn',
      max: CONNECTIONS_MAX,
      connectionTimeoutMillis: CONNECT_LIMIT_MS,
      keepAlive: true,
      allowExitOnIdle: true,
      types: {
        getTypeParser: (oid, format) =>
          (oid as number) === INT8_OID
            ? Number
            : (pg.types.getTypeParser(oid, format) as (text: string) => unknown),
      },
    });
    // A connection that breaks while nobody uses it is replaced by the next that is needed.
    this.#pool.on('error', () => undefined);
  }

  async connect(): Promise<PostgresPoolClient> {
    let client: pg.PoolClient;
    try {
      client = await this.#pool.connect();
    } catch (error) {
      throw translated(error, this.#shownUrl);
    }
    let known = this.#clients.get(client);
    if (known === undefined) {
      known = new CatalogClient(client, this.#shownUrl);
      this.#clients.set(client, known);
    }
    return known;
  }

  async end(): Promise<void> {
    await this.#pool.end();
  }
}

/** One connection: prepares what it is asked often, and tells errors as ours. */
class CatalogClient implements PostgresPoolClient {
  readonly #client: pg.PoolClient;
  readonly #shownUrl: string;
  #isBroken = false;

  constructor(client: pg.PoolClient, shownUrl: string) {
    this.#client = client;
    this.#shownUrl = shownUrl;
    // It is told by the query under way as well.
    client.on('error', () => {
      this.#isBroken = true;
    });
  }

  query<Row>(sql: string, parameters: readonly unknown[]): Promise<PostgresQueryResult<Row>>;
  query(cursor: never): never;
  async query<Row>(sql: string, parameters: readonly unknown[] = []): Promise<PostgresQueryResult<Row>> {
    const name = sql.length > PREPARED_MAX_LENGTH ? undefined : statementName(sql);
    try {
      const result = await this.#client.query({
        text: sql,
        values: [...parameters],
        ...(name !== undefined && parameters.length > 0 && { name }),
      });
      return result as unknown as PostgresQueryResult<Row>;
    } catch (error) {
      throw translated(error, this.#shownUrl);
    }
  }

  release(): void {
    this.#client.release(this.#isBroken);
  }
}

/** Names of prepared statements have at most 63 bytes. */
function statementName(sql: string): string {
  return createHash('sha256').update(sql).digest('base64url');
}

/** What is for a person to mend, by SQLSTATE (errcodes of PostgreSQL's manual, appendix A) or the system's name of the error. */
const TOLD: readonly { codes: RegExp; code: ErrorCode; hint: string }[] = [
  { codes: /^3D000$/, code: 'not-found', hint: 'create the database first (createdb)' },
  { codes: /^(28...|42501)$/, code: 'access-denied', hint: 'check user, password and rights' },
  { codes: /^53100$/, code: 'no-space', hint: 'free some space on its disk' },
  // Connection exceptions, too many connections, shut down, starting up; whatever is no SQLSTATE comes from the connection.
  { codes: /^(08...|53300|57P..|EPIPE)$|^(?![0-9A-Z]{5}$)/, code: 'unreachable', hint: 'is the server up?' },
];

/** An error as one for a person. What is left is this program's mistake (syntax, constraints) and stays as it is. */
function translated(error: unknown, shownUrl: string): unknown {
  const told = TOLD.find(({ codes }) => codes.test(systemCode(error) ?? ''));
  if (told === undefined) return error;
  return new CairnError(told.code, `catalog ${shownUrl}: ${messageOf(error)}`, {
    hint: told.hint,
    cause: error,
  });
}
