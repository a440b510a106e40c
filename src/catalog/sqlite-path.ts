import { fileURLToPath } from 'node:url';
import { CairnError } from '../core/index.js';

export const CATALOG_URL_HINT =
  'a catalog is sqlite:///absolute/path/of/a/file or postgres://user@host/database';

/** The file a catalog's URL names. Throws `usage` for what is no URL of a file, `unsupported` for another scheme. */
export function sqlitePath(url: string): string {
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(url)?.[1]?.toLowerCase();
  const hint = CATALOG_URL_HINT;
  if (scheme === undefined) throw new CairnError('usage', `not the URL of a catalog: ${url}`, { hint });
  // The rest of the URL may hold a password.
  if (scheme !== 'sqlite') throw new CairnError('unsupported', `no file for a catalog of scheme ${scheme}:`);
  const path = /^[^:]+:\/\/(\/[^?#]+)$/.exec(url)?.[1];
  try {
    if (path !== undefined) return fileURLToPath(`file://${path}`);
  } catch {
    // An escape that stands for a slash, or for nothing.
  }
  throw new CairnError('usage', `not the URL of a file: ${url}`, { hint });
}
