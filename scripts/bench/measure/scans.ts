import type { TimedCommands, TimedOutput } from './timed-commands.js';

/** Every name with its attributes. Prints how many. */
export async function countEntries(commands: TimedCommands, root: string): Promise<TimedOutput> {
  return await commands.shell('find "$1" -ls | wc -l', [root]);
}

/** Every byte, and looks at none. */
export async function readAll(commands: TimedCommands, root: string): Promise<TimedOutput> {
  return await commands.shell('find "$1" -type f -print0 | xargs -0 cat >/dev/null', [root]);
}

/** One digest over names and contents of all files, to compare trees by. */
export async function digestTree(commands: TimedCommands, root: string): Promise<string> {
  const line = 'cd "$1" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum';
  return (await commands.shell(line, [root])).stdout.slice(0, 64);
}
