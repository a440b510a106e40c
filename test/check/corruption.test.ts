/**
 * Every kind of file of a home and a store, with a byte changed or the end cut off: reading gives the right bytes or a clear error, and the check
 * says what is damaged. `--seed` and `--rounds` choose where and how often; CAIRN_TEST_LARGE=1 tries thirty times as many places.
 */
import { chmodSync, cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import Database from 'better-sqlite3';
import t, { type Test } from 'tap';
import { CairnError } from '../../src/core/index.js';
import { openStores } from '../snapshot/stores.js';
import { check, filesBelow, readTree, startSite } from './check-site.js';

const { values } = parseArgs({
  options: { seed: { type: 'string' }, rounds: { type: 'string' } },
  strict: false,
});
const seed = Number(values.seed ?? Date.now() % 1_000_000);
const rounds = Number(values.rounds ?? (process.env['CAIRN_TEST_LARGE'] === '1' ? 30 : 1));
t.comment(`--seed ${String(seed)} --rounds ${String(rounds)}`);

let state = seed;
function random(below: number): number {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * below);
}

const site = await startSite(t);
const expected = await digestsOf(site.home);

/** What the versions hold as the product reads them; throws as it does. */
async function digestsOf(home: string): Promise<string[]> {
  const stores = await openStores(home);
  try {
    return await readTree(stores, site.versions);
  } finally {
    await stores.close();
  }
}

interface Damage {
  what: string;
  make: (bytes: Buffer) => Buffer;
}

/** Some changed bytes, and ends cut off. */
function damagesOf(length: number): Damage[] {
  if (length === 0) return [];
  const flips = Array.from({ length: rounds }, (): Damage => {
    const at = random(length);
    const mask = 1 << random(8);
    return {
      what: `byte ${String(at)} xor ${String(mask)}`,
      make: (bytes) => {
        const damaged = Buffer.from(bytes);
        damaged.writeUInt8(damaged.readUInt8(at) ^ mask, at);
        return damaged;
      },
    };
  });
  // Now and then nothing is left.
  const cut = random(4) === 0 ? 0 : random(length);
  return [...flips, { what: `cut at ${String(cut)}`, make: (bytes) => bytes.subarray(0, cut) }];
}

interface Outcome {
  /** What reading said; undefined: the right bytes. */
  error: CairnError | undefined;
  findings: string[];
  versions: string[];
}

/** Reads everything with one file damaged, and checks, before and after that. Fails on wrong bytes, and on what is no error for a person. */
async function outcomeOf(t: Test, home: string, file: string, damage: Damage): Promise<Outcome> {
  const copy = join(site.dir, 'damaged');
  rmSync(copy, { recursive: true, force: true });
  cpSync(home, copy, { recursive: true });
  const path = join(copy, file);
  const bytes = readFileSync(path);
  chmodSync(path, 0o600);
  writeFileSync(path, damage.make(bytes));
  // A catalog whose migrations have other names is another release's.
  const { findings } = await check(copy).catch((error: unknown) => {
    if (!(error instanceof CairnError) || error.code !== 'unsupported') throw error;
    return { findings: [{ what: error.message, versions: [] }] };
  });
  const outcome: Outcome = {
    error: undefined,
    findings: findings.map(({ what }) => what),
    versions: findings.flatMap(({ versions }) => versions),
  };
  try {
    t.strictSame(await digestsOf(copy), expected, `${file}, ${damage.what}: what was read is right`);
  } catch (error) {
    if (!(error instanceof CairnError)) t.fail(`${file}, ${damage.what}: ${String(error)}`, { error });
    else outcome.error = error;
  }
  return outcome;
}

t.test(
  'the store: what does not verify is refused by its name, and the check names the versions',
  async (t) => {
    const home = join(site.dir, 'no-copies');
    cpSync(site.home, home, { recursive: true });
    for (const copies of ['cache', 'manifests']) rmSync(join(home, copies), { recursive: true });
    let refused = 0;
    for (const file of filesBelow(join(home, 'store')).filter((name) => !name.startsWith('tmp'))) {
      const id = file.split('/').at(-1) ?? '';
      for (const damage of damagesOf(readFileSync(join(home, 'store', file)).length)) {
        const { error, findings, versions } = await outcomeOf(t, home, join('store', file), damage);
        if (error === undefined) {
          t.same(findings, [], `${file}, ${damage.what}: it unpacks to the same bytes`);
          continue;
        }
        refused++;
        t.match(error, { code: 'corrupt', message: new RegExp(id) }, `${file}, ${damage.what}`);
        t.ok(findings.some((what) => what.includes(id)) && versions.length > 0, findings.join('; '));
      }
    }
    t.ok(refused > 5, `${String(refused)} refused`);
  },
);

t.test('copies: what is damaged is found, is never shown, and costs nothing', async (t) => {
  const files = [
    ...filesBelow(join(site.home, 'cache')).map((name) => join('cache', name)),
    ...filesBelow(join(site.home, 'manifests')).map((name) => join('manifests', name)),
  ].filter((name) => !name.endsWith('.working'));
  for (const file of files) {
    for (const damage of damagesOf(readFileSync(join(site.home, file)).length)) {
      const { error, findings } = await outcomeOf(t, site.home, file, damage);
      t.equal(error, undefined, `${file}, ${damage.what}`);
      t.equal(findings.length, 1, `${file}, ${damage.what}: ${findings.join('; ')}`);
    }
  }
});

t.test('the catalog: the right versions, or a clear error', async (t) => {
  let refused = 0;
  let found = 0;
  const { length } = readFileSync(join(site.home, 'catalog.sqlite'));
  for (let round = 0; round < 6 * rounds; round++) {
    for (const damage of damagesOf(length).slice(0, 1)) {
      const { error, findings } = await outcomeOf(t, site.home, 'catalog.sqlite', damage);
      if (error !== undefined) refused++;
      if (findings.length > 0) found++;
      if (error !== undefined && error.code !== 'not-found')
        t.ok(findings.length > 0, `${damage.what}: ${error.message}`);
    }
  }
  t.comment(`${String(refused)} refused, ${String(found)} found`);
});

t.test('the catalog: a byte changed in what nothing else knows is found', async (t) => {
  const bytes = readFileSync(join(site.home, 'catalog.sqlite'));
  const database = new Database(join(site.home, 'catalog.sqlite'), { readonly: true });
  const known = database
    .prepare('SELECT author, message, publish_id FROM version')
    .raw()
    .all()
    .flat() as string[];
  database.close();
  for (const text of new Set(known.filter(({ length }) => length > 3))) {
    const at = bytes.indexOf(text);
    t.ok(at > 0, text);
    const damaged = Buffer.from(bytes);
    damaged.writeUInt8(damaged.readUInt8(at + 2) ^ 1, at + 2);
    const { error, findings } = await outcomeOf(t, site.home, 'catalog.sqlite', {
      what: text,
      make: () => damaged,
    });
    t.match(error, { code: 'corrupt' });
    t.ok(
      findings.some((what) => /version demo@\d/.test(what)),
      findings.join('; '),
    );
  }
});

t.test('edits: the check ends, whatever is damaged, and leaves them as they are', async (t) => {
  let found = 0;
  for (const file of filesBelow(join(site.home, 'mounts'))) {
    for (const damage of damagesOf(readFileSync(join(site.home, 'mounts', file)).length)) {
      const { error, findings } = await outcomeOf(t, site.home, join('mounts', file), damage);
      t.equal(error, undefined, 'versions have nothing to do with it');
      if (findings.length > 0) found++;
    }
  }
  t.ok(found > 3, `${String(found)} found`);
});
