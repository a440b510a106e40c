import { CairnError } from '../core/index.js';

const WORKSPACE_NAME = /^[a-z0-9][a-z0-9._-]{0,62}$/;

/** Throws `usage` for what cannot name a workspace. */
export function checkWorkspaceName(name: string): void {
  if (WORKSPACE_NAME.test(name)) return;
  throw new CairnError('usage', `"${name}" cannot name a workspace`, {
    hint: 'up to 63 of a-z, 0-9, ".", "_" and "-", a letter or digit first',
  });
}
