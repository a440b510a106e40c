import { z } from 'zod';
import { wireContentRow, type Version } from '../../catalog/index.js';
import { CairnError, type BlockId, type ContentId } from '../../core/index.js';
import {
  catalogSchema,
  knownRequestSchema,
  knownSchema,
  LINES_TYPE,
  numbersRequestSchema,
  numbersSchema,
  textSchema,
  versionSchema,
  workspaceNameSchema,
} from '../../wire/index.js';
import type { ServiceContext } from '../context.js';
import type { HeldBlocks } from '../publishing/held-blocks.js';
import { HttpProblem } from '../http-problem.js';
import { ReceivedPublication } from '../publishing/received-publication.js';
import type { ServiceApp } from '../service-app.js';
import type { verifyPublication } from '../publishing/verify-publication.js';

const workspaceParams = z.object({ ws: workspaceNameSchema });

/** All rows of a version: some 20,000,000 files. */
const PUBLICATION_MAX_BYTES = 4 * 1024 * 1024 * 1024;

/** Half of all numbers: what one writer says it has used may not take from the others all there are. */
const ASKED_NUMBER_MAX = 2 ** 52;

/** How agents make versions: what is known already, numbers for what is new, and the publication itself. */
export async function publicationRoutes(
  app: ServiceApp,
  context: ServiceContext,
  held: HeldBlocks,
  check: typeof verifyPublication,
): Promise<void> {
  const { catalog, dir } = context;
  app.route({
    method: 'GET',
    url: '/v1/catalog',
    config: { access: 'read', scope: 'service', action: 'catalog.get' },
    schema: { summary: 'The catalog as a whole', tags: ['agents'], response: { 200: catalogSchema } },
    handler: async () => ({ isEmpty: await catalog.isEmpty() }),
  });
  app.route({
    method: 'POST',
    url: '/v1/workspaces/:ws/known',
    config: { access: 'read', scope: 'workspace', action: 'block.known', audit: 'counted' },
    schema: {
      summary: 'Which contents and blocks need not be uploaded for this workspace',
      description:
        'Answers from what the workspace holds and what was uploaded for it, and from nothing else.',
      tags: ['agents'],
      params: workspaceParams,
      body: knownRequestSchema,
      response: { 200: knownSchema },
    },
    handler: async ({ params: { ws }, body }) => {
      const contents = await held.knownContents(catalog, ws, body.contents as ContentId[]);
      const blocks = body.blocks as BlockId[];
      const heldIds = await held.held(ws, blocks);
      return { contents: contents.map(wireContentRow), blocks: blocks.filter((id) => heldIds.has(id)) };
    },
  });
  app.route({
    method: 'POST',
    url: '/v1/workspaces/:ws/numbers',
    config: { access: 'write', scope: 'workspace', action: 'numbers.reserve' },
    schema: {
      summary: 'Reserves inode numbers and cookies for one writer',
      tags: ['agents'],
      params: workspaceParams,
      body: numbersRequestSchema,
      response: { 200: numbersSchema },
    },
    handler: async ({ params: { ws }, body: { atLeast } }) => {
      if (atLeast > ASKED_NUMBER_MAX) {
        throw new CairnError('unsupported', `workspace "${ws}" has no inode numbers left`, {
          hint: 'its versions can be mounted with --read-only',
        });
      }
      return { first: await catalog.reserveNumbers(ws, atLeast) };
    },
  });
  app.route({
    method: 'GET',
    url: '/v1/workspaces/:ws/publications/:publishId',
    config: { access: 'read', scope: 'workspace', action: 'publication.get' },
    schema: {
      summary: 'The version that was published under this id',
      tags: ['agents'],
      params: workspaceParams.extend({ publishId: textSchema(200).min(1) }),
      response: { 200: versionSchema },
    },
    handler: async ({ params: { ws, publishId } }): Promise<Version> => {
      const version = await catalog.published(ws, publishId);
      if (version !== undefined) return version;
      throw new HttpProblem(404, 'no-publication', `nothing was published in "${ws}" as ${publishId}`);
    },
  });
  await app.register(async (routes: ServiceApp) => {
    routes.addContentTypeParser(LINES_TYPE, (_request, payload, done) => {
      done(null, payload);
    });
    routes.route({
      method: 'POST',
      url: '/v1/workspaces/:ws/publications',
      bodyLimit: PUBLICATION_MAX_BYTES,
      config: { access: 'write', scope: 'workspace', action: 'version.publish' },
      schema: {
        summary: 'Publishes a version whose blocks and manifest were uploaded',
        description: `JSON lines (${LINES_TYPE}): the version, then its new blocks, its new contents, and the paths that end and begin, each kind in any number of lines. Idempotent by publishId.`,
        tags: ['agents'],
        params: workspaceParams,
        consumes: [LINES_TYPE],
        response: { 200: versionSchema },
      },
      handler: async (request): Promise<Version> => {
        const {
          params: { ws },
          body,
        } = request;
        if (!isStream(body)) throw new CairnError('usage', `the body is no ${LINES_TYPE}`);
        const publication = await ReceivedPublication.read(ws, body, {
          dir,
          maxBytes: PUBLICATION_MAX_BYTES,
        });
        try {
          const already = await catalog.published(ws, publication.publishId);
          if (already !== undefined) return already;
          const added = await check(publication, context, held);
          const version = await catalog.publish(publication);
          // It is published, whatever becomes of this: what is not written down now is when it is first needed.
          await held.record(ws, { seq: version.seq, blocks: added }).catch((error: unknown) => {
            request.log.warn({ err: error }, 'the blocks of a version are not written down yet');
          });
          return version;
        } finally {
          publication.close();
        }
      },
    });
    return Promise.resolve();
  });
}

function isStream(body: unknown): body is AsyncIterable<Buffer> {
  return typeof body === 'object' && body !== null && Symbol.asyncIterator in body;
}
