import type { Selectable, Transaction } from 'kysely';
import { fileRowsOf } from './file-queries.js';
import { OPEN_FORK } from './fork-node.js';
import type { CatalogSchema } from './schema.js';

/** The first version of a workspace has the rows of a version of another, by one statement: they do not leave the database. */
export async function copyVersion(
  transaction: Transaction<CatalogSchema>,
  from: { workspaceId: number; seq: number },
  first: Selectable<CatalogSchema['version']>,
): Promise<void> {
  await transaction.insertInto('version').values(first).execute();
  const everything = { prefix: Buffer.alloc(0), after: Buffer.alloc(0) };
  await transaction
    .insertInto('file')
    .columns(['workspace_id', 'path', 'hash', 'size', 'mode', 'from_seq', 'fork'])
    .expression((file) =>
      file
        .selectFrom(fileRowsOf(transaction, from.workspaceId, from.seq, everything).as('rows'))
        .select((row) => [
          row.lit(first.workspace_id).as('workspace_id'),
          'path',
          'hash',
          'size',
          'mode',
          row.lit(first.seq).as('from_seq'),
          row.lit(OPEN_FORK).as('fork'),
        ]),
    )
    .execute();
  await transaction
    .updateTable('workspace')
    .set({ head_seq: first.seq })
    .where('id', '=', first.workspace_id)
    .execute();
}
