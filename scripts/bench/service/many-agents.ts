import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { freemem, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { saveServiceToken } from '../../../src/wire/index.js';
import { describeMachine, loadAverage } from '../measure/machine.js';
import { startBeside } from './servers.js';

/*
 * node dist/scripts/bench/service/many-agents.js [agents] [mounts]: agents that come to one service at once, each with a home folder of its own. `agents` in few processes, with the
 * client of a mount; then `mounts` real ones.
 */

const PROCESSES = 4;
const MOUNTS_BEGUN_AT_ONCE = 4;

/** For what else runs on the machine: no mount is begun below this. */
const MEMORY_LEFT_BYTES = 10 * 1024 ** 3;

const [agents = 200, mounts = 0] = process.argv.slice(2).map(Number);
const CAIRN = fileURLToPath(new URL('../../../../bin/cairn', import.meta.url));
const run = promisify(execFile);
const dir = mkdtempSync(join(tmpdir(), 'cairn-many-agents-'));
const tree = join(dir, 'tree');
const pathOf = (index: number): string => `d${String(index % 50)}/file-${String(index)}.txt`;

for (let index = 0; index < 5000; index++) {
  if (index < 50) mkdirSync(join(tree, `d${String(index)}`), { recursive: true });
  const line = createHash('sha256').update(pathOf(index)).digest('base64');
  writeFileSync(join(tree, pathOf(index)), line.repeat(300).slice(0, 500 + ((index * 31) % 9000)));
}

const service = await startBeside('service-process.js', dir);
const { url, token = '' } = service;
try {
  const importer = join(dir, 'importer');
  await saveServiceToken(url, token, importer);
  await cairn(importer, 'import', tree, '--workspace', 'tree', '--catalog', url);
  console.log(`${describeMachine()}; load ${loadAverage().toFixed(1)}`);
  await measureClients();
  if (mounts > 0) await measureMounts();
} finally {
  await service.stop();
  rmSync(dir, { recursive: true, force: true });
}

async function cairn(home: string, ...args: string[]): Promise<string> {
  const env = { PATH: process.env['PATH'], CAIRN_HOME: home };
  return (await run(process.execPath, [CAIRN, ...args], { env })).stdout;
}

async function measureClients(): Promise<void> {
  for (let agent = 0; agent < agents; agent++)
    await saveServiceToken(url, token, join(dir, `agent-${String(agent)}`));
  const each = Math.ceil(agents / PROCESSES);
  const program = fileURLToPath(new URL('agent-clients.js', import.meta.url));
  const children = Array.from({ length: PROCESSES }, (_, index) => {
    const args = [program, url, dir, String(index * each), String(Math.min(each, agents - index * each))];
    return spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  });
  const answers = children.map((child) => once(createInterface(child.stdout), 'line') as Promise<[string]>);
  const peak = { connections: 0 };
  const watching = setInterval(() => {
    peak.connections = Math.max(peak.connections, connectionsOf(service.pid));
  }, 50);
  for (const child of children) child.stdin.write('go\n');
  const results = (await Promise.all(answers)).map(
    ([line]) => JSON.parse(line) as { latenciesMs: number[]; errors: string[] },
  );
  clearInterval(watching);
  report(
    'clients',
    results.flatMap(({ latenciesMs }) => latenciesMs),
    results.flatMap(({ errors }) => errors),
  );
  console.log(
    `  connections, at most: ${String(peak.connections)}; memory of the service: ${memoryOf(service.pid)}`,
  );
}

async function measureMounts(): Promise<void> {
  const latenciesMs: number[] = [];
  const errors: string[] = [];
  const mounted: { home: string; at: string }[] = [];
  let next = 0;
  const mountSome = async (): Promise<void> => {
    while (next < mounts && freemem() > MEMORY_LEFT_BYTES) {
      const index = next++;
      const home = join(dir, `mount-${String(index)}`);
      const at = join(dir, `at-${String(index)}`);
      mkdirSync(at);
      await saveServiceToken(url, token, home);
      const begin = performance.now();
      try {
        await cairn(home, 'mount', `${url}/tree`, at, '--read-only');
        mounted.push({ home, at });
        const path = pathOf((index * 7919) % 5000);
        const { stdout } = await run('timeout', ['-s', 'KILL', '60', 'cat', join(at, path)]);
        if (stdout !== readFileSync(join(tree, path), 'latin1')) throw new Error(`${path} is something else`);
        latenciesMs.push(performance.now() - begin);
      } catch (error) {
        errors.push(String(error));
      }
    }
  };
  try {
    await Promise.all(Array.from({ length: MOUNTS_BEGUN_AT_ONCE }, mountSome));
    report('mounts, all at the same time', latenciesMs, errors);
    const pss = pssBelow(dir);
    console.log(`  each, supervisor and daemon: ${(pss / 1024 / mounted.length).toFixed(1)} MiB (PSS)`);
    console.log(
      `  connections: ${String(connectionsOf(service.pid))}; memory of the service: ${memoryOf(service.pid)}`,
    );
  } finally {
    const unmountSome = async (): Promise<void> => {
      for (let one = mounted.pop(); one !== undefined; one = mounted.pop())
        await cairn(one.home, 'unmount', one.at).catch(console.error);
    };
    await Promise.all(Array.from({ length: MOUNTS_BEGUN_AT_ONCE }, unmountSome));
  }
}

function report(what: string, latenciesMs: number[], errors: readonly string[]): void {
  latenciesMs.sort((a, b) => a - b);
  const quantile = (part: number): string =>
    (latenciesMs[Math.min(latenciesMs.length - 1, Math.floor(latenciesMs.length * part))] ?? NaN).toFixed();
  console.log(
    `${what}: ${String(latenciesMs.length)} succeeded, ${String(errors.length)} failed; p50 ${quantile(0.5)} ms, p99 ${quantile(0.99)} ms`,
  );
  for (const error of errors.slice(0, 5)) console.log(`  ${error}`);
}

/** Sockets of a process, but the one that listens. */
function connectionsOf(pid: number): number {
  const folder = `/proc/${String(pid)}/fd`;
  const targets = readdirSync(folder).map((fd) => {
    try {
      return readlinkSync(join(folder, fd));
    } catch {
      return '';
    }
  });
  return targets.filter((target) => target.startsWith('socket:')).length - 1;
}

function memoryOf(pid: number): string {
  const status = readFileSync(`/proc/${String(pid)}/status`, 'utf8');
  const mib = (name: string): string =>
    (Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) / 1024).toFixed();
  return `${mib('VmRSS')} MiB, at most ${mib('VmHWM')} MiB`;
}

/** Of all processes whose home folder is below `folder`, in KiB. */
function pssBelow(folder: string): number {
  let kib = 0;
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const environment = readFileSync(`/proc/${pid}/environ`, 'latin1');
      if (!environment.includes(`CAIRN_HOME=${folder}/mount-`)) continue;
      kib += Number(/^Pss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1] ?? 0);
    } catch {
      // It has ended.
    }
  }
  return kib;
}
