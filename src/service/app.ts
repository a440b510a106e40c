import { createServer as createPlainServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { randomUUID } from 'node:crypto';
import fastify, { type FastifyBaseLogger } from 'fastify';
import {
  hasZodFastifySchemaValidationErrors,
  serializerCompiler,
  validatorCompiler,
  type ZodTypeProvider,
} from 'fastify-type-provider-zod';
import { CairnError } from '../core/index.js';
import { PROBLEM_TYPE } from '../wire/index.js';
import { enforceAccess } from './access/enforce-access.js';
import type { ServiceContext } from './context.js';
import { routedUrl } from './file-url.js';
import { problemDocument } from './http-problem.js';
import { commitRoutes } from './routes/commits.js';
import { fileRoutes } from './routes/files.js';
import { HeldBlocks } from './held-blocks.js';
import { blockRoutes } from './routes/blocks.js';
import { changeRoutes } from './routes/changes.js';
import { publicationRoutes } from './routes/publications.js';
import { healthRoutes } from './routes/health.js';
import { workspaceRoutes } from './routes/workspaces.js';
import type { ServiceApp } from './service-app.js';
import { verifyPublication } from './verify-publication.js';

export interface AppOptions {
  /** PEM, for a server that speaks TLS itself. */
  tls?: { cert: Buffer; key: Buffer } | undefined;
  /** What is held against a publication before the catalog gets it. */
  checkPublication?: typeof verifyPublication;
}

/** A JSON body, at most; routes that take more say so. */
const BODY_MAX_BYTES = 1024 * 1024;

/** The service's routes on `context`, which stays the caller's to close. Listens nowhere yet. */
export async function buildApp(
  context: ServiceContext,
  { tls, checkPublication = verifyPublication }: AppOptions = {},
): Promise<ServiceApp> {
  const logger: FastifyBaseLogger = context.log;
  const app: ServiceApp = fastify({
    loggerInstance: logger,
    serverFactory: (handler) =>
      tls === undefined ? createPlainServer(handler) : createTlsServer(tls, handler),
    genReqId: () => randomUUID(),
    requestIdHeader: false,
    bodyLimit: BODY_MAX_BYTES,
    rewriteUrl: ({ url = '/' }) => routedUrl(url),
    routerOptions: { maxParamLength: 65_536 },
  }).withTypeProvider<ZodTypeProvider>();
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  answerProblems(app);
  const held = new HeldBlocks(context);
  enforceAccess(app, context);
  await app.register(async (routes: ServiceApp) => {
    await healthRoutes(routes, context);
    await workspaceRoutes(routes, context);
    await fileRoutes(routes, context, held);
    await commitRoutes(routes, context, held);
    await blockRoutes(routes, context, held);
    await publicationRoutes(routes, context, held, checkPublication);
    await changeRoutes(routes, context);
  });
  await app.ready();
  return app;
}

function answerProblems(app: ServiceApp): void {
  app.setErrorHandler(async (error, request, reply) => {
    const told = hasZodFastifySchemaValidationErrors(error)
      ? new CairnError('usage', `the request is not valid: ${error.message}`, { hint: 'see /docs' })
      : error;
    const { problem, headers } = problemDocument(told, request.id);
    if (problem.status >= 500) request.log.error({ err: error }, 'request failed');
    await reply
      .code(problem.status)
      .headers(headers)
      .type(PROBLEM_TYPE)
      .serializer(JSON.stringify)
      .send(problem);
  });
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
