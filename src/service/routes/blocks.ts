import { z } from 'zod';
import { BLOCK_OBJECT_MAX_BYTES, blockKey, decodeBlock } from '../../blocks/index.js';
import { CairnError, type BlockId, type ManifestRoot } from '../../core/index.js';
import { decodeIndex, manifestKey } from '../../manifest/index.js';
import { idSchema, workspaceNameSchema, type Access } from '../../wire/index.js';
import { authorize } from '../access/enforce-access.js';
import type { ServiceContext } from '../context.js';
import type { HeldBlocks } from '../publishing/held-blocks.js';
import { requireWorkspace } from '../publishing/require-workspace.js';
import { RecentObjects } from '../recent-objects.js';
import type { ServiceApp } from '../service-app.js';

/** An index object: 40 bytes for each run of a manifest's pieces. */
const INDEX_MAX_BYTES = 64 * 1024 * 1024;

/** What has an id by its bytes never changes. Not for caches that others share: who may have it is asked each time. */
const IMMUTABLE = 'private, max-age=31536000, immutable';

const params = z.object({ id: idSchema });
const readQuery = z.object({
  workspace: workspaceNameSchema.optional().describe('Where it is held: then nowhere else is looked.'),
  direct: z
    .enum(['true', 'false'])
    .default('false')
    .describe('Whether a redirect to the store will do, from a service that has one to give.'),
});
const writeQuery = z.object({
  workspace: workspaceNameSchema.describe('For a version of which it is stored.'),
});
const bytesSchema = z.unknown().describe('The object’s bytes as stored (docs/FORMAT.md).');
const OBJECT_TYPE = 'application/octet-stream';

/** Blocks and the indexes of manifests, as the store has them. */
export async function blockRoutes(
  app: ServiceApp,
  { catalog, blockAccess, objects, direct }: ServiceContext,
  held: HeldBlocks,
): Promise<void> {
  const recent = new RecentObjects(objects);
  const kinds = [
    {
      name: 'block',
      url: '/v1/blocks/:id',
      maxBytes: BLOCK_OBJECT_MAX_BYTES,
      keyOf: (id: string) => blockKey(id as BlockId),
      mayRead: (access: Access, id: string, workspace: string | undefined) =>
        held.mayReadBlock(access, id as BlockId, workspace),
      verify: (id: string, bytes: Buffer): unknown => decodeBlock(id as BlockId, bytes),
    },
    {
      name: 'manifest',
      url: '/v1/manifests/:id',
      maxBytes: INDEX_MAX_BYTES,
      keyOf: (id: string) => manifestKey(id as ManifestRoot),
      mayRead: (access: Access, id: string, workspace: string | undefined) =>
        held.mayReadManifest(access, id as ManifestRoot, workspace),
      verify: (id: string, bytes: Buffer): unknown => decodeIndex(id as ManifestRoot, bytes),
    },
  ];
  await app.register(async (routes: ServiceApp) => {
    routes.addContentTypeParser(OBJECT_TYPE, { parseAs: 'buffer' }, (_request, body, done) => {
      done(null, body);
    });
    for (const kind of kinds) {
      routes.route({
        method: ['GET', 'HEAD'],
        url: kind.url,
        exposeHeadRoute: false,
        config: { access: 'read', scope: 'service', action: `${kind.name}.read` },
        schema: {
          summary: `One ${kind.name}’s object`,
          tags: ['agents'],
          params,
          querystring: readQuery,
          produces: [OBJECT_TYPE],
          response: {
            200: bytesSchema,
            304: z.null(),
            307: z.null().describe('Read it there, without the token.'),
          },
        },
        handler: async (request, reply) => {
          const { id } = request.params;
          requireAllPaths(request.access);
          if (!(await kind.mayRead(request.access, id, request.query.workspace))) throw none(kind.name, id);
          reply.headers({ etag: `"${id}"`, 'cache-control': IMMUTABLE, 'content-type': OBJECT_TYPE });
          if (request.headers['if-none-match']?.includes(`"${id}"`) === true)
            return await reply.code(304).send(null);
          if (request.method === 'HEAD') {
            const size = (await objects.head(kind.keyOf(id)))?.sizeBytes;
            if (size === undefined) throw none(kind.name, id);
            return await reply.header('content-length', size).send();
          }
          if (direct !== undefined && request.query.direct === 'true') {
            const url = await direct.toRead(kind.keyOf(id));
            // The URL is a secret, and ends.
            return await reply.code(307).headers({ location: url, 'cache-control': 'no-store' }).send(null);
          }
          const bytes =
            request.headers['cache-control'] === 'no-cache'
              ? await objects.get(kind.keyOf(id), { maxBytes: kind.maxBytes, expected: true })
              : await recent.get(kind.keyOf(id), kind.maxBytes, (found) => kind.verify(id, found));
          return await reply.serializer(asItIs).send(bytes);
        },
      });
      routes.route({
        method: 'PUT',
        url: kind.url,
        bodyLimit: kind.maxBytes,
        config: { access: 'write', scope: 'service', action: `${kind.name}.upload`, audit: 'counted' },
        schema: {
          summary: `Stores one ${kind.name}’s object, for a version to be`,
          description:
            'Verified before it is stored. Forgotten after a day if no version has come to hold it.',
          tags: ['agents'],
          params,
          querystring: writeQuery,
          consumes: [OBJECT_TYPE],
          response: { 204: z.null().describe('It is stored.') },
        },
        handler: async (request, reply) => {
          const { id } = request.params;
          const { workspace } = request.query;
          authorize(request.access, { access: 'write', scope: 'workspace', action: '' }, workspace);
          const bytes = request.body;
          if (!Buffer.isBuffer(bytes)) throw new CairnError('usage', `the body is no ${OBJECT_TYPE}`);
          verified(() => kind.verify(id, bytes));
          await requireWorkspace(catalog, request.access, workspace);
          await objects.put(kind.keyOf(id), bytes, { ifAbsent: true });
          await blockAccess.uploaded(workspace, [id as BlockId]);
          return await reply.code(204).send(null);
        },
      });
    }
    return Promise.resolve();
  });
}

/** Fastify types a serializer's answer as text; bytes go as they are. */
function asItIs(body: unknown): string {
  return body as string;
}

/** A block holds files of other paths as well. */
function requireAllPaths(access: Access): void {
  if (!access.isPathLimited) return;
  throw new CairnError('access-denied', 'a token for some paths opens files, not blocks', {
    hint: 'read files by /v1/workspaces/{ws}/versions/{v}/files/{path}',
  });
}

function verified(verify: () => unknown): void {
  try {
    verify();
  } catch (error) {
    if (error instanceof CairnError && error.code === 'corrupt')
      throw new CairnError('usage', error.message, { hint: 'nothing was stored' });
    throw error;
  }
}

/** The same whether there is none, or one that the token does not reach. */
function none(kind: string, id: string): CairnError {
  return new CairnError('not-found', `no ${kind} ${id}`);
}
