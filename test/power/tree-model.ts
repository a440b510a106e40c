import { patternedBytes } from '../fixtures/patterned-bytes.js';

/** One call of a program that changes a tree. `seed` stands for the bytes written, which are like no other's. */
export type Operation =
  | { do: 'mkdir' | 'create' | 'unlink'; path: string }
  | { do: 'rename' | 'link'; path: string; to: string }
  | { do: 'write'; path: string; offset: number; length: number; seed: number }
  | { do: 'truncate'; path: string; size: number }
  | { do: 'punch'; path: string; offset: number; length: number };

/** A file, whatever its names are: what it has been since it was last known to be on the disk. */
export interface ModelFile {
  /** By the operation that made it so. The first one's bytes must be there where nothing touched them since. */
  contents: { since: number; bytes: Buffer }[];
  /** What it was before: its own file in a layer may still have such bytes in a place that was cut off or punched. */
  older: Buffer[];
  /** What was written to, cut or punched since. */
  touched: { from: number; to: number }[];
}

export type ModelEntry = ModelFile | 'directory';

/** A tree by its paths after so many operations, and what each of its files has been. */
export class TreeModel {
  readonly entries: Map<string, ModelEntry>;
  #operations: number;

  constructor(entries = new Map<string, ModelEntry>(), operations = 0) {
    this.entries = entries;
    this.#operations = operations;
  }

  get operations(): number {
    return this.#operations;
  }

  /** The same names, to go their own way; the files are shared. */
  sameNames(): TreeModel {
    return new TreeModel(new Map(this.entries), this.#operations);
  }

  file(path: string): ModelFile {
    const file = this.entries.get(path);
    if (file === undefined || file === 'directory') throw new Error(`${path} is no file of the model`);
    return file;
  }

  /** As the last operation left it. */
  bytesOf(path: string): Buffer {
    return contentAfter(this.file(path), this.#operations);
  }

  /** All of a file's content is on the disk now. */
  synced(path: string): void {
    const file = this.file(path);
    file.older.push(...file.contents.splice(0, file.contents.length - 1).map(({ bytes }) => bytes));
    file.touched.splice(0);
  }

  /** Does an operation. Returns the file it changed or made. */
  apply(operation: Operation): ModelFile | undefined {
    if (operation.do === 'create') {
      const file = newFile(Buffer.alloc(0), this.#operations + 1);
      this.applyNames(operation, file);
      return file;
    }
    const file = operation.do === 'mkdir' ? undefined : this.file(operation.path);
    this.applyNames(operation);
    if (file !== undefined) changeContent(file, operation, this.#operations);
    return file;
  }

  /** What an operation does to names. `created`: the file that it made. */
  applyNames(operation: Operation, created?: ModelFile): void {
    this.#operations += 1;
    const { path } = operation;
    if (operation.do === 'mkdir') this.entries.set(path, 'directory');
    else if (operation.do === 'create' && created !== undefined) this.entries.set(path, created);
    else if (operation.do === 'link') this.entries.set(operation.to, this.file(path));
    else if (operation.do === 'rename') this.entries.set(operation.to, this.file(path));
    if (operation.do === 'unlink' || operation.do === 'rename') this.entries.delete(path);
  }
}

export function newFile(bytes: Buffer, since: number): ModelFile {
  return { contents: [{ since, bytes }], older: [], touched: [] };
}

/** What a file was after so many operations. */
export function contentAfter({ contents }: ModelFile, operations: number): Buffer {
  const found = contents.findLast(({ since }) => since <= operations) ?? contents[0];
  return found?.bytes ?? Buffer.alloc(0);
}

function changeContent(file: ModelFile, operation: Operation, since: number): void {
  const before = file.contents.at(-1)?.bytes ?? Buffer.alloc(0);
  if (operation.do === 'write') {
    const { offset, length, seed } = operation;
    const after = resized(before, Math.max(before.length, offset + length));
    patternedBytes(seed, length).copy(after, offset);
    file.contents.push({ since, bytes: after });
    file.touched.push({ from: Math.min(before.length, offset), to: offset + length });
  } else if (operation.do === 'truncate') {
    file.contents.push({ since, bytes: resized(before, operation.size) });
    file.touched.push({ from: Math.min(before.length, operation.size), to: Infinity });
  } else if (operation.do === 'punch') {
    const [from, to] = [operation.offset, Math.min(before.length, operation.offset + operation.length)];
    file.contents.push({ since, bytes: Buffer.from(before).fill(0, from, to) });
    file.touched.push({ from, to });
  }
}

function resized(bytes: Buffer, size: number): Buffer {
  const copy = Buffer.alloc(size);
  bytes.copy(copy);
  return copy;
}
