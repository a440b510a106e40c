import { randomInt } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import Database from 'better-sqlite3';
import t, { type Test } from 'tap';
import { whyNoMounts } from './ordinary-user.js';
import { pause, run, scriptPath, Site, until, type Home } from './site.js';

const SNAPSHOTS = 20;
const LIMIT_S = 100;

if (whyNoMounts !== undefined) {
  t.plan(0, whyNoMounts);
} else {
  t.test('a version never holds the second of two synced writes without the first', filePair);
  t.test(
    'an SQLite database in WAL mode is whole in every version, with all that was committed before',
    database,
  );
}

async function mountedSite(t: Test): Promise<{ site: Site; home: Home; mountpoint: string }> {
  const site = await Site.start(t);
  const home = site.home();
  await home.import(site.folder('tree'), 'live');
  const { mountpoint } = await home.mount('live', 'mnt');
  return { site, home, mountpoint };
}

/** The folder `mnt/work` of a version, on the local disk. */
async function restored(site: Site, home: Home, seq: number): Promise<string> {
  const to = `${site.base}/restored-${String(seq)}`;
  await home.json(['restore', `live@${String(seq)}:work`, to]);
  return to;
}

async function filePair(t: Test): Promise<void> {
  const { site, home, mountpoint } = await mountedSite(t);
  const stopFile = `${site.base}/stop`;
  const script = 'mkdir "$1/work" && exec "$2" "$3" "$1/work" "$4"';
  const args = [mountpoint, process.execPath, scriptPath('pair-writer.js'), stopFile];
  const writer = run(['sh', '-c', script, 'sh', ...args], { limit_s: LIMIT_S });
  await until(
    'the writer begins',
    async () => (await run(['test', '-s', `${mountpoint}/work/b`])).code === 0,
  );
  const seqs: number[] = [];
  const seals_ms: number[] = [];
  for (let count = 0; count < SNAPSHOTS; count++) {
    await pause(randomInt(150));
    const { seq, created, sealMs } = await home.snapshot(mountpoint);
    if (created) seqs.push(seq);
    seals_ms.push(sealMs);
  }
  writeFileSync(stopFile, '');
  const written = await writer;
  t.match(written, { code: 0, stderr: '' });
  t.equal(seqs.length, SNAPSHOTS);
  t.comment(
    `${written.stdout} rounds written; sealed in ${seals_ms.map((ms) => ms.toFixed(1)).join(' ')} ms`,
  );

  let before = 0;
  for (const seq of seqs) {
    const folder = await restored(site, home, seq);
    const [a, b] = ['a', 'b'].map((name) => {
      const text = readFileSync(`${folder}/${name}`, 'latin1');
      return { start: Number(text.slice(0, 12)), end: Number(text.slice(200_000)) };
    });
    const names = readdirSync(folder).filter((name) => name.startsWith('at-'));
    t.equal(names.length, 1, 'a renamed file has one name');
    const named = Number(names[0]?.slice('at-'.length));
    if (a === undefined || b === undefined) throw new Error('there are two files');
    const found = JSON.stringify({ seq, a, b, named });
    // Of what is being written, and not synced yet, one end may be there without the other.
    t.ok(Math.min(a.start, a.end) >= Math.max(b.start, b.end), `a is not behind b: ${found}`);
    t.ok(Math.min(b.start, b.end) >= named, `what was synced before the rename is there: ${found}`);
    t.ok(Math.max(a.start, a.end) <= named + 1, `and nothing from after it: ${found}`);
    t.ok(named >= before, `later versions are not older: ${found}`);
    before = named;
  }
}

async function database(t: Test): Promise<void> {
  const { site, home, mountpoint } = await mountedSite(t);
  const [log, stopFile] = [`${site.base}/committed`, `${site.base}/stop`];
  const script = 'mkdir "$1/work" && exec "$2" "$3" "$1/work" "$4" "$5"';
  const args = [mountpoint, process.execPath, scriptPath('database-writer.js'), log, stopFile];
  const committed = (): number => Number(readFileSync(log, 'utf8'));
  writeFileSync(log, '0');
  const writer = run(['sh', '-c', script, 'sh', ...args], { limit_s: LIMIT_S });
  await until('the writer begins', () => Promise.resolve(committed() > 10));
  const snapshots: { seq: number; before: number; after: number }[] = [];
  for (let count = 0; count < SNAPSHOTS; count++) {
    await pause(randomInt(150));
    const before = committed();
    const { seq } = await home.snapshot(mountpoint);
    snapshots.push({ seq, before, after: committed() + 1 });
  }
  writeFileSync(stopFile, '');
  const written = await writer;
  t.match(written, { code: 0, stderr: '' });
  t.comment(`${written.stdout} transactions committed`);

  for (const { seq, before, after } of snapshots) {
    const copy = new Database(`${await restored(site, home, seq)}/database.sqlite`);
    t.equal(copy.pragma('integrity_check', { simple: true }), 'ok', `version ${String(seq)} is whole`);
    t.equal(
      copy.prepare('SELECT sum(amount) FROM account').pluck().get(),
      0,
      'no transaction is there in part',
    );
    const rows = copy.prepare('SELECT count(*) FROM entry').pluck().get() as number;
    t.ok(rows >= before && rows <= after, `${String(before)} ≤ ${String(rows)} ≤ ${String(after)}`);
    copy.close();
  }
}
