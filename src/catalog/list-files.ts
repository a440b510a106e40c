import type { Kysely } from 'kysely';
import { fileRowsOf, type Level } from './file-queries.js';
import { levelsOf, type Forked } from './fork-base.js';
import type { CatalogSchema } from './schema.js';

type Row = Awaited<ReturnType<ReturnType<typeof fileRowsOf>['execute']>>[number];

interface Page {
  prefix: Buffer;
  after: Buffer;
  /** Absent: all. */
  limit?: number | undefined;
}

/** Rows of version `seq` in order of path. */
export async function listFiles(
  db: Kysely<CatalogSchema>,
  workspace: Forked,
  seq: number,
  page: Page,
): Promise<Row[]> {
  if (workspace.base_workspace_id === null) {
    return await fileRowsOf(db, { workspaceId: workspace.id, seq }, [], page).execute();
  }
  // Of one moment: what is taken over from a base between two statements would be in neither's rows.
  return await db
    .transaction()
    .setAccessMode('read only')
    .setIsolationLevel('repeatable read')
    .execute(async (transaction) => {
      const nearer: Level[] = [];
      let rows: Row[] = [];
      for (const level of await levelsOf(transaction, workspace, seq)) {
        // No further than the levels before it have filled the page: a fork that has other rows of most paths would walk all of its base for each.
        const end = page.limit === undefined ? undefined : rows[page.limit - 1]?.path;
        const more = await fileRowsOf(transaction, level, nearer, { ...page, end }).execute();
        rows = merged(rows, more).slice(0, page.limit);
        nearer.push(level);
      }
      return rows;
    });
}

/** No path is in both. */
function merged(some: readonly Row[], others: readonly Row[]): Row[] {
  return [...some, ...others].sort((one, other) => Buffer.compare(one.path, other.path));
}
