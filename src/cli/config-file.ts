import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { CairnError, messageOf } from '../core/index.js';

const size = z.union([z.string(), z.number().int().nonnegative()]);

const configFile = z.strictObject({
  store: z.string().optional(),
  catalog: z.string().optional(),
  cacheSize: size.optional(),
  embedBelow: size.optional(),
  author: z.string().optional(),
  logLevel: z.string().optional(),
});

export type ConfigFile = z.infer<typeof configFile>;

/** `config.json` of a home folder. Throws `usage` for what is not JSON, or holds a key or type that is not known. */
export async function readConfigFile(path: string): Promise<ConfigFile> {
  const text = await readFile(path, 'utf8');
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (error) {
    throw new CairnError('usage', `${path} is not JSON`, { hint: messageOf(error), cause: error });
  }
  const parsed = configFile.safeParse(content);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const where = issue === undefined || issue.path.length === 0 ? '' : `${issue.path.join('.')}: `;
  throw new CairnError('usage', `${path}: ${where}${issue?.message ?? 'not valid'}`, {
    hint: `known keys are ${Object.keys(configFile.shape).join(', ')}`,
  });
}
