import { execa } from 'execa';

export interface CommandOptions {
  env?: Readonly<Record<string, string>>;
  cwd?: string;
  /** When it is killed, with all that it started. */
  limitSeconds?: number;
}

export interface TimedOutput {
  stdout: string;
  tookMs: number;
  /** As a person would type it. */
  shown: string;
}

/** What to show instead of a part of a command, as of a long path. */
export type ShownAs = readonly [text: string | RegExp, shown: string];

const LIMIT_SECONDS = 900;

/**
 * Runs commands and takes their wall time, as their caller sees it: with the start of the process. None runs without a limit:
 * whatever becomes of a mount, the benchmark goes on or ends.
 */
export class TimedCommands {
  readonly signal: AbortSignal;
  readonly #shownAs: readonly ShownAs[];

  constructor(signal: AbortSignal, shownAs: readonly ShownAs[] = []) {
    this.signal = signal;
    this.#shownAs = shownAs;
  }

  /** Throws when the command fails, is out of time, or the benchmark is interrupted. */
  async run(command: string, words: readonly string[], options: CommandOptions = {}): Promise<TimedOutput> {
    const { env = {}, cwd, limitSeconds = LIMIT_SECONDS } = options;
    const beganMs = performance.now();
    const { stdout } = await execa('timeout', ['-s', 'KILL', String(limitSeconds), command, ...words], {
      env,
      ...(cwd !== undefined && { cwd }),
      stdin: 'ignore',
      cancelSignal: this.signal,
    });
    return { stdout, tookMs: performance.now() - beganMs, shown: this.show([command, ...words]) };
  }

  /** A line for the shell, in which `$1`, `$2` … are `words`. */
  async shell(line: string, words: readonly string[], options: CommandOptions = {}): Promise<TimedOutput> {
    const output = await this.run('sh', ['-ec', line, 'sh', ...words], options);
    const shown = words.reduce((text, word, at) => text.replaceAll(`"$${at + 1}"`, this.show([word])), line);
    return { ...output, shown };
  }

  show(words: readonly string[]): string {
    const line = words.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word}'`)).join(' ');
    return this.shorten(line);
  }

  /** Without the paths of this machine. */
  shorten(text: string): string {
    return this.#shownAs.reduce((shorter, [from, to]) => shorter.replaceAll(from, to), text);
  }
}
