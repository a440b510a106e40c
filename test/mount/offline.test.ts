import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { FaultyProxy } from '../fixtures/faulty-proxy.js';
import { patternedBytes } from '../fixtures/patterned-bytes.js';
import { whyNoMounts } from './ordinary-user.js';
import { differences, kill, run, runDone, Site, until, type Home, type Ran } from './site.js';

const ONE_LINE = /^cairn: [^\n]+: [^\n]+\n$/;

if (whyNoMounts !== undefined) {
  t.plan(0, whyNoMounts);
} else {
  t.test('without a network: reads, edits, mounts; snapshots queue up and become versions in order', offline);
  t.test(
    'a snapshot is of the moment it was asked for, while the one before waits for the store',
    sealedAtOnce,
  );
  // A request that hangs takes a quarter of a minute to be given up.
  const large = process.env['CAIRN_TEST_LARGE'] === '1';
  const options = large ? {} : { skip: 'takes long: CAIRN_TEST_LARGE=1' };
  t.test('unmounting waits for no store that does not answer', options, unmountedWhileHung);
  t.test('without the catalog: a mount is resumed, and publishes when it is back', catalogAway);
}

/** A workspace `work`, published; its store is reached through the proxy. */
async function proxiedSite(t: Test): Promise<{ site: Site; home: Home; proxy: FaultyProxy; tree: string }> {
  const site = await Site.start(t, 'S3');
  const proxy = await FaultyProxy.start(site.store.env['AWS_ENDPOINT_URL_S3'] ?? '');
  t.teardown(() => proxy.stop());
  site.store.env['AWS_ENDPOINT_URL_S3'] = proxy.endpoint;
  const tree = site.folder('tree');
  mkdirSync(`${tree}/folder`);
  for (let index = 0; index < 20; index++)
    writeFileSync(`${tree}/folder/${String(index)}`, patternedBytes(index, 30_000));
  writeFileSync(`${tree}/large`, patternedBytes('large', 3_000_000));
  const home = site.home();
  await home.import(tree, 'work');
  return { site, home, proxy, tree };
}

async function write(path: string, text: string): Promise<void> {
  await runDone(['sh', '-c', 'printf %s "$1" > "$2"', 'sh', text, path]);
}

/** `cairn snapshot`, which cannot publish now. */
async function sealed(t: Test, home: Home, mountpoint: string, message: string): Promise<void> {
  const ran = await home.cairn(['snapshot', mountpoint, '-m', message]);
  t.match(ran, { code: 5, stdout: '', stderr: ONE_LINE }, `${message}: exit code 5 and one line`);
  t.match(ran.stderr, /sealed and will be published when it answers again; see cairn status/);
}

interface LogLine {
  seq: number;
  message: string;
}

async function versions(home: Home): Promise<LogLine[]> {
  const lines = (await runDone(home.command(['log', 'work', '--json']), { env: home.environment() }))
    .trim()
    .split('\n');
  return lines.map((line) => JSON.parse(line) as LogLine).reverse();
}

async function offline(t: Test): Promise<void> {
  const { site, home, proxy, tree } = await proxiedSite(t);
  const { endpoint } = proxy;
  const first = await home.mount('work', 'mnt');
  const { mountpoint } = first;
  t.same(await differences(tree, mountpoint), [], 'everything is read once');
  await proxy.close();

  await write(`${mountpoint}/a`, 'one');
  await write(`${tree}/a`, 'one');
  await sealed(t, home, mountpoint, 'first');
  await write(`${mountpoint}/a`, 'two');
  await write(`${tree}/a`, 'two');
  await sealed(t, home, mountpoint, 'second');
  const { publishing, sealedLayers, publishProblem } = await home.status(mountpoint);
  t.equal(sealedLayers, 2);
  t.match(publishing.waiting, [{ message: 'first' }, { message: 'second' }], 'what waits, in order');
  t.match(publishing.failure, { problem: publishProblem, sinceMs: Number, nextAttemptMs: Number });
  t.match(
    (await home.cairn(['status', mountpoint])).stdout,
    /2 sealed.*\n +sealed 2.*: first\n +sealed 2.*: second\n/,
  );
  t.match((await home.stats(mountpoint)).store.outage, { sinceMs: Number, problem: /127\.0\.0\.1/ });
  t.match((await home.cairn(['stats', mountpoint])).stdout, /\naway +since 2/);

  kill((await home.stats(mountpoint)).daemon.pid);
  t.same(
    await differences(tree, mountpoint, { times: false }),
    [],
    'the next daemon needs no network either',
  );
  await home.unmount(mountpoint);
  const again = await home.mount('work', 'mnt');
  t.equal(again.resumedEdits, true, 'nor does the next mount');
  t.same(await differences(tree, mountpoint, { times: false }), []);
  const readOnly = await home.mount('work@1', 'old', '--read-only');
  t.match(await run(['cmp', `${readOnly.mountpoint}/large`, `${tree}/large`]), { code: 0 });
  await home.unmount(readOnly.mountpoint);
  await write(`${mountpoint}/b`, 'three');
  await write(`${tree}/b`, 'three');
  await sealed(t, home, mountpoint, 'third');
  t.same(
    (await versions(home)).map(({ seq }) => seq),
    [1],
    'there is no version yet',
  );

  await proxy.open(endpoint);
  await until('all is published', async () => (await home.status(mountpoint)).sealedLayers === 0);
  t.same(
    (await versions(home)).map(({ seq, message }) => [seq, message]),
    [
      [1, ''],
      [2, 'first'],
      [3, 'second'],
      [4, 'third'],
    ],
  );
  t.match((await home.stats(mountpoint)).store, { outage: undefined });
  const other = site.home('other');
  t.match(await other.cairn(['cat', 'work@2:a']), { stdout: 'one' });
  const { mountpoint: last } = await other.mount('work@4', 'last', '--read-only');
  t.same(await differences(tree, last, { times: false }), [], 'and the last is all that was written');
  t.match(await home.snapshot(mountpoint), { created: false, seq: 4 });
}

async function sealedAtOnce(t: Test): Promise<void> {
  const { home, proxy } = await proxiedSite(t);
  const { mountpoint } = await home.mount('work', 'mnt');
  const { endpoint } = proxy;
  proxy.choose = () => ({ kind: 'hang' });
  const waiting = async (count: number): Promise<void> => {
    await until(`${String(count)} are sealed`, async () => {
      return (await home.status(mountpoint)).sealedLayers === count;
    });
  };
  const snapshots: Promise<Ran>[] = [];
  for (const [index, text] of ['one', 'two', 'three'].entries()) {
    await write(`${mountpoint}/a`, text);
    snapshots.push(home.cairn(['snapshot', mountpoint, '-m', text, '--json']));
    await waiting(index + 1);
  }
  await write(`${mountpoint}/a`, 'later');
  proxy.choose = () => undefined;
  // Whatever hangs is reset, and tried again.
  await proxy.close();
  await proxy.open(endpoint);
  const seqs = (await Promise.all(snapshots)).map(({ stdout }) => (JSON.parse(stdout) as LogLine).seq);
  t.same(seqs, [2, 3, 4], 'each command is told of its own version');
  for (const [index, text] of ['one', 'two', 'three'].entries())
    t.match(await home.cairn(['cat', `work@${String(index + 2)}:a`]), { stdout: text });
  t.equal(await runDone(['cat', `${mountpoint}/a`]), 'later');
}

async function unmountedWhileHung(t: Test): Promise<void> {
  const { home, proxy } = await proxiedSite(t);
  const { mountpoint } = await home.mount('work', 'mnt');
  await write(`${mountpoint}/a`, 'one');
  proxy.choose = () => ({ kind: 'hang' });
  const snapshot = home.cairn(['snapshot', mountpoint]);
  await until('a request hangs', () => Promise.resolve((proxy.done.get('hang') ?? 0) > 0));
  t.match(await home.cairn(['unmount', mountpoint]), { code: 0, stderr: '' });
  t.match(await snapshot, { code: 5, stderr: ONE_LINE });
  proxy.choose = () => undefined;
  t.match(await home.mount('work', 'mnt'), { resumedEdits: true });
  await until('it is published', async () => (await home.status(mountpoint)).sealedLayers === 0);
  t.match(await home.cairn(['cat', 'work@2:a']), { stdout: 'one' });
}

async function catalogAway(t: Test): Promise<void> {
  const site = await Site.start(t);
  const home = site.home();
  const tree = site.folder('tree');
  writeFileSync(`${tree}/file`, 'imported');
  await home.import(tree, 'work');
  const { mountpoint } = await home.mount('work', 'mnt');
  await write(`${mountpoint}/a`, 'one');
  await home.unmount(mountpoint);
  const catalog = `${site.base}/catalog.sqlite`;
  renameSync(catalog, `${catalog}-away`);

  t.match(await home.mount('work', 'mnt'), { seq: 1, resumedEdits: true });
  const ran = await home.cairn(['snapshot', mountpoint]);
  t.match(ran, { code: 5, stdout: '', stderr: ONE_LINE });
  t.match(ran.stderr, /catalog\.sqlite is not there.*sealed/);
  t.match(await home.status(mountpoint), { headSeq: undefined, sealedLayers: 1 });
  kill((await home.stats(mountpoint)).daemon.pid);
  t.equal(await runDone(['cat', `${mountpoint}/a`, `${mountpoint}/file`]), 'oneimported');
  t.throws(() => readFileSync(catalog), { code: 'ENOENT' }, 'no empty catalog was made in its place');
  const refused = await site.home('other').cairn(['mount', 'work', site.folder('other-mnt')]);
  t.match(refused, { code: 5, stderr: ONE_LINE }, 'what was never mounted here cannot be found');

  renameSync(`${catalog}-away`, catalog);
  await until('it is published', async () => (await home.status(mountpoint)).sealedLayers === 0);
  t.match(await home.cairn(['cat', 'work@2:a']), { stdout: 'one' });
}
