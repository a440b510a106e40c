import { cpSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { crc32 } from 'node:zlib';
import { CairnError, S_IFREG } from '../../../src/core/index.js';
import { UpperLayer } from '../../../src/upper/index.js';
import { newInode } from '../../upper/new-inode.js';
import { mutated } from '../mutate.js';
import type { Random } from '../random.js';
import type { Target } from '../target.js';

const COMMITS = 40;
const FIRST_INO = 10;
const HEADER_BYTES = 8;

/** Two generations, the first complete. */
const JOURNALS = ['journal-1', 'journal-2'] as const;

export const journals: Target = {
  name: 'journals',
  promise:
    'of a journal that was cut or changed, all records before the damage are there, and nothing after it',
  cases: 100,
  outcomes: ['all', 'a part', 'refused'],
  begin: async (dir) => {
    const sample = path.join(dir, 'sample');
    const samples = makeSample(sample);
    const broken = path.join(dir, 'broken');
    return Promise.resolve({
      run: (random) => {
        cpSync(sample, broken, { recursive: true });
        const number = random.below(2);
        const name = JOURNALS[number] ?? JOURNALS[0];
        const records = samples[number] ?? [];
        const before = number === 0 ? 0 : (samples[0]?.length ?? 0);
        const journal = readFileSync(path.join(sample, name));
        const { bytes, whole, sealed } = damaged(journal, records, random);
        writeFileSync(path.join(broken, name), bytes);
        // A later journal says how long the one before it was, and counts only behind all of it.
        const following = number === 0 && bytes.equals(journal) ? (samples[1]?.length ?? 0) : 0;
        const expected = before + records.filter((end) => end <= whole).length + following;
        try {
          if (sealed) {
            UpperLayer.recover(broken);
            return 'all';
          }
          const found = commitsIn(broken);
          if (found !== expected)
            throw new Error(`${String(found)} commits were found, not ${String(expected)}`);
          return found === COMMITS ? 'all' : 'a part';
        } catch (error) {
          if (sealed && error instanceof CairnError && error.code === 'corrupt') return 'refused';
          throw error;
        } finally {
          rmSync(broken, { recursive: true });
        }
      },
      end: () => undefined,
    });
  },
};

/** A layer whose daemon died: nothing of its journals is in its database. Returns where the records of each journal end. */
function makeSample(dir: string): number[][] {
  UpperLayer.create(dir, { nextIno: FIRST_INO, nextCookie: 3, lastUnique: '', lastReply: Buffer.alloc(0) });
  const empty = `${dir}.empty`;
  cpSync(dir, empty, { recursive: true });
  const layer = UpperLayer.open(dir, true);
  const ends: number[][] = [[], []];
  for (let number = 1; number <= COMMITS; number++) {
    const ino = layer.allocateIno();
    layer.putInode(newInode(ino, S_IFREG | 0o644));
    layer.putDentry(1, Buffer.from(`file ${String(number)}`), layer.allocateCookie(), ino);
    if (number % 3 === 0) layer.putXattr(ino, Buffer.from('user.name'), Buffer.alloc(number * 50, 'x'));
    // Not zeros: a cut that is filled with zeros would be no damage.
    layer.commit(String(number), Buffer.alloc(number, 1));
    const generation = number <= COMMITS / 2 ? 0 : 1;
    ends[generation]?.push(statSync(path.join(dir, JOURNALS[generation])).size);
    if (number === COMMITS / 2) {
      layer.fold();
    }
  }
  // As if neither had been folded: the database of the beginning, the journals of the end.
  const kept = JOURNALS.map((name) => [name, readFileSync(path.join(dir, name))] as const);
  layer.close();
  rmSync(dir, { recursive: true });
  cpSync(empty, dir, { recursive: true });
  rmSync(empty, { recursive: true });
  for (const [name, bytes] of kept) writeFileSync(path.join(dir, name), bytes);
  return ends;
}

interface Damaged {
  bytes: Buffer;
  /** Bytes before the damaged record. */
  whole: number;
  /** The damaged record has a checksum that says it is right. */
  sealed: boolean;
}

function damaged(journal: Buffer, records: readonly number[], random: Random): Damaged {
  const wholeBefore = (at: number): number => Math.max(0, ...records.filter((end) => end <= at));
  const at = random.below(journal.length);
  switch (random.below(6)) {
    case 0:
      return { bytes: journal.subarray(0, at), whole: wholeBefore(at), sealed: false };
    case 1: {
      // Length without content: what a file system may leave of the end after power loss.
      const zeros = Buffer.alloc(1 + random.below(5000));
      const cut = random.pick([at, records[random.below(records.length)] ?? 0]);
      return {
        bytes: Buffer.concat([journal.subarray(0, cut), zeros]),
        whole: wholeBefore(cut),
        sealed: false,
      };
    }
    case 2: {
      const garbage = random.bytes(1 + random.below(200));
      return { bytes: Buffer.concat([journal, garbage]), whole: journal.length, sealed: false };
    }
    case 3: {
      const index = random.below(records.length);
      const [start, end] = [index === 0 ? 0 : (records[index - 1] ?? 0), records[index] ?? 0];
      const content = mutated(journal.subarray(start + HEADER_BYTES, end), random);
      const header = Buffer.alloc(HEADER_BYTES);
      header.writeUInt32LE(content.length, 0);
      header.writeUInt32LE(crc32(content), 4);
      const bytes = Buffer.concat([journal.subarray(0, start), header, content, journal.subarray(end)]);
      return { bytes, whole: journal.length, sealed: true };
    }
    default: {
      const bytes = Buffer.from(journal);
      const length = 1 + random.below(16);
      for (let offset = at; offset < Math.min(at + length, bytes.length); offset++)
        bytes.writeUInt8(bytes.readUInt8(offset) ^ (1 + random.below(255)), offset);
      return { bytes, whole: wholeBefore(at), sealed: false };
    }
  }
}

/** How many commits a layer has. What was cut off does not come back at the next start. */
function commitsIn(dir: string): number {
  UpperLayer.recover(dir);
  UpperLayer.recover(dir);
  const layer = UpperLayer.open(dir, false);
  try {
    const count = layer.nextIno - FIRST_INO;
    if (layer.last().lastUnique !== (count === 0 ? '' : String(count)))
      throw new Error('the stored reply is of another commit');
    const inodes = [...layer.inodes()].map(({ ino }) => ino);
    if (inodes.length !== count)
      throw new Error(`${String(inodes.length)} inodes of ${String(count)} commits`);
    if (layer.list(1, 0, COMMITS + 1).length !== count)
      throw new Error('names without inodes, or the reverse');
    return count;
  } finally {
    layer.close();
  }
}
