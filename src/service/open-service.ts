import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { openBlockStore } from '../blocks/index.js';
import { openServiceCatalog } from '../catalog/index.js';
import { openObjectStore } from '../objects/index.js';
import type { ServiceContext } from './context.js';
import { HeadPublisher } from './head-publisher.js';
import { OpenManifests } from './open-manifests.js';

export interface ServiceParts {
  /** `sqlite:///file` or `postgres://…` */
  catalog: string;
  /** `file:///dir` or `s3://bucket/prefix` */
  store: string;
  /** The service's own folder; made when it is not there. */
  dir: string;
  cacheBudgetBytes: number;
  log: Logger;
}

/** Opens what a service works on. `close` closes all of it. */
export async function openService(
  parts: ServiceParts,
): Promise<{ context: ServiceContext; close: () => Promise<void> }> {
  const { dir, log } = parts;
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const opened: { close(): Promise<void> }[] = [];
  const close = async (): Promise<void> => {
    for (const part of opened.reverse()) await part.close();
  };
  try {
    const serviceCatalog = await openServiceCatalog(parts.catalog);
    const { catalog, tokens, blockAccess, commits } = serviceCatalog;
    opened.push(serviceCatalog);
    const objects = await openObjectStore(parts.store, { inUse: !(await catalog.isEmpty()) });
    opened.push(objects);
    const blocks = await openBlockStore({
      objects,
      cacheDir: join(dir, 'cache'),
      cacheBudgetBytes: parts.cacheBudgetBytes,
    });
    opened.push(blocks);
    const manifests = await OpenManifests.at({ dir, blocks, objects });
    opened.push(manifests);
    const publisher = new HeadPublisher({ catalog, objects, blocks, manifests });
    return {
      context: { catalog, tokens, blockAccess, commits, objects, blocks, manifests, publisher, log, dir },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
