import type { BlockStore } from '../blocks/index.js';
import type { AuditLog, BlockAccess, Catalog, CommitRegister, TokenRegister } from '../catalog/index.js';
import type { ObjectStore } from '../objects/index.js';
import type { Logger } from 'pino';
import type { DirectUrls } from './direct-urls.js';
import type { HeadPublisher } from './publishing/head-publisher.js';
import type { StagedBlocks } from './publishing/staged-blocks.js';
import type { OpenManifests } from './open-manifests.js';

/** What every route works with. Opened and closed by who builds the app. */
export interface ServiceContext {
  catalog: Catalog;
  tokens: TokenRegister;
  audit: AuditLog;
  blockAccess: BlockAccess;
  commits: CommitRegister;
  objects: ObjectStore;
  blocks: BlockStore;
  manifests: OpenManifests;
  /** Of versions that are made here, out of changes of paths. */
  publisher: HeadPublisher;
  staged: StagedBlocks;
  /** Absent: content goes through the service. */
  direct: DirectUrls | undefined;
  log: Logger;
  /** This service's own folder, which goes with it: local manifests, what is under way. */
  dir: string;
  /** Aborted when the service ends: whoever holds a request back on purpose answers it now. */
  closing: AbortSignal;
}
