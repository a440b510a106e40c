import type { TokenRegister } from '../catalog/index.js';
import type { Settings } from './settings.js';

/** The tokens of a catalog: for who can open it that is the right to make them. */
export async function withTokenRegister<Result>(
  settings: Settings,
  work: (tokens: TokenRegister) => Promise<Result>,
): Promise<Result> {
  const { openServiceCatalog } = await import('../catalog/index.js');
  const service = await openServiceCatalog(settings.catalog);
  try {
    return await work(service.tokens);
  } finally {
    await service.close();
  }
}
