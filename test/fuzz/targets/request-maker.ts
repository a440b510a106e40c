import { IN_HEADER_BYTES, Opcode } from '../../../src/fuse/protocol.js';
import { mutated } from '../mutate.js';
import type { Random } from '../random.js';

const OPCODES = Object.values(Opcode);
const NAMES = [
  'folder',
  'embedded',
  'packed',
  'chunked',
  'empty',
  'link',
  'one',
  'two',
  'below',
  'a',
  'b',
  'c',
  'd',
];
const XATTRS = [
  'user.name',
  'user.other',
  'trusted.t',
  'security.capability',
  'security.s',
  'system.posix_acl_access',
  'odd',
];
const RESEND_BIT = 0x8000_0000;
const OUT_HEADER_BYTES = 16;

/** Requests as the kernel sends them, half of them then damaged. */
export class RequestMaker {
  readonly #random: Random;
  readonly #inos: number[] = [1, 2, 3, 4, 5, 6, 7, 8, 9];
  #unique = 2;
  #last: Buffer | undefined;

  constructor(random: Random) {
    this.#random = random;
  }

  next(): Buffer {
    const random = this.#random;
    if (this.#last !== undefined && random.once(20)) return resent(this.#last);
    const opcode = random.once(40) ? random.below(80) : random.pick(OPCODES);
    const request = this.#request(opcode, this.#body(opcode));
    const sent = random.once(2) ? request : this.#damaged(request);
    this.#last = sent;
    return sent;
  }

  /** Numbers of inodes that were made or looked up are asked for again. */
  learn(request: Buffer, reply: Buffer | undefined): void {
    const made: number[] = [
      Opcode.LOOKUP,
      Opcode.MKNOD,
      Opcode.MKDIR,
      Opcode.SYMLINK,
      Opcode.LINK,
      Opcode.TMPFILE,
    ];
    if (!made.includes(request.readUInt32LE(4)) || reply === undefined || reply.length < OUT_HEADER_BYTES + 8)
      return;
    const ino = reply.readUInt32LE(OUT_HEADER_BYTES);
    if (ino !== 0 && !this.#inos.includes(ino)) this.#inos.push(ino);
  }

  #request(opcode: number, body: Buffer): Buffer {
    const random = this.#random;
    const header = Buffer.alloc(IN_HEADER_BYTES);
    header.writeUInt32LE(IN_HEADER_BYTES + body.length, 0);
    header.writeUInt32LE(opcode, 4);
    header.writeBigUInt64LE(BigInt((this.#unique += 2)), 8);
    header.writeBigUInt64LE(this.#ino(), 16);
    header.writeUInt32LE(random.pick([0, 0, 1000]), 24);
    header.writeUInt32LE(random.pick([0, 0, 1000]), 28);
    header.writeUInt32LE(random.below(30_000), 32);
    return Buffer.concat([header, body]);
  }

  #damaged(request: Buffer): Buffer {
    const random = this.#random;
    const header = Buffer.from(request.subarray(0, IN_HEADER_BYTES));
    let body = request.subarray(IN_HEADER_BYTES);
    switch (random.below(8)) {
      case 0:
        header.writeUInt32LE(random.oddU32(), 0);
        return Buffer.concat([header, body]);
      case 1:
        header.writeUInt16LE(random.oddU32() & 0xffff, 36);
        return Buffer.concat([header, body]);
      case 2:
        header.writeUInt32LE(random.oddU32(), random.pick([16, 20]));
        break;
      case 3:
        header.writeUInt32LE(random.oddU32(), random.pick([24, 28, 32]));
        break;
      case 4:
        body = body.subarray(0, random.below(body.length + 1));
        break;
      default:
        body = mutated(body, random);
    }
    header.writeUInt32LE(IN_HEADER_BYTES + body.length, 0);
    return Buffer.concat([header, body]);
  }

  #body(opcode: number): Buffer {
    const random = this.#random;
    switch (opcode) {
      case Opcode.LOOKUP:
      case Opcode.UNLINK:
      case Opcode.RMDIR:
        return this.#name();
      case Opcode.SYMLINK:
        return Buffer.concat([this.#name(), this.#name()]);
      case Opcode.REMOVEXATTR:
        return this.#xattrName();
      case Opcode.FORGET:
        return u64s(random.below(4));
      case Opcode.BATCH_FORGET: {
        const count = random.below(5);
        const forgets = Array.from({ length: count }, () => [this.#ino(), random.below(3)]).flat();
        return Buffer.concat([u32s(count, 0), u64s(...forgets)]);
      }
      case Opcode.SETATTR: {
        const body = Buffer.alloc(88);
        body.writeUInt32LE(random.below(1 << 12), 0);
        body.writeBigUInt64LE(this.#offset(), 16);
        for (const at of [32, 40, 48]) body.writeBigInt64LE(BigInt(random.oddU32()) - 1000n, at);
        for (const at of [56, 60, 64])
          body.writeUInt32LE(random.once(4) ? random.oddU32() : random.below(1_000_000_000), at);
        body.writeUInt32LE(random.once(4) ? random.oddU32() : random.below(0o10000), 68);
        for (const at of [76, 80]) body.writeUInt32LE(random.oddU32(), at);
        return body;
      }
      case Opcode.MKNOD:
        return Buffer.concat([u32s(this.#mode(), random.oddU32(), 0o22, 0), this.#name()]);
      case Opcode.MKDIR:
        return Buffer.concat([u32s(random.below(0o10000), 0o22), this.#name()]);
      case Opcode.TMPFILE:
        return Buffer.concat([u32s(2, this.#mode(), 0o22, 0), this.#name()]);
      case Opcode.RENAME:
        return Buffer.concat([u64s(this.#ino()), this.#name(), this.#name()]);
      case Opcode.RENAME2:
        return Buffer.concat([u64s(this.#ino()), u32s(random.below(9), 0), this.#name(), this.#name()]);
      case Opcode.LINK:
        return Buffer.concat([u64s(this.#ino()), this.#name()]);
      case Opcode.READ:
      case Opcode.READDIR:
      case Opcode.READDIRPLUS:
        return Buffer.concat([u64s(0, this.#offset()), u32s(this.#size(), 0), u64s(0), u32s(0, 0)]);
      case Opcode.WRITE: {
        const data = random.bytes(random.pick([0, 1, 100, 4096, 5000, 40_000]));
        return Buffer.concat([
          u64s(0, this.#offset()),
          u32s(data.length, random.below(8)),
          u64s(0),
          u32s(0, 0),
          data,
        ]);
      }
      case Opcode.SETXATTR: {
        const value = random.bytes(random.pick([0, 1, 100, 4096, 65_536, 65_537]));
        return Buffer.concat([u32s(value.length, random.below(4)), this.#xattrName(), value]);
      }
      case Opcode.GETXATTR:
        return Buffer.concat([u32s(this.#size(), 0), this.#xattrName()]);
      case Opcode.LISTXATTR:
        return u32s(this.#size(), 0);
      case Opcode.FALLOCATE:
        return Buffer.concat([
          u64s(0, this.#offset(), this.#offset()),
          u32s(random.pick([0, 1, 3, 16, 17, 8, 32]), 0),
        ]);
      case Opcode.LSEEK:
        return Buffer.concat([u64s(0, this.#offset()), u32s(random.below(6), 0)]);
      case Opcode.INIT:
        return Buffer.concat([
          u32s(7, random.below(60), 131_072, 0xffff_ffff, random.u32()),
          Buffer.alloc(44),
        ]);
      case Opcode.INTERRUPT:
        return u64s(this.#unique);
      default:
        return random.bytes(random.pick([0, 8, 16, 24, 56]));
    }
  }

  #ino(): bigint {
    return BigInt(this.#random.once(30) ? this.#random.oddU32() : this.#random.pick(this.#inos));
  }

  #name(): Buffer {
    const random = this.#random;
    if (random.once(12))
      return Buffer.concat([Buffer.alloc(random.pick([1, 254, 255, 256, 4096]), 'n'), Buffer.alloc(1)]);
    if (random.once(20))
      return Buffer.from(random.pick(['\0', '.\0', '..\0', 'a/b\0', '\xff\xfe\0']), 'latin1');
    return Buffer.from(`${random.pick(NAMES)}\0`);
  }

  #xattrName(): Buffer {
    return this.#random.once(8) ? this.#name() : Buffer.from(`${this.#random.pick(XATTRS)}\0`);
  }

  #mode(): number {
    const random = this.#random;
    return random.once(6)
      ? random.oddU32()
      : random.pick([0o100644, 0o10600, 0o20600, 0o60600, 0o140600, 0o644, 0o104755]);
  }

  #offset(): bigint {
    const random = this.#random;
    if (random.once(10))
      return random.pick([
        (1n << 53n) - 1n,
        (1n << 53n) - 100n,
        1n << 53n,
        1n << 62n,
        (1n << 64n) - 1n,
        1n << 44n,
      ]);
    if (random.once(4)) return BigInt(random.oddU32());
    return BigInt(random.below(100) * random.pick([1, 100, 4096]));
  }

  #size(): number {
    return this.#random.pick([0, 1, 100, 200, 4096, 65_536, 1_048_576, this.#random.oddU32()]);
  }
}

/** Sent again, as the kernel does when a daemon took over. */
function resent(request: Buffer): Buffer {
  const copy = Buffer.from(request);
  copy.writeUInt32LE((copy.readUInt32LE(12) | RESEND_BIT) >>> 0, 12);
  return copy;
}

function u32s(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  for (const [index, value] of values.entries()) bytes.writeUInt32LE(value, index * 4);
  return bytes;
}

function u64s(...values: (number | bigint)[]): Buffer {
  const bytes = Buffer.alloc(values.length * 8);
  for (const [index, value] of values.entries()) bytes.writeBigUInt64LE(BigInt(value), index * 8);
  return bytes;
}
