import type { TokenAdministration } from '../catalog/index.js';
import type { Settings } from './settings.js';

/** The tokens of a catalog, for which it is right enough to be able to open it, or of a service. */
export async function withTokenRegister<Result>(
  settings: Settings,
  work: (tokens: TokenAdministration) => Promise<Result>,
): Promise<Result> {
  const { openTokenAdministration } = await import('../catalog/index.js');
  const opened = await openTokenAdministration(settings.catalog, settings.home);
  try {
    return await work(opened.tokens);
  } finally {
    await opened.close();
  }
}
