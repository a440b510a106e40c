import type { Catalog, Version } from '../catalog/index.js';

/** The version that a URL names: `head`, a number, or a tag. Throws `not-found`. */
export function findVersion(catalog: Catalog, workspace: string, named: string): Promise<Version> {
  if (named === 'head') return catalog.version(workspace);
  if (/^[1-9]\d{0,14}$/.test(named)) return catalog.version(workspace, Number(named));
  return catalog.taggedVersion(workspace, named);
}
