import fc from 'fast-check';
import t from 'tap';
import { COMMANDS } from '../../src/cli/command-table.js';
import { fullParse } from '../../src/cli/full-parse.js';
import { quickParse } from '../../src/cli/quick-parse.js';

const commands = await Promise.all([...COMMANDS.values()].map((load) => load()));

// What a person might type, right and wrong, in any order.
const word = fc.oneof(
  fc.constantFrom('--json', '--debug', '-l', '-R', '-lR', '--stat', '--read-only', '--write', ''),
  fc.constantFrom(
    '--store',
    '--store=',
    '--store=s3://b/p',
    '-m',
    '--message',
    '--workspace',
    '-w',
    '-n',
    '-n5',
  ),
  fc.constantFrom('--no-json', '--json=false', '--nope', '--readOnly', '-x', '--a.b=1', '--__proto__=x'),
  fc.constantFrom('demo', 'demo@7', 'demo@7:a/b', '7', '007', '1e3', '/tmp/x', 'a b', '~/demo', '-1', 'ls'),
);

t.test('what is parsed without yargs is what yargs would have made of it', async (t) => {
  let accepted = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...commands),
      fc.array(word, { maxLength: 5 }),
      async (command, words) => {
        const quick = quickParse(command, words);
        if (quick === undefined) return;
        accepted += 1;
        const full = await fullParse([command.name, ...words], '0.0.0');
        t.equal(full?.command.name, command.name, `${command.name} ${words.join(' ')}`);
        t.same(full?.values, quick, `${command.name} ${words.join(' ')}`);
        if (!t.passing()) throw new Error(`differs: ${words.join(' ')}`);
      },
    ),
    { numRuns: 1000 },
  );
  t.ok(accepted > 50, `${String(accepted)} command lines were compared`);
});

t.test('after -- everything is a positional argument', async (t) => {
  const restore = commands.find(({ name }) => name === 'restore')!;
  t.match(quickParse(restore, ['--json', '--', '-odd:name', '--debug']), {
    workspace: '-odd:name',
    dest: '--debug',
    json: true,
    debug: false,
  });
});

t.test('the examples of every help are command lines that are parsed', async (t) => {
  for (const command of commands) {
    for (const [line] of command.examples) {
      const [first = ''] = line.split(/ [|<>] /);
      const words = Array.from(first.matchAll(/"([^"]*)"|\S+/g), ([whole, quoted]) => quoted ?? whole);
      t.equal(words[0], command.name);
      t.ok(quickParse(command, words.slice(1)), line);
    }
  }
});
