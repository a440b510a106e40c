const BUFFERED_CHARACTERS = 64 * 1024;

/** Resolves when standard output has taken the bytes: a slow reader slows the writer, memory stays bounded. */
export function writeOut(bytes: string | Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(bytes, (error) => {
      if (error) reject(error);
      else resolve();
    });
  });
}

/**
 * Ends the process quietly when the reader of standard output goes away, as in `cairn ls … | head`: it has what it wanted.
 * A command that is cut off here has only been printing.
 */
function endWithReader(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
  });
}

/** A command's result on standard output: lines for a person, or JSON. Writes in pieces of 64 KiB. */
export class Output {
  readonly json: boolean;
  #pending = '';

  constructor(json: boolean) {
    this.json = json;
    endWithReader();
  }

  /** A line for a person; nothing under `--json`. */
  async line(text: string): Promise<void> {
    if (!this.json) await this.#add(`${text}\n`);
  }

  /** One JSON document on one line; nothing without `--json`. */
  async document(value: unknown): Promise<void> {
    if (this.json) await this.#add(`${JSON.stringify(value)}\n`);
  }

  async flush(): Promise<void> {
    const text = this.#pending;
    this.#pending = '';
    if (text !== '') await writeOut(text);
  }

  async #add(text: string): Promise<void> {
    this.#pending += text;
    if (this.#pending.length >= BUFFERED_CHARACTERS) await this.flush();
  }
}
