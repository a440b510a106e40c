/**
 * wire: what agents and the service say to each other: the forms of requests and answers (zod: types, validation and OpenAPI from one
 * source), problem documents, tokens, and the client's side of a request.
 *
 * Invariants: no error text and no log holds a token; what comes over the wire is checked before it is used.
 *
 * Never: knows a database, a server, or what a version means. Loaded only by who speaks to a service or is one: a command on a local catalog
 * must not pay for it.
 */
export * from './access.js';
export * from './commit-schemas.js';
export * from './file-schemas.js';
export * from './agent-schemas.js';
export { transfer, type DirectTransfer } from './direct-transfer.js';
export { isLoopback } from './plain-text.js';
export { LineSpool } from './line-spool.js';
export * from './problem.js';
export * from './schemas.js';
export { ServiceClient, type ServiceRequest } from './service-client.js';
export { saveServiceToken, serviceToken } from './service-token.js';
export * from './token.js';
