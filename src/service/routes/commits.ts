import { z } from 'zod';
import { sha256 } from '../../blocks/index.js';
import { COMMIT_TERM_MS, type OpenCommit, type Version } from '../../catalog/index.js';
import { BLOCK_MAX_BYTES, blockIdOf, CairnError } from '../../core/index.js';
import {
  changedFileSchema,
  commitRequestSchema,
  idSchema,
  openCommitSchema,
  textSchema,
  workspaceNameSchema,
} from '../../wire/index.js';
import { blocksOf, decodeChanges, encodeChanges, storedChanges } from '../publishing/commit-changes.js';
import type { ServiceContext } from '../context.js';
import type { HeldBlocks } from '../publishing/held-blocks.js';
import { heldPacker } from '../publishing/held-packer.js';
import { HttpProblem } from '../http-problem.js';
import { recorded } from '../publishing/recorded.js';
import type { ServiceApp } from '../service-app.js';
import { verifyCommit } from '../publishing/verify-commit.js';

/** What changes, with what small files hold: some 200,000 changes. */
const COMMIT_MAX_BYTES = 128 * 1024 * 1024;

/** Of a first import there are more; they are asked for as they are needed. */
const UPLOADS_TOLD = 1000;

const BYTES_TYPE = 'application/octet-stream';

const workspaceParams = z.object({ ws: workspaceNameSchema });
const commitParams = workspaceParams.extend({ id: textSchema(100) });

/** Versions made of changes of paths: what changes, then the blocks that are missing, then the end. */
export async function commitRoutes(
  app: ServiceApp,
  context: ServiceContext,
  held: HeldBlocks,
): Promise<void> {
  const { catalog, commits, blocks, blockAccess, publisher, staged, direct } = context;

  const publishedBy = (workspace: string, key: string): Promise<Version | undefined> =>
    catalog.published(workspace, publishIdOf(key));

  const documentOf = async (commit: OpenCommit): Promise<z.input<typeof openCommitSchema>> => {
    const { id, workspace, baseSeq: base, expiresAtMs, seq } = commit;
    const about = { id, base, expiresAtMs };
    if (seq !== undefined) return { ...about, missing: [], version: await catalog.version(workspace, seq) };
    const changes = decodeChanges(await commits.changes(id));
    const notHeld = await held.missing(workspace, [...blocksOf(changes)]);
    if (direct === undefined || notHeld.length === 0) return { ...about, missing: notHeld };
    const prefix = await staged.prefixOf(workspace);
    const putAlready = await staged.all(prefix);
    const missing = notHeld.filter((id) => !putAlready.has(id));
    return { ...about, missing, uploads: await direct.toPutBlocks(prefix, missing.slice(0, UPLOADS_TOLD)) };
  };

  const openCommit = async (workspace: string, id: string): Promise<OpenCommit> => {
    const commit = await commits.find(workspace, id);
    if (commit !== undefined && commit.expiresAtMs > Date.now()) return commit;
    throw new CairnError('not-found', `there is no commit ${id}`, {
      hint: 'one that is not finished in a day is given up; begin again with the same key',
    });
  };

  app.route({
    method: 'POST',
    url: '/v1/workspaces/:ws/commits',
    bodyLimit: COMMIT_MAX_BYTES,
    config: { access: 'write', scope: 'workspace', action: 'commit.open' },
    schema: {
      summary: 'Begins a version: what changes',
      description:
        'Answers which blocks are missing. Again with the same key: the same commit, and what is missing by now. Given up when it is not finished in a day.',
      tags: ['commits'],
      params: workspaceParams,
      body: commitRequestSchema,
      response: { 200: openCommitSchema, 201: openCommitSchema },
    },
    handler: async ({ params: { ws }, body, access }, reply) => {
      const nowMs = Date.now();
      await commits.expire(nowMs);
      const digest = sha256(Buffer.from(JSON.stringify(body)));
      const before = await commits.findByKey(ws, body.key);
      if (before !== undefined) return await documentOf(sameCommit(before, digest));
      const published = await publishedBy(ws, body.key);
      if (published !== undefined) {
        // Longer ago than a commit is remembered.
        return { id: body.key, base: body.base, expiresAtMs: nowMs, missing: [], version: published };
      }
      if (body.base > 0) await catalog.version(ws, body.base);
      const packer = heldPacker(context, held, ws);
      const { stored, sent } = await storedChanges(body.changes, packer);
      await blockAccess.uploaded(ws, [...sent]);
      const opened = await commits.open(
        {
          workspace: ws,
          key: body.key,
          baseSeq: body.base,
          author: body.author ?? access.holder,
          message: body.message,
          digest,
          expiresAtMs: nowMs + COMMIT_TERM_MS,
        },
        encodeChanges(stored),
      );
      return await reply.code(201).send(await documentOf(sameCommit(opened, digest)));
    },
  });
  app.route({
    method: 'GET',
    url: '/v1/workspaces/:ws/commits/:id',
    config: { access: 'write', scope: 'workspace', action: 'commit.get' },
    schema: {
      summary: 'A commit, and which blocks are still missing',
      tags: ['commits'],
      params: commitParams,
      response: { 200: openCommitSchema },
    },
    handler: async ({ params: { ws, id } }) => await documentOf(await openCommit(ws, id)),
  });
  app.route({
    method: 'DELETE',
    url: '/v1/workspaces/:ws/commits/:id',
    config: { access: 'write', scope: 'workspace', action: 'commit.delete' },
    schema: {
      summary: 'Gives a commit up',
      tags: ['commits'],
      params: commitParams,
      response: { 204: z.null().describe('It is not there any more.') },
    },
    handler: async ({ params: { ws, id } }, reply) => {
      await commits.remove((await openCommit(ws, id)).id);
      return await reply.code(204).send(null);
    },
  });
  app.route({
    method: 'POST',
    url: '/v1/workspaces/:ws/commits/:id/finish',
    config: { access: 'write', scope: 'workspace', action: 'commit.finish' },
    schema: {
      summary: 'Publishes the version',
      description:
        'Verifies that all is there and is what it is said to be. 409 when the base is not the head any more, which the header cairn-head tells. Again: the same version.',
      tags: ['commits'],
      params: commitParams,
      response: { 200: changedFileSchema },
    },
    handler: async ({ params: { ws, id } }) => {
      const commit = await openCommit(ws, id);
      const { baseSeq, seq, key, author, message } = commit;
      if (seq !== undefined) return { version: await catalog.version(ws, seq), created: seq !== baseSeq };
      const already = await publishedBy(ws, key);
      if (already !== undefined) {
        await commits.finished(id, already.seq);
        return { version: already, created: true };
      }
      await requireHead(ws, baseSeq);
      const changes = decodeChanges(await commits.changes(id));
      const committed = await verifyCommit(ws, changes, context, held);
      const base = baseSeq === 0 ? undefined : await catalog.version(ws, baseSeq);
      const published = await publisher
        .on(
          base,
          { workspace: ws, author, message, publishId: publishIdOf(key), atMs: Date.now(), ...committed },
          changes,
        )
        .catch(async (error: unknown) => {
          await requireHead(ws, baseSeq);
          throw error;
        });
      await commits.finished(id, published.version.seq);
      return await recorded(held, published);
    },
  });
  async function requireHead(workspace: string, base: number): Promise<void> {
    const { headSeq } = await catalog.workspace(workspace);
    if (headSeq === base) return;
    throw new HttpProblem(
      409,
      'conflict',
      `workspace "${workspace}" is at version ${String(headSeq)}, not at ${String(base)}`,
      {
        hint: 'commit on that with another key; what was uploaded is kept',
        headers: { 'cairn-head': String(headSeq) },
      },
    );
  }
  await app.register(async (routes: ServiceApp) => {
    routes.removeAllContentTypeParsers();
    routes.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => {
      done(null, body);
    });
    routes.route({
      method: 'PUT',
      url: '/v1/workspaces/:ws/commits/:id/blocks/:block',
      bodyLimit: BLOCK_MAX_BYTES,
      config: { access: 'write', scope: 'workspace', action: 'block.upload' },
      schema: {
        summary: 'Uploads a block of a commit',
        description: 'Its raw bytes, which must hash to its id. In any order, at the same time, and again.',
        tags: ['commits'],
        params: commitParams.extend({ block: idSchema }),
        consumes: [BYTES_TYPE],
        response: { 204: z.null().describe('It is stored.') },
      },
      handler: async ({ params: { ws, id, block }, body }, reply) => {
        const commit = await openCommit(ws, id);
        if (!Buffer.isBuffer(body) || body.length === 0)
          throw new CairnError('usage', 'a block has 1 byte at least');
        const hash = blockIdOf(sha256(body));
        if (hash !== block) {
          throw new HttpProblem(422, 'unfit', `the bytes that were sent hash to ${hash}, not to ${block}`);
        }
        if (commit.seq === undefined) {
          await blocks.put(body);
          await blockAccess.uploaded(ws, [hash]);
        }
        return await reply.code(204).send(null);
      },
    });
    return Promise.resolve();
  });
}

function publishIdOf(key: string): string {
  return `commit:${key}`;
}

function sameCommit(commit: OpenCommit, digest: Buffer): OpenCommit {
  if (commit.digest.equals(digest)) return commit;
  throw new HttpProblem(409, 'key-reused', `another commit has the key ${JSON.stringify(commit.key)}`, {
    hint: 'every commit has a key of its own',
  });
}
