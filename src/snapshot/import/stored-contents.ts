import Database, { type Statement } from 'better-sqlite3';
import type { ContentRow } from '../../catalog/index.js';
import { blockIdOf, bytesOfId, contentIdOf, type ContentId, type Extent } from '../../core/index.js';

/** Of the rows, what is not on the disk. */
const CACHE_KIB = 16 * 1024;

/** An extent: offset, length and offset in the block as doubles, and the block's id. */
const EXTENT_BYTES = 56;

const SCHEMA = `
  CREATE TABLE content(id BLOB PRIMARY KEY, size INTEGER NOT NULL, is_new INTEGER NOT NULL, extents BLOB NOT NULL)
    STRICT, WITHOUT ROWID`;

interface Row {
  id: Buffer;
  size: number;
  isNew: number;
  extents: Buffer;
}

export interface StoredContent extends ContentRow {
  /** The store did not have it before. */
  isNew: boolean;
}

/**
 * Where the contents are that a publication has met, in the store by now. A tree has as many of them as files: they are in a temporary database, of
 * which SQLite keeps on the disk what is too much for memory, and which ends with the process.
 */
export class StoredContents {
  readonly #db = new Database('');
  readonly #has: Statement<[Buffer]>;
  readonly #find: Statement<[Buffer], Row>;
  readonly #add: Statement<[Buffer, number, number, Buffer]>;

  constructor() {
    this.#db.pragma(`cache_size = -${String(CACHE_KIB)}`);
    this.#db.pragma('journal_mode = OFF');
    this.#db.exec(SCHEMA);
    this.#has = this.#db.prepare('SELECT 1 FROM content WHERE id = ?');
    this.#find = this.#db.prepare('SELECT id, size, is_new AS isNew, extents FROM content WHERE id = ?');
    this.#add = this.#db.prepare('INSERT INTO content VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING');
  }

  has(id: ContentId): boolean {
    return this.#has.get(bytesOfId(id)) !== undefined;
  }

  find(id: ContentId): StoredContent | undefined {
    const row = this.#find.get(bytesOfId(id));
    return row === undefined ? undefined : contentOf(row);
  }

  /** The first word on a content stands. */
  add({ id, size, extents, isNew }: StoredContent): void {
    this.#add.run(bytesOfId(id), size, isNew ? 1 : 0, packed(extents));
  }

  /** Those that are new, in order of their ids. Nothing else can be asked before it has ended. */
  *added(): Generator<ContentRow> {
    const rows = this.#db
      .prepare<[], Row>('SELECT id, size, is_new AS isNew, extents FROM content WHERE is_new = 1 ORDER BY id')
      .iterate();
    for (const row of rows) {
      const { id, size, extents } = contentOf(row);
      yield { id, size, extents };
    }
  }

  close(): void {
    this.#db.close();
  }
}

function contentOf({ id, size, isNew, extents }: Row): StoredContent {
  return { id: contentIdOf(id), size, isNew: isNew === 1, extents: unpacked(extents) };
}

function packed(extents: readonly Extent[]): Buffer {
  const bytes = Buffer.allocUnsafe(extents.length * EXTENT_BYTES);
  for (const [index, { offset, length, block, blockOffset }] of extents.entries()) {
    const at = index * EXTENT_BYTES;
    bytes.writeDoubleLE(offset, at);
    bytes.writeDoubleLE(length, at + 8);
    bytes.writeDoubleLE(blockOffset, at + 16);
    bytesOfId(block).copy(bytes, at + 24);
  }
  return bytes;
}

function unpacked(bytes: Buffer): Extent[] {
  return Array.from({ length: bytes.length / EXTENT_BYTES }, (_, index) => {
    const at = index * EXTENT_BYTES;
    return {
      offset: bytes.readDoubleLE(at),
      length: bytes.readDoubleLE(at + 8),
      block: blockIdOf(bytes.subarray(at + 24, at + EXTENT_BYTES)),
      blockOffset: bytes.readDoubleLE(at + 16),
    };
  });
}
