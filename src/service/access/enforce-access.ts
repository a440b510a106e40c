import rateLimit from '@fastify/rate-limit';
import { noWorkspace } from '../../catalog/index.js';
import { CairnError } from '../../core/index.js';
import type { Access } from '../../wire/index.js';
import type { ServiceApp } from '../service-app.js';
import type { ServiceContext } from '../context.js';
import { HttpProblem } from '../http-problem.js';
import type { RouteAccess } from './route-access.js';

/** Requests of a token are counted over so long: who comes in bursts is not held up. */
const RATE_WINDOW_S = 10;

/** Of one address, with tokens that are not known; those that are have no part in it. */
const FAILURES_PER_MINUTE = 120;

/** The readable page: routes of a package, for everybody. */
const DOCS = '/docs';

/** One method of one route. */
export interface RegisteredRoute extends RouteAccess {
  method: string;
  url: string;
}

declare module 'fastify' {
  interface FastifyInstance {
    /** All there are, in the order of their registration. */
    readonly routeTable: readonly RegisteredRoute[];
  }
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
export async function enforceAccess(
  app: ServiceApp,
  context: ServiceContext,
  requestsPerSecond: number,
): Promise<void> {
  await app.register(rateLimit, { global: false });
  const countRequest = app.createRateLimit({
    max: requestsPerSecond * RATE_WINDOW_S,
    timeWindow: RATE_WINDOW_S * 1000,
    keyGenerator: ({ verifiedAccess }) => `token ${verifiedAccess?.tokenId ?? ''}`,
  });
  const countFailure = app.createRateLimit({
    max: FAILURES_PER_MINUTE,
    timeWindow: 60_000,
    keyGenerator: ({ ip }) => `failures of ${ip}`,
  });
  app.decorateRequest('verifiedAccess', undefined);
  app.decorateRequest('access', {
    getter() {
      if (this.verifiedAccess === undefined) throw new Error('this route asks for no token');
      return this.verifiedAccess;
    },
  });
  const routeTable: RegisteredRoute[] = [];
  app.decorate('routeTable', routeTable);
  app.addHook('onRoute', ({ method, url, config }) => {
    if (url === DOCS || url.startsWith(`${DOCS}/`)) return;
    const route = routeAccessOf(config);
    if (route === undefined) throw new Error(`route ${url} does not say which right it needs`);
    for (const each of [method].flat()) routeTable.push({ method: each, url, ...route });
  });
  app.addHook('onRequest', async (request) => {
    const route = routeAccessOf(request.routeOptions.config);
    if (request.is404 || route === undefined || route.access === 'none') return;
    let access: Access;
    try {
      access = await authenticate(request.headers.authorization, context);
    } catch (error) {
      if (error instanceof HttpProblem) refuseTooMany(await countFailure(request));
      throw error;
    }
    request.verifiedAccess = access;
    refuseTooMany(await countRequest(request));
    const { ws } = request.params as { ws?: string };
    authorize(access, route, ws);
  });
}

/** `counted` as the limiter tells it. */
function refuseTooMany(counted: Awaited<ReturnType<ReturnType<ServiceApp['createRateLimit']>>>): void {
  if (counted.isAllowed || !counted.isExceeded) return;
  throw new HttpProblem(429, 'too-many-requests', 'there are too many requests', {
    hint: `go on in ${String(counted.ttlInSeconds)} s`,
    headers: { 'retry-after': String(counted.ttlInSeconds) },
  });
}

function routeAccessOf(config: Partial<RouteAccess> | undefined): RouteAccess | undefined {
  const { access, scope, action } = config ?? {};
  if (access === undefined || scope === undefined || action === undefined) return undefined;
  return { access, scope, action };
}

/** Whose request it is. Throws 401 for one without a token that is good now. */
export async function authenticate(header: string | undefined, { tokens }: ServiceContext): Promise<Access> {
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
