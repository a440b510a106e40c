import type { AddressInfo } from 'node:net';
import { buildApp, type AppOptions } from './app.js';
import type { ServiceContext } from './context.js';
import { openService, type ServiceParts } from './open-service.js';
import type { ServiceApp } from './service-app.js';

export interface ServeOptions extends ServiceParts, AppOptions {
  host: string;
  /** 0: one that is free. */
  port: number;
}

export interface RunningService {
  /** Where it answers: `http://127.0.0.1:7420`. */
  url: string;
  app: ServiceApp;
  context: ServiceContext;
  /** Takes no more requests, lets those under way end, and closes everything. */
  stop(): Promise<void>;
}

/** A service that answers at once. Throws `usage` for an address it cannot listen on, and what opening a catalog and a store throws. */
export async function serve(options: ServeOptions): Promise<RunningService> {
  const { context, close } = await openService(options);
  try {
    const app = await buildApp(context, options);
    await app.listen({ host: options.host, port: options.port });
    const { port } = app.server.address() as AddressInfo;
    const host = options.host.includes(':') ? `[${options.host}]` : options.host;
    return {
      url: `${options.tls === undefined ? 'http' : 'https'}://${host}:${String(port)}`,
      app,
      context,
      stop: async () => {
        await app.close();
        await close();
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}
