import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { COMMANDS } from '../../src/cli/command-table.js';
import { jsonLines, runCairn, runCairnInShell } from './run-cairn.js';

// Every command is a process, and the machine may be busy.
t.setTimeout(120_000);

const names = [...COMMANDS.keys()];

t.test('--version prints the version of the package', async (t) => {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
  t.same(await runCairn(t.testdir(), ['--version']), { code: 0, stdout: `${version}\n`, stderr: '' });
});

t.test('the help names every command, and the exit codes', async (t) => {
  const { code, stdout, stderr } = await runCairn(t.testdir(), ['--help']);
  t.equal(code, 0);
  t.equal(stderr, '');
  for (const name of names) t.match(stdout, `cairn ${name}`);
  t.match(
    stdout,
    'Exit codes: 0 done · 1 failed · 2 wrong usage · 3 not found · 4 conflict · 5 store or service',
  );
});

t.test('the help of every command has examples and exit codes', async (t) => {
  for (const name of names) {
    const { code, stdout } = await runCairn(t.testdir(), [name, '--help']);
    t.equal(code, 0);
    t.match(stdout, 'Examples:', name);
    t.match(stdout, `cairn ${name}`, name);
    t.match(stdout, 'Exit codes:', name);
  }
});

t.test('wrong usage is one line that says where to read more, and exit code 2', async (t) => {
  const cases: [args: string[], stderr: string][] = [
    [[], 'cairn: name a command: see cairn --help\n'],
    [['imprt', '.'], 'cairn: no command "imprt": see cairn --help\n'],
    [['import'], 'cairn: too few arguments for cairn import <dir>: see cairn import --help\n'],
    [['import', '.'], 'cairn: no workspace named: cairn import <dir> --workspace <name>\n'],
    [['log', 'a', 'b'], 'cairn: unknown argument: b: see cairn log --help\n'],
    [['log', '--nope'], 'cairn: unknown argument: nope: see cairn log --help\n'],
    [['log', '--store'], 'cairn: --store needs a value: see cairn log --help\n'],
    [['log', '-n', 'many'], 'cairn: --limit "many" is not a number: as in --limit 10\n'],
    [['log', 'demo@0'], 'cairn: "0" is not a version: use name, name@7 or name@tag\n'],
    [['cat', 'demo'], 'cairn: "demo" names no file: as in cairn cat demo:package.json\n'],
    [['mount', 'demo'], 'cairn: no folder to mount demo on: cairn mount <workspace> <dir>\n'],
    [['log', '--home='], 'cairn: --home is empty: give a folder\n'],
    [['log', '--cache-size', 'much'], 'cairn: cache size "much" is not a size: as in 512MiB or 20GiB\n'],
    [
      ['log', '--store', '/srv/store'],
      'cairn: store "/srv/store" is not a URL of a kind that is known: as in file:///srv/store, s3://bucket/prefix or https://host\n',
    ],
    [['completion', '--json'], '{"error":{"code":"usage","message":"a completion script is not JSON"'],
  ];
  for (const [args, stderr] of cases) {
    const ran = await runCairn(t.testdir(), args);
    t.equal(ran.code, 2, args.join(' '));
    t.equal(ran.stdout, '', args.join(' '));
    t.match(ran.stderr, stderr, args.join(' '));
    t.equal(ran.stderr.split('\n').length, 2, `${args.join(' ')}: one line`);
  }
});

t.test('under --json an error is one line of JSON on standard error', async (t) => {
  const ran = await runCairn(t.testdir(), ['log', 'nowhere', '--json']);
  t.equal(ran.code, 3);
  t.equal(ran.stdout, '');
  t.match(jsonLines(ran.stderr), [{ error: { code: 'not-found', message: /nowhere/ } }]);
});

t.test('--debug adds the stack, which nothing else shows', async (t) => {
  const home = t.testdir();
  t.notMatch((await runCairn(home, ['log', 'nowhere'])).stderr, /\n {4}at /);
  t.match((await runCairn(home, ['log', 'nowhere', '--debug'])).stderr, /\n {4}at /);
});

t.test('what is not there ends with exit code 3 and leaves nothing behind', async (t) => {
  const home = join(t.testdir(), 'home');
  const missing = join(home, 'nothing');
  t.match(await runCairn(home, ['mount', 'demo', missing]), { code: 3, stderr: `mkdir -p ${missing}` });
  t.throws(() => statSync(home), { code: 'ENOENT' });
  t.match(await runCairn(home, ['import', missing, '-w', 'demo']), {
    code: 3,
    stderr: `cairn: there is no directory ${missing}: `,
  });
  t.match(await runCairn(home, ['log', 'demo']), { code: 3 });

  for (const args of [
    ['log', 'demo'],
    ['ls', 'demo'],
    ['cat', 'demo:a'],
    ['diff', 'demo@1'],
    ['restore', 'demo', missing],
  ]) {
    t.match(
      await runCairn(home, args),
      { code: 3, stdout: '', stderr: /^cairn: [^\n]*demo[^\n]*\n$/ },
      args.join(' '),
    );
  }
  t.throws(() => statSync(missing), { code: 'ENOENT' });
  for (const command of ['status', 'snapshot', 'stats', 'unmount']) {
    t.match(
      await runCairn(home, [command, home]),
      { code: 3, stdout: '', stderr: `cairn: nothing is mounted at ${home}: cairn mount without` },
      command,
    );
  }
});

t.test('the home folder is for its user alone', async (t) => {
  const home = join(t.testdir(), 'data', 'home');
  t.match(await runCairn(home, ['log']), { code: 0, stdout: 'no workspaces yet: ' });
  t.equal(statSync(home).mode & 0o777, 0o700);
});

t.test('settings come from flags, then variables, then config.json', async (t) => {
  const home = t.testdir();
  const catalogShownBy = async (args: string[], env: Record<string, string>): Promise<string> => {
    const { stdout } = await runCairn(home, ['doctor', '--json', ...args], { env });
    return jsonLines(stdout)
      .map((line) => line as { name: string; found: string })
      .filter(({ name }) => name === 'catalog')
      .map(({ found }) => found)
      .join('');
  };
  const url = (name: string): string => `sqlite://${join(home, name)}`;
  t.match(await catalogShownBy([], {}), url('catalog.sqlite'));
  writeFileSync(
    join(home, 'config.json'),
    JSON.stringify({ catalog: url('from-config'), cacheSize: '1GiB', embedBelow: 0 }),
  );
  t.match(await catalogShownBy([], {}), url('from-config'));
  t.match(await catalogShownBy([], { CAIRN_CATALOG: '' }), url('from-config'));
  t.match(await catalogShownBy([], { CAIRN_CATALOG: url('from-variable') }), url('from-variable'));
  t.match(
    await catalogShownBy(['--catalog', url('from-flag')], { CAIRN_CATALOG: url('from-variable') }),
    url('from-flag'),
  );
  t.match(await runCairn(home, ['log'], { env: { CAIRN_CACHE_SIZE: 'huge' } }), {
    code: 2,
    stderr: 'cairn: cache size "huge" is not a size',
  });
});

t.test('without --home and CAIRN_HOME the home folder is in XDG_DATA_HOME', async (t) => {
  const data = t.testdir();
  const { stdout } = await runCairn('', ['doctor', '--json'], { env: { XDG_DATA_HOME: data } });
  t.match(stdout, join(data, 'cairn', 'store'));
});

t.test('a config.json that makes no sense is refused in one line', async (t) => {
  const home = t.testdir();
  const path = join(home, 'config.json');
  const cases: [content: string, stderr: RegExp][] = [
    ['{ "store": ', /^cairn: \S+config\.json is not JSON: [^\n]+\n$/],
    [
      '{ "stroe": "file:///x" }',
      /^cairn: \S+config\.json: [^\n]*"stroe"[^\n]*known keys are store, catalog, [^\n]+\n$/,
    ],
    ['{ "store": 5 }', /^cairn: \S+config\.json: store: [^\n]+\n$/],
    ['[]', /^cairn: \S+config\.json: [^\n]+\n$/],
    ['{ "store": "ftp://x" }', /^cairn: store "ftp:\/\/x" is not a URL[^\n]+\n$/],
  ];
  for (const [content, stderr] of cases) {
    writeFileSync(path, content);
    t.match(await runCairn(home, ['log']), { code: 2, stdout: '', stderr }, content);
  }
});

t.test('completion offers commands and options, in a script for the shell', async (t) => {
  const home = t.testdir();
  const script = await runCairn(home, ['completion'], { env: { SHELL: '/bin/bash' } });
  t.equal(script.code, 0);
  t.match(script.stdout, 'complete -o bashdefault -o default -F _cairn_yargs_completions cairn');
  const offered = async (...words: string[]): Promise<string[]> =>
    (
      await runCairn(home, ['--get-yargs-completions', 'cairn', ...words], { env: { SHELL: '/bin/bash' } })
    ).stdout.split('\n');
  const commands = await offered('');
  for (const name of names) t.ok(commands.includes(name), name);
  t.ok((await offered('mount', '--r')).includes('--read-only'));
});

t.test('a reader that goes away ends the command quietly', async (t) => {
  const ran = await runCairnInShell(t.testdir(), 'set -o pipefail; $CAIRN doctor --json | head -n 1', '/');
  t.equal(ran.stderr, '');
  t.equal(jsonLines(Buffer.from(ran.stdout).toString('utf8')).length, 1);
});

t.test('doctor says what is wrong and what to do, and ends with exit code 1', async (t) => {
  const home = t.testdir({ file: '' });
  const bad = await runCairn(join(home, 'file'), ['doctor', '--json']);
  t.equal(bad.code, 1);
  const checks = jsonLines(bad.stdout) as { name: string; result: string; advice?: string }[];
  t.equal(checks.find(({ name }) => name === 'home')?.result, 'fail');
  for (const { name, result, advice } of checks) t.equal(result === 'ok', advice === undefined, name);
});

t.test('doctor --write tries the store and leaves nothing in it', async (t) => {
  const home = t.testdir();
  const store = join(home, 'bucket');
  mkdirSync(store);
  const { stdout } = await runCairn(home, ['doctor', '--json', '--write', '--store', `file://${store}`]);
  const [check] = (jsonLines(stdout) as { name: string; result: string; found: string }[]).filter(
    ({ name }) => name === 'store',
  );
  t.equal(check?.result, 'ok');
  t.match(check?.found, 'reads, writes and deletes');
});
