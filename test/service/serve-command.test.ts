import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { copyFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'node:tls';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { scratchFolder } from '../fixtures/scratch-folder.js';

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));

function cairn(
  home: string,
  args: readonly string[],
  options: { input?: string; env?: Record<string, string> } = {},
): string {
  return execFileSync(process.execPath, [MAIN, ...args], {
    env: { PATH: process.env['PATH'], CAIRN_HOME: home, ...options.env },
    input: options.input ?? '',
    encoding: 'utf8',
    stdio: ['pipe', 'pipe', 'pipe'],
  });
}

const told = (stderr: RegExp | string, status?: number) => ({
  message: /^Command failed/,
  stderr,
  ...(status !== undefined && { status }),
});

/** A service in a process of its own, on a port that was free. */
async function startServe(
  t: Test,
  home: string,
  ...more: string[]
): Promise<{ url: string; child: ChildProcess; log: () => string }> {
  const child = spawn(process.execPath, [MAIN, 'serve', '--listen', '127.0.0.1:0', '--json', ...more], {
    env: { PATH: process.env['PATH'], CAIRN_HOME: home },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  let log = '';
  child.stderr.on('data', (text: Buffer) => (log += text.toString()));
  const [line] = (await Promise.race([
    once(createInterface(child.stdout), 'line'),
    once(child, 'exit').then(() => {
      throw new Error(log);
    }),
  ])) as [string];
  return { ...(JSON.parse(line) as { url: string }), child, log: () => log };
}

void t.test('a service is served, administered from elsewhere, and ends when it is told to', async (t) => {
  const home = scratchFolder(t);
  const source = scratchFolder(t);
  writeFileSync(join(source, 'a'), 'b');
  cairn(home, ['import', source, '--workspace', 'demo']);
  const all = ['token', 'create', '--workspace', '*', '--can', 'read,write,admin', '--for', 'ada'];
  const token = cairn(home, all).trim();
  t.match(token, /^cairn_/);
  const { url, child, log } = await startServe(t, home);

  const elsewhere = scratchFolder(t);
  const remote = (args: readonly string[], env: Record<string, string> = { CAIRN_TOKEN: token }): string =>
    cairn(elsewhere, [...args, '--catalog', url], { env });
  t.equal(remote(['tag', 'demo@1', 'stable']), 'demo@stable is @1\n');
  t.match(remote(['fork', 'demo@stable', 'mine']), /^mine@1 is demo@1: 1 file/);
  t.match(
    remote(['workspace', 'set', 'mine', '--read-only', '--quota', '1MiB']),
    /^mine: read-only, at most 1048576/,
  );
  t.equal(remote(['workspace', 'rename', 'mine', 'yours']), 'mine is now yours\n');
  t.match(remote(['workspace', 'delete', 'yours']), /^yours is in the trash/);
  t.match(remote(['workspace', 'undelete', 'yours']), /^yours is back, at version 1/);
  t.match(cairn(home, ['log', 'yours']), /fork of demo@1/, 'in the one catalog there is');

  const weak = remote(['token', 'create', '--workspace', 'demo', '--ttl', '1h', '--for', 'bob']).trim();
  t.match(remote(['tag', 'demo'], { CAIRN_TOKEN: weak }), /demo@stable/);
  const weaker = cairn(elsewhere, ['token', 'attenuate', '--workspace', 'yours'], {
    input: `${weak}\n`,
  }).trim();
  t.throws(() => remote(['tag', 'demo'], { CAIRN_TOKEN: weaker }), told(/^cairn: no workspace "demo"/, 3));
  t.throws(() => remote(['tag', 'demo', 'x'], { CAIRN_TOKEN: weak }), told(/needs a token that can write/));
  t.throws(() => remote(['token', 'list'], { CAIRN_TOKEN: weak }), told(/administers the service/));
  const [, id = ''] = /^cairn_([0-9a-f]+)\./.exec(weak) ?? [];
  t.match(remote(['token', 'list']), new RegExp(`^${id}  bob  can read in demo until `, 'm'));
  remote(['token', 'revoke', id]);
  t.throws(() => remote(['tag', 'demo'], { CAIRN_TOKEN: weak }), told(/was revoked, or has ended/, 5));

  const exited = once(child, 'exit') as Promise<[number]>;
  child.kill('SIGTERM');
  t.same((await exited)[0], 0);
  for (const secret of [token, weak, weaker]) t.notOk(log().includes(secret.split('.').at(-1) ?? ''));
});

async function until(isSo: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await isSo())) await sleep(20);
}

function makeCertificate(cert: string, key: string): void {
  const kind = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  const names = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1'];
  execFileSync('openssl', [...kind, '-keyout', key, '-out', cert, ...names], { stdio: 'ignore' });
}

void t.test('with a certificate it speaks TLS, and nothing else', async (t) => {
  const home = scratchFolder(t);
  const key = join(home, 'key.pem');
  const cert = join(home, 'cert.pem');
  makeCertificate(cert, key);
  const { url, child } = await startServe(t, home, '--tls-cert', cert, '--tls-key', key);
  t.match(url, /^https:/);
  const status = await new Promise((resolve, reject) => {
    request(`${url}/healthz`, { ca: readFileSync(cert) }, (response) => {
      response.resume();
      resolve(response.statusCode);
    })
      .once('error', reject)
      .end();
  });
  t.equal(status, 200);
  await t.rejects(fetch(`${url.replace('https', 'http')}/healthz`));
  const exited = once(child, 'exit') as Promise<[number]>;
  child.kill('SIGINT');
  t.same((await exited)[0], 0);
});

void t.test('a certificate that is renewed is the one that new connections get', async (t) => {
  const home = scratchFolder(t);
  const path = (name: string): string => join(home, name);
  for (const name of ['one', 'two', 'three']) makeCertificate(path(`${name}.cert`), path(`${name}.key`));
  const use = (cert: string, key: string): void => {
    copyFileSync(path(`${cert}.cert`), path('cert'));
    copyFileSync(path(`${key}.key`), path('key'));
  };
  use('one', 'one');
  const { url, child, log } = await startServe(t, home, '--tls-cert', path('cert'), '--tls-key', path('key'));
  const { hostname, port } = new URL(url);
  const served = async (): Promise<string> => {
    const socket = connect({ host: hostname, port: Number(port), rejectUnauthorized: false });
    await once(socket, 'secureConnect');
    const { fingerprint256 } = socket.getPeerCertificate();
    socket.destroy();
    return fingerprint256;
  };
  const fingerprint = (name: string): string =>
    new X509Certificate(readFileSync(path(`${name}.cert`))).fingerprint256;
  t.equal(await served(), fingerprint('one'));
  use('two', 'two');
  await until(async () => (await served()) === fingerprint('two'));
  use('three', 'two');
  child.kill('SIGHUP');
  await until(() => log().includes('the certificate stays as it is'));
  t.equal(await served(), fingerprint('two'), 'what is no pair is not taken');
  rmSync(path('key'));
  t.equal(await served(), fingerprint('two'));
  use('three', 'three');
  child.kill('SIGHUP');
  await until(async () => (await served()) === fingerprint('three'));
  const exited = once(child, 'exit') as Promise<[number]>;
  child.kill('SIGTERM');
  t.same((await exited)[0], 0, log());
});

void t.test('a token is not sent to another machine in plain text', async (t) => {
  const home = scratchFolder(t);
  const env = { CAIRN_TOKEN: 'cairn_0123456789abcdef01.secret' };
  // RFC 5737: an address that nobody has.
  const args = ['log', 'demo', '--catalog', 'http://192.0.2.1:7420'];
  const line =
    'cairn: the token would go to http://192.0.2.1:7420 in plain text: use https://, or set CAIRN_ALLOW_HTTP=1 if the network between is safe\n';
  t.throws(() => cairn(home, args, { env }), told(line, 2));
  t.throws(
    () => cairn(home, ['login', 'http://cairn.test'], { input: env.CAIRN_TOKEN }),
    told(/in plain text/, 2),
  );
  const { url, log } = await startServe(t, home, '--listen', '0.0.0.0:0');
  const here = url.replace('0.0.0.0', '127.0.0.1');
  t.throws(
    () => cairn(home, ['log', 'demo', '--catalog', here], { env }),
    told(/token is not known/),
    'here it is',
  );
  await until(() => log().includes('in plain text'));
  t.equal(log().split('in plain text').length - 1, 1, 'and who listens to others is warned');
  t.notOk((await startServe(t, scratchFolder(t))).log().includes('in plain text'));
});

void t.test('what cannot be served is told in one line', async (t) => {
  const home = scratchFolder(t);
  const { url } = await startServe(t, home);
  for (const [args, stderr] of [
    [['--listen', 'everywhere'], 'cairn: --listen "everywhere" is not an address: as in 127.0.0.1:7420\n'],
    [
      ['--tls-cert', 'x'],
      'cairn: a certificate and its key belong together: give both --tls-cert and --tls-key\n',
    ],
    [['--rate', 'much'], 'cairn: --rate "much" is not a number: as in --rate 2000\n'],
    [['--listen', new URL(url).host], /^cairn: .*EADDRINUSE.*\n$/],
  ] as const) {
    t.throws(() => cairn(scratchFolder(t), ['serve', ...args]), told(stderr));
  }
});
