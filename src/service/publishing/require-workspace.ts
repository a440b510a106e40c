import type { Catalog } from '../../catalog/index.js';
import type { Access } from '../../wire/index.js';

/** A first import stores before there is a version, and so before there is a workspace: who may make one need not have made it. */
export async function requireWorkspace(catalog: Catalog, access: Access, workspace: string): Promise<void> {
  if (access.allows(workspace, 'admin')) await catalog.ensureWorkspace(workspace);
  else await catalog.workspace(workspace);
}
