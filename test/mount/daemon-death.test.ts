import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import t, { type Test } from 'tap';
import { whyNoMounts } from './ordinary-user.js';
import {
  differences,
  kill,
  pause,
  programPath,
  run,
  runDone,
  scriptPath,
  Site,
  until,
  type Home,
  type Ran,
} from './site.js';

const KILLS = 20;
const KILLS_IN_SNAPSHOT = 6;
const KILLS_IN_WRITE = 40;
const KILLS_IN_CLOSE = 3;
/** A large write takes about so long. */
const WRITE_MS = 1.2;
const LIMIT_S = 100;
const seed = Number(process.env['CAIRN_TEST_SEED'] ?? randomInt(1_000_000));

if (whyNoMounts !== undefined) {
  t.plan(0, whyNoMounts);
} else {
  t.comment(`CAIRN_TEST_SEED=${String(seed)}`);
  t.test(`a daemon killed ${String(KILLS)} times: programs on the mount see a pause`, killedWhileWorking);
  t.test(
    `a daemon killed ${String(KILLS_IN_SNAPSHOT)} times in a snapshot: nothing is lost`,
    killedInSnapshot,
  );
  t.test(
    `${String(KILLS_IN_WRITE)} daemons killed in their first large write: none fails`,
    killedInFirstWrite,
  );
  t.test(
    'files removed while open are whole through several daemons, and give back their space when closed',
    removedWhileOpen,
  );
  t.test('a supervisor killed: mounted again, the edits are there', killedSupervisor);
}

async function mountedSite(t: Test): Promise<{ site: Site; home: Home; mountpoint: string }> {
  const site = await Site.start(t);
  const home = site.home();
  const tree = site.folder('tree');
  writeFileSync(`${tree}/from-the-version`, Buffer.alloc(3_000_000, 'imported '));
  await home.import(tree, 'work');
  const { mountpoint } = await home.mount('work', 'mnt');
  return { site, home, mountpoint };
}

/** A workload in `work` on the mount, until it is told to stop. */
function startWork(site: Site, mountpoint: string): { stop: () => Promise<Ran> } {
  const stopFile = `${site.base}/stop`;
  const script = 'mkdir "$1/work" && exec "$2" "$3" "$1/work" "$4" - "$5"';
  const args = [mountpoint, process.execPath, scriptPath('workload.js'), String(seed), stopFile];
  const work = run(['sh', '-c', script, 'sh', ...args], { limit_s: LIMIT_S });
  return {
    stop: async () => {
      writeFileSync(stopFile, '');
      return await work;
    },
  };
}

/** The same operations on the local disk. */
async function sameWork(site: Site, operations: string): Promise<string> {
  const plain = `${site.base}/plain`;
  mkdirSync(plain);
  await runDone(['cp', '-a', `${site.base}/tree/.`, plain]);
  mkdirSync(`${plain}/work`);
  await runDone([process.execPath, scriptPath('workload.js'), `${plain}/work`, String(seed), operations]);
  return plain;
}

async function killedWhileWorking(t: Test): Promise<void> {
  const { site, home, mountpoint } = await mountedSite(t);
  const work = startWork(site, mountpoint);
  const pauses_ms: number[] = [];
  for (let count = 1; count <= KILLS; count++) {
    const { daemon, supervisor } = await home.stats(mountpoint);
    t.equal(supervisor.restarts, count - 1);
    await pause(randomInt(250));
    kill(daemon.pid);
    const killedAt_ms = performance.now();
    await runDone(['stat', `${mountpoint}/not-there-${String(count)}`, mountpoint], { limit_s: 20 }).catch(
      () => undefined,
    );
    pauses_ms.push(performance.now() - killedAt_ms);
  }
  const worked = await work.stop();
  t.match(worked, { code: 0, stderr: '' }, 'no call failed, nothing written was lost');
  t.comment(
    `${worked.stdout} operations; a stat after a kill took ${pauses_ms.map((ms) => ms.toFixed(0)).join(' ')} ms`,
  );
  t.equal((await home.stats(mountpoint)).supervisor.restarts, KILLS, 'the restarts are counted');

  const plain = await sameWork(site, worked.stdout);
  t.same(
    await differences(plain, mountpoint, { times: false }),
    [],
    'the tree is what the same work made elsewhere',
  );
  const { seq } = await home.snapshot(mountpoint);
  await home.unmount(mountpoint);
  const other = site.home('other');
  const version = await other.mount(`work@${String(seq)}`, 'version', '--read-only');
  t.same(await differences(plain, version.mountpoint, { times: false }), [], 'so is the version');
}

/**
 * What is read then comes from the daemon, not from the kernel's pages, where a file that lost a stretch in the layers still looks whole
 * (as one once did). Only root may.
 */
function dropPageCache(): void {
  if (process.getuid?.() === 0) writeFileSync('/proc/sys/vm/drop_caches', '3');
}

async function killedInSnapshot(t: Test): Promise<void> {
  const { site, home, mountpoint } = await mountedSite(t);
  const work = startWork(site, mountpoint);
  await until('the work begins', async () => (await run(['test', '-e', `${mountpoint}/work/c`])).code === 0);
  const ends: string[] = [];
  for (let count = 0; count < KILLS_IN_SNAPSHOT; count++) {
    await runDone([
      'dd',
      'if=/dev/urandom',
      `of=${mountpoint}/large-${String(count)}`,
      'bs=1M',
      'count=20',
      'status=none',
    ]);
    const { daemon } = await home.stats(mountpoint);
    const snapshot = home.cairn(['snapshot', mountpoint]);
    // The command itself takes a good 200 ms until it asks.
    await pause(150 + randomInt(400));
    kill(daemon.pid);
    const { code, stderr } = await snapshot;
    dropPageCache();
    ends.push(String(code));
    t.ok(code === 0 || code === 5, `the snapshot ends with 0, or with 5 and one line: ${stderr}`);
    t.ok(stderr.split('\n').length <= 2);
  }
  t.comment(`the snapshots ended with ${ends.join(' ')}`);
  await until('what was sealed is published', async () => (await home.status(mountpoint)).sealedLayers === 0);
  const worked = await work.stop();
  t.match(worked, { code: 0, stderr: '' }, 'no call failed, nothing written was lost');
  await home.snapshot(mountpoint);
  t.match(await home.status(mountpoint), { entries: [], sealedLayers: 0 });

  const plain = await sameWork(site, worked.stdout);
  const version = await site.home('other').mount('work', 'version', '--read-only');
  const unequal = await differences(plain, version.mountpoint, { times: false });
  t.same(
    unequal.filter((line) => !line.startsWith('./large-')),
    [],
    'the version is what the same work made elsewhere',
  );
  t.same(await differences(mountpoint, version.mountpoint), [], 'and what the mount shows');
}

/** The kernel gave up, with EIO, what it was copying into a daemon that was killed: one in thirty here, while pages were missing there. */
async function killedInFirstWrite(t: Test): Promise<void> {
  const { home, mountpoint } = await mountedSite(t);
  const args = ['-s', 'KILL', String(LIMIT_S), 'python3', programPath('operations.py')];
  const codes: unknown[] = [];
  for (let count = 0; count < KILLS_IN_WRITE; count++) {
    const { daemon } = await home.stats(mountpoint);
    const writer = spawn('timeout', [...args, 'large_write', mountpoint], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const exited = once(writer, 'exit');
    await once(writer.stdout, 'data');
    const killAt_ms = performance.now() + (randomInt(1000) / 1000) * WRITE_MS;
    while (performance.now() < killAt_ms);
    kill(daemon.pid);
    codes.push((await exited)[0]);
  }
  t.same(
    codes,
    codes.map(() => 0),
  );
}

/** A program that has files without a name open. */
class Holder {
  readonly #process;
  readonly #answers;

  constructor(folder: string) {
    const args = ['-s', 'KILL', String(LIMIT_S), 'python3', programPath('holder.py'), folder];
    this.#process = spawn('timeout', args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#answers = createInterface(this.#process.stdout)[Symbol.asyncIterator]();
  }

  async do(...command: string[]): Promise<void> {
    this.#process.stdin.write(`${command.join(' ')}\n`);
    const { value } = (await this.#answers.next()) as IteratorResult<string, undefined>;
    if (value !== 'done') throw new Error(`${command.join(' ')} failed`);
  }

  async end(): Promise<number | null> {
    this.#process.stdin.end();
    const [code] = (await once(this.#process, 'exit')) as [number | null];
    return code;
  }
}

/** What a daemon that dies has counted the next one does not know: content that nobody could reach any more kept its space until the mount ended. */
async function removedWhileOpen(t: Test): Promise<void> {
  const { home, mountpoint } = await mountedSite(t);
  const taken_kib = async (): Promise<number> =>
    Number.parseInt(await runDone(['du', '-sk', `${home.dir}/mounts`]));
  const killed = async (): Promise<void> => {
    const { daemon, supervisor } = await home.stats(mountpoint);
    kill(daemon.pid);
    await until('the next daemon', async () => {
      await runDone(['stat', mountpoint], { limit_s: 20 });
      return (await home.stats(mountpoint)).supervisor.restarts > supervisor.restarts;
    });
  };
  const holder = new Holder(mountpoint);
  const before_kib = await taken_kib();
  await holder.do('open', '6144', 'stays');
  await holder.do('open', '9216', 'closed');
  await holder.do('nameless', '5120', 'nameless');
  await holder.do('nameless', '0', 'empty');
  t.ok((await taken_kib()) > before_kib + 19 * 1024, 'all have their space');
  for (let kills = 0; kills < 3; kills++) {
    await killed();
    await holder.do('check', 'stays', 'closed', 'nameless');
  }
  await holder.do('check', 'empty');
  await holder.do('close', 'closed');
  await until('the closed file is gone', async () => (await taken_kib()) < before_kib + 13 * 1024);
  await holder.do('close', 'nameless');
  await until('so is the other', async () => (await taken_kib()) < before_kib + 8 * 1024);
  t.ok((await taken_kib()) > before_kib + 5 * 1024, 'what is open still has its own');

  // A daemon that dies with the kernel's word of them: the next one asks.
  const lost = Array.from({ length: 10 }, (_, index) => `lost-${String(index)}`);
  for (let round = 0; round < KILLS_IN_CLOSE; round++) {
    await holder.do('open', '5120', ...lost);
    await killed();
    const { daemon } = await home.stats(mountpoint);
    await holder.do('close', ...lost);
    kill(daemon.pid);
    await until('the space is back', async () => (await taken_kib()) < before_kib + 8 * 1024);
    await holder.do('check', 'stays', 'empty');
  }
  await holder.do('close', 'stays', 'empty');
  await until('nothing is left', async () => (await taken_kib()) < before_kib + 1024);
  t.equal(await holder.end(), 0);
}

async function killedSupervisor(t: Test): Promise<void> {
  const { site, home, mountpoint } = await mountedSite(t);
  const work = startWork(site, mountpoint);
  await until('the work begins', async () => (await run(['test', '-e', `${mountpoint}/work/c`])).code === 0);
  const { supervisor, daemon } = await home.stats(mountpoint);
  kill(supervisor.pid);
  const worked = await work.stop();
  t.match(worked, { code: 0, stderr: '' }, 'the daemon goes on by itself');
  const plain = await sameWork(site, worked.stdout);
  t.same(await differences(plain, mountpoint, { times: false }), []);
  await home.unmount(mountpoint);
  t.match(await home.mount('work', 'mnt'), { resumedEdits: true, seq: 1 });
  t.same(await differences(plain, mountpoint, { times: false }), [], 'the edits are there');

  const next = await home.stats(mountpoint);
  t.not(next.daemon.pid, daemon.pid);
  // Doctor said that the mount is silent, and then waited for it at its own end.
  process.kill(next.daemon.pid, 'SIGSTOP');
  const doctor = await home.cairn(['doctor'], { limit_s: 60 });
  process.kill(next.daemon.pid, 'SIGCONT');
  t.match(doctor.stdout, `${mountpoint} is silent`, 'a daemon that hangs is found, and nobody hangs with it');
  kill(next.supervisor.pid);
  kill(next.daemon.pid);
  t.match(
    await run(['stat', mountpoint], { limit_s: 20 }),
    { code: 1 },
    'with both gone, calls fail; they do not hang',
  );
  t.match(await home.cairn(['unmount', mountpoint]), { code: 0, stderr: '' });
  t.match(await home.mount('work', 'mnt'), { resumedEdits: true, seq: 1 });
  t.same(await differences(plain, mountpoint, { times: false }), [], 'the edits are there');
}
