import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { ServiceContext } from './context.js';
import type { ServiceApp } from './service-app.js';

const SECONDS = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30];

/** Counts every request by its route, and answers at /metrics in the format of Prometheus. */
export function measureRequests(app: ServiceApp, { objects, blocks }: ServiceContext): void {
  const registers = [new Registry()];
  const [registry = new Registry()] = registers;
  collectDefaultMetrics({ register: registry });
  const requests = new Counter({
    name: 'cairn_requests_total',
    help: 'Requests that were answered.',
    labelNames: ['method', 'route', 'status'],
    registers,
  });
  const seconds = new Histogram({
    name: 'cairn_request_seconds',
    help: 'From a request’s head to the end of its answer.',
    labelNames: ['method', 'route'],
    buckets: SECONDS,
    registers,
  });
  const underWay = new Gauge({
    name: 'cairn_requests_under_way',
    help: 'Requests not yet answered.',
    registers,
  });
  const counter = (name: string, help: string, read: () => number): void => {
    new Counter({
      name,
      help,
      registers,
      collect() {
        this.reset();
        this.inc(read());
      },
    });
  };
  const { requests: sent } = objects.counters;
  counter('cairn_store_requests_total', 'Requests to the store.', () =>
    Object.values(sent).reduce((sum, count) => sum + count, 0),
  );
  counter(
    'cairn_store_retries_total',
    'Requests to the store that were tried again.',
    () => objects.counters.retries,
  );
  counter('cairn_store_read_bytes_total', 'Bytes the store has sent.', () => objects.counters.bytesIn);
  counter('cairn_store_written_bytes_total', 'Bytes the store was sent.', () => objects.counters.bytesOut);
  counter('cairn_cache_hits_total', 'Blocks that were in the cache.', () => blocks.counters.hits);
  counter('cairn_cache_misses_total', 'Blocks that were not.', () => blocks.counters.misses);

  app.addHook('onRequest', (_request, _reply, done) => {
    underWay.inc();
    done();
  });
  app.addHook('onResponse', (request, reply, done) => {
    underWay.dec();
    // By the route as it is registered: paths would be as many series.
    const route = request.routeOptions.url ?? 'none';
    requests.inc({ method: request.method, route, status: reply.statusCode });
    seconds.observe({ method: request.method, route }, reply.elapsedTime / 1000);
    done();
  });
  app.addHook('onClose', (_app, done) => {
    registry.clear();
    done();
  });
  app.route({
    method: 'GET',
    url: '/metrics',
    config: { access: 'none', scope: 'service', action: 'metrics' },
    schema: { summary: 'Counters, in the format of Prometheus', tags: ['watching'] },
    handler: async (_request, reply) => reply.type(registry.contentType).send(await registry.metrics()),
  });
}
