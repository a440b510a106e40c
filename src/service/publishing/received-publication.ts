import {
  contentRowOf,
  fileRowOf,
  type ContentRow,
  type FileRow,
  type Publication,
} from '../../catalog/index.js';
import { bytesOfJsonPath, CairnError, type BlockId, type ManifestRoot } from '../../core/index.js';
import { LINE_MAX_BYTES, LineSpool, publicationLineSchema, type PublicationLine } from '../../wire/index.js';

type Kind = PublicationLine['kind'];
type Version = Extract<PublicationLine, { kind: 'version' }>;
type Rows = { [Line in Exclude<PublicationLine, Version> as Line['kind']]: Line['rows'] };

const ORDER: readonly Kind[] = ['version', 'blocks', 'contents', 'removed', 'added'];
const NEWLINE = 0x0a;

/** A publication as it came over the wire: checked line by line, and kept on the disk, because a catalog reads its rows more than once and not at once. */
export class ReceivedPublication implements Publication {
  readonly workspace: string;
  readonly #version: Version;
  readonly #spool: LineSpool;

  private constructor(workspace: string, version: Version, spool: LineSpool) {
    this.workspace = workspace;
    this.#version = version;
    this.#spool = spool;
  }

  /** Reads `body` to its end. Throws `usage` for what is no publication. The caller closes it. */
  static async read(
    workspace: string,
    body: AsyncIterable<Buffer>,
    { dir, maxBytes }: { dir: string; maxBytes: number },
  ): Promise<ReceivedPublication> {
    const spool = new LineSpool(dir);
    try {
      let version: Version | undefined;
      let stage = 0;
      for await (const text of linesOf(body)) {
        const line = parsed(text);
        const next = ORDER.indexOf(line.kind);
        if (line.kind === 'version' ? version !== undefined : version === undefined || next < stage)
          throw malformed('its lines are not in order');
        stage = next;
        if (line.kind === 'version') version = line;
        else spool.add(text);
        if (spool.bytes > maxBytes) throw malformed('it is too large');
      }
      if (version === undefined) throw malformed('it is empty');
      return new ReceivedPublication(workspace, version, spool);
    } catch (error) {
      spool.close();
      throw error;
    }
  }

  get parentSeq(): number {
    return this.#version.parentSeq;
  }

  get root(): ManifestRoot {
    return this.#version.root as ManifestRoot;
  }

  get author(): string {
    return this.#version.author;
  }

  get message(): string {
    return this.#version.message;
  }

  get publishId(): string {
    return this.#version.publishId;
  }

  get createdAtMs(): number {
    return this.#version.createdAtMs;
  }

  get files(): number {
    return this.#version.files;
  }

  get bytes(): number {
    return this.#version.bytes;
  }

  get blocks(): Publication['blocks'] {
    return [...this.#rows('blocks')].map(([id, rawBytes, storedBytes]) => ({
      id: id as BlockId,
      rawBytes,
      storedBytes,
    }));
  }

  get contents(): Generator<ContentRow> {
    return mapped(this.#rows('contents'), contentRowOf);
  }

  get removed(): Generator<Buffer> {
    return mapped(this.#rows('removed'), bytesOfJsonPath);
  }

  get added(): Generator<FileRow> {
    return mapped(this.#rows('added'), (row) => fileRowOf(bytesOfJsonPath(row), row));
  }

  close(): void {
    this.#spool.close();
  }

  *#rows<K extends keyof Rows>(kind: K): Generator<Rows[K][number]> {
    for (const text of this.#spool.lines()) {
      // Checked when it came.
      const line = JSON.parse(text) as { kind: Kind; rows: Rows[K] };
      if (line.kind === kind) yield* line.rows;
      else if (ORDER.indexOf(line.kind) > ORDER.indexOf(kind)) return;
    }
  }
}

function* mapped<Item, Result>(items: Iterable<Item>, of: (item: Item) => Result): Generator<Result> {
  for (const item of items) yield of(item);
}

function parsed(text: string): PublicationLine {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw malformed('a line of it is not JSON');
  }
  const { success, data, error } = publicationLineSchema.safeParse(value);
  if (success) return data;
  const [issue] = error.issues;
  throw malformed(`${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`);
}

async function* linesOf(body: AsyncIterable<Buffer>): AsyncGenerator<string> {
  let rest: Buffer[] = [];
  let restBytes = 0;
  for await (const part of body) {
    let from = 0;
    for (let end = part.indexOf(NEWLINE); end >= 0; end = part.indexOf(NEWLINE, from)) {
      rest.push(part.subarray(from, end));
      yield Buffer.concat(rest).toString('utf8');
      rest = [];
      restBytes = 0;
      from = end + 1;
    }
    rest.push(part.subarray(from));
    restBytes += part.length - from;
    if (restBytes > LINE_MAX_BYTES) throw malformed('a line of it is too long');
  }
  if (restBytes > 0) throw malformed('it ends within a line');
}

function malformed(why: string): CairnError {
  return new CairnError('usage', `this is no publication: ${why}`, { hint: 'nothing was published' });
}
