import { z } from 'zod';
import { idSchema } from './agent-schemas.js';
import { textSchema, versionSchema } from './schemas.js';

/** How a version is committed: what changes, the blocks that are missing, the end. */

/** Changes of one commit, at most. More are several commits. */
const COMMIT_CHANGES_MAX = 200_000;

/** Bytes of a file that may stand in the commit itself, at most. */
const COMMIT_INLINE_MAX_BYTES = 128 * 1024;

const count = z.int().nonnegative();

const pathShape = {
  path: z.string().max(65_536).optional(),
  pathBase64: z.base64().max(87_384).optional().describe('Instead, when its bytes are not UTF-8.'),
};

const attributeShape = {
  mode: z.int().min(0).max(0o7777).optional().describe('Permission bits.'),
  uid: z.int().min(0).max(0xffff_ffff).optional(),
  gid: z.int().min(0).max(0xffff_ffff).optional(),
  mtime: z
    .strictObject({
      sec: z.int().min(-(2 ** 53) + 1),
      nsec: z.int().min(0).max(999_999_999),
    })
    .optional()
    .describe('Of what the commit makes or changes; else the time of the commit.'),
};

const chunkSchema = z.strictObject({
  block: idSchema.optional().describe('The block that has it; absent: zeros.'),
  length: z.int().positive(),
  at: count.default(0).describe('Where in the block it begins: small files share blocks.'),
});

const contentSchema = z
  .union([
    z.strictObject({
      bytes: z.base64().max(Math.ceil(COMMIT_INLINE_MAX_BYTES / 3) * 4),
      hash: idSchema.optional(),
    }),
    z.strictObject({
      hash: idSchema.describe('docs/FORMAT.md, C-1 and C-2.'),
      size: count,
      chunks: z.array(chunkSchema).describe('In order, all of the file.'),
    }),
  ])
  .describe('The bytes themselves, or where they are.');

const changeSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('put'), ...pathShape, ...attributeShape, content: contentSchema }),
  z.strictObject({ kind: z.literal('mkdir'), ...pathShape, ...attributeShape }),
  z.strictObject({
    kind: z.literal('symlink'),
    ...pathShape,
    ...attributeShape,
    target: z.string().optional(),
    targetBase64: z.base64().optional(),
  }),
  z.strictObject({ kind: z.literal('set'), ...pathShape, ...attributeShape }),
  z.strictObject({ kind: z.literal('delete'), ...pathShape }),
]);
export type CommitChange = z.output<typeof changeSchema>;

export const commitRequestSchema = z.strictObject({
  key: textSchema(200).min(1).describe('Chosen by who commits: with one key one version is made.'),
  base: count.describe(
    'The version that is changed, which must be the head in the end; 0: there is none yet.',
  ),
  message: textSchema(65_536).default(''),
  author: textSchema(1000).min(1).optional().describe('Absent: whom the token was made for.'),
  changes: z.array(changeSchema).max(COMMIT_CHANGES_MAX).describe('Made in this order.'),
});

export const openCommitSchema = z.object({
  id: z.string(),
  base: count,
  missing: z.array(idSchema).describe('Blocks to upload before it can be finished.'),
  uploads: z
    .record(z.string(), z.url())
    .optional()
    .describe(
      'Of a service that sends its clients to the store: where to put the first 1,000 of them instead, without the token; a secret each, good for minutes. POST …/uploads tells more.',
    ),
  expiresAtMs: count,
  version: versionSchema.optional().describe('What it became.'),
});
