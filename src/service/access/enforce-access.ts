import { noWorkspace } from '../../catalog/index.js';
import { CairnError } from '../../core/index.js';
import type { Access } from '../../wire/index.js';
import type { ServiceApp } from '../service-app.js';
import type { ServiceContext } from '../context.js';
import { HttpProblem } from '../http-problem.js';
import type { RouteAccess } from './route-access.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** What the request's token may do. Throws on a route that asks for none. */
    readonly access: Access;
    verifiedAccess: Access | undefined;
  }
}

/**
 * Has every route checked before anything of the request but its head is read. What a token may nothing in answers as what is not there: no
 * answer tells which workspaces exist.
 */
export function enforceAccess(app: ServiceApp, context: ServiceContext): void {
  app.decorateRequest('verifiedAccess', undefined);
  app.decorateRequest('access', {
    getter() {
      if (this.verifiedAccess === undefined) throw new Error('this route asks for no token');
      return this.verifiedAccess;
    },
  });
  app.addHook('onRoute', ({ url, config }) => {
    if (routeAccessOf(config) === undefined) {
      throw new Error(`route ${url} does not say which right it needs`);
    }
  });
  app.addHook('onRequest', async (request) => {
    if (request.is404) return;
    const route = routeAccessOf(request.routeOptions.config);
    if (route?.access === 'none') return;
    const access = await authenticate(request.headers.authorization, context);
    request.verifiedAccess = access;
    if (route === undefined) throw new Error(`route ${request.routeOptions.url ?? ''} needs no right`);
    const { ws } = request.params as { ws?: string };
    authorize(access, route, ws);
  });
}

function routeAccessOf(config: Partial<RouteAccess> | undefined): RouteAccess | undefined {
  const { access, scope, action } = config ?? {};
  if (access === undefined || scope === undefined || action === undefined) return undefined;
  return { access, scope, action };
}

async function authenticate(header: string | undefined, { tokens }: ServiceContext): Promise<Access> {
  if (header === undefined) {
    throw new HttpProblem(401, 'unauthenticated', 'this needs a token', {
      hint: 'send Authorization: Bearer cairn_…; cairn token create makes one',
      headers: { 'www-authenticate': 'Bearer' },
    });
  }
  const token = /^bearer +([^\s]+)$/i.exec(header)?.[1];
  const access = token === undefined ? undefined : await tokens.verify(token);
  if (access !== undefined) return access;
  throw new HttpProblem(401, 'unauthenticated', 'the token is not known, was revoked, or has ended', {
    hint: 'ask for a new one',
    headers: { 'www-authenticate': 'Bearer error="invalid_token"' },
  });
}

/** Throws for what the token may not: as for what is not there, where it may nothing in the workspace. */
export function authorize(access: Access, route: RouteAccess, workspace: string | undefined): void {
  if (route.access === 'none') return;
  if (route.scope === 'service') {
    if (route.access === 'admin' && !access.isAdministrator) {
      throw denied('this needs a token that administers the service');
    }
    return;
  }
  if (workspace === undefined) throw new Error('a route of a workspace does not name it');
  const rights = access.rightsIn(workspace);
  if (rights.size === 0) throw noWorkspace(workspace);
  if (!rights.has(route.access))
    throw denied(`this needs a token that can ${route.access} in "${workspace}"`);
  if (route.scope === 'workspace' && access.isPathLimited) {
    throw denied(`this needs a token for all of "${workspace}", not for some paths`);
  }
}

function denied(message: string): CairnError {
  return new CairnError('access-denied', message, {
    hint: 'ask who administers the service for such a token',
  });
}
