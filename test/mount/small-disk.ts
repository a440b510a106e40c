import { run } from './site.js';

export interface DiskOptions {
  mib: number;
  /** Of mkfs.ext4; by default as many as it thinks. */
  inodes?: number;
}

/** A small ext4 of its own at `folder`, in a file beside it. Resolves with why there can be none. */
export async function mountSmallDisk(
  folder: string,
  { mib, inodes }: DiskOptions,
): Promise<string | undefined> {
  const image = `${folder}.image`;
  const count = inodes === undefined ? [] : ['-N', String(inodes)];
  for (const command of [
    ['truncate', '-s', `${String(mib)}M`, image],
    ['mkfs.ext4', '-q', '-m', '0', '-b', '4096', '-O', '^has_journal', ...count, image],
    ['mount', '-o', 'loop', image, folder],
  ]) {
    const { code, stderr } = await run(command);
    if (code !== 0) return `no small disk here: ${stderr.trim()}`;
  }
  return undefined;
}

/** Takes all that is left of a disk, space and inodes, to the last; whatever else uses the disk may give more back, which is taken next time. */
export async function fill(folder: string): Promise<void> {
  const script = `
    name=$(mktemp -p "$1" filler.XXXXXX) || exit 0
    dd if=/dev/zero of="$name" bs=1M; dd if=/dev/zero bs=4k >> "$name"
    number=0
    while : > "$name-$number"; do number=$((number + 1)); done
    :`;
  await run(['sh', '-c', script, 'sh', folder]);
}

/** Gives back what `fill` took. */
export async function empty(folder: string): Promise<void> {
  await run(['find', folder, '-maxdepth', '1', '-name', 'filler.*', '-delete']);
}
