import { join } from 'node:path';
import t, { type Test } from 'tap';
import {
  CatalogAudit,
  CatalogRepair,
  type AuditedVersion,
  openServiceCatalog,
  type Catalog,
  type FileRow,
  type ServiceCatalog,
} from '../../src/catalog/index.js';
import { contentNamed, publicationOn } from '../contract/catalog.js';
import { startPostgres, whyNoPostgres } from '../fixtures/postgres-server.js';
import { randomNumbers } from '../fixtures/random-numbers.js';
import { scratchFolder } from '../fixtures/scratch-folder.js';

/** Long after what is in the trash can be had back. */
const LATER_MS = Date.now() + 365 * 24 * 60 * 60 * 1000;

const STEPS = process.env['CAIRN_TEST_LARGE'] === undefined ? 50 : 3000;
const seed = Number(process.env['CAIRN_TEST_SEED'] ?? Math.floor(Math.random() * 1_000_000));

const why = whyNoPostgres();
const server = why === undefined ? await startPostgres() : undefined;
t.teardown(() => server?.stop());

/** Runs a test on every database there is. */
function onEach(title: string, body: (t: Test, catalog: ServiceCatalog, url: string) => Promise<void>): void {
  for (const kind of ['SQLite', 'PostgreSQL']) {
    void t.test(
      `${title}, in ${kind}`,
      { skip: kind === 'PostgreSQL' && why !== undefined && why },
      async (t) => {
        const url =
          kind === 'SQLite'
            ? `sqlite://${join(scratchFolder(t), 'catalog.db')}`
            : ((await server?.newUrl()) ?? '');
        const catalog = await openServiceCatalog(url);
        t.teardown(() => catalog.close());
        await body(t, catalog, url);
      },
    );
  }
}

onEach(`forks have what a copy would have (seed ${String(seed)})`, async (t, catalog, url) => {
  const world = new World(t, catalog, url, randomNumbers(seed));
  for (let step = 0; step < STEPS; step++) await world.step();
  await world.checkAll();
  await world.audit(scratchFolder(t));
});

onEach('a fork of a fork of a fork, and so on, has its files', async (t, catalog, url) => {
  const world = new World(t, catalog, url, randomNumbers(seed));
  await world.publish(world.begin());
  for (let depth = 0; depth < 10; depth++) {
    await world.fork(world.newest());
    await world.publish(world.newest());
  }
  await world.checkAll();
});

onEach('what is deleted for good stays for its forks, until the last is gone', async (t, catalog, url) => {
  const world = new World(t, catalog, url, randomNumbers(seed));
  const made = [world.begin()];
  for (const known of made) {
    for (let versions = 0; versions < 4; versions++) await world.publish(known);
    if (made.length === 3) break;
    await world.fork(known);
    made.push(world.newest());
  }
  for (const [at, known] of made.entries()) {
    await world.purge(known);
    await world.checkAll();
    const audit = await CatalogAudit.open(url, scratchFolder(t));
    const isKept = ['~1', '~2', '~3'].map((name) => audit?.hasWorkspace(name));
    audit?.close();
    t.same(
      isKept,
      ['~1', '~2', '~3'].map((_, of) => at < 2 && of <= at),
    );
  }
});

onEach(
  'rows made anew are those there were, of forks and of what they are based on',
  async (t, catalog, url) => {
    const world = new World(t, catalog, url, randomNumbers(seed));
    await world.publish(world.begin());
    for (let forks = 0; forks < 4; forks++) {
      for (let versions = 0; versions < 4; versions++) await world.publish(world.newest());
      await world.fork(world.newest());
    }
    await world.rebuild();
    for (let times = 0; times < 3; times++) await world.checkAll();
    await world.audit(scratchFolder(t));
  },
);

type Tree = ReadonlyMap<string, FileRow>;

interface Known {
  name: string;
  /** Of every version, from the empty tree before the first. */
  trees: Tree[];
}

/** What workspaces must have, kept in memory as whole trees, beside a catalog that was told the same. */
class World {
  readonly #t: Test;
  readonly #service: ServiceCatalog;
  readonly #url: string;
  readonly #catalog: Catalog;
  readonly #below: (end: number) => number;
  readonly #paths: Buffer[];
  #known: Known[] = [];
  #made = 0;

  constructor(t: Test, service: ServiceCatalog, url: string, below: (end: number) => number) {
    this.#t = t;
    this.#service = service;
    this.#url = url;
    this.#catalog = service.catalog;
    this.#below = below;
    const names = new Map<string, Buffer>();
    while (names.size < 24) {
      const path = Buffer.from(
        Array.from({ length: 1 + below(4) }, () => [0x61, 0x2f, 0x62, 0xff][below(4)] ?? 0),
      );
      names.set(path.toString('hex'), path);
    }
    this.#paths = [...names.values()];
  }

  async step(): Promise<void> {
    const some = this.#some();
    const choice = this.#below(20);
    if (choice === 0 || some === undefined) await this.publish(this.begin());
    else if (choice < 9) await this.publish(some);
    else if (choice < 13) await this.fork(this.#below(2) === 0 ? this.newest() : some);
    else if (choice === 13 && this.#known.length > 4) await this.purge(some);
    else await this.#check(some, this.#below(some.trees.length));
  }

  begin(): Known {
    const made = { name: `w${String(this.#made++)}`, trees: [new Map<string, FileRow>()] };
    this.#known.push(made);
    return made;
  }

  newest(): Known {
    const newest = this.#known.at(-1);
    if (newest === undefined) throw new Error('no workspace');
    return newest;
  }

  async publish({ name, trees }: Known): Promise<void> {
    const before = trees.at(-1) ?? new Map<string, FileRow>();
    const after = new Map(before);
    // Now and then most of the tree, as a formatter does.
    for (let changes = this.#below(8) === 0 ? 40 : this.#below(6); changes > 0; changes--) {
      const path = this.#paths[this.#below(this.#paths.length)] ?? Buffer.alloc(0);
      const value = this.#below(5);
      if (value === 0) after.delete(path.toString('hex'));
      else
        after.set(path.toString('hex'), {
          path,
          hash: contentNamed(String(value)),
          size: value,
          mode: 0o100644,
        });
    }
    const removed = [...before]
      .filter(([key, row]) => after.get(key)?.size !== row.size)
      .map(([, { path }]) => path);
    const added = [...after].filter(([key, row]) => before.get(key)?.size !== row.size).map(([, row]) => row);
    await this.#catalog.ensureWorkspace(name);
    await this.#catalog.publish(
      publicationOn(trees.length - 1, { workspace: name, removed, added, files: after.size }),
    );
    trees.push(after);
  }

  async fork(of: Known): Promise<void> {
    const seq = 1 + this.#below(of.trees.length - 1);
    const made = this.begin();
    await this.#catalog.forkWorkspace({
      workspace: of.name,
      seq,
      name: made.name,
      author: 'ada',
      publishId: 'fork',
    });
    made.trees.push(of.trees[seq] ?? new Map<string, FileRow>());
  }

  /** While somebody publishes. */
  async purge(gone: Known): Promise<void> {
    this.#known = this.#known.filter((known) => known !== gone);
    await this.#catalog.trashWorkspace(gone.name);
    const other = this.#some();
    await Promise.all([this.#service.emptyTrash(LATER_MS), other && this.publish(other)]);
    await this.#t.rejects(this.#catalog.undeleteWorkspace(gone.name), { code: 'not-found' });
  }

  /** A version of each. */
  async checkAll(): Promise<void> {
    for (const known of this.#known) {
      await this.#check(known, 1 + this.#below(known.trees.length - 1));
    }
  }

  /** Every other workspace's rows, as fsck makes them anew from the manifests. */
  async rebuild(): Promise<void> {
    const repair = await CatalogRepair.open(this.#url);
    for (const { name, trees } of this.#known.filter((_, at) => at % 2 === 0)) {
      const versions = async function* () {
        for (const [seq, tree] of trees.entries())
          if (seq > 0) yield await Promise.resolve({ seq, rows: tree.values() });
      };
      await this.#t.rejects(repair.rebuildPaths(name, trees.length, versions()), {
        code: 'conflict',
        message: `somebody has published in workspace "${name}" since the check began`,
      });
      await repair.rebuildPaths(name, trees.length - 1, versions());
    }
    await repair.close();
  }

  /** What fsck compares with the manifests. */
  async audit(scratch: string): Promise<void> {
    const audit: CatalogAudit | undefined = await CatalogAudit.open(this.#url, scratch);
    if (audit === undefined) throw new Error('no catalog');
    this.#t.same([...audit.problems()], []);
    for (const { name, trees } of this.#known) {
      const versions: AuditedVersion[] = audit.versions(name);
      for (const version of versions) {
        const rows = [...(trees[version.seq]?.values() ?? [])];
        const paths = audit.pathsOf(version);
        this.#t.equal(paths.count(), rows.length);
        this.#t.same(
          rows.filter((row) => !paths.has(row)),
          [],
        );
      }
    }
    audit.close();
  }

  async #check({ name, trees }: Known, seq: number): Promise<void> {
    const catalog = this.#catalog;
    const tree = trees[seq];
    if (tree === undefined || seq === 0) return;
    const rows = inOrder(tree);
    const what = `${name}@${String(seq)}, seed ${String(seed)}`;
    this.#t.strictSame(await this.#pages(name, seq, Buffer.alloc(0), 1 + this.#below(20)), rows, what);
    const prefix = this.#paths[this.#below(this.#paths.length)]?.subarray(0, 2) ?? Buffer.alloc(0);
    const under = rows.filter(({ path }) => path.subarray(0, prefix.length).equals(prefix));
    this.#t.strictSame(await this.#pages(name, seq, prefix, 1 + this.#below(5)), under, what);
    const found: (FileRow | undefined)[] = [];
    for (const path of this.#paths) found.push(await catalog.file(name, seq, path));
    this.#t.strictSame(
      found,
      this.#paths.map((path) => tree.get(path.toString('hex'))),
      what,
    );
    const other = this.#below(trees.length);
    const changes = await catalog.changes(
      name,
      other,
      seq,
      this.#below(2) === 0 ? undefined : { limit: 1000 },
    );
    const from = trees[other] ?? new Map<string, FileRow>();
    const differ = [...new Set([...from.keys(), ...tree.keys()])].filter(
      (key) => from.get(key)?.size !== tree.get(key)?.size,
    );
    this.#t.strictSame(
      changes.map(({ path, before, after }) => [path.toString('hex'), before, after]),
      differ.sort().map((key) => [key, from.get(key), tree.get(key)]),
      `${what} from ${String(other)}`,
    );
  }

  async #pages(workspace: string, seq: number, prefix: Buffer, limit: number): Promise<FileRow[]> {
    const rows: FileRow[] = [];
    for (;;) {
      const after = rows.at(-1)?.path ?? Buffer.alloc(0);
      const page = await this.#catalog.files(workspace, seq, { prefix, limit, after });
      rows.push(...page);
      if (page.length < limit) return rows;
    }
  }

  #some(): Known | undefined {
    return this.#known[this.#below(this.#known.length)];
  }
}

function inOrder(tree: Tree): FileRow[] {
  return [...tree.values()].sort((one, other) => Buffer.compare(one.path, other.path));
}
