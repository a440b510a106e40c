import { parseArgs } from 'node:util';
import { GLOBAL_OPTIONS, type Command, type OptionSpec } from './command.js';
import type { ParsedValues } from './parsed-values.js';

/**
 * The arguments of a command that was typed as its help says, or undefined for everything else: yargs then decides, and
 * words the error. Loading yargs takes as long as starting node itself, which a right command need not wait for.
 */
export function quickParse(command: Command, words: readonly string[]): ParsedValues | undefined {
  const options = Object.fromEntries(
    Object.entries<OptionSpec>({ ...GLOBAL_OPTIONS, ...command.options }).map(([name, { type, short }]) => [
      name,
      short === undefined ? { type } : { type, short },
    ]),
  );
  let parsed;
  try {
    parsed = parseArgs({ args: [...words], options, allowPositionals: true, strict: true });
  } catch {
    return undefined;
  }
  const { positionals } = parsed;
  const required = command.positionals.filter(({ optional }) => optional === undefined).length;
  if (positionals.length < required || positionals.length > command.positionals.length) return undefined;

  const values: Record<string, string | boolean | undefined> = {};
  for (const [name, { type }] of Object.entries(options)) {
    values[name] = parsed.values[name] ?? (type === 'boolean' ? false : undefined);
  }
  for (const [index, { name }] of command.positionals.entries()) values[name] = positionals[index];
  return values;
}
