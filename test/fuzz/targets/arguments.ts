import { mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { COMMANDS } from '../../../src/cli/command-table.js';
import { run } from '../../../src/cli/run.js';
import type { Random } from '../random.js';
import type { Target } from '../target.js';

const EXIT_CODES = [0, 1, 2, 3, 4, 5];
const USAGE = 2;

/** The one asks every part of the machine, and the network; the other goes on until it is told to end. */
const LEFT_OUT = ['doctor', 'serve'];

const FLAGS = [
  '--json',
  '--debug',
  '--help',
  '--version',
  '--workspace',
  '-w',
  '--message',
  '-m',
  '--author',
  '--embed-below',
  '--read-only',
  '--cache-size',
  '--long',
  '-l',
  '-R',
  '--recursive',
  '--stat',
  '--log-level',
  '--',
  '-',
  '--none',
  '-lR',
  '--json=false',
  '--cache-size=',
];
const VALUES = [
  '',
  ' ',
  'work',
  'work@1',
  'work@0',
  'work@99',
  'work@-1',
  'work@tag',
  'work:file',
  'work@1:folder/../..',
  'work@',
  '@1',
  ':',
  'WORK',
  'none',
  'none-folder',
  'file',
  '20GiB',
  '-1',
  '1e99',
  '0',
  'nan',
  'é\u{1f600}',
  'a\nb',
  '\u001b[31m',
  '__proto__',
  'constructor',
  'toString',
  '%s%n',
  'x'.repeat(5000),
];

export const commandLines: Target = {
  name: 'arguments',
  promise:
    'any arguments end with a documented exit code; a wrong use with one line of error, and nothing written',
  cases: 150,
  outcomes: ['exit 0', 'exit 2', 'exit 3'],
  begin: async (dir) => {
    const folder = path.join(dir, 'here');
    mkdirSync(path.join(folder, 'tree'), { recursive: true });
    writeFileSync(path.join(folder, 'tree', 'file'), 'content');
    process.chdir(folder);
    process.env['CAIRN_HOME'] = path.join(dir, 'home');
    if ((await captured(['import', 'tree', '--workspace', 'work'])).code !== 0) throw new Error('no sample');
    return {
      run: async (random) => {
        const words = wordsOf(random);
        const before = filesBelow(dir);
        const { code, stdout, stderr } = await captured(words);
        const told = `cairn ${JSON.stringify(words).slice(0, 500)} ended with ${String(code)}: ${stdout}${stderr}`;
        if (!EXIT_CODES.includes(code)) throw new Error(`no exit code of ours: ${told}`);
        if (code === 0) return 'exit 0';
        const lines = stderr.split('\n').slice(0, -1);
        const debug = words.includes('--debug');
        if (!debug && (lines.length !== 1 || /^\s+at /m.test(stderr)))
          throw new Error(`not one line: ${told}`);
        const begins = words.includes('--json') ? '{"error":{' : 'cairn: ';
        if (lines[0]?.startsWith(begins) !== true) throw new Error(`no message of ours: ${told}`);
        if (/TypeError|undefined is not|Cannot read prop|\[object/.test(stderr))
          throw new Error(`a programmer's error: ${told}`);
        if (code === USAGE && stdout !== '') throw new Error(`output beside an error: ${told}`);
        if (code === USAGE && filesBelow(dir) !== before) throw new Error(`something was written: ${told}`);
        return `exit ${String(code)}`;
      },
      end: () => {
        process.chdir('/');
      },
    };
  },
};

function wordsOf(random: Random): string[] {
  const commands = [...COMMANDS.keys()].filter((name) => !LEFT_OUT.includes(name));
  const first = random.once(8) ? random.pick([...VALUES, ...FLAGS]) : random.pick(commands);
  const count = random.below(6);
  const rest = Array.from({ length: count }, () => random.pick(random.once(3) ? FLAGS : VALUES));
  return [first, ...rest];
}

/** In this process: what it takes to start one is most of what it takes to run one. */
async function captured(words: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const texts = { stdout: '', stderr: '' };
  const kept = {
    stdout: process.stdout.write.bind(process.stdout),
    stderr: process.stderr.write.bind(process.stderr),
  };
  for (const name of ['stdout', 'stderr'] as const) {
    process[name].write = (bytes: string | Uint8Array, ...more: unknown[]) => {
      texts[name] += Buffer.from(bytes).toString();
      const done = more.at(-1);
      if (typeof done === 'function') (done as () => void)();
      return true;
    };
  }
  // Yargs prints help and completion past standard output's own write.
  const log = console.log.bind(console);
  console.log = (...what) => {
    texts.stdout += `${what.join(' ')}\n`;
  };
  try {
    const code = await run(words, () => '0.0.0');
    return { code, ...texts };
  } finally {
    console.log = log;
    process.stdout.write = kept.stdout;
    process.stderr.write = kept.stderr;
    process.stdout.removeAllListeners('error');
  }
}

/** Names and sizes of all files; the case at hand is written where others look. */
function filesBelow(dir: string): string {
  return readdirSync(dir, { recursive: true, encoding: 'utf8' })
    .filter((name) => name !== 'case')
    .map((name) => `${name} ${String(statSync(path.join(dir, name), { throwIfNoEntry: false })?.size)}`)
    .join('\n');
}
