import type { BlockStore } from '../blocks/index.js';
import type { AuditLog, BlockAccess, Catalog, TokenRegister } from '../catalog/index.js';
import type { ObjectStore } from '../objects/index.js';
import type { Logger } from 'pino';

/** What every route works with. Opened and closed by who builds the app. */
export interface ServiceContext {
  catalog: Catalog;
  tokens: TokenRegister;
  audit: AuditLog;
  blockAccess: BlockAccess;
  objects: ObjectStore;
  blocks: BlockStore;
  log: Logger;
  /** The service's own folder: cached blocks, local manifests, what is under way. */
  dir: string;
  /** Aborted when the service ends: whoever holds a request back on purpose answers it now. */
  closing: AbortSignal;
}
