import { z } from 'zod';
import { RIGHTS } from './access.js';

/**
 * The forms in which agents and the service speak, each once: types, validation and the OpenAPI document are made from them. Times are
 * milliseconds since the epoch, sizes are bytes.
 */

const count = z.int().nonnegative();

export const jsonPathSchema = z
  .union([
    z.strictObject({ path: z.string().max(65_536) }),
    z.strictObject({ pathBase64: z.base64().max(87_384) }),
  ])
  .describe(
    'A path in a version, relative and without a leading slash: as text, or as base64 when its bytes are not UTF-8.',
  );

export const workspaceNameSchema = z
  .string()
  .regex(/^[a-z0-9][a-z0-9._-]{0,62}$/)
  .describe('Up to 63 of a-z, 0-9, ".", "_" and "-", a letter or digit first.');

export const globSchema = z
  .string()
  .regex(/^[a-z0-9._*-]{1,64}$/)
  .describe('A name of workspaces, in which * stands for any characters.');

export const rightsSchema = z.array(z.enum(RIGHTS)).max(RIGHTS.length);

const hexId = z.string().regex(/^[0-9a-f]{64}$/);

export const workspaceSchema = z.object({
  name: z.string(),
  headSeq: count.describe('The newest version; 0 while there is none.'),
  createdAtMs: count,
  generation: z
    .string()
    .describe('Another one: what was known of the workspace is of another with this name.'),
  readOnly: z.boolean(),
  quotaBytes: count.optional().describe('What the files of a version may have together.'),
});

export const versionSchema = z.object({
  workspace: z.string(),
  seq: count,
  parentSeq: count.describe('0 for a first version.'),
  root: hexId.describe('The SHA-256 of the manifest’s index.'),
  author: z.string(),
  message: z.string(),
  createdAtMs: count,
  files: count,
  bytes: count,
  publishId: z.string(),
});

const holderSchema = z
  .string()
  .regex(/^[^\p{Cc}]{1,200}$/u)
  .describe('Whom it is for, in the words of who makes it; the author of versions made with it.');

/** Ten years: what is longer may as well have no end. */
const TTL_MAX_MS = 10 * 366 * 24 * 60 * 60 * 1000;

export const newTokenSchema = z.strictObject({
  holder: holderSchema,
  workspace: globSchema,
  path: jsonPathSchema.optional(),
  can: rightsSchema.min(1),
  ttlMs: z.int().positive().max(TTL_MAX_MS).optional().describe('Absent: it has no end.'),
});

export const tokenRecordSchema = z.object({
  id: z.string(),
  holder: z.string(),
  workspace: z.string(),
  path: jsonPathSchema.optional(),
  can: rightsSchema,
  createdAtMs: count,
  expiresAtMs: count.optional(),
  revokedAtMs: count.optional(),
});

export const tokenSelfSchema = z.object({
  id: z.string(),
  holder: z.string(),
  workspaces: z.array(z.string()).describe('Names; * stands for any characters. A workspace must match all.'),
  path: jsonPathSchema.optional(),
  can: rightsSchema,
  untilMs: count.optional(),
});

export const auditEntrySchema = z.object({
  id: count,
  atMs: count,
  tokenId: z.string().optional(),
  actor: z.string(),
  action: z.string(),
  workspace: z.string().optional(),
  target: z.string().optional(),
  status: z.int().optional().describe('Absent: it was not finished.'),
  count: count.describe('How often, for what is counted by the minute.'),
  requestId: z.string(),
});
