import type { Catalog } from '../catalog/index.js';
import { RESERVED_NUMBERS } from '../core/index.js';
import type { LayerNumbers } from '../upper/index.js';

/** Numbers for what a mount makes, none below `atLeast`. */
export async function reserveNumbers(
  catalog: Catalog,
  workspace: string,
  atLeast: number,
): Promise<LayerNumbers> {
  const first = await catalog.reserveNumbers(workspace, atLeast);
  return { ino: first, cookie: first, end: first + RESERVED_NUMBERS };
}
