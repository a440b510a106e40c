import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { pino } from 'pino';
import { serve } from '../../../src/service/index.js';

/** The service in a process of its own: tells where it is and a token for it, and ends with its input. */
const [dir = ''] = process.argv.slice(2);
const service = await serve({
  host: '127.0.0.1',
  port: 0,
  catalog: `sqlite://${join(dir, 'catalog.sqlite')}`,
  store: pathToFileURL(join(dir, 'store')).href,
  dir: join(dir, 'service'),
  cacheBudgetBytes: 4 * 1024 * 1024 * 1024,
  log: pino({ level: 'warn' }),
});
const { token } = await service.context.tokens.create({
  holder: 'benchmark',
  workspace: '*',
  path: Buffer.alloc(0),
  can: ['read', 'write', 'admin'],
});
await service.context.catalog.ensureWorkspace('tree');
process.stdout.write(`${JSON.stringify({ url: service.url, token })}\n`);
process.stdin.resume();
process.stdin.once('end', () => {
  void service.stop();
});
