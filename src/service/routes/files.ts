import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { Version } from '../../catalog/index.js';
import {
  CairnError,
  FILE_MAX_BYTES,
  isDirectory,
  isRegular,
  jsonPath,
  joinPath,
  type InodeAttributes,
} from '../../core/index.js';
import { resolvePath, type ManifestReader } from '../../manifest/index.js';
import {
  readContent,
  RecentBlocks,
  storeContent,
  tarTree,
  zipTree,
  type PathChange,
} from '../../snapshot/index.js';
import {
  changedFileSchema,
  entrySchema,
  listingSchema,
  textSchema,
  versionNameSchema,
  workspaceNameSchema,
} from '../../wire/index.js';
import { ArchivePlaces } from '../files/archive-places.js';
import { requestedRange, type ByteRange } from '../files/byte-range.js';
import type { ServiceContext } from '../context.js';
import { entryDocument, kindOf, listedEntry } from '../files/file-documents.js';
import { pathOfSegment } from '../files/file-url.js';
import { findVersion } from '../find-version.js';
import { heldPacker } from '../publishing/held-packer.js';
import type { HeldBlocks } from '../publishing/held-blocks.js';
import { HttpProblem } from '../http-problem.js';
import { recorded } from '../publishing/recorded.js';
import type { ManifestLease } from '../open-manifests.js';
import { isNotModified, mayAnswerRange, requireExpected } from '../files/preconditions.js';
import type { ServiceApp } from '../service-app.js';

const BYTES_TYPE = 'application/octet-stream';
const LISTING_DEFAULT = 1000;
const LISTING_MAX = 10_000;

/** Answers up to this are sent at once. */
const AT_ONCE_BYTES = 128 * 1024;

/** A version by its number never changes; a name may come to mean another. Not for caches that others share: who may have it is asked each time. */
const IMMUTABLE = 'private, max-age=31536000, immutable';
const REVALIDATE = 'private, no-cache';

const params = z.object({
  ws: workspaceNameSchema,
  v: versionNameSchema,
  path: z
    .string()
    .describe('The bytes of a path, escaped as %XX, with slashes between names. Empty: the root.'),
});

const readQuery = z.object({
  archive: z.enum(['tar', 'zip']).optional().describe('A folder with all in it, as an archive.'),
  limit: z.coerce.number().int().min(1).max(LISTING_MAX).default(LISTING_DEFAULT),
  after: z
    .string()
    .regex(/^\d{1,16}$/)
    .optional()
    .describe('The cursor of a page of a folder.'),
});

const mode = z
  .string()
  .regex(/^[0-7]{1,4}$/)
  .describe('Permission bits, in octal.');

const writeQuery = z.object({
  message: textSchema(65_536).default(''),
  mode: mode.optional(),
  mtimeMs: z.coerce.number().int().min(-8.64e15).max(8.64e15).optional(),
});

const deleteQuery = z.object({
  message: textSchema(65_536).default(''),
  recursive: z.enum(['true', 'false']).default('false').describe('A folder with all in it.'),
});

type Params = z.output<typeof params>;

/** Files of versions, read by path; and single files of the head, changed. */
export async function fileRoutes(app: ServiceApp, context: ServiceContext, held: HeldBlocks): Promise<void> {
  const { catalog, manifests, blocks, publisher } = context;
  /** Small files share blocks, and are asked for one after the other. */
  const recent = new RecentBlocks(blocks);
  const archives = new ArchivePlaces();
  const url = '/v1/workspaces/:ws/versions/:v/files/:path';
  app.route({
    method: ['GET', 'HEAD'],
    url,
    exposeHeadRoute: false,
    config: { access: 'read', scope: 'path', action: 'file.read' },
    schema: {
      summary: 'A file, or what a folder holds',
      description:
        'A file: its bytes, with ranges and conditions. A folder: a page of what is in it, or an archive. Anything else is told as JSON: a symbolic link is not followed.',
      tags: ['files'],
      params,
      querystring: readQuery,
      produces: [BYTES_TYPE, 'application/json', 'application/x-tar', 'application/zip'],
      response: { 200: z.union([listingSchema, entrySchema, z.unknown()]) },
    },
    handler: async (request, reply) => {
      const path = requestedPath(request.params);
      const version = await findVersion(catalog, request.params.ws, request.params.v);
      const lease = await manifests.lease(version.root);
      const held = { isHandedOn: false };
      const streamed = (bytes: AsyncIterable<Buffer>): Readable => {
        held.isHandedOn = true;
        return leasedStream(bytes, lease);
      };
      try {
        const inode = visibleInode(request, lease.reader, version, path);
        reply.headers({
          'cache-control': request.params.v === String(version.seq) ? IMMUTABLE : REVALIDATE,
          'cairn-version': version.seq,
          'cairn-kind': kindOf(inode.mode),
          'cairn-mode': inode.mode.toString(8),
          'x-content-type-options': 'nosniff',
        });
        if (isRegular(inode.mode)) return await answerFile(request, reply, lease.reader, inode, streamed);
        const { archive, limit, after } = request.query;
        if (!isDirectory(inode.mode))
          return await sendJson(reply, entryDocument(lease.reader, inode, version.seq));
        if (archive === undefined) {
          const cursor = Number(after ?? 0);
          return await sendJson(
            reply,
            listing(request, lease.reader, { version, path, inode, limit, after: cursor }),
          );
        }
        if (!request.access.allowsPath(path)) throw noFile(version, path);
        reply.header('content-type', archive === 'tar' ? 'application/x-tar' : 'application/zip');
        if (request.method === 'HEAD') return await reply.send();
        const leave = archives.take();
        const options = { reader: lease.reader, blocks, ino: inode.ino };
        const bytes = streamed(archive === 'tar' ? tarTree(options) : zipTree(options));
        return await sendBytes(reply, bytes.once('close', leave));
      } finally {
        if (!held.isHandedOn) lease.release();
      }
    },
  });

  async function answerFile(
    request: FastifyRequest,
    reply: FastifyReply,
    reader: ManifestReader,
    inode: InodeAttributes,
    streamed: (bytes: AsyncIterable<Buffer>) => Readable,
  ): Promise<FastifyReply> {
    const etag = etagOf(reader, inode);
    const modifiedMs = inode.mtimeSec * 1000;
    const validators = { etag, modifiedMs };
    reply.headers({ etag, 'accept-ranges': 'bytes', 'content-type': BYTES_TYPE });
    if (Math.abs(modifiedMs) <= 8.64e15) reply.header('last-modified', new Date(modifiedMs).toUTCString());
    if (isNotModified(request.headers, validators)) return await reply.code(304).send();
    const isRanged = request.method === 'GET' && mayAnswerRange(request.headers, validators);
    const range = isRanged ? requestedRange(request.headers.range, inode.size) : undefined;
    if (range === 'unsatisfiable') {
      throw new HttpProblem(416, 'range', `the file has ${String(inode.size)} bytes`, {
        headers: { 'content-range': `bytes */${String(inode.size)}` },
      });
    }
    const { start, end }: ByteRange = range ?? { start: 0, end: inode.size };
    reply.header('content-length', end - start);
    if (range !== undefined) {
      reply
        .code(206)
        .header('content-range', `bytes ${String(start)}-${String(end - 1)}/${String(inode.size)}`);
    }
    if (request.method === 'HEAD') return await reply.send();
    const isAtOnce = end - start <= AT_ONCE_BYTES;
    const bytes = readContent(reader, isAtOnce ? recent : blocks, inode.ino, { start, end });
    if (!isAtOnce) return await sendBytes(reply, streamed(bytes));
    const pieces: Buffer[] = [];
    for await (const piece of bytes) pieces.push(piece);
    return await sendBytes(
      reply,
      pieces.length === 1 && pieces[0] !== undefined ? pieces[0] : Buffer.concat(pieces),
    );
  }

  await app.register(async (routes: ServiceApp) => {
    // A body is a file's bytes, whatever its type says, and is not read before it is stored.
    routes.removeAllContentTypeParsers();
    routes.addContentTypeParser('*', (_request, payload, done) => {
      done(null, payload);
    });
    routes.route({
      method: 'PUT',
      url,
      bodyLimit: FILE_MAX_BYTES,
      config: { access: 'write', scope: 'path', action: 'file.write' },
      schema: {
        summary: 'Stores a file',
        description:
          'The body is its content. Makes a version of the head, and folders on the way that are not there. If-Match and If-None-Match are held against the ETag of the file there.',
        tags: ['files'],
        params,
        querystring: writeQuery,
        consumes: [BYTES_TYPE],
        response: { 200: changedFileSchema, 201: changedFileSchema },
      },
      handler: async (request, reply) => {
        const path = writablePath(request, request.params);
        const { ws } = request.params;
        const { message, mode: permissions, mtimeMs } = request.query;
        await catalog.workspace(ws);
        const packer = heldPacker(context, held, ws);
        const body = (request.body ?? Readable.from([])) as Readable;
        const { size, content } = await storeContent(body, packer);
        const put: PathChange = {
          kind: 'put',
          path,
          size,
          content,
          ...(permissions !== undefined && { mode: parseInt(permissions, 8) }),
          ...(mtimeMs !== undefined && {
            mtime: { sec: Math.floor(mtimeMs / 1000), nsec: (((mtimeMs % 1000) + 1000) % 1000) * 1e6 },
          }),
        };
        const found = { isNew: false };
        const published = await publisher.onHead(
          {
            ...madeBy(request, message),
            workspace: ws,
            blocks: packer.newBlocks,
            contents: packer.newContents,
          },
          (head) => {
            found.isNew = expectedAt(request, head, path) === undefined;
            return [put];
          },
        );
        return await reply
          .code(found.isNew ? 201 : 200)
          .header('etag', `"${content.id}"`)
          .send(await recorded(held, published));
      },
    });
    routes.route({
      method: 'DELETE',
      url,
      config: { access: 'write', scope: 'path', action: 'file.delete' },
      schema: {
        summary: 'Deletes a file, or a folder',
        description: 'Makes a version of the head. A folder with something in it only with recursive=true.',
        tags: ['files'],
        params,
        querystring: deleteQuery,
        response: { 200: changedFileSchema },
      },
      handler: async (request) => {
        const path = writablePath(request, request.params);
        const { ws } = request.params;
        const { message, recursive } = request.query;
        const published = await publisher.onHead(
          { ...madeBy(request, message), workspace: ws, blocks: [], contents: [] },
          (head) => {
            const there = expectedAt(request, head, path);
            if (there !== undefined && recursive === 'false' && head?.list(there.ino, 0, 1).length === 1) {
              throw new CairnError('conflict', 'the folder is not empty', {
                hint: 'recursive=true deletes it with all in it',
              });
            }
            return [{ kind: 'delete', path }];
          },
        );
        return await recorded(held, published);
      },
    });
    return Promise.resolve();
  });
}

function madeBy(
  request: FastifyRequest,
  message: string,
): { author: string; message: string; publishId: string; atMs: number } {
  return { author: request.access.holder, message, publishId: randomUUID(), atMs: Date.now() };
}

function requestedPath({ path }: Params): Buffer {
  const bytes = pathOfSegment(path);
  if (bytes !== undefined) return bytes;
  throw new CairnError('usage', 'the path in the URL is escaped wrongly', {
    hint: 'a byte is escaped as %XX',
  });
}

function writablePath(request: FastifyRequest, named: Params): Buffer {
  const path = requestedPath(named);
  if (named.v !== 'head') {
    throw new HttpProblem(405, 'immutable', `version ${named.v} never changes`, {
      hint: 'change versions/head',
      headers: { allow: 'GET, HEAD' },
    });
  }
  if (!request.access.allowsPath(path)) throw new CairnError('not-found', 'there is nothing at this path');
  return path;
}

/** What is at a path, as far as the token may see it. */
function visibleInode(
  request: FastifyRequest,
  reader: ManifestReader,
  version: Version,
  path: Buffer,
): InodeAttributes {
  const inode = inodeAt(reader, path);
  if (inode === undefined) throw noFile(version, path);
  const { access } = request;
  const isVisible = access.allowsPath(path) || (isDirectory(inode.mode) && access.leadsToAllowed(path));
  if (!isVisible) throw noFile(version, path);
  return inode;
}

function inodeAt(reader: ManifestReader, path: Buffer): InodeAttributes | undefined {
  const ino = resolvePath(reader, path);
  return ino === undefined ? undefined : reader.inode(ino);
}

/** What is at a path. Throws 412 when the request expects something else. */
function expectedAt(
  request: FastifyRequest,
  head: ManifestReader | undefined,
  path: Buffer,
): InodeAttributes | undefined {
  const there = head === undefined ? undefined : inodeAt(head, path);
  const etag = head === undefined || there === undefined ? undefined : etagOf(head, there);
  requireExpected(request.headers, etag);
  return there;
}

/** Of a file what names its content; of anything else what names this state of it. */
function etagOf(reader: ManifestReader, { ino, mode, ctimeSec, ctimeNsec }: InodeAttributes): string {
  const content = reader.content(ino);
  return `"${content ?? `${kindOf(mode)}-${String(ino)}-${String(ctimeSec)}.${String(ctimeNsec)}`}"`;
}

function listing(
  request: FastifyRequest,
  reader: ManifestReader,
  page: { version: Version; path: Buffer; inode: InodeAttributes; limit: number; after: number },
): z.input<typeof listingSchema> {
  const { version, path, inode, limit, after } = page;
  const rows = reader.listWithInodes(inode.ino, after, limit);
  const { access } = request;
  const isVisible = ({ name, inode: { mode } }: (typeof rows)[number]): boolean => {
    const full = joinPath(path, name);
    return access.allowsPath(full) || (isDirectory(mode) && access.leadsToAllowed(full));
  };
  const last = rows.length === limit ? rows.at(-1) : undefined;
  return {
    kind: 'directory',
    version: version.seq,
    entries: rows.filter(isVisible).map((row) => listedEntry(reader, row.name, row.inode)),
    ...(last !== undefined && { next: String(last.cookie) }),
  };
}

/** The lease lasts as long as the stream, whether it is read to its end or given up. */
function leasedStream(bytes: AsyncIterable<Buffer>, lease: ManifestLease): Readable {
  const stream = Readable.from(bytes, { objectMode: false });
  stream.once('close', () => {
    lease.release();
  });
  return stream;
}

async function sendBytes(reply: FastifyReply, bytes: Buffer | Readable): Promise<FastifyReply> {
  return await reply.send(bytes);
}

async function sendJson(reply: FastifyReply, document: unknown): Promise<FastifyReply> {
  return await reply.type('application/json').serializer(JSON.stringify).send(document);
}

function noFile(version: Version, path: Buffer): CairnError {
  const shown = JSON.stringify(jsonPath(path));
  return new CairnError('not-found', `there is no ${shown} in ${version.workspace}@${String(version.seq)}`);
}
