import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** A server that runs for the benchmark. */
export interface RunningServer {
  url: string;
  token: string | undefined;
  pid: number;
  stop(): Promise<void>;
}

/** A program beside this one, which says in its first line where it is and ends with its input. */
export async function startBeside(program: string, argument: string): Promise<RunningServer> {
  const path = fileURLToPath(new URL(program, import.meta.url));
  const child = spawn(process.execPath, [path, argument], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout });
  const [line] = (await Promise.race([once(lines, 'line'), failed(child, program)])) as [string];
  const { url, token } = JSON.parse(line) as { url: string; token?: string };
  return {
    url,
    token,
    pid: child.pid ?? 0,
    stop: async () => {
      child.stdin.end();
      await ended(child);
    },
  };
}

/** nginx on a folder, as Debian configures it but for its log. */
export async function startNginx(dir: string, root: string): Promise<RunningServer> {
  mkdirSync(dir, { recursive: true });
  const port = await freePort();
  const config = join(dir, 'nginx.conf');
  writeFileSync(
    config,
    `user root; worker_processes auto; daemon off; pid ${dir}/nginx.pid; error_log ${dir}/error.log;
     events { worker_connections 768; }
     http { access_log off; sendfile on; tcp_nopush on; default_type application/octet-stream;
       client_body_temp_path ${dir}/body; proxy_temp_path ${dir}/proxy; fastcgi_temp_path ${dir}/fastcgi;
       uwsgi_temp_path ${dir}/uwsgi; scgi_temp_path ${dir}/scgi;
       server { listen 127.0.0.1:${String(port)}; root ${root}; } }`,
  );
  const child = spawn('nginx', ['-c', config, '-p', dir], { stdio: ['ignore', 'ignore', 'ignore'] });
  const url = `http://127.0.0.1:${String(port)}`;
  const failure = failed(child, 'nginx');
  failure.catch(() => undefined);
  for (let isUp = false; !isUp;) {
    isUp = await Promise.race([
      fetch(url).then(
        () => true,
        () => false,
      ),
      failure,
    ]);
  }
  return {
    url,
    token: undefined,
    pid: child.pid ?? 0,
    stop: async () => {
      child.kill('SIGQUIT');
      await ended(child);
    },
  };
}

async function failed(child: ChildProcess, program: string): Promise<never> {
  await ended(child);
  throw new Error(`${program} ended with status ${String(child.exitCode)}`);
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return typeof address === 'object' && address !== null ? address.port : 0;
}
