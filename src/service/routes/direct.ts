import { z } from 'zod';
import type { BlockId } from '../../core/index.js';
import { blockUrlsRequestSchema, blockUrlsSchema, workspaceNameSchema } from '../../wire/index.js';
import type { ServiceContext } from '../context.js';
import { URL_TERM_S } from '../direct-urls.js';
import type { HeldBlocks } from '../publishing/held-blocks.js';
import { requireWorkspace } from '../publishing/require-workspace.js';
import type { ServiceApp } from '../service-app.js';

const workspaceParams = z.object({ ws: workspaceNameSchema });

/** Secrets: for no cache. */
const NO_STORE = 'no-store';

/** URLs at which clients exchange blocks with the store itself. */
export async function directRoutes(
  app: ServiceApp,
  { catalog, direct, staged }: ServiceContext,
  held: HeldBlocks,
): Promise<void> {
  app.route({
    method: 'POST',
    url: '/v1/workspaces/:ws/urls',
    config: { access: 'read', scope: 'workspace', action: 'block.urls', audit: 'counted' },
    schema: {
      summary: 'Where to read blocks, past the service',
      description: 'Presigned URLs of the store; what the workspace does not hold is left out.',
      tags: ['agents'],
      params: workspaceParams,
      body: blockUrlsRequestSchema,
      response: { 200: blockUrlsSchema },
    },
    handler: async ({ params: { ws }, body: { blocks } }, reply) => {
      void reply.header('cache-control', NO_STORE);
      if (direct === undefined) return { direct: false, seconds: 0, urls: {} };
      const heldIds = await held.held(ws, blocks as BlockId[]);
      return { direct: true, seconds: URL_TERM_S, urls: await direct.toReadBlocks(heldIds) };
    },
  });
  app.route({
    method: 'POST',
    url: '/v1/workspaces/:ws/uploads',
    config: { access: 'write', scope: 'workspace', action: 'block.stage', audit: 'counted' },
    schema: {
      summary: 'Where to put blocks for a version to be, past the service',
      description:
        'Presigned URLs of the store, in a place of the workspace’s own. Takes a block’s raw bytes, or its object (docs/FORMAT.md); it is verified when a version needs it, and deleted when none does in a day.',
      tags: ['agents', 'commits'],
      params: workspaceParams,
      body: blockUrlsRequestSchema,
      response: { 200: blockUrlsSchema },
    },
    handler: async ({ params: { ws }, body: { blocks }, access }, reply) => {
      void reply.header('cache-control', NO_STORE);
      if (direct === undefined) return { direct: false, seconds: 0, urls: {} };
      await requireWorkspace(catalog, access, ws);
      const prefix = await staged.prefixOf(ws);
      return {
        direct: true,
        seconds: URL_TERM_S,
        urls: await direct.toPutBlocks(prefix, blocks as BlockId[]),
      };
    },
  });
  return Promise.resolve();
}
