/**
 * fuse: the kernel's FUSE protocol, spoken from TypeScript: mounting, and the session that answers requests.
 *
 * Owns the encoding of requests and replies, and the negotiation. Everything a request means is the FileSystem's business.
 * - A session is synchronous and has a thread to itself. It never waits: what would is handed over (law 10).
 * - A change is committed, with its reply, before it is answered (law 3); a request sent again gets the stored reply.
 * - The nodeid is the inode number and listings need no open directory, so a new process can go on with nothing but the
 *   descriptor: `requestResend`, then `runSession` (law 4).
 * - What is pushed into the kernel's page cache was published, and nobody can have changed the page: `Feeder` on the session thread offers
 *   and takes back, `runFeeder` on a thread of its own pushes. The session thread itself never does (law 10).
 * - Names and data given to the FileSystem are views of the request's buffer: it copies what it keeps.
 * Never touches a mount it answers for, never reads beyond a request, keeps no open files and no state per request.
 */
export { RequestCounters } from './counters.js';
export { Feeder } from './feeder.js';
export { runFeeder, type FileSource } from './feeder-loop.js';
export { createFeederRing, pushedFiles, type Offer } from './feeder-ring.js';
export { writeErrorReply, writeReadReply, type HandOver } from './hand-over.js';
export type { Negotiated } from './init.js';
export { deleteEntry, invalidateEntry, invalidateInode, kernelKnows } from './invalidate.js';
export { clearDeadMount, mountFuse, unmountFuse, type MountOptions } from './mount.js';
export { mountAt, type MountEntry } from './mount-table.js';
export { PUSHED_FILE_MAX_BYTES } from './notify-store.js';
export { refuseRequests } from './refuse.js';
export { requestResend } from './resend.js';
export { runSession, type BlockSource, type Room, type SessionOptions } from './session.js';
export type { SessionEnd } from './transport.js';
