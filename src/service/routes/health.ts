import { z } from 'zod';
import type { ServiceApp } from '../service-app.js';
import type { ServiceContext } from '../context.js';

const upSchema = z.object({ status: z.literal('up') });

/** Whether the process answers, and whether it can work. */
export async function healthRoutes(app: ServiceApp, { catalog }: ServiceContext): Promise<void> {
  app.route({
    method: 'GET',
    url: '/healthz',
    config: { access: 'none', scope: 'service', action: 'health' },
    schema: { summary: 'The process answers', tags: ['watching'], response: { 200: upSchema } },
    handler: () => ({ status: 'up' as const }),
  });
  app.route({
    method: 'GET',
    url: '/readyz',
    config: { access: 'none', scope: 'service', action: 'ready' },
    schema: { summary: 'The catalog answers', tags: ['watching'], response: { 200: upSchema } },
    handler: async () => {
      await catalog.isEmpty();
      return { status: 'up' as const };
    },
  });
  return Promise.resolve();
}
