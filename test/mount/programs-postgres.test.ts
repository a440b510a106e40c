import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, readdirSync, readFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { whyNoMounts } from './ordinary-user.js';
import { startWorkplace, type Workplace } from './programs.js';
import { isRoot, kill, pause, run, runDone, until, type RunLimits } from './site.js';

const LARGE = process.env['CAIRN_TEST_LARGE'] === '1';
const SECONDS = LARGE ? 60 : 20;
const KILLS = 3;
const LIMIT_S = SECONDS + 100;
/** Where Debian has the programs of each release. */
const RELEASES = '/usr/lib/postgresql';
const BIN = newestRelease();
/** Not: that it was asked too early, and that it ended a session whose client had gone before it noticed. */
const COMPLAINT =
  /PANIC|FATAL: {2}(?!the database system is (starting up|not yet accepting)|terminating connection due to administrator command)/;
/** What each transaction of pgbench keeps equal, and how many there were. */
const INVARIANTS = `SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(delta) FROM pgbench_history),
  (SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT sum(delta) FROM pgbench_history),
  (SELECT sum(bbalance) FROM pgbench_branches) = (SELECT sum(delta) FROM pgbench_history),
  (SELECT count(*) FROM pgbench_history)`;

const why = whyNoMounts ?? whyNoPostgres();
if (why !== undefined) {
  t.plan(0, why);
} else {
  t.test('PostgreSQL works on a mount, through deaths of the daemon and across a snapshot', postgres);
}

function newestRelease(): string | undefined {
  if (!existsSync(RELEASES)) return undefined;
  const releases = readdirSync(RELEASES).sort((a, b) => Number(b) - Number(a));
  return releases.map((release) => `${RELEASES}/${release}/bin`).find((bin) => existsSync(`${bin}/initdb`));
}

function whyNoPostgres(): string | undefined {
  if (BIN === undefined) return 'no PostgreSQL';
  if (isRoot && !/^postgres:/m.test(readFileSync('/etc/passwd', 'utf8'))) return 'no user postgres';
  return undefined;
}

/** A server, whose data and socket are in `folder`. As the user `postgres` if root runs this: PostgreSQL refuses root. */
class Cluster {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** How a program of PostgreSQL's is run. It ends with this process, whatever ends that. */
  command(program: string, ...args: string[]): string[] {
    const user = isRoot ? ['--reuid=postgres', '--regid=postgres', '--clear-groups'] : [];
    return ['setpriv', '--pdeathsig=KILL', ...user, '--', `${BIN ?? ''}/${program}`, ...args];
  }

  get limits(): RunLimits {
    const env = { PGHOST: this.#folder, PGUSER: 'postgres', PGDATABASE: 'postgres' };
    return { env, limit_s: LIMIT_S };
  }

  async run(program: string, ...args: string[]): Promise<string> {
    return await runDone(this.command(program, ...args), this.limits);
  }

  async create(): Promise<void> {
    if (isRoot) await runDone(['chown', '-R', 'postgres:postgres', this.#folder]);
    await this.run(
      'initdb',
      `--pgdata=${this.#folder}/data`,
      '--data-checksums',
      '--no-locale',
      '--encoding=UTF8',
      '--auth=trust',
      '--username=postgres',
    );
  }

  /** Returns how to stop it, as the operator would; it ends with the test otherwise. */
  async start(t: Test): Promise<() => Promise<void>> {
    const options = [
      'listen_addresses=',
      `unix_socket_directories=${this.#folder}`,
      'restart_after_crash=off',
    ];
    const [command = '', ...args] = this.command(
      'postgres',
      '-D',
      `${this.#folder}/data`,
      ...options.flatMap((option) => ['-c', option]),
    );
    const server = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'], cwd: '/' });
    let said = '';
    server.stderr.on('data', (text: Buffer) => (said += text.toString()));
    const exited = once(server, 'exit');
    t.teardown(async () => {
      server.kill('SIGKILL');
      await exited;
    });
    await until('the server accepts connections', async () => {
      if (server.exitCode !== null) throw new Error(said);
      return (await run(this.command('pg_isready', '-q'), this.limits)).code === 0;
    });
    return async () => {
      server.kill('SIGINT');
      const [code] = (await exited) as [number | null];
      t.equal(code, 0, 'the server is shut down');
      t.same(
        said.split('\n').filter((line) => COMPLAINT.test(line)),
        [],
        'and never complained',
      );
    };
  }

  async sql(text: string): Promise<string> {
    return (await this.run('psql', '-XAtqc', text)).trimEnd();
  }

  async dump(): Promise<string> {
    // Since August 2025 a dump has a random word of its own against injected commands.
    return (await this.run('pg_dump')).replaceAll(/^\\(un)?restrict .*$/gm, '');
  }

  /** While it is stopped. */
  async checkPages(): Promise<string> {
    return await this.run('pg_checksums', '--check', `--pgdata=${this.#folder}/data`);
  }
}

/** The daemon dies now and then while pgbench runs, and a snapshot is made. Returns the version, and how many transactions were done. */
async function bench(
  t: Test,
  { home, mountpoint }: Workplace,
  cluster: Cluster,
): Promise<{ seq: number; transactions: string }> {
  const running = run(
    cluster.command('pgbench', '-n', '-c', '4', '-j', '2', '-T', String(SECONDS)),
    cluster.limits,
  );
  let seq = 0;
  for (let count = 0; count < KILLS; count++) {
    await pause((SECONDS * 1000) / (KILLS + 2));
    kill((await home.stats(mountpoint)).daemon.pid);
    ({ seq } = await home.snapshot(mountpoint));
  }
  const { code, stdout, stderr } = await running;
  t.equal(code, 0, stderr);
  t.match(stdout, /number of failed transactions: 0 /, 'no transaction failed');
  t.notMatch(stderr, /aborted|error/i);
  t.equal((await home.stats(mountpoint)).supervisor.restarts, KILLS);
  t.comment(/tps = \S+/.exec(stdout)?.[0] ?? stdout);
  return { seq, transactions: /actually processed: (\d+)/.exec(stdout)?.[1] ?? stdout };
}

async function postgres(t: Test): Promise<void> {
  const workplace = await startWorkplace(t, { flags: isRoot ? ['--allow-other'] : [] });
  const { site, home, mountpoint } = workplace;
  chmodSync(site.base, 0o711);
  const folder = `${mountpoint}/pg`;
  await runDone(['mkdir', '-m', '700', folder]);
  const cluster = new Cluster(folder);
  await cluster.create();
  const stop = await cluster.start(t);
  await cluster.run('pgbench', '-i', '-q', '-s', '3');
  const { seq, transactions } = await bench(t, workplace, cluster);
  t.equal(
    await cluster.sql(INVARIANTS),
    `t|t|t|${transactions}`,
    'every transaction that was done is there, whole, once',
  );
  const dump = await cluster.dump();
  await stop();
  t.match(await cluster.checkPages(), /Bad checksums: +0\n/);

  await home.unmount(mountpoint);
  await home.mount('work', 'mnt', ...(isRoot ? ['--allow-other'] : []));
  const stopAgain = await cluster.start(t);
  t.equal(await cluster.dump(), dump, 'mounted again it has what it had');
  await stopAgain();

  // The server ran while the snapshot was made: what it finds there is what a crash would have left.
  const restored = `${site.base}/restored`;
  await home.json(['restore', `work@${String(seq)}:pg`, restored]);
  await runDone(['rm', `${restored}/data/postmaster.pid`]);
  const caught = new Cluster(restored);
  const stopCaught = await caught.start(t);
  const [, kept = ''] = /^t\|t\|t\|(\d+)$/.exec(await caught.sql(INVARIANTS)) ?? [];
  t.ok(
    kept !== '' && Number(kept) > 0 && Number(kept) <= Number(transactions),
    `the version has ${kept} transactions, whole`,
  );
  await stopCaught();
  t.match(await caught.checkPages(), /Bad checksums: +0\n/);
}
