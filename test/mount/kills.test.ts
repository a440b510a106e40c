/**
 * Daemons killed at random moments while programs work: builds, git, a database, random operations and a hammered file, with snapshots in between and
 * the page cache dropped, so that what is read comes from the daemon. No call fails, nothing that was answered is lost, no byte differs. How
 * long programs had to wait is told, not judged.
 *
 *     npm run test:kills -- --kills 500 --seed 1
 */
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import Database from 'better-sqlite3';
import t, { type Test } from 'tap';
import { checkManifest, localManifestPath, openManifest } from '../../src/manifest/index.js';
import { randomNumbers } from '../fixtures/random-numbers.js';
import { whyNoMounts } from './ordinary-user.js';
import {
  differences,
  isRoot,
  kill,
  pause,
  programPath,
  run,
  runDone,
  scriptPath,
  Site,
  until,
  type Home,
  type Mounted,
  type Ran,
} from './site.js';

const TSC = fileURLToPath(new URL('../../../node_modules/typescript/bin/tsc', import.meta.url));
const MODULES = 12;
const HAMMERED = ['--operations', '1500', '--processes', '2', '--size', String(2 ** 20)];

/** A daemon serves up to so long; every fourth is killed so long after its start, which is before it serves. */
const LIFE_MAX_MS = 1000;
const START_MAX_MS = 200;
const START_EVERY = 4;
/** Of what a program that failed has to say. */
const SHOWN_LENGTH = 2000;
const KILLS_ALONE = 4;
const SNAPSHOT_EVERY = 9;
const DROP_EVERY = 5;
/** Nothing near it: a guard against a mount that hangs. */
const SLOWEST_S_PER_KILL = 10;
const LIMIT_LEAST_S = 200;

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: process.env['CAIRN_TEST_LARGE'] === '1' ? '500' : '12' },
    seed: { type: 'string', default: String(randomInt(1_000_000)) },
  },
});
const kills = Number(values.kills);
const limit_s = LIMIT_LEAST_S + kills * SLOWEST_S_PER_KILL;

if (whyNoMounts !== undefined) {
  t.plan(0, whyNoMounts);
} else {
  t.comment(`--kills ${String(kills)} --seed ${values.seed}`);
  t.test(`${String(kills)} daemons killed at random moments: no program notices`, killedAtRandom);
}

/** Programs that are started again when they end, until they are told to stop; each in a folder of its own on the mount. */
class Work {
  readonly stopFile: string;
  readonly #site: Site;
  readonly #mountpoint: string;
  readonly #running: Promise<void>[] = [];
  readonly rounds = new Map<string, number>();
  readonly failures: string[] = [];
  #stopped = false;

  constructor(site: Site, mountpoint: string, name: string) {
    this.#site = site;
    this.#mountpoint = mountpoint;
    this.stopFile = path.join(site.base, `stop-${name}`);
  }

  /** One that goes on until the stop file is there. */
  once(name: string, command: (folder: string) => readonly string[]): Promise<Ran> {
    const ran = this.#round(name, command);
    this.#running.push(ran.then(() => undefined));
    return ran;
  }

  /** One that ends by itself, and prints `expected`. */
  repeat(name: string, command: (folder: string) => readonly string[], expected: RegExp | string): void {
    const rounds = async (): Promise<void> => {
      for (let round = 1; !this.#stopped; round++) {
        const { code, stdout } = await this.#round(`${name}-${String(round)}`, command);
        const isExpected = typeof expected === 'string' ? stdout === expected : expected.test(stdout);
        if (code === 0 && !isExpected) this.failures.push(`${name} prints ${stdout.slice(0, SHOWN_LENGTH)}`);
        this.rounds.set(name, round);
      }
    };
    this.#running.push(rounds());
  }

  async #round(name: string, command: (folder: string) => readonly string[]): Promise<Ran> {
    const folder = path.join(this.#mountpoint, name);
    const script = 'mkdir "$1" && shift && exec "$@"';
    const ran = await run(['sh', '-c', script, 'sh', folder, ...command(folder)], {
      limit_s,
      env: { HOME: this.#site.base },
    });
    if (ran.code !== 0)
      this.failures.push(
        `${name} ended with ${String(ran.code)}: ${`${ran.stderr}${ran.stdout}`.slice(0, SHOWN_LENGTH)}`,
      );
    return ran;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    writeFileSync(this.stopFile, '');
    await Promise.all(this.#running);
  }
}

/** Two projects that refer to one another. */
function writeSources(tree: string): void {
  const compilerOptions = {
    composite: true,
    target: 'es2022',
    module: 'nodenext',
    types: [],
    outDir: 'out',
    rootDir: 'src',
  };
  for (const project of ['core', 'app']) {
    mkdirSync(`${tree}/${project}/src`, { recursive: true });
    const references = project === 'app' ? [{ path: '../core' }] : [];
    writeFileSync(
      `${tree}/${project}/tsconfig.json`,
      JSON.stringify({ compilerOptions, include: ['src'], references }),
    );
    writeFileSync(`${tree}/${project}/package.json`, '{"type":"module"}');
    for (let number = 0; number < MODULES; number++) {
      const text = `export const value${String(number)}: readonly string[] = ['${project}'];\n`;
      writeFileSync(`${tree}/${project}/src/module-${String(number)}.ts`, text);
    }
  }
  writeFileSync(
    `${tree}/tsconfig.json`,
    JSON.stringify({ files: [], references: [{ path: 'core' }, { path: 'app' }] }),
  );
}

const BUILD = 'cp -R "$1/." "$2" && "$3" "$4" -b "$2"';

/** The daemon that runs now; undefined while the supervisor has none. */
function daemonOf({ supervisorPid }: Mounted): number | undefined {
  const pid = String(supervisorPid);
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return children === '' ? undefined : Number(children.split(' ').at(-1));
}

async function killedAtRandom(t: Test): Promise<void> {
  const site = await Site.start(t);
  const home = site.home();
  const random = randomNumbers(Number(values.seed));
  const tree = site.folder('tree');
  writeSources(tree);
  writeFileSync(`${tree}/large`, Buffer.alloc(3_000_000, 'imported '));
  const built = site.folder('built');
  await runDone(['sh', '-c', BUILD, 'sh', tree, built, process.execPath, TSC]);
  const gitRan = await runDone(['sh', programPath('kills-git.sh'), site.folder('git')], {
    env: { HOME: site.base },
  });
  await home.import(tree, 'work');
  const mounted = await home.mount('work', 'mnt');
  const { mountpoint } = mounted;

  const alone = new Work(site, mountpoint, 'alone');
  const pulseAlone = alone.once('pulse-alone', (folder) => [
    process.execPath,
    scriptPath('pulse.js'),
    folder,
    alone.stopFile,
  ]);
  await killDaemons(home, mounted, { count: KILLS_ALONE, random, disturb: false });
  await nextDaemon(home, mounted, undefined, true);
  await alone.stop();
  t.same(alone.failures, []);
  t.comment(`one program at work: ${pausesText((await pulseAlone).stdout)}`);

  const work = new Work(site, mountpoint, 'all');
  const node = process.execPath;
  const committedLog = path.join(site.base, 'committed');
  const pulse = work.once('pulse', (folder) => [node, scriptPath('pulse.js'), folder, work.stopFile]);
  const files = work.once('files', (folder) => [
    node,
    scriptPath('workload.js'),
    folder,
    values.seed,
    '-',
    work.stopFile,
  ]);
  const database = work.once('database', (folder) => [
    node,
    scriptPath('database-writer.js'),
    folder,
    committedLog,
    work.stopFile,
  ]);
  const buildAndCompare = `${BUILD} && diff -r -x "*.tsbuildinfo" "$2" "$5"`;
  work.repeat('build', (folder) => ['sh', '-c', buildAndCompare, 'sh', tree, folder, node, TSC, built], '');
  work.repeat('git', (folder) => ['sh', programPath('kills-git.sh'), folder], gitRan);
  work.repeat(
    'hammer',
    (folder) => {
      const state = path.join(site.base, `state-${path.basename(folder)}`);
      return ['python3', programPath('hammer.py'), 'run', `${folder}/file`, state, ...HAMMERED];
    },
    /^\{"operations": \d+/,
  );

  const snapshots = await killDaemons(home, mounted, { count: kills, random, disturb: true });
  await work.stop();
  t.same(work.failures, [], 'no call failed, no byte differed');
  t.match(await home.stats(mountpoint), {
    supervisor: { pid: mounted.supervisorPid, restarts: KILLS_ALONE + kills },
  });
  for (const [name, rounds] of work.rounds) t.ok(rounds > 0, `${name}: ${String(rounds)} times`);
  t.comment(`snapshots under kills ended with ${snapshots.join(' ')}`);
  t.comment(`all at work: ${pausesText((await pulse).stdout)}`);

  await dropPageCache();
  const plain = site.folder('plain');
  await runDone([node, scriptPath('workload.js'), plain, values.seed, (await files).stdout]);
  t.same(
    await differences(plain, `${mountpoint}/files`, { times: false }),
    [],
    'the files are what the same work made elsewhere',
  );
  const copied = site.folder('database');
  await runDone(['sh', '-c', 'cp "$1"/database/* "$2"', 'sh', mountpoint, copied]);
  t.same(
    rowsOf(`${copied}/database.sqlite`),
    { ok: 'ok', sum: 0, entries: Number((await database).stdout) },
    'every commit is there',
  );
  await wholeVersion(t, home, mountpoint);
}

/** Resolves when there is another daemon than `last`: when it has begun, or when it serves. */
async function nextDaemon(
  home: Home,
  mounted: Mounted,
  last: number | undefined,
  serves: boolean,
): Promise<void> {
  const [folder = ''] = readdirSync(path.join(home.dir, 'mounts'));
  const socket = path.join(home.dir, 'mounts', folder, 'control.sock');
  await until('there is a daemon', async () => {
    const pid = daemonOf(mounted);
    return pid !== undefined && pid !== last && (!serves || (await isListening(socket)));
  });
}

async function isListening(socketPath: string): Promise<boolean> {
  const socket = connect(socketPath);
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

/** Kills so many. What the snapshots in between ended with. */
async function killDaemons(
  home: Home,
  mounted: Mounted,
  { count, random, disturb }: { count: number; random: (below: number) => number; disturb: boolean },
): Promise<string[]> {
  const ends: string[] = [];
  let snapshot = Promise.resolve();
  let last: number | undefined;
  for (let number = 1; number <= count; number++) {
    const serves = !disturb || number % START_EVERY !== 0;
    await nextDaemon(home, mounted, last, serves);
    await pause(random(serves ? LIFE_MAX_MS : START_MAX_MS));
    if (disturb && number % DROP_EVERY === 0) await dropPageCache();
    last = daemonOf(mounted);
    if (last === undefined || !kill(last)) throw new Error('the daemon ended by itself');
    if (!disturb || number % SNAPSHOT_EVERY !== 0) continue;
    await snapshot;
    snapshot = home.cairn(['snapshot', mounted.mountpoint]).then(({ code, stderr }) => {
      ends.push(code === 0 || code === 5 ? String(code) : stderr);
    });
  }
  await snapshot;
  return ends;
}

/** What is read then comes from the daemon. Only root may. */
async function dropPageCache(): Promise<void> {
  if (isRoot) await runDone(['sh', '-c', 'echo 3 >/proc/sys/vm/drop_caches']);
}

function pausesText(printed: string): string {
  const { calls, pauses_ms } = JSON.parse(printed) as { calls: number; pauses_ms: number[] };
  const sorted = pauses_ms.sort((a, b) => a - b);
  const at = (share: number): string =>
    String(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]);
  return `of ${String(calls)} calls ${String(sorted.length)} took more than 50 ms: half of these ${at(0.5)} ms, 99 % ${at(0.99)} ms, the longest ${at(1)} ms`;
}

function rowsOf(file: string): object {
  const database = new Database(file);
  try {
    const ok = database.pragma('integrity_check', { simple: true });
    const { sum } = database.prepare('SELECT sum(amount) AS sum FROM account').get() as { sum: number };
    const { entries } = database.prepare('SELECT count(*) AS entries FROM entry').get() as {
      entries: number;
    };
    return { ok, sum, entries };
  } finally {
    database.close();
  }
}

/** What the mount shows becomes a version, which has all of it and keeps every rule of the format. */
async function wholeVersion(t: Test, home: Home, mountpoint: string): Promise<void> {
  await until('what was sealed is published', async () => (await home.status(mountpoint)).sealedLayers === 0);
  const { seq, root } = await home.snapshot(mountpoint);
  t.match(await home.status(mountpoint), { entries: [], sealedLayers: 0 });
  const other = home.site.home('other');
  const version = await other.mount(`work@${String(seq)}`, 'version', '--read-only');
  await dropPageCache();
  t.same(await differences(mountpoint, version.mountpoint), [], 'the version is what the mount shows');
  const manifest = openManifest(localManifestPath(path.join(other.dir, 'manifests'), root));
  t.same([...checkManifest(manifest)], [], 'and keeps every rule of the format');
  manifest.close();
}
