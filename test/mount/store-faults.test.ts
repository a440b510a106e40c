import { createHash } from 'node:crypto';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t, { type Test } from 'tap';
import { DiskCache } from '../../src/blocks/index.js';
import type { BlockId } from '../../src/core/index.js';
import { FaultyProxy, QUICK_FAULTS, randomFaults, type Fault } from '../fixtures/faulty-proxy.js';
import { patternedBytes } from '../fixtures/patterned-bytes.js';
import { whyNoMounts } from './ordinary-user.js';
import { differences, isRoot, kill, run, runDone, scriptPath, Site, until, type Home } from './site.js';

const seed = Number(process.env['CAIRN_TEST_SEED'] ?? Math.floor(Math.random() * 1e6));
const LARGE = process.env['CAIRN_TEST_LARGE'] === '1';
const ROUNDS = LARGE ? 30 : 2;
const READERS = 3;

const FAULTS: readonly Fault[] = LARGE ? [...QUICK_FAULTS, { kind: 'hang' }] : QUICK_FAULTS;

if (whyNoMounts !== undefined) {
  t.plan(0, whyNoMounts);
} else {
  t.comment(`CAIRN_TEST_SEED=${String(seed)}`);
  t.test(
    'readers, an import, edits and snapshots under faults: no byte is wrong, and none is cached',
    underFaults,
  );
  t.test('a store that is silent: who reads can be interrupted, and the rest goes on', silentStore);
  t.test('a store that refuses: EIO for that read, and the next one tries again', refusingStore);
}

interface Faulty {
  site: Site;
  home: Home;
  proxy: FaultyProxy;
  tree: string;
}

/** A workspace `work`, of small files and large ones, whose store is reached through the proxy; `home` has nothing of it yet. */
async function faultySite(t: Test): Promise<Faulty> {
  const site = await Site.start(t, 'S3');
  const proxy = await FaultyProxy.start(site.store.env['AWS_ENDPOINT_URL_S3'] ?? '');
  t.teardown(() => proxy.stop());
  site.store.env['AWS_ENDPOINT_URL_S3'] = proxy.endpoint;
  const tree = site.folder('tree');
  for (const folder of ['a', 'b', 'c']) {
    mkdirSync(`${tree}/${folder}`);
    for (let index = 0; index < 30; index++)
      writeFileSync(
        `${tree}/${folder}/${String(index)}`,
        patternedBytes(`${folder}${String(index)}`, 40_000),
      );
    writeFileSync(`${tree}/${folder}/large`, patternedBytes(folder, 3_000_000));
  }
  await site.home('publisher').import(tree, 'work');
  return { site, proxy, tree, home: site.home() };
}

/** What is in the cache that is not what its name says. */
async function wronglyCached(home: Home): Promise<string[]> {
  const folder = path.join(home.dir, 'cache');
  const ids = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => path.basename(name))
    .filter((name) => /^[0-9a-f]{64}$/.test(name));
  const cache = await DiskCache.open(folder, 2 ** 30);
  const wrong: string[] = [];
  for (const id of ids) {
    const raw = await cache.read(id as BlockId);
    if (raw === undefined || createHash('sha256').update(raw).digest('hex') !== id) wrong.push(id);
  }
  await cache.close();
  return wrong;
}

async function dropCaches(home: Home): Promise<void> {
  if (isRoot) await run(['sh', '-c', 'echo 1 > /proc/sys/vm/drop_caches']);
  await run([
    'find',
    path.join(home.dir, 'cache'),
    '-regextype',
    'sed',
    '-regex',
    '.*/[0-9a-f]\\{64\\}',
    '-delete',
  ]);
}

async function underFaults(t: Test): Promise<void> {
  const { site, home, proxy, tree } = await faultySite(t);
  const { mountpoint } = await home.mount('work', 'mnt');
  mkdirSync(`${site.base}/copy`);
  await runDone(['cp', '-a', `${tree}/.`, `${site.base}/copy`]);
  const stopFile = `${site.base}/stop`;
  proxy.choose = randomFaults(seed, 0.4, FAULTS);
  const readers = Array.from({ length: READERS }, async (_, index) => {
    const args = [scriptPath('faulty-reader.js'), mountpoint, tree, stopFile, String(index)];
    return JSON.parse(await runDone([process.execPath, ...args])) as {
      right: number;
      failed: number;
      wrong: string[];
    };
  });

  const source = site.folder('source');
  const published: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    await dropCaches(home);
    // With it the blocks that it has open.
    kill((await home.stats(mountpoint)).daemon.pid);
    const name = `new-${String(round)}`;
    for (const place of [mountpoint, `${site.base}/copy`])
      await runDone(['sh', '-c', 'yes "$2" | head -c 300000 > "$1/$2"', 'sh', place, name]);
    writeFileSync(`${source}/${name}`, patternedBytes(`import ${name}`, 2_500_000));
    // One that gave up is asked for again: what it had sealed is published with it, or before.
    const again = async (args: readonly string[]): Promise<void> => {
      await until(args.join(' '), async () => (await home.cairn(args, { limit_s: 60 })).code === 0);
    };
    await Promise.all([again(['import', source, '--workspace', 'other']), again(['snapshot', mountpoint])]);
    published.push((await home.status(mountpoint)).seq);
  }
  writeFileSync(stopFile, '');
  for (const { right, failed, wrong } of await Promise.all(readers)) {
    t.same(wrong, [], `${String(right)} files read right, ${String(failed)} not read`);
    t.ok(right > 0);
  }
  t.comment([...proxy.done].map(([kind, count]) => `${String(count)} × ${kind}`).join(', '));
  proxy.choose = () => undefined;
  t.same(await wronglyCached(home), [], 'the cache holds what its names say');
  t.equal(published.at(-1), ROUNDS + 1, 'each snapshot became one version');
  const reader = site.home('reader');
  const version = await reader.mount('work', 'version', '--read-only');
  t.same(
    await differences(`${site.base}/copy`, version.mountpoint, { times: false }),
    [],
    'the last version is whole',
  );
  const imported = await reader.mount('other', 'imported', '--read-only');
  t.same(await differences(source, imported.mountpoint), [], 'and so is what was imported');
}

/** A program that reads a file of the mount and has begun to. */
async function startReading(
  proxy: FaultyProxy,
  file: string,
): Promise<{ end: (signal: NodeJS.Signals) => Promise<unknown> }> {
  const hung = proxy.done.get('hang') ?? 0;
  const reading = spawn('cat', [file], { stdio: 'ignore' });
  const ended = once(reading, 'exit');
  await until('the read waits for the store', () => Promise.resolve((proxy.done.get('hang') ?? 0) > hung));
  return {
    end: async (signal) => {
      reading.kill(signal);
      const [, endedBy] = (await ended) as [number | null, NodeJS.Signals | null];
      return endedBy;
    },
  };
}

async function silentStore(t: Test): Promise<void> {
  const { home, proxy, tree } = await faultySite(t);
  const { mountpoint } = await home.mount('work', 'mnt');
  await runDone(['cat', `${mountpoint}/a/0`]);
  proxy.choose = () => ({ kind: 'hang' });
  const requests = proxy.requests.length;
  for (const [signal, file] of [
    ['SIGINT', 'b/large'],
    ['SIGKILL', 'c/large'],
    ['SIGTERM', 'a/large'],
  ] as const) {
    const reading = await startReading(proxy, `${mountpoint}/${file}`);
    t.equal(await reading.end(signal), signal, `${signal} ends a program that reads`);
  }
  const asked = proxy.requests.slice(requests).map((request) => request.path);
  t.equal(
    new Set(asked).size,
    asked.length,
    'long before the store is given up: nothing was asked for twice',
  );
  const script =
    'cmp "$1/a/0" "$2/a/0" && ls -lR "$1" >/dev/null && echo edited > "$1/a/1" && mkdir "$1/new"';
  t.match(await run(['sh', '-c', script, 'sh', mountpoint, tree], { limit_s: 20 }), { code: 0, stderr: '' });
  t.match(await home.status(mountpoint), { entries: [{ path: 'a/1' }, { path: 'new' }] });
  proxy.choose = () => undefined;
  t.match(await run(['cmp', `${mountpoint}/b/large`, `${tree}/b/large`]), { code: 0 }, 'then it is read');
  t.same(await wronglyCached(home), []);
}

async function refusingStore(t: Test): Promise<void> {
  const { home, proxy, tree } = await faultySite(t);
  const { mountpoint } = await home.mount('work', 'mnt');
  for (const [file, fault] of [
    ['a/large', { kind: 'status', status: 400, code: 'ExpiredToken' }],
    ['b/large', { kind: 'flip' }],
    ['c/large', { kind: 'short' }],
    ['a/0', { kind: 'status', status: 404, code: 'NoSuchKey' }],
  ] as const) {
    proxy.choose = () => fault;
    const what = 'code' in fault ? fault.code : fault.kind;
    const compare = ['cmp', `${mountpoint}/${file}`, `${tree}/${file}`];
    t.match(await run(compare), { code: 2, stderr: /Input\/output error/ }, what);
    proxy.choose = () => undefined;
    t.match(await run(compare), { code: 0 }, `${what}: the next read has it`);
  }
  t.match(home.log(), /ExpiredToken|as the test wants it/);
  t.same(await wronglyCached(home), []);
}
