import type { Kysely } from 'kysely';
import type { CatalogSchema } from './schema.js';
import type { AuditEntry, AuditLog, AuditQuery } from './service-catalog.js';

export class SqlAuditLog implements AuditLog {
  readonly #db: Kysely<CatalogSchema>;

  constructor(db: Kysely<CatalogSchema>) {
    this.#db = db;
  }

  async add(entry: AuditEntry): Promise<number> {
    const { id } = await this.#db
      .insertInto('audit')
      .values({
        at_ms: entry.atMs,
        token_id: entry.tokenId ?? null,
        actor: entry.actor,
        action: entry.action,
        workspace: entry.workspace ?? null,
        target: entry.target ?? null,
        status: entry.status ?? null,
        count: entry.count,
        request_id: entry.requestId,
      })
      .returning('id')
      .executeTakeFirstOrThrow();
    return id;
  }

  async complete(id: number, outcome: Parameters<AuditLog['complete']>[1]): Promise<void> {
    const { status, target, count } = outcome;
    await this.#db
      .updateTable('audit')
      .set({ status, ...(target !== undefined && { target }), ...(count !== undefined && { count }) })
      .where('id', '=', id)
      .execute();
  }

  async query(query: AuditQuery): Promise<(AuditEntry & { id: number })[]> {
    const { workspace, actor, action, sinceMs, before, limit } = query;
    let rows = this.#db.selectFrom('audit').selectAll().orderBy('id', 'desc').limit(limit);
    if (workspace !== undefined) rows = rows.where('workspace', '=', workspace);
    if (actor !== undefined) {
      rows = rows.where((where) => where.or([where('actor', '=', actor), where('token_id', '=', actor)]));
    }
    if (action !== undefined) {
      // Of the characters of actions none but the dot lies between "." and "/".
      rows = rows.where((where) =>
        where.or([
          where('action', '=', action),
          where.and([where('action', '>=', `${action}.`), where('action', '<', `${action}/`)]),
        ]),
      );
    }
    if (sinceMs !== undefined) rows = rows.where('at_ms', '>=', sinceMs);
    if (before !== undefined) rows = rows.where('id', '<', before);
    return (await rows.execute()).map((row) => ({
      id: row.id,
      atMs: row.at_ms,
      ...(row.token_id !== null && { tokenId: row.token_id }),
      actor: row.actor,
      action: row.action,
      ...(row.workspace !== null && { workspace: row.workspace }),
      ...(row.target !== null && { target: row.target }),
      ...(row.status !== null && { status: row.status }),
      count: row.count,
      requestId: row.request_id,
    }));
  }
}
