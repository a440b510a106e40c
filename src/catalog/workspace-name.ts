import { CairnError } from '../core/index.js';

const WORKSPACE_NAME = /^[a-z0-9][a-z0-9._-]{0,62}$/;

/** Throws `usage` for what cannot name a workspace. */
export function checkWorkspaceName(name: string): void {
  if (WORKSPACE_NAME.test(name)) return;
  throw new CairnError('usage', `"${name}" cannot name a workspace`, {
    hint: 'up to 63 of a-z, 0-9, ".", "_" and "-", a letter or digit first',
  });
}

const TAG_NAME = /^[A-Za-z][A-Za-z0-9._-]{0,99}$/;

/** Throws `usage` for what cannot name a version: a number names another, and so does `head`. */
export function checkTagName(name: string): void {
  if (TAG_NAME.test(name) && name !== 'head') return;
  throw new CairnError('usage', `"${name}" cannot be a tag`, {
    hint: 'a letter, then up to 99 of letters, digits, ".", "_" and "-"; not "head"',
  });
}
