import { createHash } from 'node:crypto';
import type { Kysely, Selectable } from 'kysely';
import { LRUCache } from 'lru-cache';
import { CairnError } from '../core/index.js';
import { Access, mintToken, RIGHTS, tokenId, verifyToken, type AccessLimit } from '../wire/index.js';
import type { CatalogSchema } from './schema.js';
import type { TokenRecord, TokenRegister } from './service-catalog.js';

/** How long what the catalog said of a token is taken for true. */
const TRUSTED_MS = 1_500;

const TOKENS_REMEMBERED = 10_000;

type TokenRow = Selectable<CatalogSchema['token']>;

export class SqlTokenRegister implements TokenRegister {
  readonly #db: Kysely<CatalogSchema>;
  /** By the hash of a token's text: what was added to it, which stays true. */
  readonly #limits = new LRUCache<string, AccessLimit[]>({ max: TOKENS_REMEMBERED });
  /** By id. */
  readonly #rows = new LRUCache<string, TokenRow>({ max: TOKENS_REMEMBERED, ttl: TRUSTED_MS });

  constructor(db: Kysely<CatalogSchema>) {
    this.#db = db;
  }

  async create(
    given: Parameters<TokenRegister['create']>[0],
  ): Promise<{ token: string; record: TokenRecord }> {
    const { id, token, publicKey } = mintToken();
    const row: TokenRow = {
      id,
      public_key: publicKey,
      holder: given.holder,
      workspace_glob: given.workspace,
      path: given.path,
      can: RIGHTS.filter((right) => given.can.includes(right)).join(','),
      created_at_ms: Date.now(),
      expires_at_ms: given.expiresAtMs ?? null,
      revoked_at_ms: null,
    };
    await this.#db.insertInto('token').values(row).execute();
    return { token, record: recordOf(row) };
  }

  async list(): Promise<TokenRecord[]> {
    const rows = await this.#db
      .selectFrom('token')
      .selectAll()
      .orderBy('created_at_ms', 'desc')
      .orderBy('id')
      .execute();
    return rows.map(recordOf);
  }

  async revoke(id: string): Promise<TokenRecord> {
    await this.#db
      .updateTable('token')
      .set({ revoked_at_ms: Date.now() })
      .where('id', '=', id)
      .where('revoked_at_ms', 'is', null)
      .execute();
    this.#rows.delete(id);
    const row = await this.#read(id);
    if (row === undefined) {
      throw new CairnError('not-found', `no token ${id}`, { hint: 'cairn token list shows those there are' });
    }
    return recordOf(row);
  }

  async verify(token: string): Promise<Access | undefined> {
    const id = tokenId(token);
    if (id === undefined) return undefined;
    let row = this.#rows.get(id);
    if (row === undefined) {
      row = await this.#read(id);
      if (row === undefined) return undefined;
      this.#rows.set(id, row);
    }
    if (row.revoked_at_ms !== null) return undefined;
    const added = this.#limitsOf(token, row.public_key);
    if (added === undefined) return undefined;
    const { holder, workspace, path, can, expiresAtMs } = recordOf(row);
    const access = new Access({ id, holder }, [{ workspace, path, can, untilMs: expiresAtMs }, ...added]);
    return access.untilMs === undefined || Date.now() < access.untilMs ? access : undefined;
  }

  #limitsOf(token: string, publicKey: Buffer): AccessLimit[] | undefined {
    const key = createHash('sha256').update(token).digest('base64');
    const known = this.#limits.get(key);
    if (known !== undefined) return known;
    const limits = verifyToken(token, publicKey);
    if (limits !== undefined) this.#limits.set(key, limits);
    return limits;
  }

  async #read(id: string): Promise<TokenRow | undefined> {
    return await this.#db.selectFrom('token').selectAll().where('id', '=', id).executeTakeFirst();
  }
}

function recordOf(row: TokenRow): TokenRecord {
  return {
    id: row.id,
    holder: row.holder,
    workspace: row.workspace_glob,
    path: row.path,
    can: RIGHTS.filter((right) => row.can.split(',').includes(right)),
    createdAtMs: row.created_at_ms,
    ...(row.expires_at_ms !== null && { expiresAtMs: row.expires_at_ms }),
    ...(row.revoked_at_ms !== null && { revokedAtMs: row.revoked_at_ms }),
  };
}
