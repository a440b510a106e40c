import { DATABASES, importedFiles, OTHER_WORKSPACE, otherFiles, WORKSPACE, type Note } from './notes.js';
import { contentAfter, newFile, TreeModel, type ModelFile, type Operation } from './tree-model.js';

/** A tree as it was found: undefined is a directory. */
export type FoundTree = ReadonlyMap<string, Buffer | undefined>;

export interface PromisedVersion {
  workspace: string;
  seq: number;
  files: ReadonlyMap<string, Buffer>;
}

/**
 * What must be there, after all notes so far:
 *
 * - The tree's names and sizes are those after one of the operations, not before the last that was promised.
 * - Of a file's bytes, those that nothing has touched since its last fsync are what they were then. Those that were touched are what they were
 *   at any time, in that place of that file, or zeros.
 */
export class Expectation {
  readonly versions: PromisedVersion[] = [];
  /** By database. */
  readonly rows = new Map<string, number>();
  /** As far as it was promised. */
  #promised = new TreeModel();
  /** Begun since, in order, with what each created. */
  #since: { operation: Operation; created: ModelFile | undefined }[] = [];
  #latest = new TreeModel();
  #hasBegun = false;

  get hasBegun(): boolean {
    return this.#hasBegun;
  }

  note(note: Note): void {
    switch (note.note) {
      case 'begun':
        this.#hasBegun = true;
        for (const [name, bytes] of importedFiles()) this.#latest.entries.set(name, newFile(bytes, 0));
        this.#promise();
        this.versions.push({ workspace: WORKSPACE, seq: 1, files: importedFiles() });
        break;
      case 'operation': {
        const { operation } = note;
        const file = this.#latest.apply(operation);
        this.#since.push({ operation, created: operation.do === 'create' ? file : undefined });
        break;
      }
      case 'synced':
        if (note.path !== undefined) this.#latest.synced(note.path);
        this.#promise();
        break;
      case 'rows':
        this.rows.set(note.database, note.rows);
        break;
      case 'version':
        for (const [path, entry] of this.#latest.entries)
          if (entry !== 'directory') this.#latest.synced(path);
        this.#promise();
        this.versions.push({ workspace: WORKSPACE, seq: note.seq, files: this.#files() });
        break;
      case 'imported':
        this.versions.push({ workspace: OTHER_WORKSPACE, seq: note.seq, files: otherFiles(note.generation) });
        break;
    }
  }

  /** What is wrong with a tree; undefined when it is one of those that may be there. */
  problemOf(found: FoundTree): string | undefined {
    const names = this.#promised.sameNames();
    const problems: string[] = [];
    const steps = [undefined, ...this.#since];
    for (const step of steps) {
      if (step !== undefined) names.applyNames(step.operation, step.created);
      const problem = differenceOfNames(names, found);
      if (problem === undefined) return contentProblem(names, found);
      problems.push(`after ${String(names.operations)}: ${problem}`);
    }
    return `the tree was never like that: ${[...new Set([...problems.slice(0, 2), ...problems.slice(-3)])].join('; ')}`;
  }

  #promise(): void {
    this.#promised = this.#latest.sameNames();
    this.#since = [];
  }

  #files(): Map<string, Buffer> {
    const files = new Map<string, Buffer>();
    for (const [path, entry] of this.#latest.entries) {
      if (entry !== 'directory') files.set(path, this.#latest.bytesOf(path));
    }
    return files;
  }
}

const PAGE_BYTES = 4096;

function differenceOfNames(model: TreeModel, found: FoundTree): string | undefined {
  for (const [path, entry] of model.entries) {
    const bytes = found.get(path);
    if (!found.has(path)) return `${path} is missing`;
    if (entry === 'directory') {
      if (bytes !== undefined) return `${path} is no directory`;
    } else if (!isLengthOf(entry, bytes?.length ?? -1, model.operations)) {
      return `${path} has ${String(bytes?.length)} bytes, not ${String(contentAfter(entry, model.operations).length)}`;
    }
  }
  for (const path of found.keys()) {
    if (!model.entries.has(path) && !path.startsWith(`${DATABASES}/`)) return `${path} should not be there`;
  }
  return undefined;
}

/** As long as after the operation; or as after the first pages of it, when it made the file longer: the kernel may write them by requests of their own. */
function isLengthOf(file: ModelFile, length: number, operations: number): boolean {
  const after = contentAfter(file, operations).length;
  const before = contentAfter(file, operations - 1).length;
  return length === after || (length % PAGE_BYTES === 0 && length > before && length < after);
}

function contentProblem(model: TreeModel, found: FoundTree): string | undefined {
  for (const [path, entry] of model.entries) {
    const bytes = found.get(path);
    if (entry === 'directory' || bytes === undefined) continue;
    const problem = bytesProblem(entry, bytes, contentAfter(entry, model.operations));
    if (problem !== undefined) return `${path} after ${String(model.operations)}: ${problem}`;
  }
  return undefined;
}

function bytesProblem(file: ModelFile, found: Buffer, whole: Buffer): string | undefined {
  if (found.equals(whole)) return undefined;
  const touched = new Uint8Array(found.length);
  const ever = [...file.older, ...file.contents.map(({ bytes }) => bytes)];
  for (const { from, to } of file.touched) touched.fill(1, from, Math.min(to, found.length));
  for (let offset = 0; offset < found.length; offset++) {
    const byte = found[offset];
    if (byte === whole[offset]) continue;
    const where = `byte ${String(offset)} of ${String(found.length)} is ${String(byte)}`;
    if (touched[offset] === 0)
      return `${where}, which nothing touched since it was synced as ${String(whole[offset])}`;
    if (byte !== 0 && !ever.some((bytes) => bytes[offset] === byte)) return `${where}, which it never was`;
  }
  return undefined;
}
