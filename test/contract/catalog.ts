import { createHash } from 'node:crypto';
import fc from 'fast-check';
import type { Test } from 'tap';
import type {
  Catalog,
  ContentRow,
  FileChange,
  FileRow,
  Publication,
  Version,
} from '../../src/catalog/index.js';
import {
  blockIdOf,
  contentIdOf,
  RESERVED_NUMBERS,
  type BlockId,
  type ContentId,
  type ManifestRoot,
} from '../../src/core/index.js';

export const contentNamed = (name: string): ContentId =>
  contentIdOf(createHash('sha256').update(name).digest());
const blockNamed = (name: string): BlockId => blockIdOf(createHash('sha256').update(name).digest());

export function fileNamed(path: string, bytes = path): FileRow {
  return { path: Buffer.from(path), hash: contentNamed(bytes), size: bytes.length, mode: 0o100644 };
}

/** A publication on top of `parentSeq`, with an id of its own, to be changed by `parts`. */
export function publicationOn(parentSeq: number, parts: Partial<Publication> = {}): Publication {
  return {
    workspace: 'w',
    parentSeq,
    root: contentNamed(`root of ${String(parentSeq + 1)}`) as string as ManifestRoot,
    author: 'ada',
    message: 'a message',
    publishId: `publish-${String(parentSeq + 1)}`,
    createdAtMs: 1_700_000_000_123,
    files: 0,
    bytes: 0,
    blocks: [],
    contents: [],
    removed: [],
    added: [],
    ...parts,
  };
}

/** All pages of a listing. */
export async function listWhole(
  catalog: Catalog,
  seq: number,
  options: { prefix?: Buffer; limit: number },
): Promise<FileRow[]> {
  const rows: FileRow[] = [];
  for (;;) {
    const after = rows.at(-1)?.path;
    const page = await catalog.files('w', seq, { ...options, ...(after !== undefined && { after }) });
    rows.push(...page);
    if (page.length < options.limit) return rows;
  }
}

/**
 * What every implementation of `Catalog` promises. `open` prepares an empty catalog for one test and returns how to connect to it, as
 * often as the test wants. `readsInVain`: rows are read also where there is nothing to publish. `modelVersions`: how many of the model's
 * versions there are, each of which is asked for path by path.
 */
export function catalogContract(
  t: Test,
  name: string,
  open: (t: Test) => () => Promise<Catalog>,
  { readsInVain = false, modelVersions = 200 }: { readsInVain?: boolean; modelVersions?: number } = {},
): void {
  /** Rows of a publication that is refused, or there already. One that goes over a wire is sent before it is answered. */
  const unwanted = (): Iterable<FileRow> => (readsInVain ? [fileNamed('unwanted')] : neverRead());
  const catalogTest = (
    title: string,
    body: (t: Test, catalog: Catalog, connect: () => Promise<Catalog>) => Promise<void>,
  ) =>
    t.test(`${name}: ${title}`, async (t) => {
      const connect = async (): Promise<Catalog> => {
        const catalog = await connectNew();
        t.teardown(() => catalog.close());
        return catalog;
      };
      const connectNew = open(t);
      const catalog = await connect();
      await catalog.ensureWorkspace('w');
      await body(t, catalog, connect);
    });

  void catalogTest('a workspace is created once, and named within the rules', async (t, catalog) => {
    const first = await catalog.ensureWorkspace('another.one-2');
    t.match(first, { name: 'another.one-2', headSeq: 0 });
    t.ok(Number.isInteger(first.createdAtMs));
    t.same(await catalog.ensureWorkspace('another.one-2'), first);
    t.same(await catalog.workspace('another.one-2'), first);
    t.same(
      (await catalog.workspaces()).map((workspace) => workspace.name),
      ['another.one-2', 'w'],
    );
    for (const bad of ['', 'Upper', '.dot', 'a/b', 'ü', 'a'.repeat(64)]) {
      await t.rejects(catalog.ensureWorkspace(bad), {
        code: 'usage',
        message: `"${bad}" cannot name a workspace`,
      });
    }
  });

  void catalogTest(
    'numbers are reserved for one writer, whoever asks at once',
    async (t, catalog, connect) => {
      const first = await catalog.reserveNumbers('w', 1000);
      t.equal(first, 1000);
      const others = await Promise.all(
        [await connect(), await connect(), catalog].map((one) => one.reserveNumbers('w', 5)),
      );
      const all = [first, ...others].sort((a, b) => a - b);
      all.forEach((number, index) => {
        if (index > 0)
          t.ok(number - (all[index - 1] ?? 0) >= RESERVED_NUMBERS, 'no two have a number in common');
      });
      const far = 2 * Math.max(...all);
      t.equal(await catalog.reserveNumbers('w', far), far, 'nor one that the writer’s version has');
      t.ok((await catalog.reserveNumbers('w', 0)) >= far + RESERVED_NUMBERS);
      await catalog.ensureWorkspace('other');
      t.equal(await catalog.reserveNumbers('other', 7), 7, 'each workspace has its own');
      await t.rejects(catalog.reserveNumbers('nowhere', 1), { code: 'not-found' });
      await t.rejects(catalog.reserveNumbers('w', Number.MAX_SAFE_INTEGER), {
        code: 'unsupported',
        message: 'workspace "w" has no inode numbers left',
      });
    },
  );

  void catalogTest('an unknown workspace, version or tag is refused by its name', async (t, catalog) => {
    const noWorkspace = { code: 'not-found', message: 'no workspace "nowhere"' };
    await t.rejects(catalog.workspace('nowhere'), noWorkspace);
    await t.rejects(catalog.version('nowhere'), noWorkspace);
    await t.rejects(catalog.versions('nowhere'), noWorkspace);
    await t.rejects(catalog.taggedVersion('nowhere', 'v1'), noWorkspace);
    await t.rejects(catalog.published('nowhere', 'id'), noWorkspace);
    await t.rejects(catalog.file('nowhere', 1, Buffer.from('a')), noWorkspace);
    await t.rejects(catalog.files('nowhere', 1), noWorkspace);
    await t.rejects(catalog.changes('nowhere', 0, 0), noWorkspace);
    await t.rejects(catalog.publish(publicationOn(0, { workspace: 'nowhere' })), noWorkspace);

    await t.rejects(catalog.version('w'), { code: 'not-found', message: 'workspace "w" has no version yet' });
    await catalog.publish(publicationOn(0));
    const noVersion = {
      code: 'not-found',
      message: 'workspace "w" has no version 7',
      hint: 'the newest is 1',
    };
    await t.rejects(catalog.version('w', 7), noVersion);
    await t.rejects(catalog.file('w', 7, Buffer.from('a')), noVersion);
    await t.rejects(catalog.files('w', 7), noVersion);
    await t.rejects(catalog.changes('w', 1, 7), noVersion);
    await t.rejects(catalog.files('w', 0), { code: 'not-found', message: 'workspace "w" has no version 0' });
    await t.rejects(catalog.taggedVersion('w', 'v1'), {
      code: 'not-found',
      message: 'workspace "w" has no tag "v1"',
    });
  });

  void catalogTest('a published version is the head and reads back as it was given', async (t, catalog) => {
    const publication = publicationOn(0, { files: 3, bytes: 2 ** 40, message: 'first\n\nlines' });
    const version = await catalog.publish(publication);
    const expected: Version = {
      workspace: 'w',
      seq: 1,
      parentSeq: 0,
      root: publication.root,
      author: 'ada',
      message: 'first\n\nlines',
      createdAtMs: 1_700_000_000_123,
      files: 3,
      bytes: 2 ** 40,
      publishId: 'publish-1',
    };
    t.same(version, expected);
    t.same(await catalog.version('w'), expected);
    t.same(await catalog.version('w', 1), expected);
    t.equal((await catalog.workspace('w')).headSeq, 1);

    for (let parentSeq = 1; parentSeq < 5; parentSeq++) await catalog.publish(publicationOn(parentSeq));
    const seqs = async (options?: { limit?: number; beforeSeq?: number }) =>
      (await catalog.versions('w', options)).map((version) => version.seq);
    t.same(await seqs(), [5, 4, 3, 2, 1], 'newest first');
    t.same(await seqs({ limit: 2 }), [5, 4]);
    t.same(await seqs({ limit: 2, beforeSeq: 4 }), [3, 2]);
    t.same(await catalog.version('w', 1), expected, 'a version never changes');
  });

  void catalogTest(
    'law 7: a publication whose parent is not the head changes nothing',
    async (t, catalog) => {
      await catalog.publish(publicationOn(0, { added: [fileNamed('a')] }));
      for (const parentSeq of [0, 2]) {
        const late = publicationOn(parentSeq, {
          publishId: 'late',
          blocks: [{ id: blockNamed('late'), rawBytes: 1, storedBytes: 1 }],
          contents: [{ id: contentNamed('late'), size: 4, extents: [] }],
          removed: [Buffer.from('a')],
          added: unwanted(),
        });
        await t.rejects(catalog.publish(late), {
          code: 'conflict',
          message: `workspace "w" is at version 1, not at ${String(parentSeq)}`,
        });
      }
      t.equal((await catalog.workspace('w')).headSeq, 1);
      t.same(await catalog.files('w', 1), [fileNamed('a')]);
      t.equal(await catalog.isEmpty(), true);
      t.same(await catalog.knownBlocks('w', [blockNamed('late')]), new Set());
      t.equal(await catalog.published('w', 'late'), undefined);
    },
  );

  void catalogTest(
    'law 7: of racing publications on one head exactly one wins',
    async (t, catalog, connect) => {
      const catalogs = [catalog, await connect(), await connect()];
      for (let parentSeq = 0; parentSeq < 20; parentSeq++) {
        const outcomes = await Promise.allSettled(
          catalogs.map((racing, racer) =>
            racing.publish(
              publicationOn(parentSeq, {
                publishId: `${String(parentSeq)} by ${String(racer)}`,
                added: [fileNamed(`${String(parentSeq)}/${String(racer)}`)],
              }),
            ),
          ),
        );
        const winner = outcomes.findIndex((outcome) => outcome.status === 'fulfilled');
        t.equal(outcomes.filter((outcome) => outcome.status === 'fulfilled').length, 1);
        t.equal((await catalog.version('w')).publishId, `${String(parentSeq)} by ${String(winner)}`);
        t.same(await catalog.changes('w', parentSeq, parentSeq + 1), [
          added(fileNamed(`${String(parentSeq)}/${String(winner)}`)),
        ]);
      }
    },
  );

  void catalogTest(
    'who waits for a newer version gets the head as soon as anybody has published it',
    async (t, catalog, connect) => {
      const other = await connect();
      const long = { waitMs: 60_000 };
      t.equal(await catalog.newerVersion('w', 0, { waitMs: 0 }), undefined);
      const waiting = [0, 0, 1].map((afterSeq) => catalog.newerVersion('w', afterSeq, long));
      await catalog.ensureWorkspace('another');
      const elsewhere = catalog.newerVersion('another', 0, { waitMs: 300 });
      await other.publish(publicationOn(0));
      for (const one of waiting.slice(0, 2)) t.match(await one, { workspace: 'w', seq: 1 });
      await catalog.publish(publicationOn(1));
      t.match(await waiting[2], { seq: 2 });
      t.match(await catalog.newerVersion('w', 0, long), { seq: 2 }, 'the head, not the next');
      t.equal(await catalog.newerVersion('w', 2, { waitMs: 1 }), undefined);
      t.equal(await elsewhere, undefined, 'each waits for its own workspace');

      const abort = new AbortController();
      const given = catalog.newerVersion('w', 2, { ...long, signal: abort.signal });
      abort.abort(new Error('given up'));
      await t.rejects(given, { message: 'given up' });
      await t.rejects(catalog.newerVersion('nowhere', 0, long), { code: 'not-found' });
    },
  );

  void catalogTest('publishing twice with one id makes one version', async (t, catalog, connect) => {
    const publication = publicationOn(0, { publishId: 'once', added: [fileNamed('a')] });
    const version = await catalog.publish(publication);
    await catalog.publish(publicationOn(1));
    t.same(
      await catalog.publish({ ...publication, added: unwanted() }),
      version,
      'though the head has moved',
    );
    t.same(await catalog.publish({ ...publication, parentSeq: 2, added: unwanted() }), version);
    t.same(await catalog.published('w', 'once'), version);
    t.equal(await catalog.published('w', 'never'), undefined);
    t.equal((await catalog.workspace('w')).headSeq, 2);

    const other = await connect();
    const twins = await Promise.all([
      catalog.publish(publicationOn(2, { publishId: 'twin' })),
      other.publish(publicationOn(2, { publishId: 'twin' })),
    ]);
    t.same(twins[0], twins[1]);

    await catalog.ensureWorkspace('x');
    const elsewhere = await catalog.publish({ ...publication, workspace: 'x' });
    t.match(elsewhere, { workspace: 'x', seq: 1 }, 'an id counts within its workspace');
    t.same(await catalog.files('x', 1), [fileNamed('a')]);
  });

  void catalogTest('a publication whose rows fail to come leaves no trace', async (t, catalog) => {
    await catalog.publish(publicationOn(0, { added: [fileNamed('a')] }));
    const failing = publicationOn(1, {
      contents: [{ id: contentNamed('b'), size: 1, extents: [] }],
      removed: [Buffer.from('a')],
      added: (function* () {
        for (let i = 0; i < 3000; i++) yield fileNamed(`b/${String(i)}`);
        throw new Error('the source has gone');
      })(),
    });
    await t.rejects(catalog.publish(failing), { message: 'the source has gone' });
    await t.rejects(
      catalog.publish(publicationOn(1, { added: [fileNamed('a', 'other')] })),
      'a path has one row',
    );
    t.equal((await catalog.workspace('w')).headSeq, 1);
    t.equal(await catalog.isEmpty(), true);
    t.same(await catalog.files('w', 1), [fileNamed('a')]);
    t.equal(
      (await catalog.publish(publicationOn(1, { added: [fileNamed('b')] }))).seq,
      2,
      'and can be made again',
    );
    t.same(await catalog.files('w', 2), [fileNamed('a'), fileNamed('b')]);
  });

  void catalogTest(
    'a listing is in byte order, whatever the bytes, in pages and by prefix',
    async (t, catalog) => {
      const paths = [
        [0x00, 0xff],
        [0x61],
        [0x61, 0x00],
        [0x61, 0x2d, 0x62],
        [0x61, 0x2f, 0x62],
        [0x61, 0x2f, 0xc3, 0xa4],
        [0x61, 0x2f, 0xff],
        [0x61, 0x2f, 0xff, 0x01],
        [0x61, 0x30],
        [0xc3],
        [0xc3, 0x28],
        [0xff],
        [0xff, 0xff],
        [0xff, 0xff, 0x2f, 0x80],
      ].map((bytes) => Buffer.from(bytes));
      const rows = paths.map((path, i): FileRow => ({ path, hash: undefined, size: i, mode: 0o40755 }));
      await catalog.publish(publicationOn(0, { added: rows.toReversed() }));
      t.same(await catalog.files('w', 1), rows);
      for (const limit of [1, 2, 3, 14, 15]) t.same(await listWhole(catalog, 1, { limit }), rows);
      for (const prefix of [[0x61, 0x2f], [0x61, 0x2f, 0xff], [0xff], [0xff, 0xff], [0xc3], [0x62]]) {
        const bytes = Buffer.from(prefix);
        const under = rows.filter((row) => row.path.subarray(0, bytes.length).equals(bytes));
        t.same(await listWhole(catalog, 1, { prefix: bytes, limit: 2 }), under);
      }
      for (const row of rows) t.same(await catalog.file('w', 1, row.path), row);
    },
  );

  void catalogTest('changes are the rows that differ, either way round', async (t, catalog) => {
    const one = fileNamed('changed', 'one');
    const two = fileNamed('changed', 'two');
    const gone = fileNamed('gone');
    const modeOnly = { ...fileNamed('x'), mode: 0o100755 };
    await catalog.publish(publicationOn(0, { added: [one, gone, fileNamed('same'), fileNamed('x')] }));
    await catalog.publish(publicationOn(1, { removed: [one.path, gone.path], added: [two] }));
    await catalog.publish(publicationOn(2, { removed: [two.path, modeOnly.path], added: [one, modeOnly] }));
    const pair = (before: FileRow, after: FileRow): FileChange => ({ path: before.path, before, after });

    t.same(await catalog.changes('w', 1, 2), [pair(one, two), removed(gone)]);
    t.same(await catalog.changes('w', 2, 1), [pair(two, one), added(gone)]);
    t.same(await catalog.changes('w', 1, 3), [removed(gone), pair(fileNamed('x'), modeOnly)], 'changed back');
    t.same(await catalog.changes('w', 2, 2), []);
    t.same(await catalog.changes('w', 0, 2), [two, fileNamed('same'), fileNamed('x')].map(added));
    t.same(await catalog.changes('w', 2, 0), [two, fileNamed('same'), fileNamed('x')].map(removed));
  });

  void catalogTest('changes come in pages as they come at once', async (t, catalog) => {
    const paths = (from: number, to: number) =>
      Array.from({ length: to - from }, (_, i) => `f/${String(from + i).padStart(3, '0')}`);
    await catalog.publish(publicationOn(0, { added: paths(0, 60).map((path) => fileNamed(path)) }));
    // Of the first ten every one changes and changes back: whole pages without a change.
    const back = paths(0, 10).map((path) => fileNamed(path));
    const changed = [...paths(0, 10), ...paths(30, 45)].map((path) => fileNamed(path, 'changed'));
    await catalog.publish(publicationOn(1, { removed: changed.map(({ path }) => path), added: changed }));
    const added = paths(50, 70).map((path) => fileNamed(path, 'later'));
    await catalog.publish(
      publicationOn(2, {
        removed: [...back, ...added].map(({ path }) => path),
        added: [...back, ...added],
      }),
    );
    for (const [from, to] of [
      [1, 3],
      [3, 1],
      [0, 3],
    ] as const) {
      const atOnce = await catalog.changes('w', from, to);
      t.ok(atOnce.length >= 35);
      for (const limit of [1, 4, 1000]) {
        const inPages: FileChange[] = [];
        for (;;) {
          const after = inPages.at(-1)?.path;
          const page = await catalog.changes('w', from, to, { limit, ...(after !== undefined && { after }) });
          t.ok(page.length <= 2 * limit);
          if (page.length === 0) break;
          inPages.push(...page);
        }
        t.same(inPages, atOnce, `from ${String(from)} to ${String(to)} in pages of ${String(limit)}`);
      }
    }
  });

  void catalogTest('a tag names a version until it names another, or is gone', async (t, catalog) => {
    await catalog.publish(publicationOn(0));
    await catalog.publish(publicationOn(1));
    t.same(await catalog.tags('w'), []);
    t.match(await catalog.setTag('w', 'stable', 1), { workspace: 'w', name: 'stable', seq: 1 });
    await catalog.setTag('w', 'newest', 2);
    t.match(await catalog.taggedVersion('w', 'stable'), { seq: 1 });
    t.match(await catalog.setTag('w', 'stable', 2), { seq: 2 });
    t.match(await catalog.taggedVersion('w', 'stable'), { seq: 2 });
    t.match(await catalog.tags('w'), [
      { workspace: 'w', name: 'newest', seq: 2 },
      { workspace: 'w', name: 'stable', seq: 2 },
    ]);
    await catalog.deleteTag('w', 'stable');
    const noTag = { code: 'not-found', message: 'workspace "w" has no tag "stable"' };
    await t.rejects(catalog.taggedVersion('w', 'stable'), noTag);
    await t.rejects(catalog.deleteTag('w', 'stable'), noTag);
    await t.rejects(catalog.setTag('w', 'v3', 3), { code: 'not-found' });
    for (const bad of ['', '7', 'head', 'a/b', '-x', 'ü', 'a'.repeat(101)]) {
      await t.rejects(catalog.setTag('w', bad, 1), { code: 'usage' });
    }
  });

  void catalogTest('a workspace is renamed, closed for versions, and bounded', async (t, catalog) => {
    await catalog.publish(publicationOn(0, { added: [fileNamed('a')] }));
    const { generation } = await catalog.workspace('w');
    t.match(await catalog.changeWorkspace('w', { name: 'new' }), { name: 'new', headSeq: 1, generation });
    await t.rejects(catalog.workspace('w'), { code: 'not-found' });
    t.same(await catalog.files('new', 1), [fileNamed('a')]);
    await catalog.ensureWorkspace('w');
    t.not((await catalog.workspace('w')).generation, generation, 'another one with the old name');
    await t.rejects(catalog.changeWorkspace('new', { name: 'w' }), { code: 'conflict' });
    await t.rejects(catalog.changeWorkspace('new', { name: 'No' }), { code: 'usage' });
    await t.rejects(catalog.changeWorkspace('nowhere', {}), { code: 'not-found' });

    t.match(await catalog.changeWorkspace('new', { readOnly: true }), { readOnly: true, name: 'new' });
    const next = publicationOn(1, { workspace: 'new', bytes: 11 });
    await t.rejects(catalog.publish(next), {
      code: 'access-denied',
      message: 'workspace "new" is read-only',
    });
    t.match(
      await catalog.publish(publicationOn(0, { workspace: 'new' })),
      { seq: 1 },
      'what was done is told',
    );
    t.match(await catalog.changeWorkspace('new', { readOnly: false, quotaBytes: 10 }), { quotaBytes: 10 });
    await t.rejects(catalog.publish(next), { code: 'no-space' });
    t.match(await catalog.changeWorkspace('new', { quotaBytes: 11 }), { quotaBytes: 11, readOnly: false });
    t.match(await catalog.publish(next), { seq: 2 });
    t.equal((await catalog.changeWorkspace('new', { quotaBytes: null })).quotaBytes, undefined);
  });

  void catalogTest('what is in the trash is nowhere else, and comes back as it was', async (t, catalog) => {
    await catalog.publish(publicationOn(0, { added: [fileNamed('a')] }));
    await catalog.setTag('w', 'first', 1);
    const before = await catalog.workspace('w');
    const { untilMs } = await catalog.trashWorkspace('w');
    t.ok(untilMs > Date.now());
    const gone = { code: 'not-found', message: 'no workspace "w"' };
    await t.rejects(catalog.workspace('w'), gone);
    await t.rejects(catalog.version('w', 1), gone);
    await t.rejects(catalog.taggedVersion('w', 'first'), gone);
    await t.rejects(catalog.tags('w'), gone);
    await t.rejects(catalog.files('w', 1), gone);
    await t.rejects(catalog.publish(publicationOn(1)), gone);
    await t.rejects(catalog.reserveNumbers('w', 1), gone);
    await t.rejects(catalog.changeWorkspace('w', { name: 'x' }), gone);
    await t.rejects(catalog.trashWorkspace('w'), gone);
    t.same(await catalog.workspaces(), []);
    await t.rejects(catalog.ensureWorkspace('w'), {
      code: 'conflict',
      message: 'a workspace "w" is in the trash',
    });
    t.same(await catalog.undeleteWorkspace('w'), before);
    t.same(await catalog.files('w', 1), [fileNamed('a')]);
    t.match(await catalog.taggedVersion('w', 'first'), { seq: 1 });
    await t.rejects(catalog.undeleteWorkspace('w'), { code: 'not-found' });
    await t.rejects(catalog.undeleteWorkspace('nowhere'), { code: 'not-found' });
  });

  void catalogTest('a fork begins with the files of a version and goes its own way', async (t, catalog) => {
    await catalog.publish(publicationOn(0, { added: [fileNamed('a'), fileNamed('b')], files: 2, bytes: 2 }));
    await catalog.publish(
      publicationOn(1, { removed: [Buffer.from('a')], added: [fileNamed('c')], files: 2, bytes: 2 }),
    );
    await catalog.publish(publicationOn(2, { removed: [Buffer.from('b')], files: 1, bytes: 1 }));
    const fork = { workspace: 'w', seq: 2, name: 'mine', author: 'bob', publishId: 'a-fork' };
    const version = await catalog.forkWorkspace(fork);
    const { root } = await catalog.version('w', 2);
    t.match(version, { workspace: 'mine', seq: 1, parentSeq: 0, root, author: 'bob', files: 2, bytes: 2 });
    t.equal(version.message, 'fork of w@2');
    t.same(await catalog.forkWorkspace(fork), version, 'asked again it is the same fork');
    t.same(await catalog.files('mine', 1), [fileNamed('b'), fileNamed('c')]);
    await catalog.publish(
      publicationOn(1, { workspace: 'mine', removed: [Buffer.from('b')], added: [fileNamed('d')] }),
    );
    t.same(await catalog.files('mine', 2), [fileNamed('c'), fileNamed('d')]);
    await t.rejects(
      catalog.publish(publicationOn(2, { workspace: 'mine', added: [fileNamed('c', 'other')] })),
      'a path that goes on has one row',
    );
    t.same(await catalog.files('w', 3), [fileNamed('c')]);
    t.same(await catalog.changes('mine', 1, 2), [removed(fileNamed('b')), added(fileNamed('d'))]);
    const first = await catalog.reserveNumbers('w', 1);
    await catalog.forkWorkspace({ ...fork, seq: 3, name: 'later' });
    t.ok((await catalog.reserveNumbers('later', 1)) >= first + RESERVED_NUMBERS, 'numbers go on from there');

    await t.rejects(catalog.forkWorkspace({ ...fork, publishId: 'another' }), { code: 'conflict' });
    await t.rejects(catalog.forkWorkspace({ ...fork, name: 'x', seq: 9 }), { code: 'not-found' });
    await t.rejects(catalog.forkWorkspace({ ...fork, name: 'x', workspace: 'nowhere' }), {
      code: 'not-found',
    });
    await t.rejects(catalog.forkWorkspace({ ...fork, name: 'No' }), { code: 'usage' });
    await t.rejects(catalog.workspace('x'), { code: 'not-found' });
  });

  void catalogTest('content and blocks are known once published, with their extents', async (t, catalog) => {
    t.equal(await catalog.isEmpty(), true);
    const large: ContentRow = {
      id: contentNamed('large'),
      size: 2 ** 45,
      extents: [
        { offset: 0, length: 4_194_304, block: blockNamed('a'), blockOffset: 0 },
        { offset: 2 ** 44 + 1, length: 1, block: blockNamed('b'), blockOffset: 4_194_303 },
      ],
    };
    const small = Array.from({ length: 1234 }, (_, i): ContentRow => ({
      id: contentNamed(String(i)),
      size: i,
      extents: [{ offset: 0, length: 1 + i, block: blockNamed('0'), blockOffset: i }],
    }));
    const blocks = ['a', 'b', ...Array.from({ length: 700 }, (_, i) => String(i))].map((name, i) => ({
      id: blockNamed(name),
      rawBytes: 4_194_304,
      storedBytes: i + 1,
    }));
    const contents = [large, ...small].sort((a, b) => (a.id < b.id ? -1 : 1));
    await catalog.publish(publicationOn(0, { contents, blocks }));
    await catalog.publish(publicationOn(1, { contents: [large], blocks: blocks.slice(0, 3) }));
    t.equal(await catalog.isEmpty(), false);

    const asked = [contentNamed('unknown'), ...small.map((row) => row.id), large.id];
    const byId = (one: ContentRow, other: ContentRow) => (one.id < other.id ? -1 : 1);
    t.same((await catalog.knownContents('w', asked)).sort(byId), [large, ...small].sort(byId));
    t.same(await catalog.knownContents('w', []), []);
    t.same(
      await catalog.knownBlocks('w', [blockNamed('unknown'), ...blocks.map((block) => block.id)]),
      new Set(blocks.map((block) => block.id)),
    );
  });

  void catalogTest(
    `path → hash of every version is that of a model, over ${String(modelVersions)} random versions`,
    async (t, _, connect) => {
      const paths = fc.uniqueArray(fc.uint8Array({ minLength: 1, maxLength: 5 }), {
        minLength: 30,
        maxLength: 30,
        selector: (path) => Buffer.from(path).toString('hex'),
      });
      const change = fc.record({ path: fc.nat(29), value: fc.option(fc.nat(3)) });
      const versions = fc.array(fc.array(change, { maxLength: 8 }), {
        minLength: modelVersions,
        maxLength: modelVersions,
      });
      let workspaces = 0;
      const catalog = await connect();
      await fc.assert(
        fc.asyncProperty(
          paths,
          versions,
          fc.array(fc.tuple(fc.nat(modelVersions), fc.nat(modelVersions)), {
            minLength: modelVersions / 4,
            maxLength: modelVersions,
          }),
          async (names, changes, pairs) => {
            const workspace = `model-${String(workspaces++)}`;
            await catalog.ensureWorkspace(workspace);
            const pool = names.map((name) => Buffer.from(name));
            const model = modelOf(pool, changes);
            for (const [parentSeq, tree] of model.slice(0, -1).entries()) {
              const next = treeOf(model, parentSeq + 1);
              await catalog.publish(publicationOn(parentSeq, { workspace, ...differenceOf(tree, next) }));
            }
            for (let seq = 1; seq < model.length; seq++) {
              const tree = treeOf(model, seq);
              const found: (FileRow | undefined)[] = [];
              for (const path of pool) found.push(await catalog.file(workspace, seq, path));
              t.strictSame(
                found,
                pool.map((path) => tree.get(path.toString('hex'))),
              );
              t.strictSame(await catalog.files(workspace, seq), sorted(tree));
            }
            for (const [fromSeq, toSeq] of pairs) {
              const { removed: gone, added: come } = differenceOf(
                treeOf(model, fromSeq),
                treeOf(model, toSeq),
              );
              const changes = await catalog.changes(workspace, fromSeq, toSeq);
              t.strictSame(
                changes.flatMap((change) => change.after ?? []),
                come.sort((one, other) => Buffer.compare(one.path, other.path)),
              );
              t.strictSame(
                changes.flatMap((change) => change.before?.path ?? []),
                gone.sort((one, other) => Buffer.compare(one, other)),
              );
            }
          },
        ),
        { numRuns: 2 },
      );
    },
  );
}

type Tree = Map<string, FileRow>;

/** The tree of every version, 0 being the empty one. */
function modelOf(
  pool: readonly Buffer[],
  versions: readonly { path: number; value: number | null }[][],
): Tree[] {
  const model: Tree[] = [new Map<string, FileRow>()];
  for (const changes of versions) {
    const tree = new Map(model.at(-1));
    for (const { path, value } of changes) {
      const name = pool[path];
      if (name === undefined) continue;
      if (value === null) tree.delete(name.toString('hex'));
      else {
        const hash = value === 0 ? undefined : contentNamed(String(value));
        tree.set(name.toString('hex'), { path: name, hash, size: value, mode: 0o100644 });
      }
    }
    model.push(tree);
  }
  return model;
}

function treeOf(model: readonly Tree[], seq: number): Tree {
  const tree = model[seq];
  if (tree === undefined) throw new RangeError(`no version ${String(seq)}`);
  return tree;
}

function differenceOf(before: Tree, after: Tree): { removed: Buffer[]; added: FileRow[] } {
  const same = (name: string) => before.get(name)?.size === after.get(name)?.size;
  return {
    removed: [...before].filter(([name]) => !same(name)).map(([, row]) => row.path),
    added: [...after].filter(([name]) => !same(name)).map(([, row]) => row),
  };
}

function sorted(tree: Tree): FileRow[] {
  return [...tree.values()].sort((one, other) => Buffer.compare(one.path, other.path));
}

function added(row: FileRow): FileChange {
  return { path: row.path, after: row };
}

function removed(row: FileRow): FileChange {
  return { path: row.path, before: row };
}

/** Rows nobody may ask for: the publication must be refused, or answered, before. */
function neverRead(): Iterable<FileRow> {
  return {
    [Symbol.iterator]() {
      throw new Error('the rows were read');
    },
  };
}
