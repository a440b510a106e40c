import { sql, type Kysely, type Selectable, type Transaction } from 'kysely';
import { CairnError } from '../core/index.js';
import {
  allFileRowsOf,
  baseRowsOf,
  doubledPaths,
  type FileRows,
  type Level,
  type Levels,
} from './file-queries.js';
import { OPEN_FORK } from './fork-node.js';
import type { WorkspaceRow } from './row-checksum.js';
import type { CatalogSchema } from './schema.js';
import { soundWorkspace, updateWorkspace } from './workspace-row.js';

/**
 * A fork has no rows of paths to begin with: where it has none of a path, in whatever version, that path is as in the version it was forked from, its
 * base. So that this says all, a row of the base becomes one of the fork, which holds from its first version on, before a version of the fork ends it.
 * Rows of the base as of its version never change what they say, whatever is published there.
 */

/** Each base costs a lookup or a page as much again. A fork of more has the rows copied. */
export const BASES_MAX = 8;

const FIRST_SEQ = 1;

export type Forked = Pick<Selectable<CatalogSchema['workspace']>, 'id' | 'base_workspace_id'>;

/** What version `seq` of a workspace is made of. A base that goes meanwhile has left its rows to its forks. */
export async function levelsOf(db: Kysely<CatalogSchema>, workspace: Forked, seq: number): Promise<Levels> {
  const own = { workspaceId: workspace.id, seq };
  if (workspace.base_workspace_id === null) return [own];
  const rows = await db
    .withRecursive('line', (cte) =>
      cte
        .selectFrom('workspace')
        .select(['id as line_id', sql<number>`0`.as('level')])
        .where('id', '=', workspace.id)
        .unionAll(
          cte
            .selectFrom('line')
            .innerJoin('workspace', 'workspace.id', 'line_id')
            .select(['workspace.base_workspace_id as line_id', sql<number>`level + 1`.as('level')])
            .where('base_workspace_id', 'is not', null)
            .where('level', '<', BASES_MAX)
            .$narrowType<{ line_id: number }>(),
        ),
    )
    .selectFrom('line')
    .innerJoin('workspace', 'workspace.id', 'line_id')
    .selectAll('workspace')
    .orderBy('level')
    .execute();
  const bases: Level[] = [];
  for (const row of rows) {
    const { base_workspace_id, base_seq } = soundWorkspace(row);
    if (base_workspace_id !== null && base_seq !== null)
      bases.push({ workspaceId: base_workspace_id, seq: base_seq });
  }
  if (bases.length <= BASES_MAX) return [own, ...bases];
  throw new CairnError(
    'corrupt',
    `a workspace in the catalog is based on more than ${String(BASES_MAX)} others`,
    {
      hint: 'cairn fsck --repair makes its rows of paths anew',
    },
  );
}

/** The first version of a new workspace, `first`, has the paths of a version of another. No path is read, unless there are bases enough. */
export async function beginFork(
  transaction: Transaction<CatalogSchema>,
  of: Levels,
  fork: WorkspaceRow,
  first: Selectable<CatalogSchema['version']>,
): Promise<void> {
  await transaction.insertInto('version').values(first).execute();
  const isCopied = of.length > BASES_MAX;
  // By one statement: the rows do not leave the database.
  if (isCopied) await insertFirstRows(transaction, first.workspace_id, allFileRowsOf(transaction, of));
  await updateWorkspace(transaction, fork, {
    head_seq: first.seq,
    ...(!isCopied && { base_workspace_id: of[0].workspaceId, base_seq: of[0].seq }),
  });
}

/** Rows that `paths` have in the bases become the fork's own, so that they can end. */
export async function takeOver(
  transaction: Transaction<CatalogSchema>,
  levels: Levels,
  paths: readonly Buffer[],
): Promise<void> {
  if (levels.length === 1) return;
  await insertFirstRows(transaction, levels[0].workspaceId, baseRowsOf(transaction, levels, paths));
}

async function insertFirstRows(
  transaction: Transaction<CatalogSchema>,
  workspaceId: number,
  rows: FileRows,
): Promise<void> {
  await transaction
    .insertInto('file')
    .columns(['workspace_id', 'path', 'hash', 'size', 'mode', 'from_seq', 'fork'])
    .expression((file) =>
      file
        .selectFrom(rows.as('rows'))
        .select((row) => [
          row.lit(workspaceId).as('workspace_id'),
          'path',
          'hash',
          'size',
          'mode',
          row.lit(FIRST_SEQ).as('from_seq'),
          row.lit(OPEN_FORK).as('fork'),
        ]),
    )
    .execute();
}

/** Throws where a path that the version begins goes on from the version before: it would have two rows. Within one workspace an index holds that. */
export async function refuseDoubledPaths(
  transaction: Transaction<CatalogSchema>,
  levels: Levels,
): Promise<void> {
  if (levels.length === 1) return;
  const doubled = await doubledPaths(transaction, levels).executeTakeFirst();
  if (doubled === undefined) return;
  throw new CairnError('usage', `path ${doubled.path.toString()} begins twice: it was not removed`);
}
