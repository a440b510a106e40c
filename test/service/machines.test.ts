import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import type { SnapshotResult } from '../../src/daemon/index.js';
import { whyNoMounts } from '../mount/ordinary-user.js';
import { differences, until } from '../mount/site.js';
import { Center, Machine, roundTrips, sh, whyNoServer } from './machines.js';

const large = process.env['CAIRN_TEST_LARGE'] !== undefined;
const AGENTS = large ? 200 : 20;
/** Mount commands at a time: each is a process that starts two others. */
const AT_ONCE = large ? 20 : 10;

const BOTH = ['before', 'after'] as const;
const AFTER = ['after'] as const;

if (whyNoMounts !== undefined) {
  t.plan(0, whyNoMounts);
} else {
  if (whyNoServer !== undefined) t.comment(`over SQLite: ${whyNoServer}`);
  t.test('two machines with nothing but a URL and a token edit, follow, and conflict', twoMachines);
  t.test('with --direct two machines exchange blocks through S3, and the service passes none on', direct);
  t.test('a service killed in every phase of a snapshot: each is one version, and whole', killed);
  t.test('without the service a mount goes on, and what waited is published when it is back', offline);
  t.test(`${String(AGENTS)} machines mount at once`, manyAgents);
}

async function workspace(center: Center, first: Machine): Promise<void> {
  const tree = center.site.folder('tree');
  center.site.folder('tree/dir');
  for (let i = 0; i < 100; i++) writeFileSync(`${tree}/dir/${String(i)}`, `file ${String(i)} `.repeat(100));
  writeFileSync(`${tree}/a`, 'a'.repeat(1000));
  writeFileSync(`${tree}/b`, 'b'.repeat(1000));
  await first.import(tree, 'work');
}

async function isAt({ home, mountpoint }: { home: Machine; mountpoint: string }, seq: number): Promise<void> {
  await until(`at ${String(seq)}`, async () => (await home.status(mountpoint)).seq === seq);
}

async function twoMachines(t: Test): Promise<void> {
  const center = await Center.start(t);
  const [one, other] = [await center.machine('one'), await center.machine('other')];
  await workspace(center, one);
  const us = { home: one, mountpoint: (await one.mount(`${center.url}/work`, 'ours')).mountpoint };
  const them = { home: other, mountpoint: (await other.mount('work', 'theirs', '--follow')).mountpoint };
  t.same(await differences(us.mountpoint, them.mountpoint), []);
  for (const { dir } of [one, other]) {
    for (const name of ['store', 'catalog.sqlite']) t.notOk(existsSync(`${dir}/${name}`), `no ${name} here`);
  }

  await sh(us.mountpoint, 'for i in 0 1 2 3 4 5 6 7 8 9; do head -c 1000 /dev/urandom > dir/$i; done');
  center.relay.requests.length = 0;
  t.match(await one.snapshot(us.mountpoint), { created: true, seq: 2, changedFiles: 10 });
  const asked = center.relay.requests.filter(
    ({ method, path }) => method !== 'GET' || path.includes('publications'),
  );
  t.ok(
    roundTrips(asked) <= 4,
    `10 changes: ${asked.map(({ method, path }) => `${method} ${path}`).join(', ')}`,
  );
  await isAt(them, 2);
  t.same(await differences(us.mountpoint, them.mountpoint), []);

  await sh(them.mountpoint, 'echo theirs > a; echo theirs > new');
  await sh(us.mountpoint, 'echo ours > a; echo ours > b');
  t.match(await one.snapshot(us.mountpoint), { seq: 3 });
  await until('held up', async () => (await other.status(them.mountpoint)).following?.heldUp?.headSeq === 3);
  t.equal((await other.cairn(['snapshot', them.mountpoint])).code, 4);
  const rebased = (await other.json(['snapshot', them.mountpoint, '--rebase'])) as SnapshotResult;
  t.match(rebased, { seq: 4, rebased: { moved: true, conflicts: [{ kind: 'content', path: 'a' }] } });
  t.match(await one.json(['snapshot', us.mountpoint, '--rebase']), { created: false, seq: 4 });
  t.same(await differences(us.mountpoint, them.mountpoint), []);
  t.equal(await sh(us.mountpoint, "cat a b new 'a (conflict @3)'"), 'theirs\nours\ntheirs\nours\n');

  const reader = await center.token('--workspace', 'work');
  const stranger = center.site.home('stranger');
  const env = { CAIRN_CATALOG: center.url, CAIRN_STORE: center.url };
  t.match((await stranger.cairn(['log', 'work'], { env: { ...env, CAIRN_TOKEN: reader } })).stdout, /@4/);
  const refused = await stranger.cairn(['log', 'work'], { env });
  t.match(refused, { code: 5, stderr: /needs a token/ });
  const kept = `${one.dir}/credentials.json`;
  const secret = Object.values(JSON.parse(readFileSync(kept, 'utf8')) as object)[0] as string;
  await sh('/', `chmod 644 ${kept}`);
  t.match((await one.cairn(['log', 'work'])).stderr, /credentials.json can be read by others/);
  await sh('/', `chmod 600 ${kept}`);
  t.notOk(one.log().includes(secret.slice(0, 40)), 'no log has the token');
}

async function direct(t: Test): Promise<void> {
  const center = await Center.start(t, '--direct');
  const [one, other] = [await center.machine('one'), await center.machine('other')];
  await workspace(center, one);
  const ours = (await one.mount('work', 'ours')).mountpoint;
  const theirs = (await other.mount('work', 'theirs', '--follow', '--read-only')).mountpoint;
  await sh(ours, 'head -c 3000000 /dev/urandom > large');
  t.match(await one.snapshot(ours), { created: true, seq: 2 });
  await sh(ours, 'for i in 1 2 3; do head -c 1000 /dev/urandom > dir/$i; done');
  const before = center.relay.requests.length;
  t.match(await one.snapshot(ours), { created: true, seq: 3 });
  const publishing = center.relay.requests
    .slice(before)
    .filter(({ method, path }) => method !== 'GET' || path.includes('publications'));
  const asked = publishing.map(({ method, path }) => `${method} ${path}`).join(', ');
  t.match(asked, /\/uploads/);
  t.ok(roundTrips(publishing) <= 6, `with where to put blocks, and those of the manifest: ${asked}`);
  await isAt({ home: other, mountpoint: theirs }, 3);
  t.same(await differences(ours, theirs), []);
  const passed = center.relay.requests.filter(
    ({ method, path }) =>
      path.startsWith('/v1/blocks/') && (method === 'PUT' || !path.includes('direct=true')),
  );
  t.same(passed, []);
  for (const machine of [one, other]) t.notMatch(machine.log(), /X-Amz-/);
}

async function killed(t: Test): Promise<void> {
  const center = await Center.start(t);
  const machine = await center.machine('one');
  await workspace(center, machine);
  const { mountpoint } = await machine.mount('work', 'mount');
  const phases = [
    { name: 'known', isIt: (path: string) => path.endsWith('/known') },
    { name: 'a block', isIt: (path: string) => path.startsWith('/v1/blocks/') },
    { name: 'the manifest', isIt: (path: string) => path.startsWith('/v1/manifests/') },
    {
      name: 'the publication',
      isIt: (path: string, method: string) => method === 'POST' && path.endsWith('/publications'),
    },
  ];
  let seq = 1;
  for (const { name, isIt } of phases) {
    for (const when of large || name === 'the publication' ? BOTH : AFTER) {
      let kills = 0;
      center.relay[when] = async (path, method) => {
        if (method === 'GET' || kills > 0 || !isIt(path, method)) return false;
        kills += 1;
        await center.kill();
        await center.up();
        return true;
      };
      await sh(
        mountpoint,
        `head -c 5000 /dev/urandom > dir/1; echo ${name} ${when} > a; rm -f gone-${String(seq)}; echo > gone-${String(seq + 1)}`,
      );
      const ran = await machine.cairn(['snapshot', mountpoint]);
      center.relay[when] = () => Promise.resolve(false);
      t.equal(kills, 1, `killed ${when} ${name}`);
      seq += 1;
      await until('published', async () => (await machine.status(mountpoint)).sealedLayers === 0);
      t.match(await machine.status(mountpoint), { seq, headSeq: seq }, `one version: ${ran.stderr}`);
    }
  }
  const restored = `${center.site.base}/restored`;
  await machine.json(['restore', 'work', restored]);
  t.same(await differences(mountpoint, restored), []);
}

async function offline(t: Test): Promise<void> {
  const center = await Center.start(t);
  const [one, other] = [await center.machine('one'), await center.machine('other')];
  await workspace(center, one);
  const { mountpoint } = await one.mount('work', 'ours');
  const theirs = (await other.mount('work', 'theirs', '--follow')).mountpoint;
  await sh(mountpoint, 'cat dir/* >/dev/null');
  await center.kill();
  t.equal(await sh(mountpoint, 'echo offline > a; cat a; cat dir/7 | wc -c'), 'offline\n700\n');
  const queued = one.cairn(['snapshot', mountpoint, '--message', 'offline']);
  await until('a layer waits', async () => (await one.status(mountpoint)).sealedLayers === 1);
  t.equal(await sh(mountpoint, 'echo more > b; cat a b'), 'offline\nmore\n');
  await until('it says that it cannot follow', async () => {
    return (await other.status(theirs)).following?.problem !== undefined;
  });
  await center.up();
  await queued;
  await until('it is published', async () => (await one.status(mountpoint)).sealedLayers === 0);
  await isAt({ home: other, mountpoint: theirs }, 2);
  t.equal(await sh(theirs, 'head -1 a; head -c 1 b'), 'offline\nb');
}

async function manyAgents(t: Test): Promise<void> {
  const center = await Center.start(t);
  const first = await center.machine('agent-0');
  await workspace(center, first);
  const machines = [first];
  const credentials = readFileSync(`${first.dir}/credentials.json`);
  for (let i = 1; i < AGENTS; i++) {
    const machine = new Machine(center.site, `agent-${String(i)}`, center.url);
    writeFileSync(`${machine.dir}/credentials.json`, credentials, { mode: 0o600 });
    machines.push(machine);
  }
  const waiting = machines.entries();
  const mounted: string[] = [];
  const mountSome = async (): Promise<void> => {
    for (const [i, machine] of waiting) {
      const { mountpoint } = await machine.mount('work', `mount-${String(i)}`, '--follow');
      mounted.push(mountpoint);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, mountSome));
  t.equal(mounted.length, AGENTS);
  const [writer = '', ...readers] = machines.map((_, i) => `${center.site.base}/mount-${String(i)}`);
  await sh(writer, 'echo changed > dir/50');
  t.match(await first.snapshot(writer), { seq: 2 });
  for (const reader of readers) {
    await until('it is seen', async () => (await sh(reader, 'head -c 8 dir/50')) === 'changed\n');
  }
  t.pass('a change of one is seen by all');
}
