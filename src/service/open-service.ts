import { join } from 'node:path';
import type { Logger } from 'pino';
import { openBlockStore } from '../blocks/index.js';
import { openServiceCatalog } from '../catalog/index.js';
import { openObjectStore } from '../objects/index.js';
import type { ServiceContext } from './context.js';
import { DirectUrls } from './direct-urls.js';
import { HeadPublisher } from './publishing/head-publisher.js';
import { StagedBlocks } from './publishing/staged-blocks.js';
import { OpenManifests } from './open-manifests.js';
import { ProcessFolder } from './process-folder.js';

export interface ServiceParts {
  /** `sqlite:///file` or `postgres://…` */
  catalog: string;
  /** `file:///dir` or `s3://bucket/prefix` */
  store: string;
  /** The folder of services in a home folder, several may share it; made when it is not there. */
  dir: string;
  cacheBudgetBytes: number;
  /** Clients exchange blocks with the store themselves. */
  direct?: boolean | undefined;
  log: Logger;
}

export interface OpenService {
  context: ServiceContext;
  /** Tells those who wait on purpose that the service ends. */
  beginToClose(): void;
  /** Deletes what has been in the trash, or lay uploaded and unused, for its term. */
  sweep(): Promise<void>;
  /** Closes all of it. */
  close(): Promise<void>;
}

/** Opens what a service works on. */
export async function openService(parts: ServiceParts): Promise<OpenService> {
  const { log } = parts;
  const opened: { close(): Promise<void> }[] = [];
  const close = async (): Promise<void> => {
    for (const part of opened.reverse()) await part.close();
  };
  try {
    const folder = await ProcessFolder.in(join(parts.dir, 'running'));
    opened.push(folder);
    const dir = folder.path;
    const serviceCatalog = await openServiceCatalog(parts.catalog);
    const { catalog, tokens, audit, blockAccess, commits } = serviceCatalog;
    opened.push(serviceCatalog);
    const objects = await openObjectStore(parts.store, { inUse: !(await catalog.isEmpty()) });
    opened.push(objects);
    const direct = parts.direct === true ? new DirectUrls(objects) : undefined;
    const blocks = await openBlockStore({
      objects,
      cacheDir: join(parts.dir, 'cache'),
      cacheBudgetBytes: parts.cacheBudgetBytes,
    });
    opened.push(blocks);
    const manifests = await OpenManifests.at({ dir, blocks, objects });
    opened.push(manifests);
    const publisher = new HeadPublisher({ catalog, objects, blocks, manifests });
    const staged = new StagedBlocks({ catalog, objects, blocks, blockAccess });
    const closing = new AbortController();
    return {
      context: {
        catalog,
        tokens,
        audit,
        blockAccess,
        commits,
        objects,
        blocks,
        manifests,
        publisher,
        staged,
        direct,
        log,
        dir,
        closing: closing.signal,
      },
      beginToClose: () => {
        closing.abort();
      },
      sweep: async () => {
        const names = await serviceCatalog.emptyTrash(Date.now());
        if (names.length > 0)
          log.info({ workspaces: names }, 'workspaces whose time in the trash is over are gone');
        await blockAccess.expire(Date.now());
        await commits.expire(Date.now());
        if (direct !== undefined) await staged.expire(Date.now());
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
