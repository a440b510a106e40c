import yargs, { type Argv, type Options } from 'yargs';
import { CairnError } from '../core/index.js';
import { GLOBAL_OPTIONS, synopsis, type Command, type OptionSpecs } from './command.js';
import { COMMANDS } from './command-table.js';
import type { ParsedValues } from './parsed-values.js';

export interface ParsedCommand {
  command: Command;
  values: ParsedValues;
}

const EXIT_CODES =
  'Exit codes: 0 done · 1 failed · 2 wrong usage · 3 not found · 4 conflict · 5 store or service unreachable';

const EPILOGUE = `A version is name (its head), name@7 or name@tag; a path in it is name:path or name@7:path.

Settings come from flags, then CAIRN_* variables, then config.json in the home folder
(store, catalog, cacheSize, embedBelow, author, logLevel).

In JSON a path is {"path": "…"}, or {"pathBase64": "…"} when its bytes are not UTF-8.

${EXIT_CODES}`;

function yargsOptions(specs: OptionSpecs, group?: string): Record<string, Options> {
  return Object.fromEntries(
    Object.entries(specs).map(([name, { type, describe, short }]) => [
      name,
      {
        type,
        describe,
        requiresArg: type === 'string',
        ...(short === undefined ? {} : { alias: short }),
        ...(group === undefined ? {} : { group }),
      },
    ]),
  );
}

function describeArguments(parser: Argv, command: Command): Argv {
  for (const { name, describe } of command.positionals) parser.positional(name, { type: 'string', describe });
  parser.options(yargsOptions(command.options));
  for (const [line, explanation] of command.examples) parser.example(`$0 ${line}`, explanation);
  parser.epilogue(EXIT_CODES);
  return parser.usage(`$0 ${synopsis(command)}\n\n${command.details ?? command.summary}`);
}

function selectValues(command: Command, parsed: Readonly<Record<string, unknown>>): ParsedValues {
  const values: Record<string, string | boolean | undefined> = {};
  for (const [name, { type }] of Object.entries({ ...GLOBAL_OPTIONS, ...command.options })) {
    const value = parsed[name];
    values[name] = type === 'boolean' ? value === true : typeof value === 'string' ? value : undefined;
  }
  for (const { name } of command.positionals) {
    const value = parsed[name];
    values[name] = typeof value === 'string' ? value : undefined;
  }
  return values;
}

/** What yargs says, on one line and with where to read more. */
function usageError(message: string, typed: Command | undefined): CairnError {
  const text = message.replaceAll(/\s*\n\s*/g, ': ').replace(/^./, (first) => first.toLowerCase());
  if (typed === undefined) {
    const first = text.replace(/^unknown (?:command|argument)s?: ([^,]*).*/, 'no command "$1"');
    return new CairnError('usage', first, { hint: 'see cairn --help' });
  }
  const reworded = text
    .replace(/^unknown command/, 'unknown argument')
    .replace(/^not enough non-option arguments.*/, `too few arguments for cairn ${synopsis(typed)}`)
    .replace(/^not enough arguments following: (.*)/, '--$1 needs a value');
  return new CairnError('usage', reworded, { hint: `see cairn ${typed.name} --help` });
}

/**
 * Parses by yargs. Undefined when that was all there was to do: help, the version, completion have been printed.
 * Throws `usage`.
 */
export async function fullParse(
  words: readonly string[],
  version: string,
): Promise<ParsedCommand | undefined> {
  if (words[0] === 'completion' && words.includes('--json')) {
    throw new CairnError('usage', 'a completion script is not JSON', {
      hint: 'cairn completion, without --json',
    });
  }
  const commands = await Promise.all([...COMMANDS.values()].map((load) => load()));
  const [typedName] = words.filter((word) => COMMANDS.has(word));
  const typed = commands.find(({ name }) => name === typedName);
  let chosen: ParsedCommand | undefined;

  const parser = yargs()
    .scriptName('cairn')
    .usage('$0 <command>\n\nMounts a version of a workspace as a directory, and keeps its history.')
    .locale('en')
    .parserConfiguration({
      'boolean-negation': false,
      'camel-case-expansion': false,
      'dot-notation': false,
      'duplicate-arguments-array': false,
      'parse-numbers': false,
      'parse-positional-numbers': false,
    })
    .options(yargsOptions(GLOBAL_OPTIONS, 'Settings:'))
    .completion('completion', 'print a completion script: cairn completion >> ~/.bashrc')
    .version(version)
    .help()
    .alias('help', 'h')
    .epilogue(EPILOGUE)
    .wrap(Math.min(process.stdout.columns || 100, 110))
    .strict()
    .strictCommands()
    .demandCommand(1, 'name a command')
    .exitProcess(false)
    .showHelpOnFail(false)
    .fail((message: string | null, error: Error | undefined) => {
      throw error instanceof CairnError ? error : usageError(message ?? String(error), typed);
    });
  for (const command of commands) {
    parser.command(
      synopsis(command),
      command.summary,
      (commandParser) => describeArguments(commandParser, command),
      (parsed) => {
        chosen = { command, values: selectValues(command, parsed) };
      },
    );
  }
  await parser.parseAsync([...words]);
  return chosen;
}
