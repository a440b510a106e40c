import type { Selectable, Transaction } from 'kysely';
import { bytesOfId, CairnError } from '../core/index.js';
import type { ContentRow, FileRow, Publication } from './catalog.js';
import { packExtents } from './extent-record.js';
import type { Levels } from './file-queries.js';
import { refuseDoubledPaths, takeOver } from './fork-base.js';
import { forkNode, MAX_SEQ, OPEN_FORK } from './fork-node.js';
import { chunksOf, insertRows } from './row-chunks.js';
import { sealedVersion } from './row-checksum.js';
import type { CatalogSchema } from './schema.js';

/**
 * Writes the version after `parentSeq`, and all that comes with it, and moves the head to it. The caller holds the head's row in
 * `transaction` and has compared it. `parent`: what the parent is made of.
 */
export async function insertVersion(
  transaction: Transaction<CatalogSchema>,
  [{ workspaceId }, ...bases]: Levels,
  publication: Publication,
): Promise<Selectable<CatalogSchema['version']>> {
  const seq = publication.parentSeq + 1;
  if (seq > MAX_SEQ) throw new RangeError(`a workspace has at most ${String(MAX_SEQ)} versions`);
  const levels: Levels = [{ workspaceId, seq }, ...bases];
  const version = sealedVersion({
    workspace_id: workspaceId,
    seq,
    parent_seq: publication.parentSeq,
    root: bytesOfId(publication.root),
    author: publication.author,
    message: publication.message,
    created_at_ms: publication.createdAtMs,
    files: publication.files,
    bytes: publication.bytes,
    publish_id: publication.publishId,
  });
  await transaction.insertInto('version').values(version).execute();
  // In one order, whoever publishes: two that store the same blocks and wait for each other would wait for ever.
  await insertBlocks(
    transaction,
    publication.blocks.toSorted((a, b) => (a.id < b.id ? -1 : 1)),
  );
  await insertContents(transaction, publication.contents);
  await endFileRows(transaction, levels, publication.removed);
  await insertFileRows(transaction, workspaceId, seq, publication.added);
  await refuseDoubledPaths(transaction, levels);
  await transaction.updateTable('workspace').set({ head_seq: seq }).where('id', '=', workspaceId).execute();
  return version;
}

/** Another workspace may have stored the same block at the same time: one row is enough. */
async function insertBlocks(
  transaction: Transaction<CatalogSchema>,
  blocks: Publication['blocks'],
): Promise<void> {
  await insertRows(
    mapped(blocks, (block) => ({
      id: bytesOfId(block.id),
      raw_bytes: block.rawBytes,
      stored_bytes: block.storedBytes,
    })),
    (rows) =>
      transaction
        .insertInto('block')
        .values(rows)
        .onConflict((conflict) => conflict.doNothing())
        .compile(),
    (query) => transaction.executeQuery(query),
  );
}

async function insertContents(
  transaction: Transaction<CatalogSchema>,
  contents: Iterable<ContentRow>,
): Promise<void> {
  let last: string | undefined;
  await insertRows(
    mapped(contents, ({ id, size, extents }) => {
      if (last !== undefined && id < last)
        throw new CairnError('usage', `contents are not in order of their ids: ${id} is after ${last}`);
      last = id;
      const hash = bytesOfId(id);
      return { hash, size, extents: packExtents(hash, size, extents) };
    }),
    (rows) =>
      transaction
        .insertInto('content')
        .values(rows)
        .onConflict((conflict) => conflict.doNothing())
        .compile(),
    (query) => transaction.executeQuery(query),
  );
}

/** The rows of `paths` hold up to the version before that of `levels`. */
async function endFileRows(
  transaction: Transaction<CatalogSchema>,
  levels: Levels,
  paths: Iterable<Buffer>,
): Promise<void> {
  const [{ workspaceId, seq }] = levels;
  for (const chunk of chunksOf(paths)) {
    await takeOver(transaction, levels, chunk);
    const rows = await transaction
      .selectFrom('file')
      .select(['path', 'from_seq'])
      .where('workspace_id', '=', workspaceId)
      .where('fork', '=', OPEN_FORK)
      .where('path', 'in', chunk)
      .execute();
    const pathsByFork = new Map<number, Buffer[]>();
    for (const row of rows) {
      const fork = forkNode(row.from_seq, seq);
      const ending = pathsByFork.get(fork);
      if (ending === undefined) pathsByFork.set(fork, [row.path]);
      else ending.push(row.path);
    }
    for (const [fork, ending] of pathsByFork) {
      await transaction
        .updateTable('file')
        .set({ to_seq: seq, fork })
        .where('workspace_id', '=', workspaceId)
        .where('fork', '=', OPEN_FORK)
        .where('path', 'in', ending)
        .execute();
    }
  }
}

async function insertFileRows(
  transaction: Transaction<CatalogSchema>,
  workspaceId: number,
  seq: number,
  files: Iterable<FileRow>,
): Promise<void> {
  await insertRows(
    mapped(files, (file) => ({
      workspace_id: workspaceId,
      path: file.path,
      hash: file.hash === undefined ? null : bytesOfId(file.hash),
      size: file.size,
      mode: file.mode,
      from_seq: seq,
      fork: OPEN_FORK,
    })),
    (rows) => transaction.insertInto('file').values(rows).compile(),
    (query) => transaction.executeQuery(query),
  );
}

function* mapped<Item, Row>(items: Iterable<Item>, rowOf: (item: Item) => Row): Generator<Row> {
  for (const item of items) yield rowOf(item);
}
