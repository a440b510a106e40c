import { z } from 'zod';
import { workspaceNameSchema, workspaceSchema } from '../../wire/index.js';
import type { ServiceApp } from '../service-app.js';
import type { ServiceContext } from '../context.js';

const workspaceParams = z.object({ ws: workspaceNameSchema });

/** Workspaces themselves. */
export async function workspaceRoutes(app: ServiceApp, { catalog }: ServiceContext): Promise<void> {
  app.route({
    method: 'GET',
    url: '/v1/workspaces/:ws',
    config: { access: 'read', scope: 'path', action: 'workspace.get' },
    schema: {
      summary: 'One workspace',
      tags: ['workspaces'],
      params: workspaceParams,
      response: { 200: workspaceSchema },
    },
    handler: async ({ params }) => await catalog.workspace(params.ws),
  });
  return Promise.resolve();
}
