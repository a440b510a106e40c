import { z } from 'zod';
import { jsonPathSchema, textSchema, versionSchema } from './schemas.js';

/** The forms in which agents ask for blocks, publish, and learn of changes. */

const count = z.int().nonnegative();

/** An object with a path, in either of its forms. */
function withPath<Shape extends z.ZodRawShape>(shape: Shape) {
  return z.union([
    z.object({ path: z.string().max(65_536), ...shape }),
    z.object({ pathBase64: z.base64().max(87_384), ...shape }),
  ]);
}

export const idSchema = z
  .string()
  .regex(/^[0-9a-f]{64}$/)
  .describe('A SHA-256 in hex: of a block’s raw bytes, of a content, of a manifest’s index.');

const KNOWN_MAX = 1000;

const extentSchema = z
  .tuple([count, z.int().positive(), idSchema, count])
  .describe('Offset in the content, length, block, offset in the block.');

const contentRowSchema = z.object({
  id: idSchema,
  size: count,
  extents: z.array(extentSchema).max(1_000_000),
});

export const knownRequestSchema = z.object({
  contents: z.array(idSchema).max(KNOWN_MAX).default([]),
  blocks: z.array(idSchema).max(KNOWN_MAX).default([]),
});

export const knownSchema = z.object({ contents: z.array(contentRowSchema), blocks: z.array(idSchema) });

export const blockUrlsRequestSchema = z.object({ blocks: z.array(idSchema).max(KNOWN_MAX) });

export const blockUrlsSchema = z.object({
  direct: z.boolean().describe('False: the service does not send its clients to the store; there are none.'),
  seconds: count.describe('How long they are good.'),
  urls: z.record(z.string(), z.url()).describe('By block. A secret each: who has one needs no token.'),
});

export const numbersRequestSchema = z.object({ atLeast: count });
export const numbersSchema = z.object({ first: count });

export const catalogSchema = z.object({
  isEmpty: z.boolean().describe('The service holds no content at all: nobody need ask what it has.'),
});

const rowShape = { hash: idSchema.optional(), size: count, mode: count };

export const fileRowSchema = withPath(rowShape);

const ROWS_OF_A_LINE = 1000;

/** One line of a publication: the head first, then blocks, contents, removed and added paths, each kind in any number of lines, in this order. */
export const publicationLineSchema = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('version'),
    parentSeq: count,
    root: idSchema,
    author: textSchema(1000),
    message: textSchema(100_000),
    publishId: textSchema(200).min(1),
    createdAtMs: count,
    files: count,
    bytes: count,
  }),
  z.object({
    kind: z.literal('blocks'),
    rows: z
      .array(z.tuple([idSchema, count, count]).describe('Id, raw bytes, stored bytes.'))
      .max(ROWS_OF_A_LINE),
  }),
  z.object({ kind: z.literal('contents'), rows: z.array(contentRowSchema).max(ROWS_OF_A_LINE) }),
  z.object({ kind: z.literal('removed'), rows: z.array(jsonPathSchema).max(ROWS_OF_A_LINE) }),
  z.object({ kind: z.literal('added'), rows: z.array(fileRowSchema).max(ROWS_OF_A_LINE) }),
]);
export type PublicationLine = z.infer<typeof publicationLineSchema>;

/** JSON, a line each. */
export const LINES_TYPE = 'application/x-ndjson';

/** The longest line of a publication. */
export const LINE_MAX_BYTES = 64 * 1024 * 1024;

export const fileChangeSchema = withPath({
  before: z.object(rowShape).optional(),
  after: z.object(rowShape).optional(),
});

const changeSchema = withPath({
  seq: count.describe('The version that brought the change.'),
  before: z.object(rowShape).optional(),
  after: z.object(rowShape).optional(),
});

export const changesSchema = z.object({
  cursor: z.string().describe('What to ask with next: for what comes after these.'),
  changes: z.array(changeSchema),
  versions: z.array(versionSchema).describe('Those that begin within these changes.'),
});
