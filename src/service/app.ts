import { createServer as createPlainServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { randomUUID } from 'node:crypto';
import fastify, { type FastifyBaseLogger, type FastifyReply, type FastifyRequest } from 'fastify';
import {
  hasZodFastifySchemaValidationErrors,
  serializerCompiler,
  validatorCompiler,
  type ZodTypeProvider,
} from 'fastify-type-provider-zod';
import { CairnError, messageOf } from '../core/index.js';
import { PROBLEM_TYPE } from '../wire/index.js';
import { auditRequests } from './access/audit-requests.js';
import { enforceAccess } from './access/enforce-access.js';
import type { CertificatePair } from './certificate.js';
import type { ServiceContext } from './context.js';
import { routedUrl } from './files/file-url.js';
import { problemDocument } from './http-problem.js';
import { commitRoutes } from './routes/commits.js';
import { fileRoutes } from './routes/files.js';
import { measureRequests } from './metrics.js';
import { describeRoutes } from './openapi.js';
import { HeldBlocks } from './publishing/held-blocks.js';
import { blockRoutes } from './routes/blocks.js';
import { RequestLines } from './request-lines.js';
import { changeRoutes } from './routes/changes.js';
import { directRoutes } from './routes/direct.js';
import { publicationRoutes } from './routes/publications.js';
import { healthRoutes } from './routes/health.js';
import { tokenRoutes } from './routes/tokens.js';
import { versionRoutes } from './routes/versions.js';
import { workspaceRoutes } from './routes/workspaces.js';
import type { ServiceApp } from './service-app.js';
import { verifyPublication } from './publishing/verify-publication.js';

export interface AppOptions {
  /** Of one token, on average over ten seconds. */
  requestsPerSecond?: number | undefined;
  /** Sockets at a time; more are refused. */
  connections?: number | undefined;
  /** PEM, for a server that speaks TLS itself. */
  tls?: CertificatePair | undefined;
  /** What is held against a publication before the catalog gets it. */
  checkPublication?: typeof verifyPublication;
}

/** A JSON body, at most; routes that take more say so. */
const BODY_MAX_BYTES = 1024 * 1024;

/** A token's, unless it is said otherwise: a first import sends thousands. */
const REQUESTS_PER_SECOND_DEFAULT = 2_000;
const CONNECTIONS_DEFAULT = 4_096;

/** For a head to come; and until a socket is closed on which nothing moves, whoever is to send. Bodies have any time while they come. */
const HEAD_LIMIT_MS = 30_000;
const STILL_LIMIT_MS = 120_000;
const KEEP_ALIVE_MS = 75_000;

/** The service's routes on `context`, which stays the caller's to close. Listens nowhere yet. */
export async function buildApp(context: ServiceContext, options: AppOptions = {}): Promise<ServiceApp> {
  const { tls, checkPublication = verifyPublication } = options;
  const logger: FastifyBaseLogger = context.log;
  const app: ServiceApp = fastify({
    loggerInstance: logger,
    logController: new RequestLines(),
    serverFactory: (handler) =>
      tls === undefined ? createPlainServer(handler) : createTlsServer(tls, handler),
    // What is refused before there is a route for it.
    frameworkErrors: (error, request, reply) => {
      void answerProblem(error, request, reply);
    },
    genReqId: () => randomUUID(),
    requestIdHeader: false,
    bodyLimit: BODY_MAX_BYTES,
    rewriteUrl: ({ url = '/' }) => routedUrl(url),
    requestTimeout: 0,
    connectionTimeout: STILL_LIMIT_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    forceCloseConnections: 'idle',
    routerOptions: { maxParamLength: 65_536 },
  }).withTypeProvider<ZodTypeProvider>();
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  app.server.headersTimeout = HEAD_LIMIT_MS;
  app.server.maxConnections = options.connections ?? CONNECTIONS_DEFAULT;
  answerProblems(app);
  await enforceAccess(app, context, options.requestsPerSecond ?? REQUESTS_PER_SECOND_DEFAULT);
  auditRequests(app, context);
  measureRequests(app, context);
  await describeRoutes(app);
  const held = new HeldBlocks(context);
  await app.register(async (routes: ServiceApp) => {
    await healthRoutes(routes, context);
    await tokenRoutes(routes, context);
    await workspaceRoutes(routes, context);
    await fileRoutes(routes, context, held);
    await commitRoutes(routes, context, held);
    await versionRoutes(routes, context);
    await blockRoutes(routes, context, held);
    await directRoutes(routes, context, held);
    await publicationRoutes(routes, context, held, checkPublication);
    await changeRoutes(routes, context);
  });
  await app.ready();
  return app;
}

function answerProblems(app: ServiceApp): void {
  app.setErrorHandler(answerProblem);
  app.setNotFoundHandler((request) => {
    throw new CairnError(
      'not-found',
      `there is no ${request.method} ${request.originalUrl.split('?', 1)[0] ?? ''}`,
      {
        hint: 'see /docs',
      },
    );
  });
}

async function answerProblem(error: unknown, request: FastifyRequest, reply: FastifyReply): Promise<void> {
  const told = hasZodFastifySchemaValidationErrors(error)
    ? new CairnError('usage', `the request is not valid: ${messageOf(error)}`, { hint: 'see /docs' })
    : error;
  const { problem, headers } = problemDocument(told, request.id);
  if (problem.status >= 500) request.log.error({ err: error }, 'request failed');
  await reply
    .code(problem.status)
    .headers(headers)
    .type(PROBLEM_TYPE)
    .serializer(JSON.stringify)
    .send(problem);
}
