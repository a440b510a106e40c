import { z } from 'zod';
import { jsonPath, CairnError } from '../../core/index.js';
import { wireFileFields, type FileRow } from '../../catalog/index.js';
import {
  changeLineSchema,
  fileLineSchema,
  restoreSchema,
  tagNameSchema,
  tagSchema,
  versionParamSchema,
  versionSchema,
  workspaceNameSchema,
} from '../../wire/index.js';
import { allowedChanges, allowedFiles } from '../files/allowed-files.js';
import type { ServiceContext } from '../context.js';
import { JSON_LINES_TYPE, jsonLines } from '../json-lines.js';
import { restoreVersion } from '../publishing/restore-version.js';
import type { ServiceApp } from '../service-app.js';
import { findVersion } from '../find-version.js';

const TAGS = ['versions'];
const LINES_MAX = 10_000;

const ws = workspaceNameSchema;
const versionParams = z.object({ ws, v: versionParamSchema });
const tagParams = z.object({ ws, tag: tagNameSchema });
const seqSchema = z.coerce.number().int().min(1).max(Number.MAX_SAFE_INTEGER);

const pathText = z.string().max(65_536);
const pathBase64 = z.base64url().max(87_384);
const pageQuery = {
  after: pathText
    .optional()
    .describe('The path of the last line of the page before. A page without lines is the last.'),
  afterBase64: pathBase64.optional().describe('The same, for a path that is not UTF-8 (base64url).'),
  limit: z.coerce.number().int().min(1).max(LINES_MAX).default(1000),
};

/** Versions, their tags, and which paths they have. */
export async function versionRoutes(app: ServiceApp, { catalog }: ServiceContext): Promise<void> {
  app.route({
    method: 'GET',
    url: '/v1/workspaces/:ws/versions',
    config: { access: 'read', scope: 'path', action: 'version.list' },
    schema: {
      summary: 'Versions, newest first',
      tags: TAGS,
      params: z.object({ ws }),
      querystring: z.object({
        before: seqSchema.optional().describe('Only versions below this one: the next page.'),
        limit: z.coerce.number().int().min(1).max(1000).default(100),
      }),
      response: { 200: z.array(versionSchema) },
    },
    handler: async ({ params, query: { before, limit } }) =>
      await catalog.versions(params.ws, { limit, ...(before !== undefined && { beforeSeq: before }) }),
  });
  app.route({
    method: 'GET',
    url: '/v1/workspaces/:ws/versions/:v',
    config: { access: 'read', scope: 'path', action: 'version.get' },
    schema: { summary: 'One version', tags: TAGS, params: versionParams, response: { 200: versionSchema } },
    handler: async ({ params }) => await findVersion(catalog, params.ws, params.v),
  });
  app.route({
    method: 'POST',
    url: '/v1/workspaces/:ws/versions/:v/restore',
    config: { access: 'write', scope: 'workspace', action: 'version.restore' },
    schema: {
      summary: 'A new head with the files of a version',
      tags: TAGS,
      params: versionParams,
      body: restoreSchema,
      response: { 200: versionSchema },
    },
    handler: async ({ params, body, access }) =>
      await restoreVersion(catalog, await findVersion(catalog, params.ws, params.v), {
        ...body,
        author: access.holder,
      }),
  });
  app.route({
    method: 'GET',
    url: '/v1/workspaces/:ws/versions/:v/paths',
    config: { access: 'read', scope: 'path', action: 'version.paths', lines: fileLineSchema },
    schema: {
      summary: 'What a version has, in byte order of paths: the manifest, for simple clients',
      tags: TAGS,
      params: versionParams,
      querystring: z.object({
        prefix: pathText.optional().describe('Only paths that begin so.'),
        prefixBase64: pathBase64.optional(),
        ...pageQuery,
      }),
    },
    handler: async ({ params, query, access }, reply) => {
      const { seq } = await findVersion(catalog, params.ws, params.v);
      const rows = await allowedFiles(
        catalog,
        access,
        { workspace: params.ws, seq },
        {
          prefix: bytesOf(query.prefix, query.prefixBase64),
          after: bytesOf(query.after, query.afterBase64),
          limit: query.limit,
        },
      );
      return await reply.type(JSON_LINES_TYPE).send(jsonLines(rows.map(fileLine)));
    },
  });
  app.route({
    method: 'GET',
    url: '/v1/workspaces/:ws/versions/:v/diff',
    config: { access: 'read', scope: 'path', action: 'version.diff', lines: changeLineSchema },
    schema: {
      summary: 'What is another in a version than in one before, in byte order of paths',
      tags: TAGS,
      params: versionParams,
      querystring: z.object({
        from: versionParamSchema
          .or(z.literal('0'))
          .optional()
          .describe('A version; 0 is the empty tree. Its parent unless given.'),
        ...pageQuery,
      }),
    },
    handler: async ({ params, query, access }, reply) => {
      const { seq, parentSeq } = await findVersion(catalog, params.ws, params.v);
      const { from } = query;
      const fromSeq =
        from === undefined ? parentSeq : from === '0' ? 0 : (await findVersion(catalog, params.ws, from)).seq;
      const changes = await allowedChanges(
        catalog,
        access,
        { workspace: params.ws, fromSeq, toSeq: seq },
        { after: bytesOf(query.after, query.afterBase64), limit: query.limit },
      );
      const lines = changes.map(({ path, before, after }) => ({
        ...jsonPath(path),
        ...(before !== undefined && { before: wireFileFields(before) }),
        ...(after !== undefined && { after: wireFileFields(after) }),
      }));
      return await reply.type(JSON_LINES_TYPE).send(jsonLines(lines));
    },
  });
  app.route({
    method: 'GET',
    url: '/v1/workspaces/:ws/tags',
    config: { access: 'read', scope: 'path', action: 'tag.list' },
    schema: {
      summary: 'Tags, by name',
      tags: TAGS,
      params: z.object({ ws }),
      response: { 200: z.array(tagSchema) },
    },
    handler: async ({ params }) => await catalog.tags(params.ws),
  });
  app.route({
    method: 'GET',
    url: '/v1/workspaces/:ws/tags/:tag',
    config: { access: 'read', scope: 'path', action: 'tag.get' },
    schema: {
      summary: 'The version a tag names',
      tags: TAGS,
      params: tagParams,
      response: { 200: versionSchema },
    },
    handler: async ({ params }) => await catalog.taggedVersion(params.ws, params.tag),
  });
  app.route({
    method: 'PUT',
    url: '/v1/workspaces/:ws/tags/:tag',
    config: { access: 'write', scope: 'workspace', action: 'tag.set' },
    schema: {
      summary: 'Names a version; the tag leaves the one it named',
      tags: TAGS,
      params: tagParams,
      body: z.strictObject({ seq: z.int().min(1) }),
      response: { 200: tagSchema },
    },
    handler: async ({ params, body }) => await catalog.setTag(params.ws, params.tag, body.seq),
  });
  app.route({
    method: 'DELETE',
    url: '/v1/workspaces/:ws/tags/:tag',
    config: { access: 'write', scope: 'workspace', action: 'tag.delete' },
    schema: {
      summary: 'Removes a tag, not the version',
      tags: TAGS,
      params: tagParams,
      response: { 204: z.null() },
    },
    handler: async ({ params }, reply) => {
      await catalog.deleteTag(params.ws, params.tag);
      return await reply.code(204).send(null);
    },
  });
  return Promise.resolve();
}

function bytesOf(text: string | undefined, base64: string | undefined): Buffer {
  if (text !== undefined && base64 !== undefined) {
    throw new CairnError('usage', 'one path is given twice', { hint: 'give it as text or as base64url' });
  }
  return base64 === undefined ? Buffer.from(text ?? '') : Buffer.from(base64, 'base64url');
}

function fileLine(row: FileRow): object {
  return { ...jsonPath(row.path), ...wireFileFields(row) };
}
