import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { s3Environment, startS3 } from '../fixtures/s3-server.js';
import { jsonLines, runCairn } from './run-cairn.js';

// Every command is a process, and the machine may be busy.
t.setTimeout(120_000);

const home = t.testdir();
const source = mkdtempSync(join(tmpdir(), 'cairn-cli-'));
t.teardown(() => {
  rmSync(source, { recursive: true, force: true });
});
writeFileSync(join(source, 'file'), 'content');

t.test('a store that cannot be written to is refused in one line, and no version is made', async (t) => {
  // Refused to root too.
  const ran = await runCairn(home, ['import', source, '-w', 'other', '--store', 'file:///proc/cairn-store']);
  t.ok([1, 5].includes(ran.code ?? 0), `exit code ${String(ran.code)}`);
  t.equal(ran.stdout, '');
  t.match(ran.stderr, /^cairn: [^\n]*\/proc\/cairn-store[^\n]*: [^\n]+\n$/);
  t.not((await runCairn(home, ['log', 'other@1'])).code, 0);
});

t.test('wrong credentials end with exit code 5', async (t) => {
  const server = await startS3();
  t.teardown(() => server.stop());
  const places = ['--home', t.testdir(), '--store', server.newUrl()];
  const args = ['import', source, '-w', 'demo', ...places];

  const wrong = s3Environment(server.endpoint, {
    accessKeyId: 'AKLOCALTEST00000',
    secretAccessKey: 'not-the-secret',
  });
  const denied = await runCairn(home, args, { env: wrong });
  t.match(denied, { code: 5, stdout: '', stderr: /^cairn: [^\n]*s3:\/\/[^\n]*: [^\n]+\n$/ });
  const doctor = await runCairn(home, ['doctor', ...places, '--json'], { env: wrong });
  t.equal(doctor.code, 1);
  t.match(
    (jsonLines(doctor.stdout) as { name: string }[]).find(({ name }) => name === 'store'),
    { result: 'fail', advice: String },
  );

  const right = await runCairn(home, args, { env: server.env });
  t.match(right, { code: 0, stdout: 'demo@1: 1 file, 7 B' });
  const cat = ['cat', 'demo:file', ...places];
  t.match(await runCairn(home, cat, { env: server.env }), { code: 0, stdout: 'content' });
});

t.test('a store that cannot be reached ends with exit code 5, and nothing is published', async (t) => {
  const server = await startS3();
  await server.stop();
  const args = ['--home', t.testdir(), '--store', server.newUrl()];
  const ran = await runCairn(home, ['import', source, '-w', 'demo', ...args], { env: server.env });
  t.match(ran, { code: 5, stdout: '', stderr: /^cairn: [^\n]*s3:\/\/[^\n]*: [^\n]+\n$/ });
  t.match(await runCairn(home, ['log', 'demo', ...args]), { code: 3, stdout: '' });
});
