import type { ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { z } from 'zod';
import { wireFileFields, type Catalog, type FileChange, type Version } from '../../catalog/index.js';
import { jsonPath } from '../../core/index.js';
import { changesSchema, versionSchema, workspaceNameSchema, type Access } from '../../wire/index.js';
import { accessEnd } from '../access/access-end.js';
import type { ServiceContext } from '../context.js';
import { HttpProblem } from '../http-problem.js';
import type { ServiceApp } from '../service-app.js';

const WAIT_MAX_S = 60;
const LIMIT_DEFAULT = 1000;
const LIMIT_MAX = 10_000;
/** A stream that is silent for longer is taken for dead by what is in between. */
const SILENCE_MAX_MS = 15_000;

/** A path of 64 KiB, in base64. */
const CURSOR_MAX_LENGTH = 100_000;

const workspaceParams = z.object({ ws: workspaceNameSchema });
const wait = z.coerce.number().int().min(0).max(WAIT_MAX_S).default(0);

type Page = z.input<typeof changesSchema>;

/** Where somebody is in the journal of a workspace: of the version after `seq` the changes up to the path `after` are known, too. */
interface Cursor {
  generation: string;
  seq: number;
  after: Buffer;
}

const NO_PATH = Buffer.alloc(0);

/** What happens in a workspace, for who waits for it. */
export async function changeRoutes(app: ServiceApp, context: ServiceContext): Promise<void> {
  const { catalog, closing } = context;
  app.route({
    method: 'GET',
    url: '/v1/workspaces/:ws/newer',
    config: { access: 'read', scope: 'path', action: 'version.await' },
    schema: {
      summary: 'The head, as soon as it is newer than a version',
      tags: ['agents'],
      params: workspaceParams,
      querystring: z.object({
        after: z.coerce.number().int().nonnegative(),
        waitMs: z.coerce
          .number()
          .int()
          .min(0)
          .max(WAIT_MAX_S * 1000)
          .default(0),
      }),
      response: { 200: versionSchema, 204: z.null().describe('There was none in time.') },
    },
    handler: async (request, reply) => {
      const {
        params: { ws },
        query: { after, waitMs },
      } = request;
      const left = leaving(reply);
      const ended = accessEnd(request, context, left);
      const signal = AbortSignal.any([left, closing, ended]);
      const version = await newerVersion(catalog, ws, after, waitMs, signal);
      ended.throwIfAborted();
      return version === undefined ? await reply.code(204).send(null) : version;
    },
  });
  app.route({
    method: 'GET',
    url: '/v1/workspaces/:ws/changes',
    config: { access: 'read', scope: 'path', action: 'change.list' },
    schema: {
      summary: 'Which paths changed since a cursor',
      description:
        'Without a cursor: none, and the cursor of now. `since` of another generation of the workspace is 410: start over. With `Accept: text/event-stream` every page is an event, as it comes; its id is the cursor.',
      tags: ['agents'],
      params: workspaceParams,
      querystring: z.object({
        since: z.string().max(CURSOR_MAX_LENGTH).optional(),
        limit: z.coerce.number().int().min(1).max(LIMIT_MAX).default(LIMIT_DEFAULT),
        wait,
      }),
      response: { 200: changesSchema },
    },
    handler: async (request, reply) => {
      const { ws } = request.params;
      const { since, limit } = request.query;
      const lastEvent = request.headers['last-event-id'];
      const given = typeof lastEvent === 'string' && lastEvent !== '' ? lastEvent : since;
      const journal = new Journal(catalog, ws, request.access, limit);
      const left = leaving(reply);
      const first = await journal.page(given);
      const ended = accessEnd(request, context, left);
      const signal = AbortSignal.any([left, closing, ended]);
      if (request.headers.accept?.includes('text/event-stream') === true) {
        const events = Readable.from(journal.events(first, signal), { objectMode: false });
        return await reply
          .type('text/event-stream')
          .header('cache-control', 'no-store')
          .serializer((body) => body as string)
          .send(events as unknown as Page);
      }
      if (given === undefined || first.versions.length > 0 || first.changes.length > 0) return first;
      const next = await journal.next(first, request.query.wait * 1000, signal);
      ended.throwIfAborted();
      return next;
    },
  });
  return Promise.resolve();
}

/** Aborted when who asked has the answer, or has gone. */
function leaving(reply: { raw: ServerResponse }): AbortSignal {
  const left = new AbortController();
  reply.raw.once('close', () => {
    left.abort();
  });
  return left.signal;
}

class Journal {
  readonly #catalog: Catalog;
  readonly #workspace: string;
  readonly #access: Access;
  readonly #limit: number;

  constructor(catalog: Catalog, workspace: string, access: Access, limit: number) {
    this.#catalog = catalog;
    this.#workspace = workspace;
    this.#access = access;
    this.#limit = limit;
  }

  /** What comes after `since`; nothing, from now on, without one. */
  async page(since: string | undefined): Promise<Page> {
    const { generation, headSeq } = await this.#catalog.workspace(this.#workspace);
    const cursor = since === undefined ? { generation, seq: headSeq, after: NO_PATH } : parsedCursor(since);
    if (cursor.generation !== generation || cursor.seq > headSeq) {
      throw new HttpProblem(410, 'generation', `the cursor is not one of the workspace that is there now`, {
        hint: 'start over: list the head, then ask without a cursor',
      });
    }
    const page: Page = { cursor: '', changes: [], versions: [] };
    let { seq, after } = cursor;
    for (let left = this.#limit; seq < headSeq && left > 0;) {
      if (after.length === 0) page.versions.push(await this.#catalog.version(this.#workspace, seq + 1));
      const changes = await this.#catalog.changes(this.#workspace, seq, seq + 1, { after, limit: left });
      for (const change of changes)
        if (this.#access.allowsPath(change.path)) page.changes.push(changeDocument(seq + 1, change));
      // A version without changes takes its place, too: a page ends.
      left -= Math.max(1, changes.length);
      after = changes.at(-1)?.path ?? NO_PATH;
      if (changes.length === 0) seq += 1;
    }
    page.cursor = `${generation}.${String(seq)}.${after.toString('base64url')}`;
    return page;
  }

  /** The page after `page`, or, after a while in which there is none, an empty one. */
  async next(page: Page, waitMs: number, signal: AbortSignal): Promise<Page> {
    const { seq, after } = parsedCursor(page.cursor);
    // Within a version there is more at once.
    if (after.length === 0) await newerVersion(this.#catalog, this.#workspace, seq, waitMs, signal);
    return await this.page(page.cursor);
  }

  async *events(first: Page, signal: AbortSignal): AsyncGenerator<string> {
    let page = first;
    yield event(page);
    for (;;) {
      page = await this.next(page, SILENCE_MAX_MS, signal);
      // Who may not read any more gets nothing of what has come meanwhile.
      if (signal.aborted) return;
      const isEmpty = page.changes.length === 0 && page.versions.length === 0;
      yield isEmpty ? ': nothing\n\n' : event(page);
    }
  }
}

function event(page: Page): string {
  return `id: ${page.cursor}\ndata: ${JSON.stringify(page)}\n\n`;
}

/** Undefined also when the waiting was ended. */
async function newerVersion(
  catalog: Catalog,
  workspace: string,
  after: number,
  waitMs: number,
  signal: AbortSignal,
): Promise<Version | undefined> {
  try {
    return await catalog.newerVersion(workspace, after, { waitMs, signal });
  } catch (error) {
    if (signal.aborted) return undefined;
    throw error;
  }
}

function parsedCursor(text: string): Cursor {
  const [, generation = '', seq = '', after = ''] = /^([^.]{1,100})\.(\d{1,10})\.([\w-]*)$/.exec(text) ?? [];
  if (seq === '')
    throw new HttpProblem(400, 'usage', 'this is no cursor', { hint: 'send one as it was given' });
  return { generation, seq: Number(seq), after: Buffer.from(after, 'base64url') };
}

function changeDocument(seq: number, { path, before, after }: FileChange): Page['changes'][number] {
  return {
    ...jsonPath(path),
    seq,
    ...(before !== undefined && { before: wireFileFields(before) }),
    ...(after !== undefined && { after: wireFileFields(after) }),
  };
}
