import {
  PostgresAdapter,
  sql,
  type Kysely,
  type RawBuilder,
  type Selectable,
  type SelectQueryBuilder,
  type SqlBool,
} from 'kysely';
import { forkNodesOf, OPEN_FORK } from './fork-node.js';
import type { CatalogSchema } from './schema.js';

/** The queries of `path → hash`, apart so that their plans can be looked at. None checks that the version is there. */

/** Where rows of a version are: those of a workspace that hold in its version `seq`. */
export interface Level {
  workspaceId: number;
  seq: number;
}

/** The workspace's own rows come first, then those of its base, of the base's base, and so on. */
export type Levels = readonly [Level, ...Level[]];

const FILE_COLUMNS = ['path', 'hash', 'size', 'mode'] as const;

type FileColumns = Pick<Selectable<CatalogSchema['file']>, (typeof FILE_COLUMNS)[number]>;

export type FileRows = SelectQueryBuilder<CatalogSchema, never, FileColumns>;

/**
 * What decides about a path of a version: of the first level with a row of it up to its version, the newest such row. The path is in the version if
 * that row's `to_seq` is NULL or above the level's version, `at_seq`.
 */
export function newestFileRow(db: Kysely<CatalogSchema>, [own, ...bases]: Levels, path: Buffer) {
  const newestOf = ({ workspaceId, seq }: Level, level: number) =>
    db
      .selectFrom('file')
      .select([...FILE_COLUMNS, 'to_seq'])
      .select((row) => [row.lit(seq).as('at_seq'), row.lit(level).as('level')])
      .where('workspace_id', '=', workspaceId)
      .where('path', '=', path)
      .where('from_seq', '<=', seq)
      .orderBy('from_seq', 'desc')
      .limit(1);
  if (bases.length === 0) return newestOf(own, 0);
  const rowOf = (level: Level, at: number) => db.selectFrom(newestOf(level, at).as('newest')).selectAll();
  return bases
    .reduce((rows, base, at) => rows.unionAll(rowOf(base, at + 1)), rowOf(own, 0))
    .orderBy('level')
    .limit(1);
}

interface FileRange {
  /** Paths that begin with these bytes. */
  prefix: Buffer;
  /** Paths above this one; empty for all, as no path is. */
  after: Buffer;
  /** Paths below this one. Absent: all. */
  end?: Buffer | undefined;
  /** Absent: all. */
  limit?: number | undefined;
}

/** Rows of one level in order of path, the rows of each fork node in that order, merged. Not those of paths of which a level before it has a row. */
export function fileRowsOf(
  db: Kysely<CatalogSchema>,
  { workspaceId, seq }: Level,
  nearer: readonly Level[],
  range: FileRange,
) {
  const end = range.end ?? firstAfterPrefix(range.prefix);
  // One lower bound: with two SQLite takes another index.
  const inclusive = Buffer.compare(range.prefix, range.after) > 0;
  // PostgreSQL merges what says that it is in order, and sorts all there is otherwise. SQLite merges by itself.
  const { limit } = range;
  const isTold = limit !== undefined && db.getExecutor().adapter instanceof PostgresAdapter;
  const rowsAt = (fork: number, endsAbove?: number): FileRows => {
    let rows = db
      .selectFrom('file')
      .select(FILE_COLUMNS)
      .where('workspace_id', '=', workspaceId)
      .where('fork', '=', fork)
      .where('from_seq', '<=', seq)
      .where('path', inclusive ? '>=' : '>', inclusive ? range.prefix : range.after);
    if (endsAbove !== undefined) rows = rows.where('to_seq', '>', endsAbove);
    if (end !== undefined) rows = rows.where('path', '<', end);
    if (nearer.length > 0) rows = rows.where(inNoneOf(nearer));
    return isTold ? db.selectFrom(rows.orderBy('path').limit(limit).as('node')).select(FILE_COLUMNS) : rows;
  };
  const rows = forkNodesOf(seq)
    .map((fork) => rowsAt(fork, seq))
    .reduce((merged, rows) => merged.unionAll(rows), rowsAt(OPEN_FORK))
    .orderBy('path');
  return limit === undefined ? rows : rows.limit(limit);
}

/** Rows of all levels, in no order. One statement: what a fork takes over from a base is in one of them at every moment. */
export function allFileRowsOf(db: Kysely<CatalogSchema>, [own, ...bases]: Levels): FileRows {
  const everything = { prefix: Buffer.alloc(0), after: Buffer.alloc(0) };
  const rowsOf = (level: Level, nearer: readonly Level[]): FileRows =>
    db.selectFrom(fileRowsOf(db, level, nearer, everything).as('level')).select(FILE_COLUMNS);
  return bases.reduce(
    (rows, base, at) => rows.unionAll(rowsOf(base, [own, ...bases.slice(0, at)])),
    rowsOf(own, []),
  );
}

/** Rows of one base at its version, of paths of which none of the levels before it has a row. */
function rowsOfBase(db: Kysely<CatalogSchema>, { workspaceId, seq }: Level, nearer: readonly Level[]) {
  return db
    .selectFrom('file')
    .select(FILE_COLUMNS)
    .where('workspace_id', '=', workspaceId)
    .where('from_seq', '<=', seq)
    .where((where) => where.or([where('to_seq', 'is', null), where('to_seq', '>', seq)]))
    .where(inNoneOf(nearer));
}

/** No row of the path in any version of these. By a subquery that no planner turns into a join: it is asked for few rows of many. */
function inNoneOf(levels: readonly Level[]): RawBuilder<SqlBool> {
  if (levels.length === 0) return sql`true`;
  const ids = sql.join(levels.map(({ workspaceId }) => workspaceId));
  return sql`(select 1 from file as nearer_file where nearer_file.workspace_id in (${ids}) and nearer_file.path = file.path limit 1) is null`;
}

/** Rows that a fork has from its bases alone, of some paths. */
export function baseRowsOf(db: Kysely<CatalogSchema>, levels: Levels, paths: readonly Buffer[]): FileRows {
  const rows = levels
    .slice(1)
    .map((base, at) => rowsOfBase(db, base, levels.slice(0, at + 1)).where('path', 'in', paths));
  return rows.reduce((all, of) => all.unionAll(of));
}

/** Paths that began in the own version, and whose only other row is one of a base. */
export function doubledPaths(db: Kysely<CatalogSchema>, [own, ...bases]: Levels) {
  const inBase = bases.map((base, at) => {
    const row = rowsOfBase(db, base, bases.slice(0, at)).clearSelect().select(sql.lit(1).as('one'));
    return sql<SqlBool>`(${row.whereRef('file.path', '=', sql.ref('come.path')).limit(1)}) is not null`;
  });
  return db
    .selectFrom('file as come')
    .select('come.path')
    .where('come.workspace_id', '=', own.workspaceId)
    .where('come.from_seq', '=', own.seq)
    .where((where) =>
      where.not(
        where.exists(
          where
            .selectFrom('file as earlier')
            .select('earlier.path')
            .whereRef('earlier.workspace_id', '=', 'come.workspace_id')
            .whereRef('earlier.path', '=', 'come.path')
            .where('earlier.from_seq', '<', own.seq),
        ),
      ),
    )
    .where((where) => where.or(inBase))
    .limit(1);
}

type ChangedRows = SelectQueryBuilder<CatalogSchema, 'file', FileColumns>;

interface ChangesPage {
  after?: Buffer;
  limit: number;
}

/**
 * Rows of version `lowSeq`, 1 or above, that some version up to `highSeq` has not any more. They are the workspace's own: a row of a base becomes its own
 * when it ends.
 */
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

/** Rows of version `highSeq` that version `lowSeq`, 1 or above, has not yet. They are the workspace's own. */
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
