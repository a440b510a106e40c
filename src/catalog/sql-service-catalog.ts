import type { Kysely } from 'kysely';
import type { CatalogSchema } from './schema.js';
import type { ServiceCatalog } from './service-catalog.js';
import { SqlAuditLog } from './sql-audit-log.js';
import { SqlCatalog } from './sql-catalog.js';
import { SqlTokenRegister } from './sql-token-register.js';
import { emptyTrash } from './trash.js';

/** Everything on one database. */
export class SqlServiceCatalog implements ServiceCatalog {
  readonly catalog: SqlCatalog;
  readonly tokens: SqlTokenRegister;
  readonly audit: SqlAuditLog;

  readonly #db: Kysely<CatalogSchema>;

  constructor(shownUrl: string, db: Kysely<CatalogSchema>) {
    this.#db = db;
    this.catalog = new SqlCatalog(shownUrl, db);
    this.tokens = new SqlTokenRegister(db);
    this.audit = new SqlAuditLog(db);
  }

  async emptyTrash(nowMs: number): Promise<string[]> {
    return await emptyTrash(this.#db, nowMs);
  }

  async close(): Promise<void> {
    await this.catalog.close();
  }
}
