import {
  Errno,
  errnoOf,
  FsError,
  fsError,
  IO_MAX_BYTES,
  NAME_MAX_BYTES,
  S_IFDIR,
  shownIno,
  type BlockId,
} from '../core/index.js';
import { writeFrom } from '../posix/index.js';
import type { EntrySink, FileSystem } from '../vfs/index.js';
import { Changes } from './changes.js';
import type { RequestCounters } from './counters.js';
import type { Feeder } from './feeder.js';
import type { HandOver } from './hand-over.js';
import { negotiate, type Negotiated } from './init.js';
import { Opcode, SEEK_DATA, SEEK_HOLE } from './protocol.js';
import { Reply } from './reply.js';
import { Request, REQUEST_MAX_BYTES } from './request.js';
import { serve, type SessionEnd } from './transport.js';
import { checkedXattrName, listedXattrs } from './xattr-names.js';

/** Blocks that can be had without waiting; see `CachedBlockReader` of the blocks folder. */
export interface BlockSource {
  /** False when the block is not at hand; `target` may have been written to. */
  tryRead(id: BlockId, blockOffset: number, length: number, target: Buffer, targetOffset: number): boolean;
}

/** Space for changes, where a disk is full. */
export interface Room {
  /** Before a change that takes space. Throws ENOSPC where there is too little. */
  require(): void;
  /** After a change was refused for want of space: true when there is more now. `forRemoval`: the change gives some back. */
  make(forRemoval: boolean): boolean;
}

export interface SessionOptions {
  /** The mounted /dev/fuse. */
  fd: number;
  fileSystem: FileSystem;
  blocks: BlockSource;
  handOver: HandOver;
  /** Not for a mount that cannot be changed. */
  room?: Room;
  /** What fills the kernel's page cache before it asks; not for a mount that was taken over. */
  feeder?: Feeder;
  counters: RequestCounters;
  /** Readable when `onWake` should run, which drains it: how other threads get this one's attention. */
  wakeFd: number;
  onWake: () => void;
  /** Asked after `onWake`: true ends the session between two requests, for another process to go on with. */
  isReleased?: () => boolean;
  /** Once per mount, when the kernel has been answered: to be stored for the daemon that takes over. */
  onNegotiated: (negotiated: Negotiated) => void;
  /** A request failed with something that is no FsError; it was answered with EIO. */
  onFailure: (what: string, error: unknown) => void;
  /** How long to go on asking for requests before sleeping; 0 turns it off. Default 40. */
  spinUs?: number;
}

const SPIN_DEFAULT_US = 40;

const DOT = Buffer.from('.');
const DOT_DOT = Buffer.from('..');
const DOT_COOKIE = 1;
const DOT_DOT_COOKIE = 2;

/** What the kernel asks for when a file is about to be written to. */
const CAPABILITY = Buffer.from('security.capability');

/** No request of a kernel has this number. */
const NO_UNIQUE = 0n;
const NO_STORED_REPLY = Buffer.alloc(0);

const NO_REPLY = false;
const WITH_REPLY = true;

/**
 * Answers everything the kernel asks of a mount, on the calling thread, until it is unmounted, aborted or released.
 *
 * A daemon that takes over a mount calls `requestResend` first. An error of the device itself is thrown.
 */
export function runSession(options: SessionOptions): SessionEnd {
  const session = new Session(options);
  return serve({
    fd: options.fd,
    wakeFd: options.wakeFd,
    spinUs: options.spinUs ?? SPIN_DEFAULT_US,
    buffer: session.requestBuffer,
    onRequest: (length) => {
      session.handle(length);
    },
    onSpareTime: () => options.fileSystem.workAhead(),
    onWake: options.onWake,
    isReleased: options.isReleased ?? (() => false),
  });
}

/** One way for every request: decode, ask the file system, encode, write. */
export class Session {
  readonly #fd: number;
  readonly #fileSystem: FileSystem;
  readonly #options: SessionOptions;
  readonly #feeder: Feeder | undefined;
  readonly #request = new Request(REQUEST_MAX_BYTES);
  readonly #reply = new Reply(IO_MAX_BYTES);
  readonly #changes: Changes;
  /** Where the listing in progress must end, and how each of its entries is encoded: made once, not per request. */
  #listingMaxBytes = 0;
  #listingEndCookie = 0;
  readonly #listEntry: EntrySink = (cookie, name, _ino, inode) =>
    this.#reply.directoryEntry(this.#listingMaxBytes, cookie, name, shownIno(inode), inode.mode);
  readonly #listEntryPlus: EntrySink = (cookie, name, ino, inode, published) => {
    const stored = this.#fileSystem.storedBytes(inode);
    const taken = this.#reply.directoryEntryPlus(
      this.#listingMaxBytes,
      cookie,
      name,
      ino,
      inode.mode,
      inode,
      stored,
    );
    if (!taken) return false;
    this.#listingEndCookie = cookie;
    this.#feeder?.addEntry(cookie, ino, inode, published);
    return true;
  };

  constructor(options: SessionOptions) {
    this.#fd = options.fd;
    this.#fileSystem = options.fileSystem;
    this.#changes = new Changes(options.fileSystem, this.#request, this.#reply);
    this.#options = options;
    this.#feeder = options.feeder;
  }

  get requestBuffer(): Buffer {
    return this.#request.buffer;
  }

  /** Answers the request of `length` bytes that is in `requestBuffer`. Throws nothing. */
  handle(length: number): void {
    const request = this.#request;
    const state = request.load(length);
    if (state === 'unanswerable') {
      this.#options.onFailure('a request shorter than its header', undefined);
      return;
    }
    this.#options.counters.count(request.opcode);
    this.#reply.begin(request.uniqueLow, request.uniqueHigh);
    try {
      if (state === 'malformed') throw fsError('EIO', 'malformed request');
      this.#feeder?.before(request.opcode, request.nodeid);
      if (!this.#dispatch()) return;
    } catch (error) {
      if (!this.#fail(error)) return;
    }
    this.#send();
  }

  /** False when there is no reply: none is wanted, or another thread writes it. */
  #dispatch(): boolean {
    switch (this.#request.opcode) {
      case Opcode.LOOKUP:
        return this.#lookup();
      case Opcode.GETATTR:
        return this.#getattr();
      case Opcode.READ:
        return this.#read();
      case Opcode.READDIRPLUS:
        return this.#readdirplus();
      case Opcode.READDIR:
        return this.#readdir();
      case Opcode.FORGET:
        return this.#forget();
      case Opcode.BATCH_FORGET:
        return this.#batchForget();
      case Opcode.WRITE:
      case Opcode.SETATTR:
      case Opcode.MKNOD:
      case Opcode.MKDIR:
      case Opcode.SYMLINK:
      case Opcode.LINK:
      case Opcode.UNLINK:
      case Opcode.RMDIR:
      case Opcode.RENAME:
      case Opcode.RENAME2:
      case Opcode.TMPFILE:
      case Opcode.FALLOCATE:
      case Opcode.SETXATTR:
      case Opcode.REMOVEXATTR:
        return this.#change();
      case Opcode.STATX:
        return this.#statx();
      case Opcode.READLINK:
        return this.#readlink();
      case Opcode.GETXATTR:
        return this.#getxattr();
      case Opcode.LISTXATTR:
        return this.#listxattr();
      case Opcode.LSEEK:
        return this.#lseek();
      case Opcode.STATFS:
        return this.#statfs();
      case Opcode.FSYNC:
      case Opcode.FSYNCDIR:
        return this.#fsync();
      case Opcode.INTERRUPT:
        return this.#interrupt();
      case Opcode.INIT:
        return this.#init();
      case Opcode.RELEASE:
      case Opcode.RELEASEDIR:
      case Opcode.SYNCFS:
      case Opcode.DESTROY:
        return WITH_REPLY;
      default:
        // Once is enough: the kernel remembers and does it by itself (OPEN, OPENDIR, FLUSH, ACCESS, CREATE, COPY_FILE_RANGE,
        // POLL) or tells the program (IOCTL: ENOTTY).
        throw fsError('ENOSYS');
    }
  }

  /**
   * A change and its reply become durable together, before the reply is written: sent again after this process died, the
   * request finds its reply, or finds nothing done (law 3).
   */
  #change(): boolean {
    const request = this.#request;
    const fileSystem = this.#fileSystem;
    if (fileSystem.readOnly) throw fsError('EROFS');
    if (request.isResent) {
      const stored = fileSystem.storedReply(request.unique);
      if (stored !== undefined) {
        this.#reply.stored(stored);
        return WITH_REPLY;
      }
    }
    const { room } = this.#options;
    const removes = this.#changes.givesSpaceBack();
    if (!removes) room?.require();
    for (;;) {
      try {
        this.#changes.apply();
        fileSystem.commit(request.unique, this.#reply.finish());
        return WITH_REPLY;
      } catch (error) {
        fileSystem.rollback();
        if (errnoOf(error) !== Errno.ENOSPC || room?.make(removes) !== true) throw error;
        this.#reply.begin(request.uniqueLow, request.uniqueHigh);
      }
    }
  }

  /** Makes the reply that of the failure; false for requests that get none. */
  #fail(error: unknown): boolean {
    const { opcode } = this.#request;
    const expected = error instanceof FsError;
    if (!expected)
      this.#options.onFailure(`opcode ${String(opcode)} of inode ${String(this.#request.nodeid)}`, error);
    this.#reply.error(errnoOf(error));
    return opcode !== Opcode.FORGET && opcode !== Opcode.BATCH_FORGET && opcode !== Opcode.INTERRUPT;
  }

  #send(): void {
    const reply = this.#reply.finish();
    if (
      this.#request.opcode === Opcode.SETATTR &&
      this.#feeder?.holdReply(this.#request.nodeid, reply) === true
    )
      return;
    const result = writeFrom(this.#fd, this.#reply.buffer, this.#reply.length);
    // ENOENT: whoever asked is gone, or the mount is.
    if (result >= 0 || result === -Errno.ENOENT) return;
    const what = `the reply to opcode ${String(this.#request.opcode)}`;
    this.#options.onFailure(what, new FsError(-result, 'write to /dev/fuse'));
  }

  #init(): boolean {
    const { fileSystem, onNegotiated } = this.#options;
    const negotiated = negotiate(this.#request, this.#reply);
    if (!fileSystem.readOnly) {
      // The kernel counts requests from the start again: what is stored under a number of an earlier mount must not answer them.
      fileSystem.commit(NO_UNIQUE, NO_STORED_REPLY);
    }
    onNegotiated(negotiated);
    return WITH_REPLY;
  }

  #lookup(): boolean {
    try {
      const inode = this.#fileSystem.lookup(this.#request.nodeid, this.#request.name(0));
      this.#reply.entry(inode, this.#fileSystem.storedBytes(inode));
    } catch (error) {
      if (!(error instanceof FsError) || error.errno !== Errno.ENOENT) throw error;
      this.#reply.absentEntry();
    }
    return WITH_REPLY;
  }

  #forget(): boolean {
    this.#feeder?.forget(this.#request.nodeid);
    this.#fileSystem.forget(this.#request.nodeid, this.#request.u64(0));
    return NO_REPLY;
  }

  #batchForget(): boolean {
    const request = this.#request;
    const count = request.u32(0);
    for (let index = 0; index < count; index++) {
      const at = 8 + index * 16;
      this.#feeder?.forget(request.u64(at));
      this.#fileSystem.forget(request.u64(at), request.u64(at + 8));
    }
    return NO_REPLY;
  }

  #getattr(): boolean {
    const inode = this.#fileSystem.inode(this.#request.nodeid);
    this.#reply.attributes(inode, this.#fileSystem.storedBytes(inode));
    return WITH_REPLY;
  }

  #statx(): boolean {
    const inode = this.#fileSystem.inode(this.#request.nodeid);
    this.#reply.statx(inode, this.#fileSystem.storedBytes(inode));
    return WITH_REPLY;
  }

  #readlink(): boolean {
    this.#reply.bytes(this.#fileSystem.readlink(this.#request.nodeid));
    return WITH_REPLY;
  }

  #read(): boolean {
    const request = this.#request;
    const reply = this.#reply;
    const wanted = Math.min(request.u32(16), IO_MAX_BYTES);
    const parts = this.#fileSystem.read(request.nodeid, request.u64(8), wanted);
    for (const part of parts) {
      if (part.kind === 'zeros') {
        reply.zeros(part.length);
      } else if (part.kind === 'bytes') {
        reply.bytes(part.bytes.subarray(0, part.length));
      } else {
        const at = reply.reserve(part.length);
        if (!this.#options.blocks.tryRead(part.block, part.blockOffset, part.length, reply.buffer, at)) {
          const size = parts.reduce((sum, { length }) => sum + length, 0);
          this.#options.handOver.read({ unique: request.rawUnique, ino: request.nodeid, parts, size });
          return NO_REPLY;
        }
      }
    }
    return WITH_REPLY;
  }

  #readdir(): boolean {
    const ino = this.#request.nodeid;
    const after = this.#beginListing();
    const reply = this.#reply;
    const limit = this.#listingMaxBytes;
    if (after < DOT_COOKIE && !reply.directoryEntry(limit, DOT_COOKIE, DOT, ino, S_IFDIR)) return WITH_REPLY;
    if (after < DOT_DOT_COOKIE) {
      const parent = this.#fileSystem.parentOf(ino);
      if (!reply.directoryEntry(limit, DOT_DOT_COOKIE, DOT_DOT, parent, S_IFDIR)) return WITH_REPLY;
    }
    this.#fileSystem.list(ino, firstAfter(after), this.#listEntry);
    return WITH_REPLY;
  }

  #readdirplus(): boolean {
    const ino = this.#request.nodeid;
    const after = this.#beginListing();
    const reply = this.#reply;
    const limit = this.#listingMaxBytes;
    const offered = this.#feeder?.beginListing(ino, after) === true;
    if (after < DOT_COOKIE && !reply.directoryEntryPlus(limit, DOT_COOKIE, DOT, ino, S_IFDIR, undefined, 0)) {
      return WITH_REPLY;
    }
    if (after < DOT_DOT_COOKIE) {
      const parent = this.#fileSystem.parentOf(ino);
      if (!reply.directoryEntryPlus(limit, DOT_DOT_COOKIE, DOT_DOT, parent, S_IFDIR, undefined, 0))
        return WITH_REPLY;
    }
    this.#fileSystem.listPlus(ino, firstAfter(after), this.#listEntryPlus);
    this.#feeder?.endListing(ino, this.#listingEndCookie);
    if (!offered) return WITH_REPLY;
    // The end of the directory: its program is told when its files are where it will look for them.
    if (reply.payloadBytes === 0 && this.#feeder.replyAfter(this.#request)) return NO_REPLY;
    this.#feeder.publish();
    return WITH_REPLY;
  }

  /** The cookie after which to go on. */
  #beginListing(): number {
    this.#listingMaxBytes = Math.min(this.#request.u32(16), IO_MAX_BYTES);
    return this.#request.u64(8);
  }

  #getxattr(): boolean {
    const name = checkedXattrName(this.#request.name(8));
    if (name.equals(CAPABILITY)) this.#feeder?.touch(this.#request.nodeid);
    this.#sizedReply(this.#fileSystem.getXattr(this.#request.nodeid, name));
    return WITH_REPLY;
  }

  #listxattr(): boolean {
    const names = this.#fileSystem.listXattrs(this.#request.nodeid);
    this.#sizedReply(listedXattrs(names, this.#request.caller));
    return WITH_REPLY;
  }

  /** The value, or how large it is when the caller has no buffer, or ERANGE when it has too small a one. */
  #sizedReply(value: Buffer): void {
    const room = this.#request.u32(0);
    if (room === 0) {
      this.#reply.u32(value.length);
      this.#reply.u32(0);
    } else if (value.length > room) {
      throw fsError('ERANGE');
    } else {
      this.#reply.bytes(value);
    }
  }

  #lseek(): boolean {
    const request = this.#request;
    const whence = request.u32(16);
    if (whence !== SEEK_DATA && whence !== SEEK_HOLE) throw fsError('EINVAL', 'whence');
    this.#reply.u64(
      this.#fileSystem.seek(request.nodeid, request.u64(8), whence === SEEK_DATA ? 'data' : 'hole'),
    );
    return WITH_REPLY;
  }

  #statfs(): boolean {
    this.#reply.statfs(this.#fileSystem.statfs(), NAME_MAX_BYTES);
    return WITH_REPLY;
  }

  #fsync(): boolean {
    const files = this.#fileSystem.filesToSync(this.#request.nodeid);
    if (files.length === 0) return WITH_REPLY;
    this.#options.handOver.sync(this.#request.rawUnique, files);
    return NO_REPLY;
  }

  /** Whatever is interrupted was either answered before this request was read, or handed over. */
  #interrupt(): boolean {
    this.#options.handOver.interrupt(this.#request.bigU64(0));
    return NO_REPLY;
  }
}

/** The file system's own cookies begin after those of `.` and `..`. */
function firstAfter(cookie: number): number {
  return cookie <= DOT_DOT_COOKIE ? 0 : cookie;
}
