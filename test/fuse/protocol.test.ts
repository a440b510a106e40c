import { closeSync } from 'node:fs';
import fc from 'fast-check';
import t from 'tap';

import {
  FsError,
  ROOT_INO,
  S_IFBLK,
  S_IFDIR,
  S_IFLNK,
  S_IFREG,
  type InodeAttributes,
} from '../../src/core/index.js';
import { Opcode, OUT_HEADER_BYTES } from '../../src/fuse/protocol.js';
import { Reply } from '../../src/fuse/reply.js';
import { Request } from '../../src/fuse/request.js';
import { RequestCounters } from '../../src/fuse/index.js';
import { Session } from '../../src/fuse/session.js';
import { readInto, setNonBlocking, socketPair } from '../../src/posix/index.js';
import { MemoryFileSystem } from '../fixtures/memory-file-system.js';

const REQUEST_BYTES = 8192;

/** A request as the kernel would write it, with any body and any lengths in the header. */
const requestBytes = fc
  .record({
    claimed: fc.option(fc.nat(2 * REQUEST_BYTES), { nil: undefined, freq: 2 }),
    opcode: fc.oneof(fc.constantFrom(...Object.values(Opcode)), fc.nat(0xffffffff)),
    unique: fc.bigInt(0n, (1n << 64n) - 1n),
    nodeid: fc.oneof(fc.bigInt(1n, 5n), fc.bigInt(0n, (1n << 64n) - 1n)),
    extensionUnits: fc.oneof(
      { weight: 9, arbitrary: fc.constant(0) },
      { weight: 1, arbitrary: fc.nat(0xffff) },
    ),
    body: fc.uint8Array({ maxLength: 200 }),
  })
  .map(({ claimed, opcode, unique, nodeid, extensionUnits, body }) => {
    const bytes = Buffer.alloc(40 + body.length);
    bytes.writeUInt32LE(claimed ?? bytes.length, 0);
    bytes.writeUInt32LE(opcode, 4);
    bytes.writeBigUInt64LE(unique, 8);
    bytes.writeBigUInt64LE(nodeid, 16);
    bytes.writeUInt16LE(extensionUnits, 36);
    bytes.set(body, 40);
    return bytes;
  });

t.test('no accessor reads beyond the request, whatever its bytes', async (t) => {
  const request = new Request(REQUEST_BYTES);
  fc.assert(
    fc.property(requestBytes, fc.nat(300), fc.nat(300), (bytes, at, length) => {
      // What an earlier, longer request left behind must never be seen.
      request.buffer.fill(0x5a);
      bytes.copy(request.buffer);
      if (request.load(bytes.length) !== 'ok') return true;
      const accessors = [
        () => request.u32(at),
        () => request.u64(at),
        () => request.i64(at),
        () => request.bigU64(at),
        () => request.name(at),
        () => request.bytes(at, length),
      ];
      const needed = [4, 8, 8, 8, 1, length];
      for (const [index, access] of accessors.entries()) {
        const fits = at + (needed[index] ?? 0) <= bytes.length - 40;
        try {
          const result = access();
          if (!fits) return false;
          if (Buffer.isBuffer(result) && result.includes(0x5a) && !bytes.includes(0x5a)) return false;
        } catch (error) {
          if (!(error instanceof FsError)) throw error;
        }
      }
      return true;
    }),
    { numRuns: 5000 },
  );
  t.pass('all runs held');
});

t.test('every request with a header gets one reply, with its own unique, whatever its bytes', async (t) => {
  const [sessionFd, kernelFd] = socketPair();
  t.teardown(() => {
    for (const fd of [sessionFd, kernelFd]) closeSync(fd);
  });
  for (const fd of [sessionFd, kernelFd]) setNonBlocking(fd);
  const failures: unknown[] = [];
  const fileSystem = new MemoryFileSystem();
  const caller = { uid: 0, gid: 0, pid: 0 };
  fileSystem.mknod(ROOT_INO, Buffer.from('file'), S_IFREG | 0o644, 0, caller);
  fileSystem.mkdir(ROOT_INO, Buffer.from('directory'), 0o755, caller);
  fileSystem.symlink(ROOT_INO, Buffer.from('link'), Buffer.from('file'), caller);
  const session = new Session({
    fd: sessionFd,
    fileSystem,
    blocks: { tryRead: () => false },
    handOver: { read: () => undefined, sync: () => undefined, interrupt: () => undefined },
    counters: new RequestCounters(),
    wakeFd: -1,
    onWake: () => undefined,
    onNegotiated: () => undefined,
    onFailure: (what, error) => failures.push([what, error]),
  });
  const unanswered: readonly number[] = [Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT];
  const received = Buffer.alloc(2 << 20);
  fc.assert(
    fc.property(requestBytes, (bytes) => {
      bytes.copy(session.requestBuffer);
      session.handle(bytes.length);
      const length = readInto(kernelFd, received, received.length);
      if (unanswered.includes(bytes.readUInt32LE(4))) return length < 0;
      const header = Buffer.from(received.subarray(0, OUT_HEADER_BYTES));
      while (readInto(kernelFd, received, received.length) > 0);
      return (
        length >= OUT_HEADER_BYTES &&
        header.readInt32LE(4) <= 0 &&
        header.readBigUInt64LE(8) === bytes.readBigUInt64LE(8)
      );
    }),
    { numRuns: 20_000 },
  );
  t.same(failures, []);
});

t.test(
  'a request whose lengths contradict each other is malformed, one without a header unanswerable',
  async (t) => {
    const request = new Request(REQUEST_BYTES);
    request.buffer.writeUInt32LE(48, 0);
    t.equal(request.load(39), 'unanswerable');
    t.equal(request.load(40), 'malformed');
    t.equal(request.load(48), 'ok');
    request.buffer.writeUInt16LE(2, 36);
    t.equal(request.load(48), 'malformed', 'extensions longer than the body');
  },
);

t.test('the resend bit is kept for the reply and stripped from what names the request', async (t) => {
  const request = new Request(REQUEST_BYTES);
  request.buffer.writeUInt32LE(40, 0);
  request.buffer.writeBigUInt64LE((1n << 63n) | 0x1_2345_6789n, 8);
  t.equal(request.load(40), 'ok');
  t.equal(request.isResent, true);
  t.equal(request.unique, 0x1_2345_6789n);
  t.equal(request.rawUnique, (1n << 63n) | 0x1_2345_6789n);
});

t.test('attributes keep what exceeds 32 bits, times before 1970 and device numbers', async (t) => {
  const inode: InodeAttributes = {
    ino: 0x12_3456_789a,
    mode: S_IFBLK | 0o640,
    uid: 1000,
    gid: 0xffff_fffe,
    size: 0x10_0000_0001,
    nlink: 3,
    rdev: 0xfedc_ba98,
    mtimeSec: -5,
    mtimeNsec: 999_999_999,
    ctimeSec: 0x1_0000_0000,
    ctimeNsec: 1,
    btimeSec: -0x1_0000_0001,
    btimeNsec: 7,
  };
  const reply = new Reply(4096);
  reply.begin(1, 0);
  reply.attributes(inode, 5 * 512 - 1);
  const attr = reply.finish().subarray(OUT_HEADER_BYTES + 16);
  t.equal(attr.readBigUInt64LE(0), 0x12_3456_789an);
  t.equal(attr.readBigUInt64LE(8), 0x10_0000_0001n);
  t.equal(attr.readBigUInt64LE(16), 5n);
  t.equal(attr.readBigInt64LE(32), -5n);
  t.equal(attr.readBigInt64LE(40), 0x1_0000_0000n);
  t.equal(attr.readUInt32LE(52), 999_999_999);
  t.equal(attr.readUInt32LE(72), 0xffff_fffe);
  t.equal(attr.readUInt32LE(76), 0xfedc_ba98);

  reply.begin(1, 0);
  reply.statx(inode, 512);
  const stat = reply.finish().subarray(OUT_HEADER_BYTES + 32);
  t.equal(stat.readBigInt64LE(80), -0x1_0000_0001n);
  t.equal(stat.readUInt32LE(88), 7);
  t.equal(stat.readBigUInt64LE(48), 1n);
  t.equal(stat.readUInt32LE(128), 0xcba, 'major');
  t.equal(stat.readUInt32LE(132), 0xfed98, 'minor');
});

t.test(
  'an imported file shows the low half of the number it had, and no two files show the same one',
  async (t) => {
    const attributes = (mode: number, ino: number, rdev: number): InodeAttributes => ({
      ...{ ino, mode, uid: 0, gid: 0, size: 0, nlink: 1, rdev },
      ...{ mtimeSec: 0, mtimeNsec: 0, ctimeSec: 0, ctimeNsec: 0, btimeSec: 0, btimeNsec: 0 },
    });
    /** As GETATTR, STATX and a listing say it. */
    const shown = (inode: InodeAttributes): bigint[] => {
      const reply = new Reply(4096);
      const answer = (append: () => void, at: number): bigint => {
        reply.begin(1, 0);
        append();
        return reply.finish().readBigUInt64LE(OUT_HEADER_BYTES + at);
      };
      const { ino, mode } = inode;
      return [
        answer(() => {
          reply.attributes(inode, 0);
        }, 16),
        answer(() => {
          reply.statx(inode, 0);
        }, 32 + 32),
        answer(() => reply.directoryEntryPlus(4096, 3, Buffer.from('name'), ino, mode, inode, 0), 128),
      ];
    };
    const numbers = new Set<bigint>();
    for (const ino of [2, 3, 2 ** 20 - 1]) {
      for (const mode of [S_IFREG, S_IFLNK]) {
        const [one = 0n, ...others] = shown(attributes(mode | 0o644, ino, 0xfedc_ba98));
        t.same(others, [one, one]);
        t.equal(BigInt.asUintN(32, one), 0xfedc_ba98n);
        t.ok(Number.isSafeInteger(Number(one)), 'a double holds it');
        numbers.add(one);
      }
    }
    t.equal(numbers.size, 3, 'one for each inode');
    t.same(shown(attributes(S_IFREG, 7, 0)), [7n, 7n, 7n], 'one that was made in a mount has its own');
    t.same(shown(attributes(S_IFREG, 2 ** 20, 5)), [2n ** 20n, 2n ** 20n, 2n ** 20n]);
    t.same(shown(attributes(S_IFDIR, 7, 5)), [7n, 7n, 7n], 'and a directory');
    const reply = new Reply(4096);
    reply.begin(1, 0);
    reply.attributes(attributes(S_IFREG, 7, 5), 0);
    t.equal(reply.finish().readUInt32LE(OUT_HEADER_BYTES + 16 + 76), 0, 'none is a device');
  },
);

t.test('a listing takes entries while they fit and refuses the first that does not', async (t) => {
  const reply = new Reply(4096);
  reply.begin(1, 0);
  const name = Buffer.from('nine byte');
  t.equal(reply.directoryEntry(80, 3, name, 7, S_IFREG), true);
  t.equal(reply.directoryEntry(80, 4, name, 8, S_IFREG), true);
  t.equal(reply.directoryEntry(80, 5, name, 9, S_IFREG), false);
  t.equal(reply.payloadBytes, 80);
  const second = reply.finish().subarray(OUT_HEADER_BYTES + 40);
  t.equal(second.readBigUInt64LE(0), 8n);
  t.equal(second.readBigUInt64LE(8), 4n);
  t.equal(second.readUInt32LE(16), name.length);
  t.equal(second.readUInt32LE(20), S_IFREG >>> 12);
});
