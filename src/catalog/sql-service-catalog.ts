import type { Kysely } from 'kysely';
import type { CatalogSchema } from './schema.js';
import type { ServiceCatalog } from './service-catalog.js';
import { SqlAuditLog } from './sql-audit-log.js';
import { SqlBlockAccess } from './sql-block-access.js';
import { SqlCatalog } from './sql-catalog.js';
import { SqlCommitRegister } from './sql-commit-register.js';
import { SqlTokenRegister } from './sql-token-register.js';
import { emptyTrash } from './trash.js';

/** Everything on one database. */
export class SqlServiceCatalog implements ServiceCatalog {
  readonly catalog: SqlCatalog;
  readonly tokens: SqlTokenRegister;
  readonly audit: SqlAuditLog;
  readonly blockAccess: SqlBlockAccess;
  readonly commits: SqlCommitRegister;

  readonly #db: Kysely<CatalogSchema>;

  constructor(shownUrl: string, db: Kysely<CatalogSchema>) {
    this.#db = db;
    this.catalog = new SqlCatalog(shownUrl, db);
    this.tokens = new SqlTokenRegister(db);
    this.audit = new SqlAuditLog(db);
    this.blockAccess = new SqlBlockAccess(db);
    this.commits = new SqlCommitRegister(db);
  }

  async emptyTrash(nowMs: number): Promise<string[]> {
    return await emptyTrash(this.#db, nowMs);
  }

  async close(): Promise<void> {
    await this.catalog.close();
  }
}
