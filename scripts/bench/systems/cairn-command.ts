import path from 'node:path';
import { TimedCommands, type CommandOptions, type TimedOutput } from '../measure/timed-commands.js';

const CAIRN_SCRIPT = path.resolve(import.meta.dirname, '../../../../bin/cairn');

/** The `cairn` command with one set of variables. */
export class CairnCommand {
  readonly commands: TimedCommands;
  readonly #env: Readonly<Record<string, string>>;
  /** For mounting and unmounting: a mount that is cut short could appear when all has been unmounted. */
  readonly #uninterrupted = new TimedCommands(new AbortController().signal);

  constructor(commands: TimedCommands, env: Readonly<Record<string, string>>) {
    this.commands = commands;
    this.#env = env;
  }

  async run(words: readonly string[], options: CommandOptions = {}): Promise<TimedOutput> {
    return await this.#run(this.commands, words, options);
  }

  async runUninterrupted(words: readonly string[], options: CommandOptions): Promise<TimedOutput> {
    return await this.#run(this.#uninterrupted, words, options);
  }

  async #run(
    commands: TimedCommands,
    words: readonly string[],
    options: CommandOptions,
  ): Promise<TimedOutput> {
    const output = await commands.run(process.execPath, [CAIRN_SCRIPT, ...words], {
      ...options,
      env: this.#env,
    });
    const shown = this.commands.show(['cairn', ...words]);
    return { ...output, shown };
  }
}
