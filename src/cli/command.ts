import type { Output } from './output.js';
import type { ParsedValues } from './parsed-values.js';
import type { Settings } from './settings.js';

export interface PositionalSpec {
  name: string;
  describe: string;
  optional?: true;
}

export interface OptionSpec {
  type: 'string' | 'boolean';
  describe: string;
  /** One letter. */
  short?: string;
}

export type OptionSpecs = Readonly<Record<string, OptionSpec>>;

type PositionalValues<P extends readonly PositionalSpec[]> = {
  readonly [Spec in P[number] as Spec['name']]: Spec extends { optional: true } ? string | undefined : string;
};

type OptionValues<O extends OptionSpecs> = {
  readonly [Name in keyof O]: O[Name]['type'] extends 'boolean' ? boolean : string | undefined;
};

/** What a command runs with besides its arguments. */
export interface CommandContext {
  settings: Settings;
  output: Output;
}

/**
 * One command, as data: both parsers and the help are made from it. `run` throws `CairnError`; returning false means that it
 * ran and has printed bad news (exit code 1).
 */
export interface Command {
  name: string;
  summary: string;
  /** Longer text for the command's own help. */
  details?: string;
  positionals: readonly PositionalSpec[];
  options: OptionSpecs;
  /** Without the leading `cairn`. */
  examples: readonly (readonly [line: string, explanation: string])[];
  run: (values: ParsedValues, context: CommandContext) => Promise<boolean>;
}

interface CommandDefinition<P extends readonly PositionalSpec[], O extends OptionSpecs> extends Omit<
  Command,
  'run'
> {
  positionals: P;
  options: O;
  run: (
    args: PositionalValues<P>,
    options: OptionValues<O>,
    context: CommandContext,
  ) => Promise<boolean | undefined>;
}

/** Gives `run` its arguments' types from the specifications beside it, which are what both parsers enforce. */
export function defineCommand<const P extends readonly PositionalSpec[], const O extends OptionSpecs>(
  definition: CommandDefinition<P, O>,
): Command {
  return {
    ...definition,
    run: async (values, context) =>
      (await definition.run(values as PositionalValues<P>, values as OptionValues<O>, context)) ?? true,
  };
}

/** `mount <workspace> <dir>`, as usage lines show it. */
export function synopsis(command: Command): string {
  const positionals = command.positionals.map(({ name, optional }) => (optional ? `[${name}]` : `<${name}>`));
  return [command.name, ...positionals].join(' ');
}

/** Options every command takes. */
export const GLOBAL_OPTIONS = {
  home: { type: 'string', describe: 'folder that holds everything local (CAIRN_HOME)' },
  store: { type: 'string', describe: 'file:///dir or s3://bucket/prefix (CAIRN_STORE)' },
  catalog: { type: 'string', describe: 'sqlite:///file, postgres://… or https://… (CAIRN_CATALOG)' },
  'cache-size': { type: 'string', describe: 'disk space for cached blocks, as 20GiB (CAIRN_CACHE_SIZE)' },
  json: { type: 'boolean', describe: 'print JSON and nothing else on standard output' },
  debug: { type: 'boolean', describe: 'print the stack of an error' },
} as const satisfies OptionSpecs;
