import { z } from 'zod';
import { RIGHTS } from './access.js';

/**
 * The forms in which agents and the service speak, each once: types, validation and the OpenAPI document are made from them. Times are
 * milliseconds since the epoch, sizes are bytes.
 */

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

const count = z.int().nonnegative();
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
