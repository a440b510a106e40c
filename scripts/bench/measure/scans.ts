import type { TimedCommands, TimedOutput } from './timed-commands.js';

const NOT_IN_ANY_FILE = 'this line is in no file of the tree';

/** Every name with its attributes. Prints how many, the root with them. */
export async function countEntries(commands: TimedCommands, root: string): Promise<TimedOutput> {
  return await commands.shell('find "$1" -ls | wc -l', [root]);
}

/** Looks for a line that is not there, in every file: hidden, ignored and binary ones too. */
export async function searchAll(commands: TimedCommands, root: string): Promise<TimedOutput> {
  return await commands.shell(`rg -uuu --stats '${NOT_IN_ANY_FILE}' "$1" || test $? = 1`, [root]);
}

/** How many files `searchAll` looked into. */
export function filesSearched({ stdout }: TimedOutput): number {
  return Number(/^(\d+) files searched$/m.exec(stdout)?.[1]);
}

/** Every name and every byte, packed. To a pipe, as tar reads nothing where its output is /dev/null. Prints the size. */
export async function packAll(commands: TimedCommands, root: string): Promise<TimedOutput> {
  return await commands.shell('tar -C "$1" -cf - . | wc -c', [root]);
}

/** One digest over names and contents of all files, to compare trees by. */
export async function digestTree(commands: TimedCommands, root: string): Promise<string> {
  const line = 'cd "$1" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum';
  return (await commands.shell(line, [root])).stdout.slice(0, 64);
}

export function expectCount(what: string, found: number, expected: number): void {
  if (found !== expected) throw new Error(`${what}: ${found} instead of ${expected}`);
}
