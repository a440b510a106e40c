import { CairnError } from '../core/index.js';
import { argumentBytes } from './argument-bytes.js';

/** A version as a person names it: the head, a `seq`, or a tag. */
export interface VersionReference {
  workspace: string;
  version: { kind: 'head' } | { kind: 'seq'; seq: number } | { kind: 'tag'; tag: string };
}

function parseVersion(text: string | undefined): VersionReference['version'] {
  if (text === undefined) return { kind: 'head' };
  if (/^[1-9]\d{0,14}$/.test(text)) return { kind: 'seq', seq: Number(text) };
  if (/^[A-Za-z][\w.-]*$/.test(text)) return { kind: 'tag', tag: text };
  throw new CairnError('usage', `"${text}" is not a version`, { hint: 'use name, name@7 or name@tag' });
}

/** `name`, `name@7`, `name@tag`. Throws `usage`. */
export function parseReference(text: string): VersionReference {
  const [workspace = '', version, ...more] = text.split('@');
  if (workspace === '' || more.length > 0) {
    throw new CairnError('usage', `"${text}" does not name a version`, {
      hint: 'use name, name@7 or name@tag',
    });
  }
  return { workspace, version: parseVersion(version) };
}

/** A reference, or just the version part, which then is one of `workspace`'s. */
export function parseReferenceWithin(workspace: string, text: string): VersionReference {
  if (text.indexOf('@') > 0) return parseReference(text);
  return { workspace, version: parseVersion(text.replace(/^@/, '')) };
}

/**
 * A reference with a path in the version: `name:path`, `name@7:path`. The path is raw bytes as they were typed, without
 * slashes at its ends; undefined when there is no colon.
 */
export function parsePathReference(argument: string): VersionReference & { path: Buffer | undefined } {
  const bytes = argumentBytes(argument);
  const colon = bytes.indexOf(':');
  if (colon < 0) return { ...parseReference(argument), path: undefined };
  const path = bytes
    .subarray(colon + 1)
    .toString('latin1')
    .replaceAll(/^\/+|\/+$/g, '');
  return { ...parseReference(bytes.subarray(0, colon).toString('utf8')), path: Buffer.from(path, 'latin1') };
}
