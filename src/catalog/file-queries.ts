import type { Kysely, Selectable, SelectQueryBuilder } from 'kysely';
import { forkNodesOf, OPEN_FORK } from './fork-node.js';
import type { CatalogSchema } from './schema.js';

/** The queries of `path → hash`, apart so that their plans can be looked at. None checks that the version is there. */

const FILE_COLUMNS = ['path', 'hash', 'size', 'mode'] as const;

/** The newest row of a path up to version `seq`; the path is in `seq` if that row's `to_seq` is NULL or above. */
export function newestFileRow(db: Kysely<CatalogSchema>, workspaceId: number, seq: number, path: Buffer) {
  return db
    .selectFrom('file')
    .select([...FILE_COLUMNS, 'to_seq'])
    .where('workspace_id', '=', workspaceId)
    .where('path', '=', path)
    .where('from_seq', '<=', seq)
    .orderBy('from_seq', 'desc')
    .limit(1);
}

interface FileRange {
  /** Paths that begin with these bytes. */
  prefix: Buffer;
  /** Paths above this one; empty for all, as no path is. */
  after: Buffer;
  /** Absent: all. */
  limit?: number;
}

/** Rows of version `seq` in order of path: the rows of each fork node in that order, merged. */
export function fileRowsOf(db: Kysely<CatalogSchema>, workspaceId: number, seq: number, range: FileRange) {
  const end = firstAfterPrefix(range.prefix);
  // One lower bound: with two SQLite takes another index.
  const inclusive = Buffer.compare(range.prefix, range.after) > 0;
  const rowsAt = (fork: number) => {
    const rows = db
      .selectFrom('file')
      .select(FILE_COLUMNS)
      .where('workspace_id', '=', workspaceId)
      .where('fork', '=', fork)
      .where('from_seq', '<=', seq)
      .where('path', inclusive ? '>=' : '>', inclusive ? range.prefix : range.after);
    return end === undefined ? rows : rows.where('path', '<', end);
  };
  const rows = forkNodesOf(seq)
    .map((fork) => rowsAt(fork).where('to_seq', '>', seq))
    .reduce((merged, rows) => merged.unionAll(rows), rowsAt(OPEN_FORK))
    .orderBy('path');
  return range.limit === undefined ? rows : rows.limit(range.limit);
}

type ChangedRows = SelectQueryBuilder<
  CatalogSchema,
  'file',
  Pick<Selectable<CatalogSchema['file']>, (typeof FILE_COLUMNS)[number]>
>;

interface ChangesPage {
  after?: Buffer;
  limit: number;
}

/** Rows of version `lowSeq` that some version up to `highSeq` has not any more. */
export function rowsEndedBetween(
  db: Kysely<CatalogSchema>,
  workspaceId: number,
  lowSeq: number,
  highSeq: number,
  page?: ChangesPage,
) {
  const rows = db
    .selectFrom('file')
    .select(FILE_COLUMNS)
    .where('workspace_id', '=', workspaceId)
    .where('to_seq', '>', lowSeq)
    .where('to_seq', '<=', highSeq)
    .where('from_seq', '<=', lowSeq)
    .orderBy('path');
  return page === undefined ? rows : pageOf(db, rows, page);
}

/** Rows of version `highSeq` that version `lowSeq` has not yet. */
export function rowsBegunBetween(
  db: Kysely<CatalogSchema>,
  workspaceId: number,
  lowSeq: number,
  highSeq: number,
  page?: ChangesPage,
) {
  const rows = db
    .selectFrom('file')
    .select(FILE_COLUMNS)
    .where('workspace_id', '=', workspaceId)
    .where('from_seq', '>', lowSeq)
    .where('from_seq', '<=', highSeq)
    .where((where) => where.or([where('to_seq', 'is', null), where('to_seq', '>', highSeq)]))
    .orderBy('path');
  return page === undefined ? rows : pageOf(db, rows, page);
}

/** By itself a limit has the whole workspace walked in order of path, for the few rows that changed. */
function pageOf(db: Kysely<CatalogSchema>, rows: ChangedRows, page: ChangesPage) {
  return db
    .with(
      (cte) => cte('changed').materialized(),
      () => rows,
    )
    .selectFrom('changed')
    .select(FILE_COLUMNS)
    .where('path', '>', page.after ?? Buffer.alloc(0))
    .orderBy('path')
    .limit(page.limit);
}

/** The lowest byte string above all that begin with `prefix`; undefined when there is none. */
function firstAfterPrefix(prefix: Buffer): Buffer | undefined {
  let length = prefix.length;
  while (length > 0 && prefix[length - 1] === 0xff) length--;
  if (length === 0) return undefined;
  const end = Buffer.from(prefix.subarray(0, length));
  end.writeUInt8(end.readUInt8(length - 1) + 1, length - 1);
  return end;
}
