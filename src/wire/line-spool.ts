import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const PART_BYTES = 256 * 1024;
const NEWLINE = 0x0a;

/**
 * Lines on the disk, in a file without a name: as many as there are in the memory of a few, to be read as often as need be, and gone with the process.
 */
export class LineSpool {
  readonly #fd: number;
  #pending: Buffer[] = [];
  #pendingBytes = 0;
  #bytes = 0;

  /** `dir`: on whose disk. */
  constructor(dir: string = tmpdir()) {
    const folder = mkdtempSync(join(dir, 'cairn-lines-'));
    try {
      this.#fd = openSync(join(folder, 'lines'), 'wx+', 0o600);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }

  get bytes(): number {
    return this.#bytes + this.#pendingBytes;
  }

  /** Without its newline, and with none in it. */
  add(line: string | Buffer): void {
    const bytes = Buffer.from(`${line.toString()}\n`);
    this.#pending.push(bytes);
    this.#pendingBytes += bytes.length;
    if (this.#pendingBytes >= PART_BYTES) this.#flush();
  }

  /** All of it, in parts of any length. */
  *parts(): Generator<Buffer> {
    this.#flush();
    for (let at = 0; at < this.#bytes;) {
      const part = Buffer.allocUnsafe(Math.min(PART_BYTES, this.#bytes - at));
      const length = readSync(this.#fd, part, 0, part.length, at);
      if (length === 0) throw new Error('the spooled lines became shorter');
      at += length;
      yield part.subarray(0, length);
    }
  }

  *lines(): Generator<string> {
    let rest: Buffer[] = [];
    for (const part of this.parts()) {
      let from = 0;
      for (let end = part.indexOf(NEWLINE); end >= 0; end = part.indexOf(NEWLINE, from)) {
        rest.push(part.subarray(from, end));
        yield Buffer.concat(rest).toString('utf8');
        rest = [];
        from = end + 1;
      }
      rest.push(part.subarray(from));
    }
  }

  close(): void {
    closeSync(this.#fd);
  }

  #flush(): void {
    const bytes = Buffer.concat(this.#pending);
    this.#pending = [];
    this.#pendingBytes = 0;
    for (let done = 0; done < bytes.length;) done += writeSync(this.#fd, bytes, done);
    this.#bytes += bytes.length;
  }
}
