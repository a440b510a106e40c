/**
 * catalog: the system of record: workspaces, their versions and tags, `path → hash` of every version, the content and blocks the
 * store holds, leases, tokens, audit.
 *
 * Invariants: a version is published whole or not at all, and only on top of the head (law 7); once there it never changes. A
 * path's row is stored when the path changes, not with every version. One schema and one migration history for every
 * dialect; several processes may use one catalog at once.
 *
 * Never: touches the object store, decides what may be deleted, or keeps a file's bytes.
 */
export { UPLOAD_TERM_MS, type BlockAccess } from './block-access.js';
export type * from './catalog.js';
export { CatalogAudit, type AuditedVersion, type CatalogProblem } from './catalog-audit.js';
export { CatalogRepair } from './catalog-repair.js';
export { COMMIT_TERM_MS, type CommitRegister, type OpenCommit } from './commit-register.js';
export type * from './service-catalog.js';
export {
  isServiceUrl,
  openCatalog,
  openCatalogInUse,
  openServiceCatalog,
  openTokenAdministration,
} from './open-catalog.js';
export { noWorkspace } from './sql-catalog.js';
export { contentRowOf, fileRowOf, wireContentRow, wireFileFields } from './wire-rows.js';
export { checkWorkspaceName } from './workspace-name.js';
