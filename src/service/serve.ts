import type { AddressInfo } from 'node:net';
import { buildApp, type AppOptions } from './app.js';
import { isLoopback } from '../wire/index.js';
import { Certificate, type CertificateFiles } from './certificate.js';
import type { ServiceContext } from './context.js';
import { BusySockets } from './busy-sockets.js';
import { openService, type ServiceParts } from './open-service.js';
import type { ServiceApp } from './service-app.js';

export interface ServeOptions extends ServiceParts, Omit<AppOptions, 'tls'> {
  /** For a server that speaks TLS itself; read again now and then. */
  tls?: CertificateFiles | undefined;
  host: string;
  /** 0: one that is free. */
  port: number;
}

export interface RunningService {
  /** Where it answers: `http://127.0.0.1:7420`. */
  url: string;
  app: ServiceApp;
  context: ServiceContext;
  /** Has new connections get the certificate that is in the files now. */
  renewCertificate(): Promise<void>;
  /** Takes no more requests, lets those under way end, and closes everything. */
  stop(): Promise<void>;
}

/** What requests under way have to end, when the service does. */
const STOP_LIMIT_MS = 30_000;

const SWEEP_MS = 60 * 60 * 1000;

/** How old a certificate in use may be beside that in the files. */
const CERTIFICATE_READ_MS = 3_000;

/** A service that answers at once. Throws `usage` for an address it cannot listen on, and what opening a catalog and a store throws. */
export async function serve(options: ServeOptions): Promise<RunningService> {
  const certificate = options.tls === undefined ? undefined : await Certificate.load(options.tls);
  const opened = await openService(options);
  const { context } = opened;
  try {
    const app = await buildApp(context, { ...options, tls: certificate?.pair });
    const renewCertificate = async (): Promise<void> => {
      await certificate?.renew(app.server, context.log);
    };
    const renewer = setInterval(() => void renewCertificate(), CERTIFICATE_READ_MS).unref();
    const sockets = new BusySockets(app.server);
    const sweeper = setInterval(() => {
      opened.sweep().catch((error: unknown) => {
        context.log.error({ err: error }, 'what is to go could not be deleted');
      });
    }, SWEEP_MS).unref();
    await app.listen({ host: options.host, port: options.port });
    const { port } = app.server.address() as AddressInfo;
    const host = options.host.includes(':') ? `[${options.host}]` : options.host;
    const isPlain = certificate === undefined;
    if (isPlain && !isLoopback(host)) {
      context.log.warn(
        { host },
        'tokens come to this address in plain text: give --tls-cert and --tls-key, or see that only a proxy that speaks TLS reaches it',
      );
    }
    return {
      url: `${isPlain ? 'http' : 'https'}://${host}:${String(port)}`,
      app,
      context,
      renewCertificate,
      stop: async () => {
        opened.beginToClose();
        sockets.end();
        const impatience = setTimeout(() => {
          app.server.closeAllConnections();
        }, STOP_LIMIT_MS);
        await app.close();
        clearTimeout(impatience);
        clearInterval(sweeper);
        clearInterval(renewer);
        await opened.close();
      },
    };
  } catch (error) {
    await opened.close();
    throw error;
  }
}
