import { lstat, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { TimedCommands } from './timed-commands.js';

const SMALLEST_BYTES = 100;
const LARGEST_BYTES = 100_000;
const LIMIT_SECONDS = 60;

/** A few files of a tree that the benchmark changes: a line at the end of each. */
export class ChangedFiles {
  readonly #tree: string;
  readonly #original: ReadonlyMap<string, Buffer>;

  private constructor(tree: string, original: ReadonlyMap<string, Buffer>) {
    this.#tree = tree;
    this.#original = original;
  }

  /** `wanted` files of ordinary size, spread evenly over the tree. */
  static async choose(tree: string, wanted: number): Promise<ChangedFiles> {
    const entries = await readdir(tree, { recursive: true, withFileTypes: true });
    const paths = entries
      .filter((entry) => entry.isFile())
      .map((entry) => path.relative(tree, path.join(entry.parentPath, entry.name)))
      .sort();
    const chosen = new Set<string>();
    for (let at = 0; at < wanted; at++) {
      for (let index = Math.floor(((at + 0.5) * paths.length) / wanted); index < paths.length; index++) {
        const file = paths[index] ?? '';
        const { size, nlink } = await lstat(path.join(tree, file));
        if (nlink > 1 || size < SMALLEST_BYTES || size > LARGEST_BYTES || chosen.has(file)) continue;
        chosen.add(file);
        break;
      }
    }
    if (chosen.size !== wanted) throw new Error(`${tree} has too few files to change ${wanted} of them`);
    return await ChangedFiles.of(tree, [...chosen]);
  }

  /** These; paths relative to the tree. */
  static async of(tree: string, files: readonly string[]): Promise<ChangedFiles> {
    const original = new Map<string, Buffer>();
    for (const file of files) original.set(file, await readFile(path.join(tree, file)));
    return new ChangedFiles(tree, original);
  }

  get count(): number {
    return this.#original.size;
  }

  /** In the tree, or in a mount of it: another process does it, which a mount that hangs cannot keep. */
  async change(commands: TimedCommands, root: string, line: string): Promise<void> {
    const script = 'line=$1; shift; for file in "$@"; do printf "\\n// %s\\n" "$line" >>"$file"; done';
    await commands.shell(script, [line, ...this.#original.keys()], {
      cwd: root,
      limitSeconds: LIMIT_SECONDS,
    });
  }

  /** Makes the tree what it was, but for times of modification. */
  async restore(): Promise<void> {
    for (const [file, content] of this.#original) await writeFile(path.join(this.#tree, file), content);
  }
}
