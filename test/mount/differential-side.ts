import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Operation } from './differential-operations.js';
import { kill, programPath } from './site.js';

/** A single operation takes milliseconds, and a killed daemon a second or two: what takes this long hangs. */
const HANGS_MS = 120_000;

/** What differential-executor.py answers. */
export interface Answer {
  result?: unknown;
  errno?: string;
  /** What no file system may do, whatever the other one does. */
  wrong?: string;
  watched?: Record<string, string>;
}

/** One side of the comparison: a process that does operations in a directory, in order, without waiting for the other side. */
export class Side {
  readonly name: string;
  readonly #process: ChildProcess;
  readonly #waiting: { resolve: (answer: Answer) => void; reject: (error: Error) => void }[] = [];
  readonly #exited: Promise<unknown>;
  #end: Error | undefined;

  constructor(name: string, dir: string) {
    this.name = name;
    this.#process = spawn('python3', [programPath('differential-executor.py')], {
      cwd: dir,
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#exited = once(this.#process, 'exit').then(() => {
      this.#fail(new Error(`${name}: the executor ended`));
    });
    this.#process.stdin?.on('error', () => undefined);
    if (this.#process.stdout === null) throw new Error('it has a standard output');
    createInterface({ input: this.#process.stdout }).on('line', (line) => {
      this.#waiting.shift()?.resolve(JSON.parse(line) as Answer);
    });
  }

  /** Resolves when it is done; the next may be given before. Rejects when the process ends, or hangs and is killed. */
  async do(operation: Operation): Promise<Answer> {
    if (this.#end !== undefined) throw this.#end;
    const answer = new Promise<Answer>((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
    });
    this.#process.stdin?.write(`${JSON.stringify(operation)}\n`);
    const hangs = setTimeout(() => {
      this.#fail(new Error(`${this.name} hangs in ${JSON.stringify(operation)}`));
      if (this.#process.pid !== undefined) kill(this.#process.pid);
    }, HANGS_MS);
    return await answer.finally(() => {
      clearTimeout(hangs);
    });
  }

  /** The result of what must succeed. */
  async result(operation: Operation): Promise<unknown> {
    const answer = await this.do(operation);
    if (answer.errno ?? answer.wrong) {
      throw new Error(`${this.name}: ${JSON.stringify(operation)}: ${JSON.stringify(answer)}`);
    }
    return answer.result;
  }

  async close(): Promise<void> {
    this.#process.stdin?.end();
    if (this.#end !== undefined && this.#process.pid !== undefined) kill(this.#process.pid);
    else await this.#exited;
  }

  #fail(error: Error): void {
    this.#end ??= error;
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }
}
