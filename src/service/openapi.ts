import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import { jsonSchemaTransform } from 'fastify-type-provider-zod';
import { z } from 'zod';
import { PROBLEM_TYPE, problemSchema } from '../wire/index.js';
import { JSON_LINES_TYPE } from './json-lines.js';
import type { ServiceApp } from './service-app.js';

const PROBLEM = {
  description: 'A refusal',
  content: { [PROBLEM_TYPE]: { schema: z.toJSONSchema(problemSchema) } },
};

function linesOf(line: z.ZodType): object {
  return {
    description: 'JSON, one document a line',
    content: { [JSON_LINES_TYPE]: { schema: z.toJSONSchema(line) } },
  };
}

/** The OpenAPI document at /openapi.json, made of the schemas that requests are validated by, and a page of it at /docs. */
export async function describeRoutes(app: ServiceApp): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'CairnFS',
        description: 'Workspaces, their versions and files. Refusals are problem documents (RFC 9457).',
        version: '1',
      },
      components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
    },
    transform: (route) => {
      const { schema, url } = jsonSchemaTransform(route);
      const { access = 'none', lines } = route.route.config ?? {};
      return {
        url,
        schema: {
          ...schema,
          ...(access !== 'none' && { security: [{ token: [] }] }),
          response: {
            ...(schema.response as object | undefined),
            ...(lines !== undefined && { 200: linesOf(lines) }),
            default: PROBLEM,
          },
        },
      };
    },
  });
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    staticCSP: true,
    uiConfig: { docExpansion: 'list' },
  });
  app.route({
    method: 'GET',
    url: '/openapi.json',
    config: { access: 'none', scope: 'service', action: 'openapi' },
    schema: { hide: true },
    handler: () => app.swagger(),
  });
}
