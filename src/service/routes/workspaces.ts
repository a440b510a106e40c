import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { CairnError } from '../../core/index.js';
import {
  forkSchema,
  versionSchema,
  workspaceChangeSchema,
  workspaceNameSchema,
  workspaceSchema,
} from '../../wire/index.js';
import type { ServiceContext } from '../context.js';
import type { ServiceApp } from '../service-app.js';
import { findVersion } from '../find-version.js';

const TAGS = ['workspaces'];
const params = z.object({ ws: workspaceNameSchema });

/** Workspaces themselves. */
export async function workspaceRoutes(app: ServiceApp, { catalog }: ServiceContext): Promise<void> {
  app.route({
    method: 'GET',
    url: '/v1/workspaces',
    config: { access: 'read', scope: 'service', action: 'workspace.list' },
    schema: {
      summary: 'The workspaces the token may read, by name',
      tags: TAGS,
      response: { 200: z.array(workspaceSchema) },
    },
    handler: async ({ access }) =>
      (await catalog.workspaces()).filter(({ name }) => access.allows(name, 'read')),
  });
  app.route({
    method: 'PUT',
    url: '/v1/workspaces/:ws',
    config: { access: 'admin', scope: 'workspace', action: 'workspace.create' },
    schema: {
      summary: 'Creates a workspace, where there is none of that name',
      tags: TAGS,
      params,
      response: { 200: workspaceSchema },
    },
    handler: async (request) => await catalog.ensureWorkspace(request.params.ws),
  });
  app.route({
    method: 'GET',
    url: '/v1/workspaces/:ws',
    config: { access: 'read', scope: 'path', action: 'workspace.get' },
    schema: { summary: 'One workspace', tags: TAGS, params, response: { 200: workspaceSchema } },
    handler: async (request) => await catalog.workspace(request.params.ws),
  });
  app.route({
    method: 'PATCH',
    url: '/v1/workspaces/:ws',
    config: { access: 'admin', scope: 'workspace', action: 'workspace.change' },
    schema: {
      summary: 'Renames a workspace, closes it for versions, sets its quota',
      tags: TAGS,
      params,
      body: workspaceChangeSchema,
      response: { 200: workspaceSchema },
    },
    handler: async ({ params: { ws }, body: { name, readOnly, quotaBytes }, access }) => {
      if (name !== undefined) needAdmin(access.allows(name, 'admin'), name);
      return await catalog.changeWorkspace(ws, {
        ...(name !== undefined && { name }),
        ...(readOnly !== undefined && { readOnly }),
        ...(quotaBytes !== undefined && { quotaBytes }),
      });
    },
  });
  app.route({
    method: 'DELETE',
    url: '/v1/workspaces/:ws',
    config: { access: 'admin', scope: 'workspace', action: 'workspace.delete' },
    schema: {
      summary: 'Puts a workspace in the trash, from where it can be had back for a time',
      tags: TAGS,
      params,
      response: { 200: z.object({ untilMs: z.int() }) },
    },
    handler: async (request) => await catalog.trashWorkspace(request.params.ws),
  });
  app.route({
    method: 'POST',
    url: '/v1/workspaces/:ws/undelete',
    config: { access: 'admin', scope: 'workspace', action: 'workspace.undelete' },
    schema: {
      summary: 'Has a workspace back from the trash',
      tags: TAGS,
      params,
      response: { 200: workspaceSchema },
    },
    handler: async (request) => await catalog.undeleteWorkspace(request.params.ws),
  });
  app.route({
    method: 'POST',
    url: '/v1/workspaces/:ws/fork',
    config: { access: 'read', scope: 'workspace', action: 'workspace.fork' },
    schema: {
      summary: 'A new workspace with the files of a version',
      description:
        'Needs admin for the name of the new one. Nothing is stored again; the paths are copied within the catalog.',
      tags: TAGS,
      params,
      body: forkSchema,
      response: { 201: versionSchema },
    },
    handler: async (request, reply) => {
      const {
        params: { ws },
        body: { name, version = 'head', key },
        access,
      } = request;
      needAdmin(access.allows(name, 'admin'), name);
      request.auditTarget = name;
      const { seq } = await findVersion(catalog, ws, version);
      const forked = await catalog.forkWorkspace({
        workspace: ws,
        seq,
        name,
        author: access.holder,
        publishId: `fork ${key ?? randomUUID()}`,
      });
      return await reply.code(201).send(forked);
    },
  });
  return Promise.resolve();
}

function needAdmin(isAllowed: boolean, name: string): void {
  if (isAllowed) return;
  throw new CairnError('access-denied', `this needs a token that can admin in "${name}"`, {
    hint: 'choose another name, or ask who administers the service for such a token',
  });
}
