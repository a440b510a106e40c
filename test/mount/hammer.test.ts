/**
 * Files that are hammered (`hammer.py`): whatever is read, through whichever call, is what was written, while daemons are killed and snapshots
 * taken; so it is in the next mount, in the version, and in each version of a moment in which nothing changed.
 *
 *     npm run test:hammer -- --operations 1000000 --processes 4 --seed 1
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import t, { type Test } from 'tap';
import { whyNoMounts } from './ordinary-user.js';
import { kill, pause, programPath, run, runDone, Site, until, type Home, type Ran } from './site.js';

const KIB = 1024;
const MIB = 1024 * KIB;

/** `begins`: how large it was imported; undefined for a file that is made on the mount. `size`: how large it may get. */
interface Part {
  file: string;
  begins?: number;
  size: number;
  disturbed: boolean;
}

const PARTS: readonly Part[] = [
  { file: 'new', size: 8 * MIB, disturbed: false },
  { file: 'new-and-small', size: 150 * KIB, disturbed: true },
  { file: 'embedded', begins: 200, size: 20 * KIB, disturbed: false },
  { file: 'packed', begins: 90_000, size: MIB, disturbed: false },
  { file: 'chunked', begins: 5_000_000, size: 8 * MIB, disturbed: false },
  { file: 'chunked-too', begins: 3_000_000, size: 8 * MIB, disturbed: true },
];

/** Nothing near it: a guard against a mount that hangs. */
const SLOWEST_OPERATIONS_PER_S = 50;
const LIMIT_LEAST_S = 200;
const DISTURBED_EVERY_MS = 500;
const DISTURBANCES_LEAST = 6;
const OPERATIONS_PER_DISTURBANCE = 1000;

const { values } = parseArgs({
  options: {
    operations: { type: 'string', default: '12000' },
    processes: { type: 'string', multiple: true, default: ['1', '4'] },
    seed: { type: 'string', default: String(randomInt(1_000_000)) },
  },
});
const operations = Number(values.operations);
const seed = Number(values.seed);

t.comment(`--operations ${String(operations)} --seed ${String(seed)}`);
t.test('the local disk stands the hammer; a byte that is not as it should be is found', plainDisk);
if (whyNoMounts !== undefined) {
  t.test('mounts', { skip: whyNoMounts }, () => undefined);
} else {
  for (const processes of values.processes.map(Number)) {
    t.test(
      `${String(operations)} operations of ${String(processes)} processes on new and on imported files`,
      async (t) => {
        await hammered(t, processes);
      },
    );
  }
}

async function make(file: string, bytes: number): Promise<void> {
  await runDone(['python3', programPath('hammer.py'), 'make', file, String(bytes)]);
}

/** Compares a file with a copy; in a process of its own. */
async function check(file: string, copy: string): Promise<Ran> {
  return await run(['python3', programPath('hammer.py'), 'check', file, copy]);
}

async function plainDisk(t: Test): Promise<void> {
  const site = await Site.start(t);
  const folder = site.folder('plain');
  const hammer = async (file: string, ...options: string[]): Promise<Ran> =>
    await run(['python3', programPath('hammer.py'), 'run', file, `${folder}/state`, ...options]);
  const sizes = ['--size', String(MIB)];
  for (const processes of ['1', '4']) {
    const options = ['--operations', '3000', '--processes', processes, '--seed', String(seed), ...sizes];
    t.match(await hammer(`${folder}/file`, ...options), { code: 0, stderr: '' });
  }
  t.match(await check(`${folder}/file`, `${folder}/state/copy`), { code: 0, stderr: '' });

  await make(`${folder}/right`, 500_000);
  const options = ['--begin', `${folder}/right`, ...sizes];
  let found = '';
  // A run that begins by making the file empty finds nothing.
  for (let each = 1; each <= 4; each++) {
    writeFileSync(`${folder}/wrong`, Buffer.alloc(500_000));
    found += (await hammer(`${folder}/wrong`, '--seed', String(each), ...options)).stderr;
  }
  t.match(found, /bytes differ, from/);
  t.match(await hammer(`${folder}/right`, '--operations', '0', ...options), { code: 0 });
  const fd = openSync(`${folder}/right`, 'r+');
  writeSync(fd, 'x', 123_456);
  closeSync(fd);
  const checked = await check(`${folder}/right`, `${folder}/state/copy`);
  t.match(checked, { code: 1, stderr: /: 1 bytes differ, from 123456 to 123456/ });
}

async function hammered(t: Test, processes: number): Promise<void> {
  const site = await Site.start(t);
  const home = site.home();
  const tree = site.folder('tree');
  for (const { file, begins } of PARTS) if (begins !== undefined) await make(`${tree}/${file}`, begins);
  await home.import(tree, 'work');
  const { mountpoint } = await home.mount('work', 'mnt');
  for (const [index, part] of PARTS.entries()) {
    const hammer = new Hammer(site, mountpoint, part, processes, seed + index);
    const disturbances = part.disturbed ? await disturb(t, home, mountpoint, hammer) : 'undisturbed';
    const { code, stderr, done } = await hammer.ended();
    t.match({ code, stderr }, { code: 0, stderr: '' }, part.file);
    t.comment(`${part.file}: ${String(done)} operations, ${disturbances}`);
  }

  await home.unmount(mountpoint);
  await home.mount('work', 'mnt');
  await checkAll(t, site, mountpoint, 'the next mount has all of it');
  const { seq } = await home.snapshot(mountpoint);
  const version = await site.home('other').mount(`work@${String(seq)}`, 'version', '--read-only');
  await checkAll(t, site, version.mountpoint, 'so has the version');
}

async function checkAll(t: Test, site: Site, folder: string, what: string): Promise<void> {
  for (const { file } of PARTS) {
    t.match(
      await check(`${folder}/${file}`, `${site.base}/state-${file}/copy`),
      { code: 0, stderr: '' },
      what,
    );
  }
}

/** One run of `hammer.py`. */
class Hammer {
  readonly file: string;
  readonly state: string;
  readonly operations = Math.round(operations / PARTS.length);
  readonly #process: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #exit: Promise<unknown[]>;
  #stderr = '';

  constructor(site: Site, mountpoint: string, part: Part, processes: number, seed: number) {
    this.file = part.file;
    this.state = `${site.base}/state-${part.file}`;
    const limit_s = LIMIT_LEAST_S + Math.round(this.operations / SLOWEST_OPERATIONS_PER_S);
    const numbers = { operations: this.operations, processes, seed, size: part.size };
    const options = Object.entries(numbers).flatMap(([name, value]) => [`--${name}`, String(value)]);
    if (part.begins !== undefined) options.push('--begin', `${site.base}/tree/${part.file}`);
    const command = ['python3', programPath('hammer.py'), 'run', `${mountpoint}/${part.file}`, this.state];
    const child = spawn('timeout', ['-s', 'KILL', String(limit_s), ...command, ...options], {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    // It may have ended before it is told anything.
    child.stdin.on('error', () => undefined);
    child.stderr.setEncoding('utf8').on('data', (text: string) => (this.#stderr += text));
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    this.#process = child;
    this.#exit = once(child, 'close');
  }

  /** Nothing changes while `task` runs, which gets what the file then holds. */
  async still(task: (copy: string) => Promise<void>): Promise<void> {
    this.#process.stdin?.write('pause\n');
    const line = await this.#lines.next();
    // Otherwise it has ended meanwhile.
    if (line.done === true || line.value !== 'paused') return;
    await task(`${this.state}/paused`);
    this.#process.stdin?.write('go\n');
  }

  /** Lets it end when it has done its operations. */
  async ended(): Promise<{ code: unknown; stderr: string; done: unknown }> {
    this.#process.stdin?.end();
    const line = await this.#lines.next();
    const { operations: done } = JSON.parse(line.done === true ? '{}' : line.value) as {
      operations?: number;
    };
    return { code: (await this.#exit)[0], stderr: this.#stderr, done };
  }
}

/** While it runs: kills the daemon, takes snapshots, and both. What it did. */
async function disturb(t: Test, home: Home, mountpoint: string, hammer: Hammer): Promise<string> {
  const counts = { kills: 0, snapshots: 0, stills: 0 };
  const killDaemon = async (): Promise<void> => {
    kill((await home.stats(mountpoint)).daemon.pid);
    counts.kills += 1;
  };
  const rounds = DISTURBANCES_LEAST + hammer.operations / OPERATIONS_PER_DISTURBANCE;
  for (let round = 0; round < rounds; round++) {
    await pause(randomInt(DISTURBED_EVERY_MS));
    if (round % 4 === 0) {
      await killDaemon();
    } else if (round % 4 === 1) {
      await home.snapshot(mountpoint);
      counts.snapshots += 1;
    } else if (round % 4 === 2) {
      await hammer.still(async (copy) => {
        const { seq } = await home.snapshot(mountpoint);
        const restored = `${home.site.base}/restored`;
        await home.json(['restore', `work@${String(seq)}:${hammer.file}`, restored]);
        const found = await check(restored, copy);
        if (found.code !== 0) t.match(found, { code: 0, stderr: '' }, `version ${String(seq)}`);
        await runDone(['rm', restored]);
        counts.stills += 1;
      });
    } else {
      const snapshot = home.cairn(['snapshot', mountpoint]);
      await killDaemon();
      const { code, stderr } = await snapshot;
      if (code !== 0 && code !== 5) t.fail(`a snapshot whose daemon is killed ends with ${stderr}`);
      await until('what was sealed is published', async () => {
        const status = await home.cairn(['status', mountpoint, '--json']);
        return (
          status.code === 0 && (JSON.parse(status.stdout) as { sealedLayers: number }).sealedLayers === 0
        );
      });
    }
  }
  return Object.entries(counts)
    .map(([what, count]) => `${String(count)} ${what}`)
    .join(', ');
}
