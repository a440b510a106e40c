import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import t from 'tap';
import {
  check,
  filesBelow,
  readTree,
  startSite,
  stateOf,
  type Checked,
  type CheckSite,
} from './check-site.js';
import { openStores } from '../snapshot/stores.js';

const site = await startSite(t);

/** A copy of the site's home, for one test to damage. */
function copyOf(name: string): string {
  const home = join(site.dir, name);
  cpSync(site.home, home, { recursive: true });
  return home;
}

function flip(path: string, at: number): void {
  chmodSync(path, 0o600);
  const bytes = readFileSync(path);
  bytes.writeUInt8(bytes.readUInt8(at) ^ 0x10, at);
  writeFileSync(path, bytes);
}

/** The object of the block that holds most of a file that nothing shares. */
function largestBlock(home: string): string {
  const blocks = filesBelow(join(home, 'store', 'blocks'));
  const sizes = new Map(
    blocks.map((name) => [name, readFileSync(join(home, 'store', 'blocks', name)).length]),
  );
  return join(
    home,
    'store',
    'blocks',
    blocks.sort((a, b) => (sizes.get(b) ?? 0) - (sizes.get(a) ?? 0))[0] ?? '',
  );
}

function indexObject({ versions }: CheckSite, home: string, version: number): string {
  return join(home, 'store', 'manifests', versions[version - 1]?.root ?? '');
}

const whats = ({ findings }: Checked): string[] => findings.map((finding) => finding.what);

t.test('a sound home: nothing is found, and not a byte or a time of home or store changes', async (t) => {
  for (const readData of [false, true]) {
    const before = stateOf(site.home);
    const checked = await check(site.home, { readData });
    t.same(checked.findings, []);
    t.match(checked.summary, { versions: 3, layers: 2, inUse: [], findings: 0, left: 0 });
    t.ok(
      checked.summary.blocks >= 5 && checked.summary.cachedBlocks > 0 && checked.summary.localManifests === 3,
    );
    t.strictSame(stateOf(site.home), before);
  }
});

t.test('nor of a damaged one, by a check', async (t) => {
  const home = copyOf('damaged-everywhere');
  flip(largestBlock(home), 2000);
  flip(indexObject(site, home, 2), 30);
  for (const name of filesBelow(join(home, 'cache')).slice(0, 1)) flip(join(home, 'cache', name), 5);
  const before = stateOf(home);
  const checked = await check(home);
  t.ok(checked.summary.findings >= 3);
  t.strictSame(stateOf(home), before);
});

t.test('a mount that is in use is left alone, and named', async (t) => {
  const home = copyOf('in-use');
  rmSync(join(home, 'mounts', 'demo-0', 'layers', '2', 'upper.sqlite'));
  const checked = await check(home, { isInUse: () => Promise.resolve(true) });
  t.same(checked.findings, []);
  t.same(checked.summary.inUse, [join(home, 'mounts', 'demo-0')]);
});

t.test(
  'a block of the store that is damaged: its versions and paths are named, and a copy of the cache mends it',
  async (t) => {
    const home = copyOf('block');
    const object = largestBlock(home);
    const whole = readFileSync(object);
    flip(object, 2000);
    t.same((await check(home, { readData: false })).findings, [], 'without reading it cannot be known');
    const checked = await check(home);
    t.match(checked.findings, [
      {
        place: 'store',
        what: /^block [0-9a-f]{64} in the store does not verify: /,
        versions: ['demo@1', 'demo@2', 'demo@3'],
        paths: [Buffer.from('chunked')],
        pathCount: 1,
      },
    ]);
    t.match((await check(home, { only: { workspace: 'demo', seq: 2 } })).findings, [
      { versions: ['demo@2'] },
    ]);

    const repaired = await check(home, { repair: true });
    t.match(repaired.findings, [{ repaired: true }]);
    t.match(repaired.summary, { findings: 1, repaired: 1, left: 0 });
    t.strictSame(readFileSync(object), whole);

    flip(object, 2000);
    rmSync(join(home, 'cache'), { recursive: true });
    const hopeless = await check(home, { repair: true });
    t.match(hopeless.findings, [{ place: 'store', repaired: undefined }], 'no copy, no repair');
    t.match(hopeless.summary, { repaired: 0, left: 1 });
    t.ok(existsSync(object), 'and it is not deleted');
  },
);

t.test('a block that is missing, or cut short, is found without reading', async (t) => {
  for (const [name, damage] of [
    [
      'missing',
      (object: string) => {
        rmSync(object);
      },
    ],
    [
      'short',
      (object: string) => {
        chmodSync(object, 0o600);
        truncateSync(object, 1000);
      },
    ],
  ] as const) {
    const home = copyOf(name);
    damage(largestBlock(home));
    const checked = await check(home, { readData: false });
    t.match(checked.findings, [{ place: 'store', paths: [Buffer.from('chunked')] }], name);
    t.match((await check(home, { repair: true })).summary, { repaired: 1, left: 0 }, name);
  }
});

t.test('every object of manifests can be put back from the local copies', async (t) => {
  const home = copyOf('manifests-lost');
  rmSync(join(home, 'cache'), { recursive: true });
  const needed = new Map<string, Buffer>();
  for (const version of [1, 2, 3]) {
    const path = indexObject(site, home, version);
    const index = readFileSync(path);
    needed.set(path, index);
    for (let at = 24; at < index.length; at += 40) {
      const id = index.subarray(at + 8, at + 40).toString('hex');
      const object = join(home, 'store', 'blocks', id.slice(0, 2), id);
      needed.set(object, readFileSync(object));
    }
  }
  for (const path of needed.keys()) rmSync(path);
  const checked = await check(home);
  t.equal(checked.findings.length, needed.size);
  const repaired = await check(home, { repair: true });
  t.match(repaired.summary, { repaired: needed.size, left: 0 });
  for (const [path, bytes] of needed) t.strictSame(readFileSync(path), bytes);
});

t.test('damaged copies of the home are found and removed, and reading goes on', async (t) => {
  const home = copyOf('copies');
  const cached = filesBelow(join(home, 'cache')).map((name) => join(home, 'cache', name));
  for (const path of cached) flip(path, 100);
  const local = readdirSync(join(home, 'manifests')).filter((name) => /\.(sqlite|ok|index)$/.test(name));
  const roots = new Set(local.map((name) => name.split('.')[0]));
  for (const root of roots) flip(join(home, 'manifests', `${String(root)}.sqlite`), 5000);
  const repaired = await check(home, { repair: true });
  t.match(repaired.summary, {
    findings: cached.length + roots.size,
    repaired: cached.length + roots.size,
    left: 0,
  });
  t.same(
    cached.filter((path) => existsSync(path)),
    [],
  );
  const stores = await openStores(home);
  const digests = await readTree(stores, site.versions);
  await stores.close();
  const original = await openStores(copyOf('original'));
  t.same(digests, await readTree(original, site.versions));
  await original.close();
});

t.test('rows of the catalog that follow from the manifests are made anew', async (t) => {
  for (const [name, what, sql] of [
    [
      'hash',
      /1 paths of demo@2 have another hash/,
      `UPDATE file SET hash = zeroblob(32) WHERE from_seq = 2 AND path = CAST('hard-link' AS BLOB)`,
    ],
    [
      'mode',
      /paths of demo@1 have another/,
      `UPDATE file SET mode = 0 WHERE from_seq = 1 AND path = CAST('chunked' AS BLOB)`,
    ],
    ['gone', /1 paths of demo@3 have another/, `DELETE FROM file WHERE path = CAST('new' AS BLOB)`],
    [
      'surplus',
      /and 1 too many/,
      `INSERT INTO file SELECT workspace_id, CAST('ghost' AS BLOB), hash, size, mode, 3, NULL, 0 FROM file WHERE path = CAST('new' AS BLOB)`,
    ],
    ['range', /impossible versions/, `UPDATE file SET to_seq = 1 WHERE path = CAST('embedded' AS BLOB)`],
    ['head', /the head of workspace "demo" is version 2/, 'UPDATE workspace SET head_seq = 2'],
    [
      'closed',
      /workspace "demo": its row .* does not verify/,
      'UPDATE workspace SET read_only = 1 - read_only',
    ],
    [
      'generation',
      /workspace "demo": its row .* does not verify/,
      `UPDATE workspace SET generation = 'z' || substr(generation, 2)`,
    ],
    [
      'number',
      /workspace "demo": its row .* does not verify/,
      'UPDATE workspace SET next_number = next_number + 65536',
    ],
    [
      'content',
      /where content [0-9a-f]+ is stored does not verify/,
      `UPDATE content SET extents = CAST(x'00' || substr(extents, 2, 46) || x'ee' || substr(extents, 49) AS BLOB) WHERE length(extents) > 48 AND size < 5000`,
    ],
    ['block', /which|not know it/, 'DELETE FROM block WHERE raw_bytes > 100000'],
    [
      'phantom',
      /is not in the store, and an import would count on it/,
      `INSERT INTO block VALUES (zeroblob(32), 10, 10)`,
    ],
  ] as const) {
    const home = copyOf(`catalog-${name}`);
    const before = dump(home);
    const database = new Database(join(home, 'catalog.sqlite'));
    t.ok(database.prepare(sql).run().changes > 0, name);
    database.close();
    const checked = await check(home);
    t.ok(
      whats(checked).some((text) => what.test(text)),
      `${name}: ${whats(checked).join('; ')}`,
    );
    const repaired = await check(home, { repair: true, readData: false });
    t.match(repaired.summary, { left: 0 }, `${name}: ${whats(repaired).join('; ')}`);
    t.strictSame(dump(home), before, `${name}: all rows are as they were`);
  }
});

t.test('what nothing follows from is told, and left', async (t) => {
  const home = copyOf('catalog-version');
  const database = new Database(join(home, 'catalog.sqlite'));
  database.exec('DELETE FROM version WHERE seq = 2');
  database.close();
  const checked = await check(home, { repair: true });
  t.ok(whats(checked).some((text) => /version demo@3: versions before it are missing/.test(text)));
  t.ok(checked.summary.left > 0);

  const changed = copyOf('catalog-quota');
  const row = new Database(join(changed, 'catalog.sqlite'));
  row.exec('UPDATE workspace SET quota_bytes = 1000000');
  row.close();
  const before = dump(changed);
  const { findings, summary } = await check(changed, { repair: true });
  t.match(findings, [{ what: /workspace "demo": its row .* does not verify/, advice: /from a backup/ }]);
  t.equal(summary.left, 1);
  t.strictSame(dump(changed), before, 'damage is not sealed');

  writeFileSync(join(home, 'catalog.sqlite'), 'no database at all');
  const unreadable = await check(home, { repair: true });
  t.match(unreadable.findings[0], { place: 'catalog', what: /catalog .* cannot be read/ });
  t.equal(readFileSync(join(home, 'catalog.sqlite'), 'utf8'), 'no database at all');
});

t.test('a store that is not the one of the catalog is refused, and not repaired', async (t) => {
  const home = copyOf('wrong-store');
  mkdirSync(join(site.dir, 'empty-store'));
  await t.rejects(check(home, { store: `file://${site.dir}/empty-store`, repair: true }), {
    code: 'not-found',
    message: /holds not one block/,
  });
  t.same(filesBelow(join(site.dir, 'empty-store')), []);
});

t.test('edits: what is damaged is told with its paths, and never touched', async (t) => {
  for (const [name, what, path, damage] of [
    [
      'data',
      /is missing, and with it bytes of inode/,
      'sealed',
      (dir: string) => {
        rmSync(join(dir, '1', 'log-0'));
      },
    ],
    [
      'cut',
      /ends at 1000, before byte 300000/,
      'large',
      (dir: string) => {
        truncateSync(join(dir, '2', 'data', readdirSync(join(dir, '2', 'data'))[0] ?? ''), 1000);
      },
    ],
    [
      'database',
      /has no upper.sqlite/,
      undefined,
      (dir: string) => {
        rmSync(join(dir, '2', 'upper.sqlite'));
      },
    ],
    [
      'journal',
      /record at byte \d+ of .*journal-1 does not verify: it and [1-9]\d* operations after it are lost/,
      undefined,
      (dir: string) => {
        flip(join(dir, '2', 'journal-1'), 400);
      },
    ],
    [
      'pages',
      /database disk image is malformed|cannot be read|not a database/,
      undefined,
      (dir: string) => {
        writeFileSync(
          join(dir, '1', 'upper.sqlite'),
          readFileSync(join(dir, '1', 'upper.sqlite')).fill(7, 0, 9000),
        );
      },
    ],
  ] as const) {
    const home = copyOf(`edits-${name}`);
    damage(join(home, 'mounts', 'demo-0', 'layers'));
    const before = stateOf(join(home, 'mounts'));
    const checked = await check(home, { repair: true });
    const found = checked.findings.find((finding) => what.test(finding.what));
    t.ok(found, `${name}: ${whats(checked).join('; ')}`);
    t.same(found?.versions, ['demo@3']);
    if (path !== undefined) t.same(found?.paths, [Buffer.from(path)], name);
    t.ok(checked.summary.left > 0);
    t.strictSame(stateOf(join(home, 'mounts')), before, name);
  }
});

t.test('edits on a version that the catalog has lost are found', async (t) => {
  const home = copyOf('lost-version');
  const database = new Database(join(home, 'catalog.sqlite'));
  database.exec(`DELETE FROM file WHERE from_seq = 3; UPDATE file SET to_seq = NULL, fork = 0 WHERE to_seq = 3;
    DELETE FROM version WHERE seq = 3; UPDATE workspace SET head_seq = 2`);
  database.close();
  const checked = await check(home);
  t.ok(
    whats(checked).some((text) => /are on demo@3 .* which the catalog does not have/.test(text)),
    whats(checked).join('; '),
  );
});

/** All rows that a repair may make anew. */
function dump(home: string): unknown[] {
  const database = new Database(join(home, 'catalog.sqlite'));
  try {
    return ['workspace', 'version', 'file', 'content', 'block'].map((table) =>
      database.prepare(`SELECT * FROM ${table} ORDER BY 1, 2, 3`).raw().all(),
    );
  } finally {
    database.close();
  }
}
