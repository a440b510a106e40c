import { z } from 'zod';
import { bytesOfJsonPath, CairnError, jsonPath } from '../core/index.js';
import { tokenRecordSchema, type newTokenSchema, type ServiceClient } from '../wire/index.js';
import type { TokenAdministration, TokenRecord } from './service-catalog.js';

/** The tokens of a service, for who administers it. */
export class RemoteTokenRegister implements TokenAdministration {
  readonly #client: ServiceClient;

  constructor(client: ServiceClient) {
    this.#client = client;
  }

  async create(
    given: Parameters<TokenAdministration['create']>[0],
  ): Promise<{ token: string; record: TokenRecord }> {
    const { holder, workspace, path, can, expiresAtMs } = given;
    const ttlMs = expiresAtMs === undefined ? undefined : expiresAtMs - Date.now();
    const json: z.input<typeof newTokenSchema> = {
      holder,
      workspace,
      can: [...can],
      ...(path.length > 0 && { path: jsonPath(path) }),
      ...(ttlMs !== undefined && { ttlMs }),
    };
    const answerSchema = z.object({ token: z.string(), record: tokenRecordSchema });
    const answer = await this.#client.json(answerSchema, { method: 'POST', path: '/v1/tokens', json });
    return { token: answer.token, record: recordOf(answer.record) };
  }

  async list(): Promise<TokenRecord[]> {
    const records = await this.#client.json(z.array(tokenRecordSchema), { path: '/v1/tokens' });
    return records.map(recordOf);
  }

  async revoke(id: string): Promise<TokenRecord> {
    if (!/^[0-9a-f]{1,64}$/.test(id)) throw new CairnError('not-found', `no token ${id}`);
    const path = `/v1/tokens/${id}`;
    return recordOf(await this.#client.json(tokenRecordSchema, { method: 'DELETE', path }));
  }
}

function recordOf({
  path,
  expiresAtMs,
  revokedAtMs,
  ...record
}: z.output<typeof tokenRecordSchema>): TokenRecord {
  return {
    ...record,
    path: path === undefined ? Buffer.alloc(0) : bytesOfJsonPath(path),
    ...(expiresAtMs !== undefined && { expiresAtMs }),
    ...(revokedAtMs !== undefined && { revokedAtMs }),
  };
}
