import path from 'node:path';
import { randomUUID } from 'node:crypto';
import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline/promises';
import { CairnHome } from './cairn.js';
import { CountingProxy, type ProxyCounts } from './counting-proxy.js';
import { countEntries, readAll } from './scans.js';
import type { TimedCommands, TimedOutput } from './timed-commands.js';

const SERVER = path.resolve(import.meta.dirname, '../../../test/fixtures/s3-server.js');
const LATENCY_MS = 20;
const START_LIMIT_MS = 60_000;

export interface S3Step {
  title: string;
  tookMs: number;
  counts: ProxyCounts;
}

export interface S3Results {
  latencyMs: number;
  steps: S3Step[];
}

/** Import, mount and scan with an S3 server on this machine that answers no sooner than one in the same region would. */
export async function measureS3(
  commands: TimedCommands,
  folder: string,
  tree: string,
  signal: AbortSignal,
): Promise<S3Results> {
  const server = spawn(process.execPath, [SERVER], { stdio: ['ignore', 'pipe', 'inherit'], signal });
  const homes: CairnHome[] = [];
  let proxy: CountingProxy | undefined;
  try {
    const env = await serverEnvironment(server);
    const counting = await CountingProxy.start(env['AWS_ENDPOINT_URL_S3'] ?? '', LATENCY_MS);
    proxy = counting;
    env['AWS_ENDPOINT_URL_S3'] = counting.endpoint;
    const store = `s3://test/${randomUUID()}`;
    const steps: S3Step[] = [];
    const take = async (title: string, work: Promise<TimedOutput>): Promise<void> => {
      const { tookMs } = await work;
      steps.push({ title, tookMs, counts: counting.take() });
    };

    const first = new CairnHome(commands, path.join(folder, 's3-first'), { store, env });
    homes.push(first);
    await take('first import', first.import(tree));
    await take('mount to first listing, manifest local', first.mountAndList());
    await first.unmount();
    counting.take();

    const empty = new CairnHome(commands, path.join(folder, 's3-empty'), {
      store,
      env,
      catalog: first.catalogUrl,
    });
    homes.push(empty);
    await take('mount to first listing, empty home', empty.mountAndList());
    await take('find -ls', countEntries(commands, empty.mountpoint));
    await take('read of every file', readAll(commands, empty.mountpoint));
    await empty.unmount();
    return { latencyMs: LATENCY_MS, steps };
  } finally {
    for (const home of homes) await home.close();
    await proxy?.close();
    server.kill('SIGKILL');
  }
}

/** What the server prints before it says that it is ready. */
async function serverEnvironment(server: ChildProcess): Promise<Record<string, string>> {
  const { stdout } = server;
  if (stdout === null) throw new Error('the output of the S3 server is not a pipe');
  const failed = new Promise<never>((_resolve, reject) => {
    server.once('error', reject);
    server.once('exit', () => {
      reject(new Error('the S3 server ended'));
    });
    setTimeout(() => {
      reject(new Error('the S3 server does not start'));
    }, START_LIMIT_MS).unref();
  });
  // It ends, with an error that no one waits for any more, when the benchmark does.
  failed.catch(() => undefined);
  const env: Record<string, string> = {};
  const ready = async (): Promise<Record<string, string>> => {
    for await (const line of createInterface({ input: stdout })) {
      const [, name, value] = /^export (\w+)='(.*)'$/.exec(line) ?? [];
      if (name !== undefined && value !== undefined) env[name] = value;
      if (line.endsWith('READY')) break;
    }
    return env;
  };
  return await Promise.race([ready(), failed]);
}
