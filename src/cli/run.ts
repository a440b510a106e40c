import { ExitCode } from '../core/index.js';
import type { ParsedCommand } from './full-parse.js';
import { COMMANDS } from './command-table.js';
import { reportError } from './error-report.js';
import { Output } from './output.js';
import { quickParse } from './quick-parse.js';
import { readSettings } from './settings.js';

async function parse(words: readonly string[], version: () => string): Promise<ParsedCommand | undefined> {
  const [name, ...rest] = words;
  const load = name === undefined ? undefined : COMMANDS.get(name);
  if (load !== undefined) {
    const command = await load();
    const values = quickParse(command, rest);
    if (values !== undefined) return { command, values };
  }
  const { fullParse } = await import('./full-parse.js');
  return fullParse(words, version());
}

/** Runs one command line. Resolves with the exit code; everything has been printed. */
export async function run(words: readonly string[], version: () => string): Promise<number> {
  // Known before parsing, because a usage error is reported as asked for too.
  const json = words.includes('--json');
  const debug = words.includes('--debug');
  try {
    const parsed = await parse(words, version);
    if (parsed === undefined) return ExitCode.done;
    const output = new Output(parsed.values['json'] === true);
    const done = await parsed.command.run(parsed.values, {
      settings: await readSettings(parsed.values),
      output,
    });
    await output.flush();
    return done ? ExitCode.done : ExitCode.failed;
  } catch (error) {
    return reportError(error, { json, debug });
  }
}
