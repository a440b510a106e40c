import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { CairnError, ROOT_INO, S_IFLNK } from '../../../src/core/index.js';
import {
  checkManifest,
  createManifest,
  diffManifests,
  openManifest,
  walk,
  type ManifestReader,
} from '../../../src/manifest/index.js';
import {
  blockIdFor,
  contentIdFor,
  directoryWith,
  fileWith,
  inodeWith,
  ROOT_COOKIE,
} from '../../manifest/trees.js';
import type { Random } from '../random.js';
import type { Target } from '../target.js';

const PAGE_BYTES = 4096;
const DIRECTORIES = 12;
const FILES = 400;
/** Of a sound sample no pass yields a tenth of it. */
const ROWS_MAX = 200_000;

export const manifests: Target = {
  name: 'manifests',
  promise: 'of a manifest whose pages are wrong, rows are read that keep the rules, or it is corrupt',
  cases: 40,
  outcomes: ['read', 'refused'],
  begin: async (dir) => {
    const sound = path.join(dir, 'sound');
    buildSample(sound);
    const bytes = readFileSync(sound);
    const original = openManifest(sound);
    const broken = path.join(dir, 'broken');
    return Promise.resolve({
      run: (random) => {
        writeFileSync(broken, damaged(bytes, random));
        let reader: ManifestReader | undefined;
        try {
          reader = openManifest(broken);
          const passes = shuffled(PASSES, random);
          let refused = 0;
          for (const pass of passes) if (!isRead(pass, reader, original)) refused++;
          return refused > 0 ? 'refused' : 'read';
        } catch (error) {
          if (!isCorrupt(error)) throw error;
          return 'refused';
        } finally {
          reader?.close();
        }
      },
      end: () => {
        original.close();
      },
    });
  },
};

const isCorrupt = (error: unknown): boolean => error instanceof CairnError && error.code === 'corrupt';

type Pass = (reader: ManifestReader, original: ManifestReader) => void;

/** Everything there is to ask a manifest. What one of them throws keeps the others from nothing. */
const PASSES: readonly Pass[] = [
  (reader) => {
    for (const { inode } of bounded(walk(reader, ROOT_INO))) {
      reader.extents(inode.ino, 0, inode.size);
      reader.extents(inode.ino, 100, 1);
    }
  },
  (reader) => {
    for (const inode of bounded(reader.inodes())) {
      reader.content(inode.ino);
      reader.storedBytes(inode.ino);
      reader.symlink(inode.ino);
      reader.embedded(inode.ino);
      for (const { name } of reader.xattrs(inode.ino)) reader.xattr(inode.ino, name);
    }
  },
  (reader) => {
    for (let ino = 1; ino < DIRECTORIES + FILES + 4; ino++)
      for (const { parent, name } of reader.namesOf(ino)) reader.lookup(parent, name);
  },
  (reader) => {
    for (let parent = 1; parent <= DIRECTORIES + 2; parent++) {
      for (let after = 0, pages = 0; pages < 100; pages++) {
        const rows = reader.listWithInodes(parent, after, 256);
        reader.list(parent, after, 7);
        reader.contents(parent, after, 100_000, 64);
        const last = rows.at(-1);
        if (last === undefined) break;
        if (last.cookie <= after) throw new Error('a listing that goes back');
        after = last.cookie;
      }
    }
    while (reader.listAhead());
  },
  (reader) => {
    for (const id of bounded(reader.blocks())) if (id.length !== 64) throw new Error(`block ${id}`);
  },
  (reader) => {
    Array.from(bounded(checkManifest(reader)));
  },
  (reader, original) => {
    diffManifests(original, reader);
    diffManifests(reader, original);
  },
];

function isRead(pass: Pass, reader: ManifestReader, original: ManifestReader): boolean {
  try {
    pass(reader, original);
    return true;
  } catch (error) {
    if (!isCorrupt(error)) throw error;
    return false;
  }
}

function* bounded<Row>(rows: Iterable<Row>): Generator<Row> {
  let count = 0;
  for (const row of rows) {
    if (++count > ROWS_MAX) throw new Error('rows without an end');
    yield row;
  }
}

function shuffled<Value>(values: readonly Value[], random: Random): Value[] {
  const rest = [...values];
  return values.map(() => rest.splice(random.below(rest.length), 1)).flat();
}

/** Large enough that tables have inner pages, and values that run over into pages of their own. */
function buildSample(file: string): void {
  const builder = createManifest(file);
  let ino = ROOT_INO;
  let cookie = ROOT_COOKIE;
  builder.putInode(directoryWith(ROOT_INO, DIRECTORIES));
  for (let number = 0; number < DIRECTORIES; number++) {
    builder.putInode(directoryWith(++ino));
    builder.putDentry(ROOT_INO, cookie++, Buffer.from(`directory ${String(number)}`), ino);
  }
  for (let number = 0; number < FILES; number++) {
    const file = ++ino;
    const size = number % 3 === 0 ? 20 : 1000 + number;
    builder.putInode(fileWith(file, size));
    const name = Buffer.from(`file ${String(number)}`.padEnd(number % 7 === 0 ? 250 : 10, '.'));
    builder.putDentry(2 + (number % DIRECTORIES), cookie++, name, file);
    const id = contentIdFor(String(number));
    if (number % 3 === 0) builder.setContent(file, { id, embedded: Buffer.alloc(20, number), extents: [] });
    else {
      const extents = [0, 1].map((part) => {
        const block = blockIdFor(`${String(number % 50)} ${String(part)}`);
        return { offset: part * 600, length: 400, block, blockOffset: number };
      });
      builder.setContent(file, { id, extents });
    }
    if (number % 20 === 0)
      builder.setXattrs(file, [{ name: Buffer.from('user.name'), value: Buffer.alloc(number * 100, 'v') }]);
  }
  builder.putInode(inodeWith(++ino, S_IFLNK | 0o777, { size: 6 }));
  builder.setSymlink(ino, Buffer.from('target'));
  builder.putDentry(ROOT_INO, cookie++, Buffer.from('link'), ino);
  builder.setNext(ino + 1, cookie);
  builder.finish();
}

/** https://www.sqlite.org/fileformat2.html#b_tree_pages */
const BTREE_HEADER_BYTES = 12;
const PAGE_KINDS = [2, 5, 10, 13] as const;

/** One to three pages that are wrong in a way that SQLite's own structure makes dangerous. */
function damaged(sound: Buffer, random: Random): Buffer {
  const bytes = Buffer.from(sound);
  for (let count = 1 + random.below(3); count > 0; count--) damagePage(bytes, random);
  return bytes;
}

function damagePage(bytes: Buffer, random: Random): void {
  const pages = bytes.length / PAGE_BYTES;
  const number = random.below(pages);
  const page = bytes.subarray(number * PAGE_BYTES, (number + 1) * PAGE_BYTES);
  // The first page begins with the header of the database.
  const header = number === 0 ? 100 : 0;
  const cells = page.readUInt16BE(header + 3);
  const pointers = header + BTREE_HEADER_BYTES;
  const cell = Math.min(
    page.readUInt16BE(pointers + 2 * random.below(Math.max(1, Math.min(cells, 500)))),
    PAGE_BYTES - 8,
  );
  const anyPage = (): number =>
    random.pick([number + 1, 1 + random.below(pages), pages + 1, 0, random.oddU32()]);
  switch (random.below(12)) {
    case 0:
      page.writeUInt8(random.pick(PAGE_KINDS), header);
      break;
    case 1:
      page.writeUInt16BE(random.oddU32() & 0xffff, header + random.pick([1, 3, 5]));
      break;
    case 2:
      page.writeUInt32BE(anyPage(), header + 8);
      break;
    case 3:
      // The child of an inner cell, or the length of a leaf's.
      page.writeUInt32BE(anyPage(), cell);
      break;
    case 4: {
      const [one, other] = [pointers + 2 * random.below(60), pointers + 2 * random.below(60)];
      const kept = page.readUInt16BE(one);
      page.writeUInt16BE(page.readUInt16BE(other), one);
      page.writeUInt16BE(kept, other);
      break;
    }
    case 5:
      page.writeUInt16BE(random.oddU32() & 0xffff, pointers + 2 * random.below(20));
      break;
    case 6:
      bytes.copy(page, 0, random.below(pages) * PAGE_BYTES);
      break;
    case 7:
      page.fill(random.pick([0, 0xff]), random.below(PAGE_BYTES));
      break;
    case 8:
      // A varint without an end, a serial type that is none.
      page.fill(0xff, cell, cell + 1 + random.below(8));
      break;
    case 9:
      bytes.writeUInt32BE(random.oddU32(), random.pick([24, 28, 32, 36, 40, 44, 48, 52, 64, 92, 96]));
      break;
    case 10:
      // Where a chain of overflow pages goes on.
      page.writeUInt32BE(anyPage(), 0);
      break;
    default:
      for (let flips = 1 + random.below(8); flips > 0; flips--) {
        const at = random.below(PAGE_BYTES);
        page.writeUInt8(page.readUInt8(at) ^ (1 << random.below(8)), at);
      }
  }
}
