import type { FastifyRequest } from 'fastify';
import type { AuditEntry } from '../../catalog/index.js';
import type { ServiceContext } from '../context.js';
import type { ServiceApp } from '../service-app.js';

declare module 'fastify' {
  interface FastifyRequest {
    auditId: number | undefined;
    /** What the request was about, where its parameters do not say it: the id of a token that it made. */
    auditTarget: string | undefined;
  }
}

const MINUTE_MS = 60_000;

/** How often counts are brought to the log: what a service that is killed may lose, of rows that are there. */
const FLUSH_MS = 5_000;

/** A path may be long; its beginning is enough to know it. */
const TARGET_MAX_LENGTH = 500;

interface Counted {
  minute: number;
  id: Promise<number>;
  status: number;
  count: number;
  written: number;
}

/**
 * Has every request that asks for a right in the audit log. One that changes something has its row before it is done, and what became of it after;
 * what reads is counted by token, workspace, action, status and minute, in a row that is there from the first.
 */
export function auditRequests(app: ServiceApp, { audit, log }: ServiceContext): void {
  app.decorateRequest('auditId', undefined);
  app.decorateRequest('auditTarget', undefined);
  const counted = new Map<string, Counted>();
  const underWay = new Set<Promise<unknown>>();
  const track = (work: Promise<unknown>): void => {
    const tracked = work
      .catch((error: unknown) => {
        log.error({ err: error }, 'the audit log could not be written');
      })
      .finally(() => underWay.delete(tracked));
    underWay.add(tracked);
  };
  const flush = (): void => {
    const minute = Math.floor(Date.now() / MINUTE_MS);
    for (const [key, entry] of counted) {
      const { count, status } = entry;
      if (count > entry.written) {
        entry.written = count;
        track(entry.id.then((id) => audit.complete(id, { status, count })));
      }
      if (entry.minute < minute) counted.delete(key);
    }
  };
  const timer = setInterval(flush, FLUSH_MS).unref();

  app.addHook('preHandler', async (request) => {
    const { access = 'none' } = request.routeOptions.config;
    if (access === 'none' || !isAuditedByItself(request)) return;
    request.auditId = await audit.add({ ...entryOf(request), target: targetOf(request) });
  });
  app.addHook('onResponse', async (request, reply) => {
    const { access = 'none' } = request.routeOptions.config;
    if (access === 'none') return;
    const { auditId, auditTarget } = request;
    const status = reply.statusCode;
    if (auditId !== undefined) {
      track(audit.complete(auditId, { status, target: auditTarget }));
      return;
    }
    const entry = { ...entryOf(request), status };
    const minute = Math.floor(entry.atMs / MINUTE_MS);
    const key = JSON.stringify([entry.tokenId, entry.action, entry.workspace, status, minute]);
    const known = counted.get(key);
    if (known !== undefined) {
      known.count += 1;
      return;
    }
    const id = audit.add(entry);
    counted.set(key, { minute, id, status, count: 1, written: 1 });
    track(id);
    await id.catch(() => undefined);
  });
  app.addHook('onClose', async () => {
    clearInterval(timer);
    flush();
    while (underWay.size > 0) await Promise.all(underWay);
  });
}

function isAuditedByItself({ method, routeOptions }: FastifyRequest): boolean {
  const isRead = method === 'GET' || method === 'HEAD';
  return (routeOptions.config.audit ?? (isRead ? 'counted' : 'each')) === 'each';
}

function entryOf(request: FastifyRequest): AuditEntry {
  const { ws } = request.params as { ws?: unknown };
  return {
    atMs: Date.now(),
    tokenId: request.verifiedAccess?.tokenId,
    actor: request.verifiedAccess?.holder ?? 'unknown',
    action: request.routeOptions.config.action ?? '',
    workspace: typeof ws === 'string' ? storable(ws) : undefined,
    count: 1,
    requestId: request.id,
  };
}

function targetOf(request: FastifyRequest): string | undefined {
  const values = Object.entries(request.params as Record<string, unknown>)
    .filter(([name]) => name !== 'ws')
    .map(([, value]) => String(value));
  return values.length === 0 ? undefined : storable(values.join(' '));
}

/** PostgreSQL's text has no NUL. */
function storable(text: string): string {
  return text.replaceAll('\0', '').slice(0, TARGET_MAX_LENGTH);
}
