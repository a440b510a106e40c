/**
 * cli: the command line. One file per command in `commands/`; this is the entry, `bin/cairn` starts it.
 *
 * Owns what a person types and reads: arguments, settings, output, exit codes. It holds no logic of its own about trees,
 * blocks or versions: a command opens the layers it needs, calls them, and prints.
 *
 * Invariants: standard output carries only the result (with `--json` only JSON), everything else goes to standard error;
 * every failure is one line and a documented exit code; nothing is loaded before it is needed, because a command is judged
 * by the time it takes to begin.
 */
import { existsSync, readFileSync } from 'node:fs';
import { run } from './run.js';

/** From package.json in the nearest folder above: how far that is depends on how this was built. */
function productVersion(): string {
  for (let folder = new URL('.', import.meta.url); ; folder = new URL('..', folder)) {
    const file = new URL('package.json', folder);
    if (existsSync(file)) return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
    if (folder.pathname === '/') throw new Error('this is no installation of cairn: package.json is missing');
  }
}

const words = process.argv.slice(2);
if (words.length === 1 && words[0] === '--version') {
  process.stdout.write(`${productVersion()}\n`);
} else {
  process.exitCode = await run(words, productVersion);
}
