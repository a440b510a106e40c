import { closeSync, fstatSync, ftruncateSync, openSync, readSync, rmSync } from 'node:fs';
import path from 'node:path';
import { inspect } from 'node:util';
import { FsError, S_IFREG, type BlockId, type Ino } from '../../../src/core/index.js';
import { RequestCounters, type HandOver } from '../../../src/fuse/index.js';
import { Opcode } from '../../../src/fuse/protocol.js';
import { Session } from '../../../src/fuse/session.js';
import { MemoryFileSystem } from '../../fixtures/memory-file-system.js';
import { patternedBytes } from '../../fixtures/patterned-bytes.js';
import { OverlayMount } from '../../vfs/overlay-mount.js';
import { StoppedClock } from '../../vfs/trees.js';
import { openStores, publishTree, type Stores } from '../../vfs/workspace.js';
import type { BaseVersion } from '../../../src/upper/index.js';
import type { Random } from '../random.js';
import type { Target } from '../target.js';
import { RequestMaker } from './request-maker.js';

const REQUESTS = 150;
const OUT_HEADER_BYTES = 16;
const EIO = 5;
const KIB = 1024;
const ROOT = { uid: 0, gid: 0, pid: 1 };

/** What gets no reply, whatever is in it. */
const UNANSWERED: readonly number[] = [Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT];

/**
 * Two mounts are given the same requests, with other bytes behind the end of each: whoever reads beyond a request gives himself away
 * by another answer or another tree.
 */
export const requests: Target = {
  name: 'requests',
  promise: 'every request is answered once, by its result or an errno, and nothing beyond it is read',
  cases: 12,
  outcomes: ['answered'],
  begin: async (dir) => {
    const stores = await openStores(path.join(dir, 'stores'));
    const clock = new StoppedClock();
    const base = await publishTree(sampleTree(clock), stores, 64);
    return {
      run: (random) => {
        const sides = [0, 1].map(
          (number) => new Side(path.join(dir, `side-${String(number)}`), stores, base),
        );
        try {
          runCase(random, sides);
          return 'answered';
        } finally {
          for (const side of sides) side.end();
        }
      },
      end: () => stores.close(),
    };
  },
};

function runCase(random: Random, sides: readonly Side[]): void {
  const maker = new RequestMaker(random);
  const behind = [0, random.u32()];
  for (let count = 0; count < REQUESTS; count++) {
    const request = maker.next();
    const [one, other] = sides.map((side, index) => side.answer(request, behind[index] ?? 0));
    const told = `opcode ${String(request.readUInt32LE(4))}, ${request.toString('hex', 0, 200)}`;
    if (one === undefined || other === undefined) throw new Error('two sides');
    if (!isSame(request, one, other)) throw new Error(`two answers: ${inspect([one, other])} to ${told}`);
    // What the disk refuses is logged, and told as it is.
    if (one.failure !== undefined && one.replies[0]?.readInt32LE(4) === -EIO)
      throw new Error(`${told}: ${one.failure}`);
    const fault = answerFault(request, one);
    if (fault !== undefined) throw new Error(`${fault}: ${inspect(one)} to ${told}`);
    maker.learn(request, one.replies[0]);
  }
  const [one, other] = sides.map((side) => side.state());
  if (one !== other) throw new Error('two trees');
}

interface Answer {
  replies: Buffer[];
  handedOver: string[];
  failure: string | undefined;
}

/** The space on the disk changes by itself. */
function isSame(request: Buffer, one: Answer, other: Answer): boolean {
  if (request.readUInt32LE(4) === Opcode.STATFS) return one.replies.length === other.replies.length;
  return (
    inspect(one, { maxArrayLength: 0 }) === inspect(other, { maxArrayLength: 0 }) &&
    one.replies.every((reply, index) => other.replies[index]?.equals(reply) === true)
  );
}

function answerFault(request: Buffer, { replies, handedOver }: Answer): string | undefined {
  const opcode = request.readUInt32LE(4);
  const [reply] = replies;
  if (UNANSWERED.includes(opcode) && request.readUInt32LE(0) === request.length)
    return reply === undefined ? undefined : 'an answer to what has none';
  if (reply === undefined)
    return handedOver.length === 1 || UNANSWERED.includes(opcode) ? undefined : 'no answer';
  if (replies.length + handedOver.length !== 1) return 'two answers';
  if (reply.readUInt32LE(0) !== reply.length) return 'a wrong length';
  const error = reply.readInt32LE(4);
  if (error > 0 || error < -4095) return `errno ${String(error)}`;
  if (error !== 0 && reply.length !== OUT_HEADER_BYTES) return 'an error with content';
  if (reply.compare(request, 8, 16, 8, 16) !== 0) return 'an answer to another request';
  const consistent = request.readUInt32LE(0) === request.length;
  if (error === -EIO && consistent && request.readUInt32LE(20) < 0x20_0000 && request.readUInt16LE(36) === 0)
    return 'EIO without a reason';
  return undefined;
}

/** A session on an overlay of its own; what it writes to the kernel goes into a file. */
class Side {
  readonly #dir: string;
  readonly #fd: number;
  readonly #clock = new StoppedClock();
  readonly #mount: OverlayMount;
  readonly #session: Session;
  readonly #handedOver: string[] = [];
  #failure: string | undefined;

  constructor(dir: string, stores: Stores, base: BaseVersion) {
    rmSync(dir, { recursive: true, force: true });
    this.#dir = dir;
    this.#mount = OverlayMount.create({ dir, stores, clock: this.#clock, tookOver: false }, base);
    this.#fd = openSync(path.join(dir, 'replies'), 'a+');
    const handOver: HandOver = {
      read: ({ unique, parts, size }) => {
        this.#handedOver.push(`read ${String(unique)}, ${String(size)}, ${inspect(parts, { depth: 3 })}`);
      },
      sync: (unique, files) => {
        this.#handedOver.push(
          `sync ${String(unique)}, ${files.map((file) => path.relative(dir, file)).join(' ')}`,
        );
      },
      interrupt: () => undefined,
    };
    this.#session = new Session({
      fd: this.#fd,
      fileSystem: this.#mount.fileSystem,
      // Every other block is at hand.
      blocks: {
        tryRead: (id: BlockId, blockOffset, length, target, targetOffset) => {
          if (Number.parseInt(id.slice(0, 2), 16) % 2 === 1) return false;
          target.fill(blockOffset & 0xff, targetOffset, targetOffset + length);
          return true;
        },
      },
      handOver,
      counters: new RequestCounters(),
      wakeFd: -1,
      onWake: () => undefined,
      onNegotiated: () => undefined,
      onFailure: (what, error) => {
        this.#failure = `${what}: ${inspect(error)}`;
      },
    });
  }

  /** `behind`: what the buffer has behind the request, where an earlier and longer one may have been. */
  answer(request: Buffer, behind: number): Answer {
    const buffer = this.#session.requestBuffer;
    buffer.fill(0);
    const pattern = Buffer.alloc(64 * KIB);
    if (behind !== 0)
      for (let at = 0; at < pattern.length; at += 4) pattern.writeUInt32LE((behind * (at + 1)) >>> 0, at);
    pattern.copy(buffer, request.length);
    request.copy(buffer);
    this.#clock.advance();
    this.#failure = undefined;
    this.#handedOver.length = 0;
    this.#session.handle(request.length);
    return { replies: this.#written(), handedOver: [...this.#handedOver], failure: this.#failure };
  }

  #written(): Buffer[] {
    const { size } = fstatSync(this.#fd);
    if (size === 0) return [];
    const bytes = Buffer.alloc(size);
    readSync(this.#fd, bytes, 0, size, 0);
    ftruncateSync(this.#fd);
    // Two replies in one would not fit its length.
    return [bytes];
  }

  /** All inodes, in words, as the next daemon finds them: nothing that was answered is lost (law 3). */
  state(): string {
    const before = this.#inodes(this.#mount);
    this.#mount.close();
    return before;
  }

  #inodes({ fileSystem, active }: OverlayMount): string {
    const lines: string[] = [];
    for (let ino: Ino = 1; ino < active.nextIno; ino++) {
      try {
        const inode = { ...fileSystem.inode(ino) };
        lines.push(
          `${inspect(inode, { breakLength: Infinity })} ${fileSystem.listXattrs(ino).toString('latin1')}`,
        );
        fileSystem.list(ino, 0, (cookie, name, entryIno) => {
          lines.push(`  ${String(cookie)} ${name.toString('latin1')} ${String(entryIno)}`);
          return true;
        });
        lines.push(inspect(fileSystem.read(ino, 0, 64 * KIB), { depth: 3, maxArrayLength: 200 }));
      } catch (error) {
        if (!(error instanceof FsError)) throw error;
        lines.push(`${String(ino)}: ${error.message}`);
      }
    }
    return lines.join('\n');
  }

  end(): void {
    closeSync(this.#fd);
    rmSync(this.#dir, { recursive: true, force: true });
  }
}

/** One of each kind; inode numbers are given out from 2 on, in this order. */
function sampleTree(clock: StoppedClock): MemoryFileSystem {
  const tree = new MemoryFileSystem({ clock, owner: { uid: 0, gid: 0 } });
  const folder = tree.mkdir(1, Buffer.from('folder'), 0o755, ROOT).ino;
  for (const [name, bytes] of [
    ['embedded', 40],
    ['packed', 30 * KIB],
    ['chunked', 700 * KIB],
    ['empty', 0],
  ] as const) {
    const { ino } = tree.mknod(folder, Buffer.from(name), S_IFREG | 0o644, 0, ROOT);
    if (bytes > 0) tree.write(ino, 0, patternedBytes(name, bytes), false);
    tree.setXattr(ino, Buffer.from('user.name'), Buffer.from(name), 0);
  }
  tree.symlink(1, Buffer.from('link'), Buffer.from('folder/packed'), ROOT);
  const linked = tree.mknod(1, Buffer.from('one'), S_IFREG | 0o600, 0, ROOT).ino;
  tree.link(linked, folder, Buffer.from('two'));
  tree.mkdir(folder, Buffer.from('below'), 0o700, ROOT);
  return tree;
}
