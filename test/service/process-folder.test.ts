import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { scratchFolder } from '../fixtures/scratch-folder.js';

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));

interface Served {
  child: ChildProcess;
  /** A small file by path, for which the service needs a manifest of its own. */
  get: () => Promise<string>;
}

void t.test(
  'services in one home folder leave each other alone, and clear away what those left that were killed',
  async (t) => {
    const home = scratchFolder(t);
    const env = { PATH: process.env['PATH'], CAIRN_HOME: home };
    const cairn = (...args: string[]): string =>
      execFileSync(process.execPath, [MAIN, ...args], { env, encoding: 'utf8' });
    const source = scratchFolder(t);
    writeFileSync(join(source, 'a'), 'of a version');
    cairn('import', source, '--workspace', 'demo');
    const token = cairn('token', 'create', '--workspace', '*', '--can', 'read', '--for', 'ada').trim();
    const start = (): Promise<Served> => startServe(t, env, token);
    const running = join(home, 'service', 'running');
    const folders = (): string[] => readdirSync(running).filter((name) => !name.endsWith('.lock'));

    const killed = await start();
    t.equal(await killed.get(), 'of a version');
    const [left = ''] = folders();
    mkdirSync(join(running, left, 'held'), { recursive: true });
    const exited = once(killed.child, 'exit');
    killed.child.kill('SIGKILL');
    await exited;
    const one = await start();
    const other = await start();
    t.notOk(existsSync(join(running, left)), 'what was left is gone');
    t.equal(folders().length, 2);
    for (const { get } of [one, other, one]) t.equal(await get(), 'of a version');
    for (const { child } of [one, other]) {
      const ended = once(child, 'exit');
      child.kill('SIGTERM');
      await ended;
    }
    t.same(readdirSync(running), [], 'and each takes its own away');
  },
);

async function startServe(t: Test, env: NodeJS.ProcessEnv, token: string): Promise<Served> {
  const child = spawn(process.execPath, [MAIN, 'serve', '--listen', '127.0.0.1:0', '--json'], {
    env,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  const [line] = (await Promise.race([
    once(createInterface(child.stdout), 'line'),
    once(child, 'exit').then(() => {
      throw new Error('it has ended');
    }),
  ])) as [string];
  const { url } = JSON.parse(line) as { url: string };
  const get = async (): Promise<string> => {
    const headers = { authorization: `Bearer ${token}` };
    return await (await fetch(`${url}/v1/workspaces/demo/versions/head/files/a`, { headers })).text();
  };
  return { child, get };
}
