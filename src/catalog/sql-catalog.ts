import { randomUUID } from 'node:crypto';
import type { ExpressionBuilder, Kysely, Nullable, Selectable, Transaction } from 'kysely';
import {
  blockIdOf,
  bytesOfId,
  CairnError,
  contentIdOf,
  RESERVED_NUMBERS,
  type BlockId,
  type ContentId,
  type ManifestRoot,
} from '../core/index.js';
import type {
  Catalog,
  ContentRow,
  FileChange,
  FileRow,
  Publication,
  Tag,
  Version,
  Workspace,
  WorkspaceChange,
} from './catalog.js';
import { unpackExtents } from './extent-record.js';
import { newestFileRow, rowsBegunBetween, rowsEndedBetween } from './file-queries.js';
import { beginFork, levelsOf } from './fork-base.js';
import { HeadWatch, type WaitOptions } from './head-watch.js';
import { listFiles } from './list-files.js';
import { insertVersion } from './publish.js';
import { chunksOf } from './row-chunks.js';
import {
  damagedRow,
  isSoundTag,
  isSoundVersion,
  isSoundWorkspace,
  sealedTag,
  sealedVersion,
  type WorkspaceRow,
} from './row-checksum.js';
import type { CatalogSchema } from './schema.js';
import { makePlaceFor, trashEndMs } from './trash.js';
import { checkTagName, checkWorkspaceName } from './workspace-name.js';
import {
  damagedWorkspace,
  findWorkspaceRow,
  JOINED_WORKSPACE,
  lockWorkspace,
  soundWorkspace,
  updateWorkspace,
  workspaceRowOf,
} from './workspace-row.js';

const PAGE_DEFAULT_ROWS = 1000;

/** The catalog on any database Kysely speaks to. Owns the connection. */
export class SqlCatalog implements Catalog {
  readonly url: string;
  readonly #db: Kysely<CatalogSchema>;
  readonly #heads: HeadWatch;

  constructor(url: string, db: Kysely<CatalogSchema>) {
    this.url = url;
    this.#db = db;
    this.#heads = new HeadWatch((workspaces) => headsOf(db, workspaces));
  }

  async ensureWorkspace(name: string): Promise<Workspace> {
    checkWorkspaceName(name);
    const found = await this.#findWorkspace(name);
    if (found !== undefined) return found;
    try {
      await this.#db.transaction().execute((transaction) => insertWorkspace(transaction, name, 0));
    } catch (error) {
      // Somebody else may have been first.
      const theirs = await this.#findWorkspace(name);
      if (theirs !== undefined) return theirs;
      throw error;
    }
    return this.workspace(name);
  }

  async workspace(name: string): Promise<Workspace> {
    const found = await this.#findWorkspace(name);
    if (found === undefined) throw noWorkspace(name);
    return found;
  }

  async workspaces(): Promise<Workspace[]> {
    const rows = await this.#db.selectFrom('workspace').selectAll().orderBy('name').execute();
    // Which one is not for everybody who may ask for a list.
    if (!rows.every(isSoundWorkspace)) throw damagedWorkspace('one of the workspaces');
    return rows.filter(({ trashed_at_ms }) => trashed_at_ms === null).map(workspaceOf);
  }

  async changeWorkspace(name: string, change: WorkspaceChange): Promise<Workspace> {
    const newName = change.name ?? name;
    checkWorkspaceName(newName);
    await this.#db.transaction().execute(async (transaction) => {
      const row = await lockHead(transaction, name);
      if (newName !== name) await makePlaceFor(transaction, newName);
      await updateWorkspace(transaction, row, {
        name: newName,
        ...(change.readOnly !== undefined && { read_only: change.readOnly ? 1 : 0 }),
        ...(change.quotaBytes !== undefined && { quota_bytes: change.quotaBytes }),
      });
    });
    return this.workspace(newName);
  }

  async trashWorkspace(name: string): Promise<{ untilMs: number }> {
    const nowMs = Date.now();
    await this.#db.transaction().execute(async (transaction) => {
      const row = await lockWorkspace(transaction, { name });
      if (row?.trashed_at_ms !== null) throw noWorkspace(name);
      await updateWorkspace(transaction, row, { trashed_at_ms: nowMs });
    });
    return { untilMs: trashEndMs(nowMs) };
  }

  async undeleteWorkspace(name: string): Promise<Workspace> {
    await this.#db.transaction().execute(async (transaction) => {
      const row = await lockWorkspace(transaction, { name });
      if (row === undefined || row.trashed_at_ms === null || row.purged !== 0) {
        throw new CairnError('not-found', `no workspace "${name}" is in the trash`);
      }
      await updateWorkspace(transaction, row, { trashed_at_ms: null });
    });
    return this.workspace(name);
  }

  async forkWorkspace(fork: Parameters<Catalog['forkWorkspace']>[0]): Promise<Version> {
    const { workspace, seq, name, author, publishId } = fork;
    checkWorkspaceName(name);
    if ((await this.#findWorkspace(name)) !== undefined) {
      const made = await this.published(name, publishId);
      if (made !== undefined) return made;
    }
    const { root, files, bytes } = await this.version(workspace, seq);
    await this.#db.transaction().execute(async (transaction) => {
      const source = await lockHead(transaction, workspace);
      const levels = await levelsOf(transaction, source, seq);
      const forked = await insertWorkspace(transaction, name, source.next_number);
      const first = sealedVersion({
        workspace_id: forked.id,
        seq: 1,
        parent_seq: 0,
        root: bytesOfId(root),
        author,
        message: `fork of ${workspace}@${String(seq)}`,
        created_at_ms: Date.now(),
        files,
        bytes,
        publish_id: publishId,
      });
      await beginFork(transaction, levels, forked, first);
    });
    return this.version(name, 1);
  }

  async version(workspace: string, seq?: number): Promise<Version> {
    const row = await headRow(this.#db, workspace)
      .leftJoin('version', (join) =>
        join
          .onRef('version.workspace_id', '=', 'workspace.id')
          .on((on) => on('version.seq', '=', seq === undefined ? on.ref('workspace.head_seq') : on.val(seq))),
      )
      .selectAll('version')
      .executeTakeFirst();
    const { head_seq } = soundHead(workspace, row);
    if (row === undefined || !isThere(row)) throw noVersion(workspace, seq, head_seq);
    return versionOf(workspace, row);
  }

  async taggedVersion(workspace: string, tag: string): Promise<Version> {
    const { id } = await this.#workspaceRow(workspace);
    const row = await this.#db
      .selectFrom('tag')
      .selectAll()
      .where('workspace_id', '=', id)
      .where('name', '=', tag)
      .executeTakeFirst();
    if (row === undefined) throw noTag(workspace, tag);
    return await this.version(workspace, tagOf(workspace, row).seq);
  }

  async tags(workspace: string): Promise<Tag[]> {
    const { id } = await this.#workspaceRow(workspace);
    const rows = await this.#db
      .selectFrom('tag')
      .selectAll()
      .where('workspace_id', '=', id)
      .orderBy('name')
      .execute();
    return rows.map((row) => tagOf(workspace, row));
  }

  async setTag(workspace: string, tag: string, seq: number): Promise<Tag> {
    checkTagName(tag);
    const { id } = await this.#headWithVersions(workspace, [seq]);
    const row = sealedTag({ workspace_id: id, name: tag, seq, created_at_ms: Date.now() });
    await this.#db
      .insertInto('tag')
      .values(row)
      .onConflict((conflict) => conflict.columns(['workspace_id', 'name']).doUpdateSet(row))
      .execute();
    return tagOf(workspace, row);
  }

  async deleteTag(workspace: string, tag: string): Promise<void> {
    const { id } = await this.#workspaceRow(workspace);
    const { numDeletedRows } = await this.#db
      .deleteFrom('tag')
      .where('workspace_id', '=', id)
      .where('name', '=', tag)
      .executeTakeFirst();
    if (numDeletedRows === 0n) throw noTag(workspace, tag);
  }

  async versions(
    workspace: string,
    options: { limit?: number; beforeSeq?: number } = {},
  ): Promise<Version[]> {
    const { id } = await this.#workspaceRow(workspace);
    let query = this.#db
      .selectFrom('version')
      .selectAll()
      .where('workspace_id', '=', id)
      .orderBy('seq', 'desc')
      .limit(options.limit ?? PAGE_DEFAULT_ROWS);
    if (options.beforeSeq !== undefined) query = query.where('seq', '<', options.beforeSeq);
    return (await query.execute()).map((row) => versionOf(workspace, row));
  }

  async newerVersion(
    workspace: string,
    afterSeq: number,
    options: WaitOptions,
  ): Promise<Version | undefined> {
    options.signal?.throwIfAborted();
    const { head_seq } = await this.#workspaceRow(workspace);
    if (head_seq <= afterSeq && !(await this.#heads.wait(workspace, afterSeq, options))) return undefined;
    return await this.version(workspace);
  }

  async publish(publication: Publication): Promise<Version> {
    const { workspace, publishId, parentSeq } = publication;
    const version = await this.#db.transaction().execute(async (transaction) => {
      const head = await lockHead(transaction, workspace);
      const published = await findPublished(transaction, head.id, workspace, publishId);
      if (published !== undefined) return published;
      if (head.head_seq !== parentSeq) {
        throw new CairnError(
          'conflict',
          `workspace "${workspace}" is at version ${String(head.head_seq)}, not at ${String(parentSeq)}`,
          { hint: 'someone else has published; nothing was changed' },
        );
      }
      checkRoom(workspace, head, publication.bytes);
      const parent = await levelsOf(transaction, head, parentSeq);
      return versionOf(workspace, await insertVersion(transaction, parent, publication));
    });
    this.#heads.published(workspace, version.seq);
    return version;
  }

  async published(workspace: string, publishId: string): Promise<Version | undefined> {
    const { id } = await this.#workspaceRow(workspace);
    return findPublished(this.#db, id, workspace, publishId);
  }

  async reserveNumbers(workspace: string, atLeast: number): Promise<number> {
    return this.#db.transaction().execute(async (transaction) => {
      const row = await lockHead(transaction, workspace);
      const first = Math.max(row.next_number, atLeast);
      const next = first + RESERVED_NUMBERS;
      if (!Number.isSafeInteger(next))
        throw new CairnError('unsupported', `workspace "${workspace}" has no inode numbers left`, {
          hint: 'its versions can be mounted with --read-only',
        });
      await updateWorkspace(transaction, row, { next_number: next });
      return first;
    });
  }

  async file(workspace: string, seq: number, path: Buffer): Promise<FileRow | undefined> {
    const levels = await levelsOf(this.#db, await this.#headWithVersions(workspace, [seq]), seq);
    const row = await newestFileRow(this.#db, levels, path).executeTakeFirst();
    if (row === undefined || (row.to_seq !== null && row.to_seq <= row.at_seq)) return undefined;
    return fileOf(row);
  }

  async files(
    workspace: string,
    seq: number,
    options: { prefix?: Buffer; after?: Buffer; limit?: number } = {},
  ): Promise<FileRow[]> {
    const head = await this.#headWithVersions(workspace, [seq]);
    const { prefix = Buffer.alloc(0), after = Buffer.alloc(0), limit = PAGE_DEFAULT_ROWS } = options;
    return (await listFiles(this.#db, head, seq, { prefix, after, limit })).map(fileOf);
  }

  async changes(
    workspace: string,
    fromSeq: number,
    toSeq: number,
    page?: { after?: Buffer; limit: number },
  ): Promise<FileChange[]> {
    const seqs = [fromSeq, toSeq].filter((seq) => seq !== 0);
    const head = await this.#headWithVersions(workspace, seqs);
    const { id } = head;
    const lowSeq = Math.min(fromSeq, toSeq);
    const highSeq = Math.max(fromSeq, toSeq);
    if (lowSeq === 0) {
      // All there is: a listing, which need not be sorted.
      const range = { prefix: Buffer.alloc(0), after: Buffer.alloc(0), ...page };
      const rows = highSeq === 0 ? [] : await listFiles(this.#db, head, highSeq, range);
      const files = rows.map(fileOf);
      return fromSeq === 0 ? changesOf([], files) : changesOf(files, []);
    }
    for (let part = page; ;) {
      const ended = (await rowsEndedBetween(this.#db, id, lowSeq, highSeq, part).execute()).map(fileOf);
      const begun = (await rowsBegunBetween(this.#db, id, lowSeq, highSeq, part).execute()).map(fileOf);
      const end = part === undefined ? undefined : firstCutOff(part.limit, ended, begun);
      const reached = (rows: FileRow[]): FileRow[] =>
        end === undefined ? rows : rows.filter((row) => Buffer.compare(row.path, end) <= 0);
      const changes =
        fromSeq <= toSeq
          ? changesOf(reached(ended), reached(begun))
          : changesOf(reached(begun), reached(ended));
      // Paths that changed and changed back may be a whole page.
      if (changes.length > 0 || part === undefined || end === undefined) return changes;
      part = { ...part, after: end };
    }
  }

  /** One store for all workspaces: what one has brought the others may build on. */
  async knownContents(_workspace: string, ids: readonly ContentId[]): Promise<ContentRow[]> {
    const known: ContentRow[] = [];
    for (const chunk of chunksOf(ids)) {
      const rows = await this.#db
        .selectFrom('content')
        .selectAll()
        .where('hash', 'in', chunk.map(bytesOfId))
        .execute();
      for (const row of rows) {
        known.push({
          id: contentIdOf(digestOf(row.hash)),
          size: row.size,
          extents: unpackExtents(row),
        });
      }
    }
    return known;
  }

  async knownBlocks(_workspace: string, ids: readonly BlockId[]): Promise<Set<BlockId>> {
    const known = new Set<BlockId>();
    for (const chunk of chunksOf(ids)) {
      const rows = await this.#db
        .selectFrom('block')
        .select('id')
        .where('id', 'in', chunk.map(bytesOfId))
        .execute();
      for (const row of rows) known.add(blockIdOf(digestOf(row.id)));
    }
    return known;
  }

  async isEmpty(): Promise<boolean> {
    const row = await this.#db.selectFrom('content').select('hash').limit(1).executeTakeFirst();
    return row === undefined;
  }

  async close(): Promise<void> {
    this.#heads.close();
    await this.#db.destroy();
  }

  async #findWorkspace(name: string): Promise<Workspace | undefined> {
    const row = await findWorkspaceRow(this.#db, name);
    return row?.trashed_at_ms === null ? workspaceOf(row) : undefined;
  }

  async #workspaceRow(name: string): Promise<WorkspaceRow> {
    return soundHead(name, await headRow(this.#db, name).executeTakeFirst());
  }

  /** The workspace, after making sure that it has these versions. */
  async #headWithVersions(name: string, seqs: readonly number[]): Promise<WorkspaceRow> {
    const head = await this.#workspaceRow(name);
    const { id, head_seq } = head;
    for (const seq of seqs) {
      const row = await this.#db
        .selectFrom('version')
        .select('seq')
        .where('workspace_id', '=', id)
        .where('seq', '=', seq)
        .executeTakeFirst();
      if (row === undefined) throw noVersion(name, seq, head_seq);
    }
    return head;
  }
}

/** By the newest versions, and not by the heads: who is woken asks for the head, which is checked. */
async function headsOf(
  db: Kysely<CatalogSchema>,
  workspaces: readonly string[],
): Promise<ReadonlyMap<string, number>> {
  const heads = new Map<string, number>();
  for (const chunk of chunksOf(workspaces)) {
    const rows = await db
      .selectFrom('workspace')
      .select('name')
      .select(newestSeq)
      .where('name', 'in', chunk)
      .where('trashed_at_ms', 'is', null)
      .execute();
    for (const { name, newest_seq } of rows) heads.set(name, newest_seq ?? 0);
  }
  return heads;
}

/** The row, held: who else publishes waits until this transaction is over. */
async function lockHead(transaction: Transaction<CatalogSchema>, workspace: string): Promise<WorkspaceRow> {
  const row = await lockWorkspace(transaction, { name: workspace });
  if (row === undefined) throw noWorkspace(workspace);
  return soundHead(workspace, await headRow(transaction, workspace).executeTakeFirst());
}

/** A workspace, and its newest version, which its head should be. */
function headRow(db: Kysely<CatalogSchema>, name: string) {
  return db
    .selectFrom('workspace')
    .select(JOINED_WORKSPACE)
    .select(newestSeq)
    .where('workspace.name', '=', name);
}

function newestSeq(workspace: ExpressionBuilder<CatalogSchema, 'workspace'>) {
  return workspace
    .selectFrom('version as any_version')
    .select((version) => version.fn.max<number | null>('any_version.seq').as('newest'))
    .whereRef('any_version.workspace_id', '=', 'workspace.id')
    .as('newest_seq');
}

/** Whether a version was joined. */
function isThere(
  row: Nullable<Selectable<CatalogSchema['version']>>,
): row is Selectable<CatalogSchema['version']> {
  return row.seq !== null;
}

async function insertWorkspace(
  transaction: Transaction<CatalogSchema>,
  name: string,
  nextNumber: number,
): Promise<WorkspaceRow> {
  await makePlaceFor(transaction, name);
  const row = await transaction
    .insertInto('workspace')
    .values({
      name,
      head_seq: 0,
      created_at_ms: Date.now(),
      generation: randomUUID(),
      next_number: nextNumber,
    })
    .onConflict((conflict) => conflict.doNothing())
    .returningAll()
    .executeTakeFirst();
  if (row === undefined) throw new CairnError('conflict', `there is a workspace "${name}" already`);
  // The database gives it its id, which is sealed as well.
  return await updateWorkspace(transaction, row, {});
}

/** Throws for a version that the workspace may not have. */
function checkRoom(workspace: string, head: WorkspaceRow, bytes: number): void {
  if (head.read_only !== 0) {
    throw new CairnError('access-denied', `workspace "${workspace}" is read-only`, {
      hint: 'who administers it can allow versions again',
    });
  }
  if (head.quota_bytes !== null && bytes > head.quota_bytes) {
    throw new CairnError(
      'no-space',
      `workspace "${workspace}" may have ${String(head.quota_bytes)} bytes, the version has ${String(bytes)}`,
      { hint: 'remove some files, or ask who administers it for a larger quota' },
    );
  }
}

type HeadRow = NonNullable<Awaited<ReturnType<ReturnType<typeof headRow>['executeTakeFirst']>>>;

/** A head that is not the newest version is damage, and would show, or be the parent of, what nobody meant. */
function soundHead(name: string, row: HeadRow | undefined): WorkspaceRow {
  const head = row === undefined ? undefined : soundWorkspace(workspaceRowOf(row), name);
  if (row === undefined || head?.trashed_at_ms !== null) throw noWorkspace(name);
  const { newest_seq } = row;
  const { head_seq } = head;
  if (head_seq === (newest_seq ?? 0)) return head;
  throw new CairnError(
    'corrupt',
    `the head of workspace "${name}" is version ${String(head_seq)} in the catalog, its newest version ${String(newest_seq ?? 0)}`,
    { hint: 'cairn fsck --repair makes the newest version the head' },
  );
}

async function findPublished(
  db: Kysely<CatalogSchema>,
  workspaceId: number,
  workspace: string,
  publishId: string,
): Promise<Version | undefined> {
  const row = await db
    .selectFrom('version')
    .selectAll()
    .where('workspace_id', '=', workspaceId)
    .where('publish_id', '=', publishId)
    .executeTakeFirst();
  return row === undefined ? undefined : versionOf(workspace, row);
}

/** The path up to which both lists are whole, where one was cut off at `limit`. */
function firstCutOff(limit: number, ...lists: readonly FileRow[][]): Buffer | undefined {
  const ends = lists.flatMap((rows) => (rows.length < limit ? [] : rows.slice(-1)));
  return ends.map(({ path }) => path).sort((a, b) => Buffer.compare(a, b))[0];
}

/** Merges two lists in order of path, and leaves out paths that changed and changed back. */
function changesOf(before: readonly FileRow[], after: readonly FileRow[]): FileChange[] {
  const changes: FileChange[] = [];
  let b = 0;
  let a = 0;
  for (;;) {
    const gone = before[b];
    const come = after[a];
    if (gone === undefined && come === undefined) return changes;
    const order = gone === undefined ? 1 : come === undefined ? -1 : Buffer.compare(gone.path, come.path);
    if (order <= 0) b++;
    if (order >= 0) a++;
    if (gone !== undefined && order < 0) changes.push({ path: gone.path, before: gone });
    else if (come !== undefined && order > 0) changes.push({ path: come.path, after: come });
    else if (gone !== undefined && come !== undefined && !sameFile(gone, come)) {
      changes.push({ path: gone.path, before: gone, after: come });
    }
  }
}

function sameFile(one: FileRow, other: FileRow): boolean {
  return one.hash === other.hash && one.size === other.size && one.mode === other.mode;
}

function workspaceOf(row: WorkspaceRow): Workspace {
  return {
    name: row.name,
    headSeq: row.head_seq,
    createdAtMs: row.created_at_ms,
    generation: row.generation,
    readOnly: row.read_only !== 0,
    ...(row.quota_bytes !== null && { quotaBytes: row.quota_bytes }),
  };
}

function tagOf(workspace: string, row: Selectable<CatalogSchema['tag']>): Tag {
  if (!isSoundTag(row)) throw damagedRow(`tag ${workspace}@${row.name}`);
  return { workspace, name: row.name, seq: row.seq, createdAtMs: row.created_at_ms };
}

export function versionOf(workspace: string, row: Selectable<CatalogSchema['version']>): Version {
  if (!isSoundVersion(row)) throw damagedRow(`version ${workspace}@${String(row.seq)}`);
  return {
    workspace,
    seq: row.seq,
    parentSeq: row.parent_seq,
    root: digestOf(row.root).toString('hex') as ManifestRoot,
    author: row.author,
    message: row.message,
    createdAtMs: row.created_at_ms,
    files: row.files,
    bytes: row.bytes,
    publishId: row.publish_id,
  };
}

function fileOf(row: Pick<Selectable<CatalogSchema['file']>, 'path' | 'hash' | 'size' | 'mode'>): FileRow {
  return {
    path: row.path,
    hash: row.hash === null ? undefined : contentIdOf(digestOf(row.hash)),
    size: row.size,
    mode: row.mode,
  };
}

function digestOf(bytes: Buffer): Buffer {
  if (bytes.length !== 32) {
    throw new CairnError('corrupt', `the catalog holds an id of ${String(bytes.length)} bytes instead of 32`);
  }
  return bytes;
}

/** The same words whether there is none, or one that who asks may know nothing of. */
export function noWorkspace(name: string): CairnError {
  return new CairnError('not-found', `no workspace "${name}"`);
}

function noTag(workspace: string, tag: string): CairnError {
  return new CairnError('not-found', `workspace "${workspace}" has no tag "${tag}"`);
}

function noVersion(workspace: string, seq: number | undefined, headSeq: number): CairnError {
  if (headSeq === 0) return new CairnError('not-found', `workspace "${workspace}" has no version yet`);
  return new CairnError('not-found', `workspace "${workspace}" has no version ${String(seq)}`, {
    hint: `the newest is ${String(headSeq)}`,
  });
}
