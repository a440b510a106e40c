/**
 * Daemons killed at a chosen system call: strace stops them before the n-th that belongs to a step (a write, a fold, a put, the commit of the
 * catalog …), for one n after the other until the step passes unharmed. Whatever was answered is there afterwards, the next snapshot is
 * whole, and the version keeps every rule of the format.
 *
 * By default a few n of each step, by a seed; all of them with CAIRN_TEST_LARGE=1.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes, randomInt } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import t, { type Test } from 'tap';
import { checkManifest, localManifestPath, openManifest } from '../../src/manifest/index.js';
import { whyNoMounts } from './ordinary-user.js';
import { without } from './programs.js';
import { differences, isRoot, run, runDone, Site, until, type Home, type Mounted } from './site.js';

const CHANGING =
  'write,writev,pwrite64,pwritev,ftruncate,fallocate,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,rmdir,fsync,fdatasync';
const NAMING = 'rename,renameat,renameat2,link,linkat,mkdir,mkdirat';
const REMOVING = 'unlink,unlinkat,rmdir';
const SYNCING = 'pwrite64,fsync,fdatasync,ftruncate';

const COLD_FILES = 150;
const COLD_BYTES = 200_000;
const LARGE_BYTES = 5_000_000;
/** Unless all are asked for: before the first two calls, and a later one. */
const KILLS_OF_A_STEP = 3;
const ATTACH_LIMIT_S = 120;

const all = process.env['CAIRN_TEST_LARGE'] === '1';
const seed = Number(process.env['CAIRN_TEST_SEED'] ?? randomInt(1_000_000));

interface Step {
  name: string;
  /** What strace counts. */
  calls: string;
  /** Only those that have to do with these files. */
  files?: (stand: Stand) => readonly string[];
  /** Without `all`: about every so many calls one daemon is killed. */
  stride: number;
  /** Changes what is to be snapshotted, folded … before the daemon is watched. */
  prepare?: (stand: Stand, round: number) => Promise<void>;
  act: (stand: Stand, round: number) => Promise<void>;
}

/** In a shell, in the mount and in the same tree on the local disk. */
async function onBoth({ mounted, plain }: Stand, script: string): Promise<void> {
  for (const folder of [mounted.mountpoint, plain])
    await runDone(['sh', '-c', `cd "$1/work" && ${script}`, 'sh', folder], { limit_s: ATTACH_LIMIT_S });
}

async function change(stand: Stand, round: number): Promise<void> {
  const n = String(round);
  await onBoth(
    stand,
    `mkdir d-${n} && echo ${n} >d-${n}/small && head -c 60000 large >d-${n}/middle && ln d-${n}/small link-${n} && mv d-${n}/middle moved-${n} &&
     { rm -f link-${String(round - 2)} moved-${String(round - 2)}; head -c 300000 large | tr a ${n} >rewritten; }`,
  );
}

async function snapshot({ home, mounted }: Stand): Promise<void> {
  const { code, stderr } = await home.cairn(['snapshot', mounted.mountpoint]);
  if (code !== 0 && code !== 5) throw new Error(`the snapshot ended with ${String(code)}: ${stderr}`);
}

const STEPS: readonly Step[] = [
  // A reply is a write(2), and so is nothing else the session thread does for a change: its first are those to LOOKUP and MKDIR.
  { name: 'answering', calls: 'write', stride: 5, act: change },
  { name: 'writing new files', calls: CHANGING, stride: 30, act: change },
  {
    name: 'copying up',
    calls: CHANGING,
    stride: 8,
    act: async (stand, round) => {
      const seek = String(((round * 77_777) % LARGE_BYTES) + 1);
      await onBoth(stand, `printf ${String(round)} | dd of=large bs=1 seek=${seek} conv=notrunc status=none`);
    },
  },
  {
    name: 'folding',
    calls: CHANGING,
    stride: 30,
    prepare: change,
    act: async ({ home, mounted }) => {
      await home.cairn(['status', mounted.mountpoint]);
    },
  },
  { name: 'sealing, putting, adopting', calls: NAMING, stride: 12, prepare: change, act: snapshot },
  {
    name: 'committing to the catalog',
    calls: SYNCING,
    files: ({ site }) => ['', '-wal', '-shm', '-journal'].map((end) => `${site.base}/catalog.sqlite${end}`),
    stride: 25,
    prepare: change,
    act: snapshot,
  },
  { name: 'a whole snapshot', calls: CHANGING, stride: 150, prepare: change, act: snapshot },
  { name: 'sweeping', calls: REMOVING, stride: 8, prepare: change, act: snapshot },
  {
    name: 'filling the cache',
    calls: CHANGING,
    stride: 12,
    act: readCold,
  },
  {
    name: 'evicting from the cache',
    calls: REMOVING,
    stride: 8,
    // Some time after it is full.
    act: async (stand) => {
      const pid = daemonOf(stand.mounted);
      for (let times = 0; times < EVICTION_READS && daemonOf(stand.mounted) === pid; times++)
        await readCold(stand);
    },
  },
];

const EVICTION_READS = 10;
let cold = 0;

/** Of files that nobody read yet: more than the cache may hold. */
async function readCold({ mounted, plain }: Stand): Promise<void> {
  for (let count = 0; count < 3; count++) {
    const file = `cold/${String(cold++ % COLD_FILES)}`;
    await runDone(['cmp', `${mounted.mountpoint}/${file}`, `${plain}/${file}`], { limit_s: ATTACH_LIMIT_S });
  }
}

interface Stand {
  site: Site;
  home: Home;
  mounted: Mounted;
  /** The same tree on the local disk. */
  plain: string;
  other: Home;
}

const why = whyNoMounts ?? ((await without('strace')) || (await whyNoTracing()));
if (why !== undefined) {
  t.plan(0, why);
} else {
  t.comment(`CAIRN_TEST_SEED=${String(seed)}`);
  t.test(
    'a daemon killed at any step: what was answered is there, and every version is whole',
    killedAtSteps,
  );
}

async function whyNoTracing(): Promise<string | undefined> {
  const { code } = await run(['strace', '-o', '/dev/null', 'true']);
  return code === 0 ? undefined : 'strace may not trace here';
}

function daemonOf({ supervisorPid }: Mounted): number | undefined {
  const pid = String(supervisorPid);
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return children === '' ? undefined : Number(children.split(' ').at(-1));
}

/** strace, which kills the daemon before the `when`-th of one of its calls; it counts each call of each thread apart. */
async function attach(pid: number, step: Step, when: number, stand: Stand): Promise<ChildProcess> {
  const paths = (step.files?.(stand) ?? []).flatMap((file) => ['-P', file]);
  const inject = `inject=${step.calls}:signal=KILL:when=${String(when)}`;
  const strace = spawn(
    'strace',
    ['-f', '-p', String(pid), '-o', '/dev/null', '-e', `trace=${step.calls}`, '-e', inject, ...paths],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  await once(createInterface({ input: strace.stderr }), 'line');
  return strace;
}

/** Whether the daemon was killed in the step. */
async function killedIn(stand: Stand, step: Step, when: number, round: number): Promise<boolean> {
  await step.prepare?.(stand, round);
  const { home, mounted } = stand;
  await home.stats(mounted.mountpoint);
  const pid = daemonOf(mounted);
  if (pid === undefined) throw new Error('there is a daemon when it has answered');
  const strace = await attach(pid, step, when, stand);
  const ended = once(strace, 'exit');
  try {
    await step.act(stand, round);
    // What is left to be done behind an answer is done before this is.
    await home.stats(mounted.mountpoint);
    return daemonOf(mounted) !== pid;
  } finally {
    strace.kill('SIGINT');
    await ended;
  }
}

async function killedAtSteps(t: Test): Promise<void> {
  const site = await Site.start(t);
  const plain = site.folder('plain');
  writeFileSync(`${site.folder('plain/work')}/large`, randomBytes(LARGE_BYTES));
  site.folder('plain/cold');
  for (let number = 0; number < COLD_FILES; number++)
    writeFileSync(`${plain}/cold/${String(number)}`, randomBytes(COLD_BYTES));
  await site.home('importing').import(plain, 'work');
  const home = site.home();
  const mounted = await home.mount('work', 'mnt', '--cache-size', '4MiB');
  const stand = { site, home, mounted, plain, other: site.home('other') };
  let round = 10;
  let random = seed;
  for (const step of STEPS) {
    const begin = round;
    let kills = 0;
    let when = 1;
    while (all || kills < KILLS_OF_A_STEP) {
      round += 1;
      if (!(await killedIn(stand, step, when, round))) break;
      kills += 1;
      if (isRoot) await runDone(['sh', '-c', 'echo 3 >/proc/sys/vm/drop_caches']);
      const unequal = await differences(`${plain}/work`, `${mounted.mountpoint}/work`, { times: false });
      if (unequal.length > 0)
        t.same(unequal, [], `${step.name}, killed at call ${String(when)}: what was answered is there`);
      if (all || kills === 1) await checkVersion(t, stand, `${step.name}, killed at call ${String(when)}`);
      random = (random * 1_103_515_245 + 12_345) % 2_147_483_648;
      when += all || kills === 1 ? 1 : 1 + ((random >>> 8) % (2 * step.stride));
    }
    t.ok(
      kills > 0,
      `${step.name}: ${String(kills)} daemons killed in ${String(round - begin)} rounds, the last at call ${String(when)}`,
    );
  }
  await checkVersion(t, stand, 'at the end');
}

/** What is on the mount becomes a version, which is read elsewhere. */
async function checkVersion(
  t: Test,
  { site, home, mounted, plain, other }: Stand,
  what: string,
): Promise<void> {
  const { mountpoint } = mounted;
  await until('what was sealed is published', async () => (await home.status(mountpoint)).sealedLayers === 0);
  const { seq, root } = await home.snapshot(mountpoint);
  const restored = path.join(site.base, 'restored');
  await other.json(['restore', `work@${String(seq)}:work`, restored]);
  const unequal = await differences(`${plain}/work`, restored, { times: false });
  const manifest = openManifest(localManifestPath(path.join(other.dir, 'manifests'), root));
  const violations = [...checkManifest(manifest)];
  manifest.close();
  if (unequal.length > 0 || violations.length > 0)
    t.same({ unequal, violations }, { unequal: [], violations: [] }, what);
  await runDone(['rm', '-rf', restored]);
}
