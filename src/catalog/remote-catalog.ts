import { z } from 'zod';
import {
  bytesOfJsonPath,
  CairnError,
  jsonPath,
  type BlockId,
  type ContentId,
  type ManifestRoot,
} from '../core/index.js';
import {
  catalogSchema,
  fileChangeSchema,
  fileRowSchema,
  knownSchema,
  LINES_TYPE,
  LineSpool,
  numbersSchema,
  ServiceProblem,
  versionSchema,
  workspaceSchema,
  type PublicationLine,
  type ServiceClient,
} from '../wire/index.js';
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
import type { WaitOptions } from './head-watch.js';
import { checkWorkspaceName } from './workspace-name.js';
import { contentRowOf, fileRowOf, wireContentRow, wireFileFields } from './wire-rows.js';

/** Ids of one question, and rows of one line: as many as the service takes. */
const ROWS_AT_ONCE = 1000;

const PAGE_DEFAULT_ROWS = 1000;
const VERSIONS_AT_ONCE = 1000;
const LINES_AT_ONCE = 10_000;

/** A service waits no longer for a newer version than this before it answers that there is none. */
const WAIT_MAX_MS = 30_000;
const ANSWER_GRACE_MS = 30_000;

/** A first import is verified block by block before it is published. */
const PUBLISH_LIMIT_MS = 30 * 60_000;

/** The catalog of a service. */
export class RemoteCatalog implements Catalog {
  readonly #client: ServiceClient;

  constructor(client: ServiceClient) {
    this.#client = client;
  }

  get url(): string {
    return this.#client.url;
  }

  async ensureWorkspace(name: string): Promise<Workspace> {
    checkWorkspaceName(name);
    try {
      return await this.workspace(name);
    } catch (error) {
      if (!(error instanceof CairnError && error.code === 'not-found')) throw error;
    }
    // Making one is another right than writing to it.
    return await this.#client.json(workspaceSchema, { method: 'PUT', path: workspacePath(name) });
  }

  async workspace(name: string): Promise<Workspace> {
    return await this.#client.json(workspaceSchema, { path: workspacePath(name) });
  }

  async workspaces(): Promise<Workspace[]> {
    return await this.#client.json(z.array(workspaceSchema), { path: '/v1/workspaces' });
  }

  async changeWorkspace(name: string, change: WorkspaceChange): Promise<Workspace> {
    if (change.name !== undefined) checkWorkspaceName(change.name);
    return await this.#client.json(workspaceSchema, {
      method: 'PATCH',
      path: workspacePath(name),
      json: change,
    });
  }

  async trashWorkspace(name: string): Promise<{ untilMs: number }> {
    return await this.#client.json(z.object({ untilMs: z.int() }), {
      method: 'DELETE',
      path: workspacePath(name),
    });
  }

  async undeleteWorkspace(name: string): Promise<Workspace> {
    return await this.#client.json(workspaceSchema, {
      method: 'POST',
      path: `${workspacePath(name)}/undelete`,
    });
  }

  /** Its author is whom the token was made for. */
  async forkWorkspace({
    workspace,
    seq,
    name,
    publishId,
  }: Parameters<Catalog['forkWorkspace']>[0]): Promise<Version> {
    const version = await this.#client.json(versionSchema, {
      method: 'POST',
      path: `${workspacePath(workspace)}/fork`,
      json: { name, version: String(seq), key: publishId },
      repeatable: true,
    });
    return versionOf(version);
  }

  async tags(workspace: string): Promise<Tag[]> {
    return await this.#client.json(z.array(tagSchema), { path: `${workspacePath(workspace)}/tags` });
  }

  async setTag(workspace: string, tag: string, seq: number): Promise<Tag> {
    return await this.#client.json(tagSchema, {
      method: 'PUT',
      path: tagPath(workspace, tag),
      json: { seq },
    });
  }

  async deleteTag(workspace: string, tag: string): Promise<void> {
    await this.#client.done({ method: 'DELETE', path: tagPath(workspace, tag) });
  }

  async version(workspace: string, seq?: number): Promise<Version> {
    const path = seq === undefined ? headPath(workspace) : versionPath(workspace, seq);
    return versionOf(await this.#client.json(versionSchema, { path }));
  }

  async taggedVersion(workspace: string, tag: string): Promise<Version> {
    return versionOf(await this.#client.json(versionSchema, { path: tagPath(workspace, tag) }));
  }

  async versions(
    workspace: string,
    { limit = PAGE_DEFAULT_ROWS, beforeSeq }: { limit?: number; beforeSeq?: number } = {},
  ): Promise<Version[]> {
    const versions: Version[] = [];
    while (versions.length < limit) {
      const asked = Math.min(limit - versions.length, VERSIONS_AT_ONCE);
      const page = await this.#client.json(z.array(versionSchema), {
        path: `${workspacePath(workspace)}/versions`,
        query: { limit: asked, before: versions.at(-1)?.seq ?? beforeSeq },
      });
      versions.push(...page.map(versionOf));
      if (page.length < asked || versions.at(-1)?.seq === 1) break;
    }
    return versions;
  }

  async newerVersion(
    workspace: string,
    afterSeq: number,
    { waitMs, signal }: WaitOptions,
  ): Promise<Version | undefined> {
    const endMs = performance.now() + waitMs;
    for (;;) {
      const leftMs = Math.max(0, Math.min(Math.round(endMs - performance.now()), WAIT_MAX_MS));
      const answer = await this.#client.bytes(
        {
          path: `${workspacePath(workspace)}/newer`,
          query: { after: afterSeq, waitMs: leftMs },
          signal,
          answerLimitMs: leftMs + ANSWER_GRACE_MS,
        },
        VERSION_MAX_BYTES,
      );
      if (answer.length > 0) return versionOf(versionSchema.parse(JSON.parse(answer.toString('utf8'))));
      if (performance.now() >= endMs) return undefined;
    }
  }

  async publish(publication: Publication): Promise<Version> {
    const spool = new LineSpool();
    try {
      for (const line of linesOf(publication)) spool.add(JSON.stringify(line));
      const version = await this.#client.json(versionSchema, {
        method: 'POST',
        path: `${workspacePath(publication.workspace)}/publications`,
        body: () => asynchronous(spool.parts()),
        headers: { 'content-type': LINES_TYPE },
        // By its id it is published once.
        repeatable: true,
        answerLimitMs: PUBLISH_LIMIT_MS,
      });
      return versionOf(version);
    } finally {
      spool.close();
    }
  }

  async published(workspace: string, publishId: string): Promise<Version | undefined> {
    try {
      const path = `${workspacePath(workspace)}/publications/${encodeURIComponent(publishId)}`;
      return versionOf(await this.#client.json(versionSchema, { path }));
    } catch (error) {
      if (error instanceof ServiceProblem && error.problemCode === 'no-publication') return undefined;
      throw error;
    }
  }

  async reserveNumbers(workspace: string, atLeast: number): Promise<number> {
    const { first } = await this.#client.json(numbersSchema, {
      method: 'POST',
      path: `${workspacePath(workspace)}/numbers`,
      json: { atLeast },
      // Numbers that are reserved twice are numbers that nobody uses.
      repeatable: true,
    });
    return first;
  }

  async file(workspace: string, seq: number, path: Buffer): Promise<FileRow | undefined> {
    const [first] = await this.files(workspace, seq, { prefix: path, limit: 1 });
    return first?.path.equals(path) === true ? first : undefined;
  }

  async files(
    workspace: string,
    seq: number,
    options: { prefix?: Buffer; after?: Buffer; limit?: number } = {},
  ): Promise<FileRow[]> {
    const { prefix = Buffer.alloc(0), after = Buffer.alloc(0), limit = PAGE_DEFAULT_ROWS } = options;
    const rows: FileRow[] = [];
    while (rows.length < limit) {
      const asked = Math.min(limit - rows.length, LINES_AT_ONCE);
      const before = rows.length;
      const lines = this.#client.lines(fileRowSchema, {
        path: `${versionPath(workspace, seq)}/paths`,
        query: {
          prefixBase64: queryBytes(prefix),
          afterBase64: queryBytes(rows.at(-1)?.path ?? after),
          limit: asked,
        },
      });
      for await (const line of lines) rows.push(fileRowOf(bytesOfJsonPath(line), line));
      if (rows.length - before < asked) break;
    }
    return rows;
  }

  async changes(
    workspace: string,
    fromSeq: number,
    toSeq: number,
    page?: { after?: Buffer; limit: number },
  ): Promise<FileChange[]> {
    // The empty tree is nothing that a service compares others with.
    if (toSeq === 0) {
      if (fromSeq > 0) return (await this.changes(workspace, 0, fromSeq, page)).map(turnedRound);
      await this.workspace(workspace);
      return [];
    }
    if (page !== undefined) return await this.#changesPage(workspace, fromSeq, toSeq, page);
    const changes: FileChange[] = [];
    for (;;) {
      const after = changes.at(-1)?.path ?? Buffer.alloc(0);
      const some = await this.#changesPage(workspace, fromSeq, toSeq, { after, limit: LINES_AT_ONCE });
      if (some.length === 0) return changes;
      changes.push(...some);
    }
  }

  async #changesPage(
    workspace: string,
    fromSeq: number,
    toSeq: number,
    { after = Buffer.alloc(0), limit }: { after?: Buffer; limit: number },
  ): Promise<FileChange[]> {
    const changes: FileChange[] = [];
    const lines = this.#client.lines(fileChangeSchema, {
      path: `${versionPath(workspace, toSeq)}/diff`,
      query: { from: fromSeq, afterBase64: queryBytes(after), limit: Math.min(limit, LINES_AT_ONCE) },
    });
    for await (const line of lines) {
      const path = bytesOfJsonPath(line);
      changes.push({
        path,
        ...(line.before && { before: fileRowOf(path, line.before) }),
        ...(line.after && { after: fileRowOf(path, line.after) }),
      });
    }
    return changes;
  }

  async knownContents(workspace: string, ids: readonly ContentId[]): Promise<ContentRow[]> {
    const known: ContentRow[] = [];
    for (const contents of slicesOf(ids)) {
      const answer = await this.#known(workspace, { contents });
      known.push(...answer.contents.map(contentRowOf));
    }
    return known;
  }

  async knownBlocks(workspace: string, ids: readonly BlockId[]): Promise<Set<BlockId>> {
    const known = new Set<BlockId>();
    for (const blocks of slicesOf(ids)) {
      for (const id of (await this.#known(workspace, { blocks })).blocks) known.add(id as BlockId);
    }
    return known;
  }

  async isEmpty(): Promise<boolean> {
    return (await this.#client.json(catalogSchema, { path: '/v1/catalog' })).isEmpty;
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  /** A workspace that is not there yet holds nothing. */
  async #known(workspace: string, asked: object): Promise<z.output<typeof knownSchema>> {
    return await this.#client.json(knownSchema, {
      method: 'POST',
      path: `${workspacePath(workspace)}/known`,
      json: asked,
      repeatable: true,
    });
  }
}

const VERSION_MAX_BYTES = 1024 * 1024;

function workspacePath(workspace: string): string {
  return `/v1/workspaces/${encodeURIComponent(workspace)}`;
}

const tagSchema = z.object({ workspace: z.string(), name: z.string(), seq: z.int(), createdAtMs: z.int() });

function tagPath(workspace: string, tag: string): string {
  return `${workspacePath(workspace)}/tags/${encodeURIComponent(tag)}`;
}

function headPath(workspace: string): string {
  return `${workspacePath(workspace)}/versions/head`;
}

/** There is no version 0 to ask for. */
function versionPath(workspace: string, seq: number): string {
  if (seq > 0) return `${workspacePath(workspace)}/versions/${String(seq)}`;
  throw new CairnError('not-found', `workspace "${workspace}" has no version ${String(seq)}`);
}

function turnedRound({ path, before, after }: FileChange): FileChange {
  return { path, ...(after && { before: after }), ...(before && { after: before }) };
}

/** Bytes in a query, of any encoding. */
function queryBytes(bytes: Buffer): string | undefined {
  return bytes.length === 0 ? undefined : bytes.toString('base64url');
}

function versionOf(answer: z.output<typeof versionSchema>): Version {
  return { ...answer, root: answer.root as ManifestRoot };
}

function* linesOf(publication: Publication): Generator<PublicationLine> {
  const { parentSeq, root, author, message, publishId, createdAtMs, files, bytes } = publication;
  yield {
    kind: 'version',
    ...{ parentSeq, root, author, message, publishId, createdAtMs, files, bytes },
  };
  for (const rows of slicesOf(publication.blocks)) {
    yield {
      kind: 'blocks',
      rows: rows.map(({ id, rawBytes, storedBytes }) => [id, rawBytes, storedBytes]),
    };
  }
  for (const rows of slicesOf(publication.contents)) {
    yield { kind: 'contents', rows: rows.map(wireContentRow) };
  }
  for (const rows of slicesOf(publication.removed)) yield { kind: 'removed', rows: rows.map(jsonPath) };
  for (const rows of slicesOf(publication.added)) {
    yield {
      kind: 'added',
      rows: rows.map((row) => ({ ...jsonPath(row.path), ...wireFileFields(row) })),
    };
  }
}

function* slicesOf<Item>(items: Iterable<Item>): Generator<Item[]> {
  let slice: Item[] = [];
  for (const item of items) {
    slice.push(item);
    if (slice.length < ROWS_AT_ONCE) continue;
    yield slice;
    slice = [];
  }
  if (slice.length > 0) yield slice;
}

// eslint-disable-next-line @typescript-eslint/require-await -- what a request's body has to be
async function* asynchronous(parts: Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* parts;
}
