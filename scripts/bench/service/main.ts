import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describeMachine, loadAverage } from '../measure/machine.js';
import { withKeptPart } from '../report/markdown.js';
import { time } from '../report/quantities.js';
import { startBeside, startNginx, type RunningServer } from './servers.js';

/*
 * npm run bench:service: latencies of the central service beside nginx, which serves the same files, and git http-backend. A fixed number of
 * requests, so that it stops by itself; `--write` writes them to docs/BENCHMARKS.md.
 */

const FILES = 5000;
const FOLDERS = 50;
const LARGE_BYTES = 64 * 1024 * 1024;
const REQUESTS = 3000;
const IN_FLIGHT = 8;
const COMMITS = 30;
const CLONES = 3;

interface Ask {
  method?: string;
  headers?: Record<string, string>;
  body?: Buffer;
}

/** Of the measurement under way: a connection that was idle while git ran may be closed by now. */
let agent = new Agent({ keepAlive: true });

/** The answer's length; anything but success is an error. */
function ask(
  server: RunningServer,
  path: string,
  { method = 'GET', headers = {}, body }: Ask = {},
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const authorization = server.token === undefined ? {} : { authorization: `Bearer ${server.token}` };
    const request = httpRequest(
      `${server.url}${path}`,
      { method, agent, headers: { ...authorization, ...headers } },
      (response) => {
        response.toArray().then((pieces: Buffer[]) => {
          const status = response.statusCode ?? 0;
          if (status >= 200 && status < 300) resolve(Buffer.concat(pieces));
          else reject(new Error(`${method} ${path}: ${String(status)} ${Buffer.concat(pieces).toString()}`));
        }, reject);
      },
    );
    request.on('error', reject);
    request.end(body);
  });
}

interface Row {
  what: string;
  system: string;
  /** In order. */
  latenciesMs: number[];
  totalMs: number;
}

const rows: Row[] = [];

/** Does something `count` times, so many at once. */
async function measure(
  what: string,
  system: string,
  options: { count: number; inFlight?: number },
  work: (index: number) => unknown,
): Promise<void> {
  agent.destroy();
  agent = new Agent({ keepAlive: true, maxSockets: IN_FLIGHT });
  const latenciesMs: number[] = [];
  let next = 0;
  const workSome = async (): Promise<void> => {
    while (next < options.count) {
      const index = next++;
      const begin = performance.now();
      await work(index);
      latenciesMs.push(performance.now() - begin);
    }
  };
  const begin = performance.now();
  await Promise.all(Array.from({ length: options.inFlight ?? 1 }, workSome));
  const totalMs = performance.now() - begin;
  latenciesMs.sort((a, b) => a - b);
  rows.push({ what, system, latenciesMs, totalMs });
  const { length } = latenciesMs;
  console.log(`${what}, ${system}: ${String(length)} in ${totalMs.toFixed()} ms`);
}

const pathOf = (index: number): string => `d${String(index % FOLDERS)}/file-${String(index)}.txt`;

function bytesOf(seed: string, length: number): Buffer {
  const line = createHash('sha256').update(seed).digest('base64');
  return Buffer.from(`${line}\n`.repeat(Math.ceil(length / (line.length + 1)))).subarray(0, length);
}

/** The same for every system: which file the i-th request is for. */
const chosen = (request: number): string => pathOf((request * 7919) % FILES);

function buildTree(tree: string): void {
  for (let folder = 0; folder < FOLDERS; folder++)
    mkdirSync(join(tree, `d${String(folder)}`), { recursive: true });
  for (let index = 0; index < FILES; index++) {
    writeFileSync(join(tree, pathOf(index)), bytesOf(pathOf(index), 500 + ((index * 31) % 9000)));
  }
}

function git(cwd: string, ...args: string[]): void {
  execFileSync('git', ['-c', 'user.name=b', '-c', 'user.email=b@example.org', '-c', 'gc.auto=0', ...args], {
    cwd,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
}

const FILES_OF_HEAD = '/v1/workspaces/tree/versions/head/files';

/** Commits changes of files, whose bytes go along. */
async function commit(
  cairn: RunningServer,
  key: string,
  base: number,
  files: Map<string, Buffer>,
): Promise<number> {
  const changes = Array.from(files, ([path, bytes]) => ({
    kind: 'put',
    path,
    content: { bytes: bytes.toString('base64') },
  }));
  const headers = { 'content-type': 'application/json' };
  const body = Buffer.from(JSON.stringify({ key, base, changes }));
  const opened = await ask(cairn, '/v1/workspaces/tree/commits', { method: 'POST', headers, body });
  const { id } = JSON.parse(opened.toString()) as { id: string };
  const finished = await ask(cairn, `/v1/workspaces/tree/commits/${id}/finish`, { method: 'POST' });
  return (JSON.parse(finished.toString()) as { version: { seq: number } }).version.seq;
}

async function measureReads(cairn: RunningServer, nginx: RunningServer, tree: string): Promise<void> {
  const large = bytesOf('large', LARGE_BYTES);
  writeFileSync(join(tree, 'large.bin'), large);
  await ask(cairn, `${FILES_OF_HEAD}/large.bin`, { method: 'PUT', body: large });
  const systems = [
    ['CairnFS', cairn, FILES_OF_HEAD],
    ['nginx', nginx, ''],
  ] as const;
  for (const [system, server, prefix] of systems) {
    const inFlight = IN_FLIGHT;
    await measure('look up a file (HEAD)', system, { count: REQUESTS, inFlight }, (index) =>
      ask(server, `${prefix}/${chosen(index)}`, { method: 'HEAD' }),
    );
    await measure('GET a file of some KiB', system, { count: REQUESTS, inFlight }, (index) =>
      ask(server, `${prefix}/${chosen(index)}`),
    );
    await measure('GET 64 KiB of a file of 64 MiB', system, { count: REQUESTS / 3, inFlight }, (index) => {
      const start = (index * 1_000_003) % (LARGE_BYTES - 65_536);
      return ask(server, `${prefix}/large.bin`, {
        headers: { range: `bytes=${String(start)}-${String(start + 65_535)}` },
      });
    });
    await measure('GET a file of 64 MiB', system, { count: 8 }, async () => {
      const { length } = await ask(server, `${prefix}/large.bin`);
      if (length !== LARGE_BYTES) throw new Error(`${String(length)} bytes`);
    });
  }
}

async function measureCommits(cairn: RunningServer, backend: RunningServer, clone: string): Promise<void> {
  let head = 0;
  await measure('first commit of 5,000 files', 'CairnFS', { count: 1 }, async () => {
    const files = Array.from({ length: FILES }, (_, index) => pathOf(index));
    head = await commit(
      cairn,
      'import',
      0,
      new Map(files.map((path) => [path, readFileSync(join(clone, path))])),
    );
  });
  await measure('first commit of 5,000 files', 'git push', { count: 1 }, () => {
    git(clone, 'push', '-q', `${backend.url}/tree.git`, 'HEAD:refs/heads/main');
  });
  await measure('commit 10 changed files', 'CairnFS', { count: COMMITS }, async (round) => {
    const files = Array.from({ length: 10 }, (_, index): [string, Buffer] => {
      const path = pathOf(round * 10 + index);
      return [path, bytesOf(`${path} ${String(round)}`, 3000)];
    });
    head = await commit(cairn, `commit-${String(round)}`, head, new Map(files));
  });
  await measure('commit 10 changed files', 'git commit, push', { count: COMMITS }, (round) => {
    for (let index = 0; index < 10; index++) {
      const path = pathOf(round * 10 + index);
      writeFileSync(join(clone, path), bytesOf(`${path} ${String(round)}`, 3000));
    }
    git(clone, 'commit', '-qam', 'changed');
    git(clone, 'push', '-q', `${backend.url}/tree.git`, 'HEAD:refs/heads/main');
  });
  await measure('PUT one file', 'CairnFS', { count: COMMITS }, (round) =>
    ask(cairn, `${FILES_OF_HEAD}/${chosen(round)}`, {
      method: 'PUT',
      body: bytesOf(`put ${String(round)}`, 3000),
    }),
  );
}

async function measureWholeTree(
  dir: string,
  { cairn, nginx, backend }: { cairn: RunningServer; nginx: RunningServer; backend: RunningServer },
): Promise<void> {
  const what = 'all of the tree';
  await measure(what, 'CairnFS, as tar', { count: CLONES }, async (round) => {
    const into = join(dir, `tar-${String(round)}`);
    mkdirSync(into);
    execFileSync('tar', ['-x', '-C', into], { input: await ask(cairn, `${FILES_OF_HEAD}/?archive=tar`) });
  });
  await measure(what, 'git clone', { count: CLONES }, (round) => {
    git(dir, 'clone', '-q', '-b', 'main', `${backend.url}/tree.git`, `clone-${String(round)}`);
  });
  await measure(what, 'nginx, file by file', { count: CLONES }, async () => {
    let next = 0;
    const getSome = async (): Promise<void> => {
      while (next < FILES) await ask(nginx, `/${pathOf(next++)}`);
    };
    await Promise.all(Array.from({ length: IN_FLIGHT }, getSome));
  });
}

const quantile = ({ latenciesMs }: Row, part: number): number =>
  latenciesMs[Math.min(latenciesMs.length - 1, Math.floor(latenciesMs.length * part))] ?? 0;

function report(loads: { before: number; after: number }): string {
  const head = ['', 'system', 'p50', 'p99', 'each second', 'measured'];
  const lines = [head, head.map(() => '---')];
  for (const row of rows) {
    const count = row.latenciesMs.length;
    lines.push([
      row.what,
      row.system,
      time(quantile(row, 0.5)),
      count >= 100 ? time(quantile(row, 0.99)) : '',
      ((count * 1000) / row.totalMs).toFixed(1),
      String(count),
    ]);
  }
  const date = new Date().toISOString().slice(0, 10);
  return [
    `Written by \`npm run bench:service\` (${date}; ${describeMachine()}; load average ${loads.before.toFixed(1)} before, ${loads.after.toFixed(1)} after). The service over SQLite and a folder, nginx, and \`git http-backend\` behind a small server of Node's, each in a process of its own, and the client in another, on one machine; ${String(IN_FLIGHT)} requests in flight where files are read, else one. A tree of ${FILES.toLocaleString('en')} files, 500 bytes to 9.5 KB. Without TLS. nginx looks at no token and has no versions; git’s time has \`git commit\` in it, and a clone has all history.`,
    lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n'),
  ].join('\n\n');
}

const before = loadAverage();
const dir = mkdtempSync(join(tmpdir(), 'cairn-bench-service-'));
const running: RunningServer[] = [];
const started = async (starting: Promise<RunningServer>): Promise<RunningServer> => {
  const server = await starting;
  running.push(server);
  return server;
};
try {
  const tree = join(dir, 'tree');
  buildTree(tree);
  execFileSync('git', ['init', '-q', '--bare', '-b', 'main', join(dir, 'git', 'tree.git')]);
  execFileSync('git', ['-C', join(dir, 'git', 'tree.git'), 'config', 'http.receivepack', 'true']);
  const clone = join(dir, 'work');
  execFileSync('cp', ['-r', tree, clone]);
  git(clone, 'init', '-q', '-b', 'main');
  git(clone, 'add', '-A');
  git(clone, 'commit', '-qm', 'tree');
  const cairn = await started(startBeside('service-process.js', dir));
  const nginx = await started(startNginx(join(dir, 'nginx'), tree));
  const backend = await started(startBeside('git-process.js', join(dir, 'git')));
  await measureCommits(cairn, backend, clone);
  await measureReads(cairn, nginx, tree);
  await ask(cairn, `${FILES_OF_HEAD}/large.bin`, { method: 'DELETE' });
  await measureWholeTree(dir, { cairn, nginx, backend });
} finally {
  agent.destroy();
  for (const server of running.reverse()) await server.stop();
  rmSync(dir, { recursive: true, force: true });
}
const text = report({ before, after: loadAverage() });
console.log(text);
if (process.argv.includes('--write')) {
  const path = new URL('../../../../docs/BENCHMARKS.md', import.meta.url);
  writeFileSync(path, await withKeptPart(readFileSync(path, 'utf8'), 'service', text));
}
