import {
  chmodSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { jsonLines, runCairn, runCairnInShell } from './run-cairn.js';

// Every command is a process, and the machine may be busy.
t.setTimeout(120_000);

const NOT_UTF8 = Buffer.from([0x6e, 0xff, 0x6d]);

/** A small tree with names a person would not choose. */
function makeTree(dir: string): void {
  mkdirSync(join(dir, 'sub', 'empty'), { recursive: true });
  writeFileSync(join(dir, 'hello.txt'), 'hello\n');
  writeFileSync(
    join(dir, 'sub', 'blob'),
    Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7919) % 251)),
  );
  writeFileSync(join(dir, 'sub', 'line\nbreak'), 'odd');
  writeFileSync(Buffer.concat([Buffer.from(`${dir}/sub/`), NOT_UTF8]), 'bytes');
  symlinkSync('../hello.txt', join(dir, 'sub', 'link'));
  linkSync(join(dir, 'hello.txt'), join(dir, 'sub', 'twin'));
  chmodSync(join(dir, 'sub', 'blob'), 0o640);
}

interface Line {
  path?: string;
  pathBase64?: string;
  [key: string]: unknown;
}

const home = mkdtempSync(join(tmpdir(), 'cairn-cli-'));
t.teardown(() => {
  rmSync(home, { recursive: true, force: true });
});
const source = join(home, '..', `${home.split('/').at(-1) ?? ''}-source`);
mkdirSync(source);
t.teardown(() => {
  rmSync(source, { recursive: true, force: true });
});
makeTree(source);

t.test('import publishes a directory as the first version', async (t) => {
  const ran = await runCairn(home, [
    'import',
    source,
    '--workspace',
    'demo',
    '-m',
    'first\nof all',
    '--author',
    'ann@box',
    '--json',
  ]);
  t.equal(ran.stderr, '');
  t.equal(ran.code, 0);
  t.match(jsonLines(ran.stdout), [
    {
      created: true,
      files: 4,
      directories: 3,
      version: { workspace: 'demo', seq: 1, parentSeq: 0, author: 'ann@box', message: 'first\nof all' },
    },
  ]);
});

t.test('importing the same directory again makes no version and says so', async (t) => {
  const ran = await runCairn(home, ['import', source, '--workspace', 'demo']);
  t.match(ran, { code: 0, stdout: /^nothing has changed since demo@1 / });
});

t.test('ls lists a directory in the order of bytes, names that are not text escaped', async (t) => {
  t.equal((await runCairn(home, ['ls', 'demo'])).stdout, 'hello.txt\nsub\n');
  t.equal(
    (await runCairn(home, ['ls', 'demo:sub'])).stdout,
    `blob\nempty\n'line'$'\\n''break'\nlink\n'n'$'\\377''m'\ntwin\n`,
  );
  t.match(
    (await runCairn(home, ['ls', 'demo:hello.txt', '-l'])).stdout,
    /^-rw\S+ +2 +\d+ +\d+ +6 \d{4}-\d\d-\d\d \d\d:\d\d hello\.txt\n$/,
  );
  t.match(
    (await runCairn(home, ['ls', 'demo:sub', '-l'])).stdout,
    /^lrwxrwxrwx .* link -> \.\.\/hello\.txt$/m,
  );
});

t.test('ls --json prints one entry a line, a path that is not UTF-8 as base64', async (t) => {
  const entries = jsonLines((await runCairn(home, ['ls', 'demo', '-R', '--json'])).stdout) as Line[];
  t.equal(entries.length, 8);
  t.match(
    entries.find(({ path }) => path === 'sub/line\nbreak'),
    { type: 'file', size: 3 },
  );
  t.match(
    entries.find(
      ({ pathBase64 }) => pathBase64 === Buffer.concat([Buffer.from('sub/'), NOT_UTF8]).toString('base64'),
    ),
    { type: 'file', size: 5 },
  );
  t.match(
    entries.find(({ path }) => path === 'sub/link'),
    { type: 'symlink', target: { path: '../hello.txt' } },
  );
  t.match(
    entries.find(({ path }) => path === 'sub/blob'),
    { mode: 0o640, size: 300_000, hash: /^[0-9a-f]{64}$/ },
  );
});

t.test('cat prints the bytes of a file, whatever they and its name are', async (t) => {
  const blob = await runCairnInShell(home, '$CAIRN cat demo:sub/blob', source);
  t.equal(blob.code, 0);
  t.ok(readFileSync(join(source, 'sub', 'blob')).equals(blob.stdout));
  const odd = await runCairnInShell(home, `$CAIRN cat demo@1:$'sub/n\\377m'`, source);
  t.equal(odd.stderr, '');
  t.equal(Buffer.from(odd.stdout).toString(), 'bytes');
  const pieces = jsonLines((await runCairn(home, ['cat', 'demo:sub/blob', '--json'])).stdout) as {
    base64: string;
  }[];
  t.ok(
    readFileSync(join(source, 'sub', 'blob')).equals(
      Buffer.concat(pieces.map(({ base64 }) => Buffer.from(base64, 'base64'))),
    ),
  );
});

t.test('cat ends quietly when its reader does, and refuses what is not a file', async (t) => {
  const ran = await runCairnInShell(
    home,
    'set -o pipefail; $CAIRN cat demo:sub/blob | head -c 10 | wc -c',
    source,
  );
  t.match(ran, { code: 0, stderr: '' });
  t.equal(Buffer.from(ran.stdout).toString().trim(), '10');
  t.match(await runCairn(home, ['cat', 'demo:sub']), {
    code: 2,
    stderr: 'cairn: demo:sub is a directory: cairn ls demo:sub\n',
  });
  t.match(await runCairn(home, ['cat', 'demo:nope']), {
    code: 3,
    stderr: /^cairn: no nope in demo@1: [^\n]+\n$/,
  });
});

t.test('log lists versions newest first', async (t) => {
  writeFileSync(join(source, 'new.txt'), 'new');
  writeFileSync(join(source, 'hello.txt'), 'hello again\n');
  renameSync(join(source, 'sub', 'blob'), join(source, 'blob'));
  rmSync(join(source, 'sub', 'link'));
  t.match(await runCairn(home, ['import', source, '-w', 'demo', '--message', 'second']), {
    code: 0,
    stdout: 'demo@2: 5 files',
  });

  const { stdout } = await runCairn(home, ['log', 'demo']);
  t.match(
    stdout,
    /^@2 {2}\d{4}-\d\d-\d\d \d\d:\d\d {2}\S+@\S+ {2}5 files, .* {2}second\n@1 .* ann@box .* first\n$/,
  );
  t.same(
    (jsonLines((await runCairn(home, ['log', 'demo', '--json'])).stdout) as Line[]).map(({ seq }) => seq),
    [2, 1],
  );
  t.equal(jsonLines((await runCairn(home, ['log', 'demo', '-n', '1', '--json'])).stdout).length, 1);
  t.equal(jsonLines((await runCairn(home, ['log', 'demo@1', '--json'])).stdout).length, 1);
  t.match((await runCairn(home, ['log'])).stdout, /^demo@2 {2}since /);
});

t.test('diff names what was added, changed, removed', async (t) => {
  const lines = (await runCairn(home, ['diff', 'demo@1', '2'])).stdout.split('\n');
  t.ok(lines.includes('A new.txt'));
  t.ok(lines.includes('M hello.txt'));
  t.ok(lines.includes('D sub/link'));
  t.same((await runCairn(home, ['diff', 'demo@1'])).stdout.split('\n'), lines);
  t.same((await runCairn(home, ['diff', 'demo@1', 'demo@2'])).stdout.split('\n'), lines);
  t.match(jsonLines((await runCairn(home, ['diff', 'demo@1', '--stat', '--json'])).stdout), [
    { from: 'demo@1', to: 'demo@2', counts: { added: Number, removed: Number } },
  ]);
  t.equal((await runCairn(home, ['diff', 'demo@2', '2'])).stdout, '');
  t.match(await runCairn(home, ['diff', 'demo@1', '9']), { code: 3, stdout: '' });
});

t.test('restore writes an old version, or one file of it', async (t) => {
  const dest = join(t.testdir(), 'old');
  t.match(await runCairn(home, ['restore', 'demo@1', dest]), {
    code: 0,
    stdout: /^demo@1 is in .*\/old: 4 files, /,
  });
  t.equal(readFileSync(join(dest, 'hello.txt'), 'utf8'), 'hello\n');
  t.equal(statSync(join(dest, 'hello.txt')).ino, statSync(join(dest, 'sub', 'twin')).ino);
  t.equal(statSync(join(dest, 'sub', 'blob')).mode & 0o777, 0o640);
  t.match(await runCairn(home, ['restore', 'demo@1', dest]), { code: 4, stderr: /^cairn: [^\n]+\n$/ });

  const file = join(dest, '..', 'one');
  t.match(await runCairn(home, ['restore', 'demo@1:sub/twin', file, '--json']), { code: 0, stderr: '' });
  t.equal(readFileSync(file, 'utf8'), 'hello\n');
});

t.test('what was restored and imported again has not changed', async (t) => {
  const dest = join(t.testdir(), 'copy');
  await runCairn(home, ['restore', 'demo', dest]);
  t.match((await runCairn(home, ['import', dest, '-w', 'demo'])).stdout, /^nothing has changed since demo@2/);
});

t.test('a directory that is not CairnFS own folder is left as it was', async (t) => {
  t.same(readdirSync(source).sort(), ['blob', 'hello.txt', 'new.txt', 'sub']);
  lutimesSync(source, 0, 0);
  t.match(await runCairn(home, ['import', home, '-w', 'own']), {
    code: 2,
    stderr: /^cairn: [^\n]*own folder[^\n]*\n$/,
  });
});
