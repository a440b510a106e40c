import type { Random } from './random.js';

/** Something that reads what others may have damaged. */
export interface Target {
  readonly name: string;
  /** What is to hold, as a sentence. */
  readonly promise: string;
  /** So many cases are run in the suite. */
  readonly cases: number;
  /** What a case can come to; in the suite each must have been seen. */
  readonly outcomes: readonly string[];
  /** Makes the samples, in a folder of its own. */
  begin(dir: string): Promise<Fuzzed>;
}

export interface Fuzzed {
  /** One case: makes it, has it read, and says what it came to. Throws when the promise was broken. */
  run(random: Random): Promise<string> | string;
  end(): Promise<void> | void;
}
