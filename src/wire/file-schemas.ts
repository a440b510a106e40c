import { z } from 'zod';
import { versionSchema } from './schemas.js';

/** What the routes of files answer. */

const count = z.int().nonnegative();
const mtime = z
  .object({ sec: z.int(), nsec: z.int().min(0).max(999_999_999) })
  .describe('Seconds since the epoch, and nanoseconds.');

/** A version in a URL. */
export const versionNameSchema = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/)
  .describe('`head`, a number, or a tag.');

export const ENTRY_KINDS = ['file', 'directory', 'symlink', 'other'] as const;

const attributes = z.object({
  kind: z.enum(ENTRY_KINDS),
  mode: z.int().describe('Type and permission bits, as stat has them.'),
  size: count,
  mtime,
  hash: z.string().optional().describe('Of a file: what its content is named by.'),
  target: z.string().optional().describe('Of a symbolic link.'),
  targetBase64: z.base64().optional().describe('Instead, when its bytes are not UTF-8.'),
});

const listedSchema = attributes.extend({
  name: z.string().optional(),
  nameBase64: z.base64().optional().describe('Instead, when its bytes are not UTF-8.'),
});

export const listingSchema = z.object({
  kind: z.literal('directory'),
  version: count,
  entries: z.array(listedSchema).describe('In the order in which they were made.'),
  next: z.string().optional().describe('The cursor of the next page; absent on the last.'),
});

/** What is neither a file nor a folder is told, not followed. */
export const entrySchema = attributes.extend({ version: count });

export const changedFileSchema = z.object({
  version: versionSchema,
  created: z.boolean().describe('False when nothing differed: then the version is the one before.'),
});
