import { z } from 'zod';
import type { ControlRequest } from './control-protocol.js';

/** What the daemon accepts on its control socket. */
export const controlRequestSchema: z.ZodType<ControlRequest> = z.discriminatedUnion('method', [
  z.object({ method: z.literal('status'), limit: z.number().int().min(0) }),
  z.object({ method: z.literal('stats') }),
  z.object({ method: z.literal('snapshot'), message: z.string(), author: z.string() }),
]);
