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

export const workspaceChangeSchema = z.strictObject({
  name: workspaceNameSchema.optional(),
  readOnly: z.boolean().optional(),
  quotaBytes: count.nullable().optional().describe('null: no quota.'),
});

/** Not the forms of a version's number, which other names would hide. */
export const tagNameSchema = z
  .string()
  .regex(/^(?!head$)[A-Za-z][A-Za-z0-9._-]{0,99}$/)
  .describe('A letter, then up to 99 of letters, digits, ".", "_" and "-"; not "head".');

export const versionParamSchema = z
  .string()
  .regex(/^(?:[1-9][0-9]{0,14}|[A-Za-z][A-Za-z0-9._-]{0,99})$/)
  .describe('A version’s number, `head`, or a tag.');

export const tagSchema = z.object({
  workspace: z.string(),
  name: z.string(),
  seq: count,
  createdAtMs: count,
});

/** Chosen by the client: what is asked twice with one key is done once. */
const keySchema = z
  .string()
  .regex(/^[A-Za-z0-9._:-]{1,100}$/)
  .describe('Chosen by the client: what is asked twice with one key is done once.');

/** Text that the catalog can keep: PostgreSQL's has no NUL. */
export function textSchema(maxLength: number): z.ZodString {
  return z
    .string()
    .max(maxLength)
    .regex(/^[^\0]*$/);
}

export const forkSchema = z.strictObject({
  name: workspaceNameSchema,
  version: versionParamSchema.optional().describe('The head unless given.'),
  key: keySchema.optional(),
});

export const restoreSchema = z.strictObject({
  key: keySchema,
  base: count.optional().describe('What the head must be; else `conflict`.'),
  message: textSchema(10_000).optional(),
});

const fileFields = {
  hash: hexId.optional().describe('Of its content; absent for what has no bytes.'),
  size: count,
  mode: count.describe('Type and permissions, as stat has them.'),
};

/** One line of a listing. */
export const fileLineSchema = z.union([
  z.object({ path: z.string(), ...fileFields }),
  z.object({ pathBase64: z.string(), ...fileFields }),
]);

const sides = { before: z.object(fileFields).optional(), after: z.object(fileFields).optional() };

/** One line of a comparison: absent is the side that has no such path. */
export const changeLineSchema = z.union([
  z.object({ path: z.string(), ...sides }),
  z.object({ pathBase64: z.string(), ...sides }),
]);

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
