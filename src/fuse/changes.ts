import type { InodeAttributes } from '../core/index.js';
import { FALLOC_FL_PUNCH_HOLE } from '../posix/index.js';
import type { AttributeChanges, FileSystem } from '../vfs/index.js';
import { Opcode, SetattrValid, WRITE_IN_BYTES, WRITE_KILL_SUIDGID } from './protocol.js';
import type { Reply } from './reply.js';
import type { Request } from './request.js';
import { checkedXattrName } from './xattr-names.js';

/** The requests that change something, decoded: from the session's request to its reply. To commit, and to roll back, is the session's. */
export class Changes {
  readonly #fileSystem: FileSystem;
  readonly #request: Request;
  readonly #reply: Reply;

  constructor(fileSystem: FileSystem, request: Request, reply: Reply) {
    this.#fileSystem = fileSystem;
    this.#request = request;
    this.#reply = reply;
  }

  /** Whether the request removes something, or makes it smaller. */
  givesSpaceBack(): boolean {
    const request = this.#request;
    switch (request.opcode) {
      case Opcode.UNLINK:
      case Opcode.RMDIR:
        return true;
      case Opcode.SETATTR:
        return (request.u32(0) & SetattrValid.SIZE) !== 0;
      case Opcode.FALLOCATE:
        return (request.u32(24) & FALLOC_FL_PUNCH_HOLE) !== 0;
      default:
        return false;
    }
  }

  /** Does what the request asks for, and encodes the answer. Throws FsError where it is refused. */
  apply(): void {
    switch (this.#request.opcode) {
      case Opcode.WRITE:
        this.#write();
        break;
      case Opcode.SETATTR:
        this.#setattr();
        break;
      case Opcode.MKNOD:
        this.#mknod();
        break;
      case Opcode.MKDIR:
        this.#mkdir();
        break;
      case Opcode.SYMLINK:
        this.#symlink();
        break;
      case Opcode.LINK:
        this.#link();
        break;
      case Opcode.UNLINK:
        this.#fileSystem.unlink(this.#request.nodeid, this.#request.name(0));
        break;
      case Opcode.RMDIR:
        this.#fileSystem.rmdir(this.#request.nodeid, this.#request.name(0));
        break;
      case Opcode.RENAME:
        this.#rename(8, 0);
        break;
      case Opcode.RENAME2:
        this.#rename(16, this.#request.u32(8));
        break;
      case Opcode.TMPFILE:
        this.#tmpfile();
        break;
      case Opcode.FALLOCATE:
        this.#fallocate();
        break;
      case Opcode.SETXATTR:
        this.#setxattr();
        break;
      case Opcode.REMOVEXATTR:
        this.#fileSystem.removeXattr(this.#request.nodeid, checkedXattrName(this.#request.name(0)));
        break;
      default:
        throw new Error(`opcode ${String(this.#request.opcode)} changes nothing`);
    }
  }

  #write(): void {
    const request = this.#request;
    const size = request.u32(16);
    const killSetId = (request.u32(20) & WRITE_KILL_SUIDGID) !== 0;
    this.#fileSystem.write(request.nodeid, request.u64(8), request.bytes(WRITE_IN_BYTES, size), killSetId);
    this.#reply.u32(size);
    this.#reply.u32(0);
  }

  #setattr(): void {
    const request = this.#request;
    const valid = request.u32(0);
    request.bytes(0, 88);
    const changes: AttributeChanges = {};
    if ((valid & SetattrValid.SIZE) !== 0) changes.size = request.u64(16);
    if ((valid & SetattrValid.MODE) !== 0) changes.mode = request.u32(68);
    if ((valid & SetattrValid.UID) !== 0) changes.uid = request.u32(76);
    if ((valid & SetattrValid.GID) !== 0) changes.gid = request.u32(80);
    if ((valid & SetattrValid.ATIME_NOW) !== 0) changes.atime = 'now';
    else if ((valid & SetattrValid.ATIME) !== 0)
      changes.atime = { sec: request.i64(32), nsec: request.u32(56) };
    if ((valid & SetattrValid.MTIME_NOW) !== 0) changes.mtime = 'now';
    else if ((valid & SetattrValid.MTIME) !== 0)
      changes.mtime = { sec: request.i64(40), nsec: request.u32(60) };
    if ((valid & SetattrValid.CTIME) !== 0) changes.ctime = { sec: request.i64(48), nsec: request.u32(64) };
    if ((valid & SetattrValid.KILL_SUIDGID) !== 0) changes.killSetId = true;
    this.#attributes(this.#fileSystem.setAttributes(request.nodeid, changes));
  }

  #mknod(): void {
    const request = this.#request;
    this.#entry(
      this.#fileSystem.mknod(
        request.nodeid,
        request.name(16),
        request.u32(0),
        request.u32(4),
        request.caller,
      ),
    );
  }

  #mkdir(): void {
    const request = this.#request;
    this.#entry(this.#fileSystem.mkdir(request.nodeid, request.name(8), request.u32(0), request.caller));
  }

  #symlink(): void {
    const request = this.#request;
    const name = request.name(0);
    const target = request.name(name.length + 1);
    this.#entry(this.#fileSystem.symlink(request.nodeid, name, target, request.caller));
  }

  #link(): void {
    const request = this.#request;
    this.#entry(this.#fileSystem.link(request.u64(0), request.nodeid, request.name(8)));
  }

  #tmpfile(): void {
    const request = this.#request;
    this.#entry(this.#fileSystem.tmpfile(request.nodeid, request.u32(4), request.caller));
    this.#reply.opened();
  }

  /** `namesAt`: where the old name begins; the new one follows. */
  #rename(namesAt: number, flags: number): void {
    const request = this.#request;
    const name = request.name(namesAt);
    const newName = request.name(namesAt + name.length + 1);
    this.#fileSystem.rename(request.nodeid, name, request.u64(0), newName, flags, request.caller);
  }

  #fallocate(): void {
    const request = this.#request;
    // The kernel says nothing of set-id bits here. That they go unless the caller has CAP_FSETID comes down to who is not root.
    const killSetId = request.caller.uid !== 0;
    this.#fileSystem.fallocate(request.nodeid, request.u32(24), request.u64(8), request.u64(16), killSetId);
  }

  #setxattr(): void {
    const request = this.#request;
    const size = request.u32(0);
    const name = checkedXattrName(request.name(8));
    const value = request.bytes(8 + name.length + 1, size);
    this.#fileSystem.setXattr(request.nodeid, name, value, request.u32(4));
  }

  #attributes(inode: InodeAttributes): void {
    this.#reply.attributes(inode, this.#fileSystem.storedBytes(inode));
  }

  #entry(inode: InodeAttributes): void {
    this.#reply.entry(inode, this.#fileSystem.storedBytes(inode));
  }
}
