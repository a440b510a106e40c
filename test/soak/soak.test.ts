/**
 * The whole storm at once: several machines with one workspace, programs at work on each, every daemon killed now and then, snapshots that meet each
 * other, and a store that fails, lies and goes away. `npm run test:soak -- --minutes N --seed S [--catalog postgres]`; not part of
 * `npm test`.
 */
import { randomInt } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import t, { type Test } from 'tap';
import type { SnapshotResult } from '../../src/daemon/index.js';
import { FaultyProxy, QUICK_FAULTS, randomFaults } from '../fixtures/faulty-proxy.js';
import { startPostgres } from '../fixtures/postgres-server.js';
import { randomNumbers } from '../fixtures/random-numbers.js';
import { whyNoMounts } from '../mount/ordinary-user.js';
import { differences, kill, pause, run, runDone, Site, type Home, type Ran } from '../mount/site.js';

const MACHINES = 3;
const SHARED_FILES = 4;
const LIMIT_S = 300;
/** Of all requests, in a storm. */
const FAULT_SHARE = 0.15;
/** Published, refused because others had published, or kept because the store is away. */
const SNAPSHOT_CODES = [0, 4, 5];

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '5' },
    seed: { type: 'string', default: String(randomInt(1_000_000)) },
    catalog: { type: 'string', default: 'sqlite' },
  },
});
const soakMs = Number(values.minutes) * 60_000;

if (whyNoMounts !== undefined) {
  t.plan(0, whyNoMounts);
} else {
  t.comment(`--minutes ${values.minutes} --seed ${values.seed} --catalog ${values.catalog}`);
  t.test('a storm on several machines: no program notices, and nothing is lost', storm);
}

interface Machine {
  name: string;
  home: Home;
  mountpoint: string;
  work: Promise<Ran>;
  /** One mark for each file this machine has made, whose name it is as well. */
  marks: string[];
}

async function storm(t: Test): Promise<void> {
  const random = randomNumbers(Number(values.seed));
  const { site, proxy } = await startPlace(t);
  const stopFile = `${site.base}/stop`;
  const machines = await Promise.all(
    Array.from({ length: MACHINES }, async (_, index) => await startMachine(site, index, stopFile)),
  );
  const counts = new Map<string, number>();
  const count = (what: string): void => {
    counts.set(what, (counts.get(what) ?? 0) + 1);
  };

  const endMs = performance.now() + soakMs;
  const weather = async (): Promise<void> => {
    for (;;) {
      for (const [name, choose] of [
        ['calm', () => undefined],
        ['storm', stormFrom(random(2 ** 30))],
        ['away', () => ({ kind: 'reset' }) as const],
      ] as const) {
        proxy.choose = choose;
        count(name);
        await pause(name === 'away' ? random(8000) : random(20_000));
        if (performance.now() > endMs) return;
      }
    }
  };
  const events = async (machine: Machine): Promise<void> => {
    while (performance.now() < endMs) {
      await edit(machine, random);
      const what = await disturb(machine, random, t);
      count(what);
      await pause(random(1500));
    }
  };
  await Promise.all([weather(), ...machines.map(events)]);

  proxy.choose = () => undefined;
  writeFileSync(stopFile, '');
  for (const { name, work } of machines) {
    const { code, stdout, stderr } = await work;
    t.equal(code, 0, `the program on ${name} saw nothing: ${stderr}`);
    t.comment(`${name}: ${stdout.trim()} operations`);
  }
  await agree(t, machines);
  t.comment([...counts].map(([what, times]) => `${what} ${String(times)}`).join(', '));
  t.comment([...proxy.done].map(([kind, times]) => `${kind} ${String(times)}`).join(', '));
}

/** Objects are late, not refused: no server answers a put so. */
function stormFrom(seed: number): FaultyProxy['choose'] {
  const choose = randomFaults(seed, FAULT_SHARE, QUICK_FAULTS);
  return (request) => {
    const fault = choose(request);
    return fault?.kind === 'status' && fault.status === 404 && request.method !== 'GET' ? undefined : fault;
  };
}

/** A store behind a proxy, and a catalog that all machines use. */
async function startPlace(t: Test): Promise<{ site: Site; proxy: FaultyProxy }> {
  const site = await Site.start(t, 'S3');
  const proxy = await FaultyProxy.start(site.store.env['AWS_ENDPOINT_URL_S3'] ?? '');
  t.teardown(() => proxy.stop());
  site.store.env['AWS_ENDPOINT_URL_S3'] = proxy.endpoint;
  if (values.catalog === 'postgres') {
    const server = await startPostgres();
    t.teardown(() => server.stop());
    site.store.env['CAIRN_CATALOG'] = await server.newUrl();
  }
  const tree = site.folder('tree');
  for (let index = 0; index < SHARED_FILES; index += 1)
    writeFileSync(`${tree}/shared-${String(index)}`, 'base');
  writeFileSync(`${tree}/large`, Buffer.alloc(5_000_000, 'imported '));
  await site.home('publisher').import(tree, 'work');
  return { site, proxy };
}

async function startMachine(site: Site, index: number, stopFile: string): Promise<Machine> {
  const name = `machine-${String(index)}`;
  const home = site.home(name);
  const { mountpoint } = await home.mount('work', `${name}-mnt`);
  const workload = new URL('../mount/workload.js', import.meta.url).pathname;
  const script = 'mkdir "$1/$2" && exec "$3" "$4" "$1/$2" "$5" - "$6"';
  const args = [
    mountpoint,
    `work-${name}`,
    process.execPath,
    workload,
    `${values.seed}${String(index)}`,
    stopFile,
  ];
  const work = run(['sh', '-c', script, 'sh', ...args], { limit_s: soakMs / 1000 + LIMIT_S });
  return { name, home, mountpoint, work, marks: [] };
}

/** A file of the machine's own, and one that all fight over. */
async function edit(machine: Machine, random: (below: number) => number): Promise<void> {
  const mark = `${machine.name} ${String(machine.marks.length)}`;
  const shared = `shared-${String(random(SHARED_FILES))}`;
  const script =
    'echo "$2" > "$1/$2" && echo "$2" > "$1/$3" && mkdir -p "$1/common" && echo "$2" > "$1/common/$3"';
  await runDone(['sh', '-c', script, 'sh', machine.mountpoint, mark, shared]);
  machine.marks.push(mark);
}

/** Does something to one machine; says what. */
async function disturb(
  { home, mountpoint }: Machine,
  random: (below: number) => number,
  t: Test,
): Promise<string> {
  const snapshot = async (...flags: string[]): Promise<void> => {
    const { code, stderr } = await home.cairn(['snapshot', mountpoint, ...flags], { limit_s: LIMIT_S });
    if (code === undefined || !SNAPSHOT_CODES.includes(code))
      t.fail(`a snapshot ended with ${String(code)}: ${stderr}`);
  };
  const killDaemon = async (): Promise<void> => {
    const { daemon } = await home.stats(mountpoint);
    kill(daemon.pid);
  };
  switch (random(6)) {
    case 0:
      await snapshot();
      return 'snapshots';
    case 1:
      await snapshot('--rebase');
      return 'rebases';
    case 2: {
      const { daemon } = await home.stats(mountpoint);
      const running = home.cairn(['snapshot', mountpoint, '--rebase'], { limit_s: LIMIT_S });
      await pause(random(400));
      kill(daemon.pid);
      await running;
      return 'kills in a rebase';
    }
    case 3:
      await killDaemon();
      return 'kills';
    case 4: {
      const { code, stderr } = await home.cairn(['mount', '--takeover', mountpoint], { limit_s: LIMIT_S });
      if (code !== 0) t.fail(`a takeover ended with ${String(code)}: ${stderr}`);
      return 'takeovers';
    }
    default:
      await run(['sh', '-c', 'echo 3 > /proc/sys/vm/drop_caches']);
      return 'dropped caches';
  }
}

/** All that was done on any machine is on all of them, and everything is whole. */
async function agree(t: Test, machines: readonly Machine[]): Promise<void> {
  const rebase = async ({ home, mountpoint }: Machine): Promise<SnapshotResult> =>
    (await home.json(['snapshot', mountpoint, '--rebase'], { limit_s: LIMIT_S })) as SnapshotResult;
  for (const machine of machines) await rebase(machine);
  for (const machine of machines) {
    const { rebased } = await rebase(machine);
    t.equal(rebased?.moved, true, `nothing keeps ${machine.name} from what others did`);
  }
  const [first] = machines;
  if (first === undefined) return;
  const { seq } = await first.home.status(first.mountpoint);
  t.comment(`${String(seq)} versions`);
  const restored = `${first.home.site.base}/restored`;
  await first.home.json(['restore', 'work', restored], { limit_s: LIMIT_S });
  for (const { name, mountpoint, marks } of machines) {
    t.same(await differences(mountpoint, restored), [], `${name} shows the newest version`);
    const names = new Set((await runDone(['ls', restored])).split('\n'));
    t.same(
      marks.filter((mark) => !names.has(mark)),
      [],
      `of ${String(marks.length)} files of ${name} none is lost`,
    );
  }
  const { code, stdout, stderr } = await first.home.cairn(['fsck', '--read-data'], { limit_s: LIMIT_S });
  t.equal(code, 0, `${stdout}${stderr}`);
  t.comment(stdout.trim().replaceAll('\n', '; '));
}
