/**
 * A program at work in one directory: `node workload.js <dir> <seed> <operations|-> [<stop file>]`. It creates, writes, renames, links,
 * syncs, reads back, lists, and knows what it has to find. The first call that fails, or finds something else, ends it with status 1. It
 * stops after so many operations, or when the stop file is there, and prints how many it did: with the same seed and that number it does the
 * same once more, elsewhere.
 */
import assert from 'node:assert';
import {
  appendFileSync,
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmdirSync,
  statSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import { randomNumbers } from '../fixtures/random-numbers.js';

const MAX_FILES = 120;
const MAX_BYTES = 300_000;

class Workload {
  readonly #dir: string;
  readonly #random: (below: number) => number;
  /** Names, with the bytes that must be in them; two names of one file share one box. */
  readonly #files = new Map<string, { bytes: Buffer }>();
  #made = 0;
  readonly #held: { fd: number; box: { bytes: Buffer } }[] = [];

  constructor(dir: string, seed: number) {
    this.#dir = dir;
    this.#random = randomNumbers(seed);
    for (const folder of ['a', 'b', 'c']) mkdirSync(path.join(dir, folder));
  }

  step(): void {
    const operations = [
      this.#create,
      this.#create,
      this.#overwrite,
      this.#append,
      this.#rename,
      this.#save,
      this.#link,
      this.#unlink,
      this.#truncate,
      this.#sync,
      this.#read,
      this.#read,
      this.#list,
      this.#folders,
      this.#hold,
    ];
    operations[this.#random(operations.length)]?.call(this);
  }

  /** Everything once more, at the end. */
  finish(): void {
    for (const { fd, box } of this.#held) this.#checkHeld(fd, box);
    for (const [name, { bytes }] of this.#files) assert.ok(readFileSync(this.#at(name)).equals(bytes), name);
    for (const folder of ['a', 'b', 'c']) this.#checkListing(folder);
  }

  #at(name: string): string {
    return path.join(this.#dir, name);
  }

  #newName(): string {
    this.#made += 1;
    return `${['a', 'b', 'c'][this.#random(3)] ?? 'a'}/file-${String(this.#made)}`;
  }

  #bytes(maxLength: number): Buffer {
    const length = this.#random(maxLength);
    return Buffer.alloc(length, `${String(this.#made)}-${String(this.#random(1000))} `);
  }

  #pick(): [name: string, box: { bytes: Buffer }] | undefined {
    if (this.#files.size === 0) return undefined;
    return [...this.#files][this.#random(this.#files.size)];
  }

  #create(): void {
    if (this.#files.size >= MAX_FILES) {
      this.#unlink();
      return;
    }
    const [name, bytes] = [this.#newName(), this.#bytes(this.#random(10) === 0 ? MAX_BYTES : 5000)];
    writeFileSync(this.#at(name), bytes, { flag: 'wx' });
    this.#files.set(name, { bytes });
  }

  #overwrite(): void {
    const picked = this.#pick();
    if (picked === undefined) return;
    const [name, box] = picked;
    const bytes = this.#bytes(3000);
    const offset = this.#random(box.bytes.length + 1);
    const fd = openSync(this.#at(name), 'r+');
    writeSync(fd, bytes, 0, bytes.length, offset);
    closeSync(fd);
    const end = Math.max(box.bytes.length, offset + bytes.length);
    const after = Buffer.alloc(end);
    box.bytes.copy(after);
    bytes.copy(after, offset);
    box.bytes = after;
  }

  #append(): void {
    const picked = this.#pick();
    if (picked === undefined || picked[1].bytes.length > MAX_BYTES) return;
    const bytes = this.#bytes(2000);
    appendFileSync(this.#at(picked[0]), bytes);
    picked[1].bytes = Buffer.concat([picked[1].bytes, bytes]);
  }

  #rename(): void {
    const picked = this.#pick();
    if (picked === undefined) return;
    const [from, to] = [picked[0], this.#newName()];
    renameSync(this.#at(from), this.#at(to));
    this.#files.delete(from);
    this.#files.set(to, picked[1]);
  }

  /** As an editor does: a new file, synced, over the old one. */
  #save(): void {
    const picked = this.#pick();
    if (picked === undefined) return;
    const bytes = this.#bytes(20_000);
    const temporary = this.#at(`${picked[0]}.new`);
    const fd = openSync(temporary, 'wx');
    writeSync(fd, bytes);
    fsyncSync(fd);
    closeSync(fd);
    renameSync(temporary, this.#at(picked[0]));
    this.#files.set(picked[0], { bytes });
  }

  #link(): void {
    const picked = this.#pick();
    if (picked === undefined || this.#files.size >= MAX_FILES) return;
    const name = this.#newName();
    linkSync(this.#at(picked[0]), this.#at(name));
    this.#files.set(name, picked[1]);
  }

  #unlink(): void {
    const picked = this.#pick();
    if (picked === undefined) return;
    unlinkSync(this.#at(picked[0]));
    this.#files.delete(picked[0]);
  }

  #truncate(): void {
    const picked = this.#pick();
    if (picked === undefined) return;
    const length = this.#random(10_000);
    const fd = openSync(this.#at(picked[0]), 'r+');
    ftruncateSync(fd, length);
    closeSync(fd);
    const after = Buffer.alloc(length);
    picked[1].bytes.copy(after);
    picked[1].bytes = after;
  }

  #sync(): void {
    const picked = this.#pick();
    if (picked === undefined) return;
    const fd = openSync(this.#at(picked[0]), 'r+');
    fsyncSync(fd);
    closeSync(fd);
  }

  #read(): void {
    const picked = this.#pick();
    if (picked === undefined) return;
    const path = this.#at(picked[0]);
    assertEqualBytes(
      readFileSync(path),
      picked[1].bytes,
      `${picked[0]}, inode ${String(statSync(path).ino)},`,
    );
  }

  #list(): void {
    this.#checkListing(['a', 'b', 'c'][this.#random(3)] ?? 'a');
  }

  #checkListing(folder: string): void {
    const expected = [...this.#files.keys()]
      .filter((name) => name.startsWith(`${folder}/`))
      .map((name) => name.slice(2));
    assert.deepStrictEqual(readdirSync(this.#at(folder)).sort(), expected.sort(), `the listing of ${folder}`);
  }

  #folders(): void {
    const name = `folder-${String(this.#random(1000))}`;
    mkdirSync(this.#at(name));
    mkdirSync(this.#at(`${name}/within`));
    renameSync(this.#at(`${name}/within`), this.#at(`${name}-within`));
    rmdirSync(this.#at(name));
    rmdirSync(this.#at(`${name}-within`));
  }

  /** A file that stays open, and may lose its name meanwhile. */
  #hold(): void {
    if (this.#held.length >= 5) {
      const first = this.#held.shift();
      if (first !== undefined) this.#checkHeld(first.fd, first.box);
      return;
    }
    const picked = this.#pick();
    if (picked !== undefined) this.#held.push({ fd: openSync(this.#at(picked[0]), 'r'), box: picked[1] });
  }

  #checkHeld(fd: number, { bytes }: { bytes: Buffer }): void {
    const read = Buffer.alloc(fstatSync(fd).size);
    let filled = 0;
    while (filled < read.length) {
      const count = readSync(fd, read, filled, read.length - filled, filled);
      if (count === 0) break;
      filled += count;
    }
    assertEqualBytes(read, bytes, `an open file, inode ${String(fstatSync(fd).ino)},`);
    closeSync(fd);
  }
}

/** Says where they differ: what is wrong with a file is told by where it begins. */
function assertEqualBytes(read: Buffer, written: Buffer, what: string): void {
  if (read.equals(written)) return;
  const at = read.findIndex((byte, index) => byte !== written[index]);
  const sizes = `${String(read.length)} bytes read, ${String(written.length)} written`;
  assert.fail(`${what} holds what was written: ${sizes}, different from ${String(at)} on`);
}

const [dir = '', seed = '1', operations = '-', stopFile = ''] = process.argv.slice(2);
const workload = new Workload(dir, Number(seed));
let done = 0;
try {
  while (operations === '-' ? done % 50 !== 0 || !existsSync(stopFile) : done < Number(operations)) {
    workload.step();
    done += 1;
  }
  workload.finish();
  process.stdout.write(String(done));
} catch (error) {
  process.stderr.write(`after ${String(done)} operations with seed ${seed}: ${String(error)}\n`);
  process.exitCode = 1;
}
