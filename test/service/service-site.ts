import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { pino } from 'pino';
import type { Test } from 'tap';
import type { Version } from '../../src/catalog/index.js';
import { serve, type RunningService } from '../../src/service/index.js';
import { importDirectory } from '../../src/snapshot/index.js';
import { ServiceClient, type Right } from '../../src/wire/index.js';
import { scratchFolder } from '../fixtures/scratch-folder.js';

export interface ServiceSite {
  /** The service of this moment; another after `restart`. */
  service: RunningService;
  url: string;
  /** Of a token that may everything. */
  adminToken: string;
  /** What the service has logged so far. */
  log: string[];
  token(rights: {
    workspace?: string;
    path?: string;
    can?: readonly Right[];
    expiresAtMs?: number;
  }): Promise<string>;
  client(token?: string): ServiceClient;
  /** Publishes these files, and nothing else, as the next version of a workspace. */
  publish(workspace: string, files: Readonly<Record<string, string>>, author?: string): Promise<Version>;
  stop(): Promise<void>;
  /** Starts again what was stopped, on the same catalog, store, folder and port. */
  restart(): Promise<void>;
}

/** A service of its own on 127.0.0.1: over SQLite and a folder, or the catalog and store that are given. Ends with the test. */
export async function startServiceSite(
  t: Test,
  options: {
    catalog?: string;
    store?: string;
    dir?: string;
    requestsPerSecond?: number;
    direct?: boolean;
  } = {},
): Promise<ServiceSite> {
  const dir = options.dir ?? scratchFolder(t);
  const log: string[] = [];
  const start = (port: number): Promise<RunningService> =>
    serve({
      host: '127.0.0.1',
      port,
      catalog: options.catalog ?? pathToFileURL(join(dir, 'catalog.sqlite')).href.replace(/^file/, 'sqlite'),
      store: options.store ?? pathToFileURL(join(dir, 'store')).href,
      dir: join(dir, 'service'),
      requestsPerSecond: options.requestsPerSecond,
      direct: options.direct,
      cacheBudgetBytes: 256 * 1024 * 1024,
      log: pino({ level: 'debug' }, { write: (line) => void log.push(line) }),
    });
  let running: RunningService | undefined = await start(0);
  const stop = async (): Promise<void> => {
    const stopping = running;
    running = undefined;
    await stopping?.stop();
  };
  t.teardown(stop);
  const { url } = running;
  const current = (): RunningService => {
    if (running === undefined) throw new Error('the service was stopped');
    return running;
  };
  const token: ServiceSite['token'] = async ({ workspace = '*', path = '', can = ['read'], expiresAtMs }) =>
    (
      await current().context.tokens.create({
        holder: 'a test',
        workspace,
        path: Buffer.from(path),
        can,
        expiresAtMs,
      })
    ).token;
  const adminToken = await token({ can: ['read', 'write', 'admin'] });
  return {
    get service() {
      return current();
    },
    url,
    adminToken,
    log,
    token,
    client: (given = adminToken) => new ServiceClient({ url, token: given }),
    publish: async (workspace, files, author = 'ada') => {
      const { catalog, objects, blocks } = current().context;
      const source = join(dir, `source-${String(Date.now())}-${Math.random().toString(36).slice(2)}`);
      mkdirSync(source);
      for (const [path, text] of Object.entries(files)) {
        mkdirSync(join(source, dirname(path)), { recursive: true });
        writeFileSync(join(source, path), text);
      }
      const { version } = await importDirectory({
        dir: source,
        workspace,
        catalog,
        objects,
        blocks,
        manifestDir: join(dir, 'manifests'),
        home: join(dir, 'home'),
        embedBelowBytes: 256,
        message: 'a message',
        author,
      });
      return version;
    },
    stop,
    restart: async () => {
      running = await start(Number(new URL(url).port));
    },
  };
}
