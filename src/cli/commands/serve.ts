import { join } from 'node:path';
import { CairnError } from '../../core/index.js';
import { defineCommand } from '../command.js';
import { untilInterrupted } from '../interruption.js';
import { ensureHome } from '../settings.js';

const LISTEN_DEFAULT = '127.0.0.1:7420';

/** `127.0.0.1:7420`, `[::1]:7420`, `:7420` (every address), `7420` (this machine only). */
function parseListen(text: string): { host: string; port: number } {
  const match = /^(?:(?<host>\[[0-9a-fA-F:.]+\]|[^:[\]]*):)?(?<port>\d{1,5})$/.exec(text);
  const port = Number(match?.groups?.['port'] ?? NaN);
  if (match === null || port > 65_535) {
    throw new CairnError('usage', `--listen "${text}" is not an address`, {
      hint: `as in ${LISTEN_DEFAULT}`,
    });
  }
  const host = match.groups?.['host'];
  if (host === undefined) return { host: '127.0.0.1', port };
  return { host: host === '' ? '::' : host.replace(/^\[|\]$/g, ''), port };
}

function tlsFiles(
  cert: string | undefined,
  key: string | undefined,
): { cert: string; key: string } | undefined {
  if (cert === undefined && key === undefined) return undefined;
  if (cert === undefined || key === undefined) {
    throw new CairnError('usage', 'a certificate and its key belong together', {
      hint: 'give both --tls-cert and --tls-key',
    });
  }
  return { cert, key };
}

function parseRate(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^[1-9]\d{0,6}$/.test(text)) return Number(text);
  throw new CairnError('usage', `--rate "${text}" is not a number`, { hint: 'as in --rate 2000' });
}

export const serveCommand = defineCommand({
  name: 'serve',
  summary: 'serve a catalog and a store to other machines, over HTTP',
  details:
    'Serves the catalog and the store to who has a token (cairn token create), until SIGTERM or SIGINT. Its log goes to standard error, a JSON line an event. The files of the certificate are read again every few seconds, and at SIGHUP: new connections get what is in them.',
  positionals: [],
  options: {
    listen: { type: 'string', describe: `address and port, ${LISTEN_DEFAULT} unless given` },
    'tls-cert': { type: 'string', describe: 'file of the certificate and its chain (PEM)' },
    'tls-key': { type: 'string', describe: 'file of its key (PEM)' },
    direct: {
      type: 'boolean',
      describe: 'send clients to the store in S3 for blocks, by presigned URLs, instead of passing them on',
    },
    rate: { type: 'string', describe: 'requests a second of one token, at most: 2000 unless given' },
    'log-level': { type: 'string', describe: 'fatal, error, warn, info, debug or trace (CAIRN_LOG_LEVEL)' },
  },
  examples: [
    ['serve', 'for this machine'],
    ['serve --listen :7420 --tls-cert cert.pem --tls-key key.pem', 'for others'],
    ['serve --catalog postgres://cairn@db/cairn --store s3://bucket/cairn', 'what several can serve'],
    ['serve --store s3://bucket/cairn --direct', 'and blocks go between machines and the bucket'],
  ],
  run: async (_arguments, options, { settings, output }) => {
    const { host, port } = parseListen(options.listen ?? LISTEN_DEFAULT);
    const tls = tlsFiles(options['tls-cert'], options['tls-key']);
    const requestsPerSecond = parseRate(options.rate);
    await ensureHome(settings.home);
    const [{ serve }, { pino }] = await Promise.all([import('../../service/index.js'), import('pino')]);
    await untilInterrupted(async (interrupted) => {
      const service = await serve({
        host,
        port,
        tls,
        requestsPerSecond,
        catalog: settings.catalog,
        store: settings.store,
        dir: join(settings.home, 'service'),
        cacheBudgetBytes: settings.cacheBudgetBytes,
        direct: options.direct,
        log: pino({ level: settings.logLevel, base: null }, pino.destination(2)),
      });
      const renew = (): void => void service.renewCertificate();
      if (tls !== undefined) process.on('SIGHUP', renew);
      await output.document({ url: service.url });
      await output.line(`cairn serves at ${service.url}`);
      await output.flush();
      await interrupted;
      process.off('SIGHUP', renew);
      await service.stop();
    });
    return true;
  },
});
