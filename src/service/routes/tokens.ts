import { z } from 'zod';
import type { TokenRecord } from '../../catalog/index.js';
import { bytesOfJsonPath, jsonPath } from '../../core/index.js';
import { auditEntrySchema, newTokenSchema, tokenRecordSchema, tokenSelfSchema } from '../../wire/index.js';
import type { ServiceContext } from '../context.js';
import type { ServiceApp } from '../service-app.js';

const TAGS = ['access'];

/** No control characters: PostgreSQL has none of them in text. */
const plainText = z.string().regex(/^[^\p{Cc}]{1,200}$/u);

/** Tokens, and what was done with them. */
export async function tokenRoutes(app: ServiceApp, { tokens, audit }: ServiceContext): Promise<void> {
  app.route({
    method: 'GET',
    url: '/v1/token',
    config: { access: 'read', scope: 'service', action: 'token.self' },
    schema: {
      summary: 'What the token of the request may do',
      tags: TAGS,
      response: { 200: tokenSelfSchema },
    },
    handler: ({ access }) => ({
      id: access.tokenId,
      holder: access.holder,
      workspaces: [...access.workspaces],
      can: [...access.can],
      ...(access.path !== undefined && access.path.length > 0 && { path: jsonPath(access.path) }),
      ...(access.untilMs !== undefined && { untilMs: access.untilMs }),
    }),
  });
  app.route({
    method: 'GET',
    url: '/v1/tokens',
    config: { access: 'admin', scope: 'service', action: 'token.list' },
    schema: {
      summary: 'All tokens, newest first',
      tags: TAGS,
      response: { 200: z.array(tokenRecordSchema) },
    },
    handler: async () => (await tokens.list()).map(documentOf),
  });
  app.route({
    method: 'POST',
    url: '/v1/tokens',
    config: { access: 'admin', scope: 'service', action: 'token.create' },
    schema: {
      summary: 'Makes a token; its text is told this once',
      tags: TAGS,
      body: newTokenSchema,
      response: { 201: z.object({ token: z.string(), record: tokenRecordSchema }) },
    },
    handler: async (request, reply) => {
      const { holder, workspace, path, can, ttlMs } = request.body;
      const { token, record } = await tokens.create({
        holder,
        workspace,
        path: path === undefined ? Buffer.alloc(0) : bytesOfJsonPath(path),
        can,
        expiresAtMs: ttlMs === undefined ? undefined : Date.now() + ttlMs,
      });
      request.auditTarget = record.id;
      return await reply.code(201).send({ token, record: documentOf(record) });
    },
  });
  app.route({
    method: 'DELETE',
    url: '/v1/tokens/:id',
    config: { access: 'admin', scope: 'service', action: 'token.revoke' },
    schema: {
      summary: 'Ends a token and all that were derived from it',
      tags: TAGS,
      params: z.object({ id: z.string().regex(/^[0-9a-f]{1,64}$/) }),
      response: { 200: tokenRecordSchema },
    },
    handler: async ({ params }) => documentOf(await tokens.revoke(params.id)),
  });
  app.route({
    method: 'GET',
    url: '/v1/audit',
    config: { access: 'admin', scope: 'service', action: 'audit.query', audit: 'each' },
    schema: {
      summary: 'Who did what, newest first',
      tags: TAGS,
      querystring: z.object({
        workspace: plainText.optional(),
        actor: plainText.optional().describe('A token’s id, or whom it was made for.'),
        action: plainText.optional().describe('`version.list`, or `version` for all of those.'),
        since: z.coerce.number().int().nonnegative().optional().describe('Milliseconds since the epoch.'),
        before: z.coerce
          .number()
          .int()
          .nonnegative()
          .max(2 ** 31 - 1)
          .optional()
          .describe('The id of the last entry of a page.'),
        limit: z.coerce.number().int().min(1).max(1000).default(100),
      }),
      response: { 200: z.array(auditEntrySchema) },
    },
    handler: async ({ query: { since, ...query } }) => await audit.query({ ...query, sinceMs: since }),
  });
  return Promise.resolve();
}

function documentOf({ path, can, ...record }: TokenRecord): z.input<typeof tokenRecordSchema> {
  return { ...record, can: [...can], ...(path.length > 0 && { path: jsonPath(path) }) };
}
