/**
 * What `npm start` runs: the main job for real, with no configuration, in a temporary home. Imports this very tree with its
 * node_modules, mounts it, edits it through the mount, snapshots, mounts both versions side by side, compares, reports, and takes
 * everything away again, also when it fails or is interrupted. Uses the `cairn` command as a person would, and shows what it runs.
 */
import { spawn } from 'node:child_process';
import {
  closeSync,
  constants,
  existsSync,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  type BigIntStats,
} from 'node:fs';
import { access, mkdir, mkdtemp, readdir, readFile, realpath, rm, stat } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import path from 'node:path';
import { setImmediate, setTimeout as delay } from 'node:timers/promises';

const ROOT = path.resolve(import.meta.dirname, '../..');
const CAIRN = path.join(ROOT, 'bin/cairn');
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** A file large enough to be cut into chunks: one byte of it is changed. */
const LARGE_FILE = 'node_modules/typescript/lib/typescript.js';

/** Edits, as a person at a shell makes them in the mount. `sed -i` saves as editors do: a new file, renamed over the old one. */
const EDITS: readonly (readonly [what: string, command: string])[] = [
  ['save as an editor does', `sed -i '1s/$/ (edited)/' README.md`],
  ['append', `echo '- One more line.' >> CHANGELOG.md`],
  ['a byte in the middle', `printf X | dd of=${LARGE_FILE} bs=1 seek=4000000 conv=notrunc status=none`],
  ['a new directory', `mkdir notes && date > notes/today && ln -s today notes/latest`],
  ['delete', `rm .editorconfig && rm -r scripts/vm`],
];
const GIT_EDIT = [
  'a git repository',
  `cd notes && git init -q && git add . && git commit -qm 'first notes'`,
] as const;
/** Whoever runs this may have told git nothing yet; and no work of git may go on in the mount after the command. */
const GIT_ENVIRONMENT = {
  GIT_AUTHOR_NAME: 'demo',
  GIT_AUTHOR_EMAIL: 'demo@localhost',
  GIT_COMMITTER_NAME: 'demo',
  GIT_COMMITTER_EMAIL: 'demo@localhost',
  GIT_CONFIG_COUNT: '1',
  GIT_CONFIG_KEY_0: 'maintenance.auto',
  GIT_CONFIG_VALUE_0: 'false',
};
/** What the edits leave to be found in version 2, and what they take away. */
const WRITTEN = ['README.md', 'CHANGELOG.md', LARGE_FILE, 'notes'];
const DELETED = ['.editorconfig', 'scripts/vm'];

const COMPARE_BYTES = 1024 * 1024;
/** Of the output of `cairn diff`, which may be long. */
const SHOWN_LINES = 14;
const UNMOUNT_ATTEMPTS = 20;
const UNMOUNT_PAUSE_MS = 100;
const UNMOUNT_NOTE_MS = 3_000;

/** Magic, version and lengths at the head of a block's object (FORMAT.md B-3). */
const BLOCK_HEADER_BYTES = 16;
const RAW_LENGTH_OFFSET = 8;

const coloured = process.stdout.isTTY && process.env['NO_COLOR'] === undefined;
const style = (code: number) => (text: string) =>
  coloured ? `\u001b[${String(code)}m${text}\u001b[0m` : text;
const bold = style(1);
const dim = style(2);
const green = style(32);

const interruption = new AbortController();
/** Ends the step that runs, if it is one that may take long. */
let interruptStep: () => void = () => undefined;

/** The demonstration cannot go on; why has been said, or is the message. */
class DemoError extends Error {}

interface Step {
  name: string;
  tookMs: number;
  note: string;
}

/** One run: a folder with the home and the mountpoints, all of which `close` takes away. */
class Demo {
  readonly #dir: string;
  readonly #home: string;
  readonly #steps: Step[] = [];

  constructor(dir: string) {
    this.#dir = dir;
    this.#home = path.join(dir, 'home');
  }

  async run(): Promise<void> {
    const [work, one, two] = ['work', 'one', 'two'].map((name) => path.join(this.#dir, name)) as [
      string,
      string,
      string,
    ];
    for (const mountpoint of [work, one, two]) await mkdir(mountpoint);

    title('Import this tree, with its node_modules, as version 1 of the workspace "demo"');
    print(`${bold('$')} export CAIRN_HOME=${this.#home}`);
    const beganMs = Date.now();
    await this.#timed('import', () => this.#cairn(['import', ROOT, '--workspace', 'demo', '-m', 'as it is']));
    const imported = await storedIn(path.join(this.#home, 'store'));

    title('Mount it, and look at it');
    await this.#timed('mount', () => this.#cairn(['mount', 'demo', work]));
    const found = await this.#timed(
      'find | wc -l',
      () => this.#shell('find . | wc -l', work),
      'every name, on a fresh mount',
    );
    print(`  ${found.trim()}`);

    title('Edit it, as any other directory');
    await this.#timed('edits', () => this.#edit(work));
    print('');
    await this.#cairn(['status', work], { lines: SHOWN_LINES });

    title('Publish the edits as version 2, while the mount is in use');
    await this.#timed('snapshot', () => this.#cairn(['snapshot', work, '-m', 'edited']));
    const snapshotted = await storedIn(path.join(this.#home, 'store'));
    await this.#cairn(['log', 'demo']);

    title('Mount both versions side by side');
    await this.#timed('mount version 1', () => this.#cairn(['mount', 'demo@1', one, '--read-only']));
    await this.#timed('mount version 2', () => this.#cairn(['mount', 'demo@2', two, '--read-only']));
    await this.#cairn(['diff', 'demo@1', 'demo@2'], { lines: SHOWN_LINES });
    await this.#cairn(['diff', 'demo@1', 'demo@2', '--stat']);

    title('Compare: version 1 with the tree it came from, version 2 with the mount that was edited');
    const comparison = await this.#timed(
      'compare',
      () => this.#verify({ work, one, two }, beganMs),
      'every byte, through the mount',
    );

    title('What it took');
    const stats = await this.#cairn(['stats', one]);
    print('');
    this.#report(comparison, imported, snapshotted, /^memory .*$/m.exec(stats)?.[0] ?? '');
  }

  /** Unmounts what is mounted and removes the folder. What cannot be unmounted stays, and is named. */
  async close(): Promise<void> {
    for (const mountpoint of (await mountsBelow(this.#dir)).reverse()) await this.#unmount(mountpoint);
    const left = await mountsBelow(this.#dir);
    if (left.length > 0) throw new DemoError(`still mounted, and left there: ${left.join(', ')}`);
    await rm(this.#dir, { recursive: true, force: true });
  }

  /** The ends of the logs: the folder they are in is about to go. */
  async printLogs(): Promise<void> {
    const folder = path.join(this.#home, 'log');
    for (const name of await readdir(folder).catch(() => [])) {
      const lines = (await readFile(path.join(folder, name), 'utf8')).trimEnd().split('\n').slice(-5);
      print(dim(`${name}:\n${indented(lines.join('\n'))}`));
    }
  }

  async #edit(work: string): Promise<void> {
    const hasGit = await succeeds('git', ['--version']);
    for (const [what, command] of hasGit ? [...EDITS, GIT_EDIT] : EDITS) {
      await this.#shell(command, work, what);
    }
    if (!hasGit) print(dim('  (git is not installed: no repository is made)'));
  }

  async #verify(mounts: { work: string; one: string; two: string }, beganMs: number): Promise<Comparison> {
    const { work, one, two } = mounts;
    const comparison = new Comparison(beganMs);
    await comparison.compare(Buffer.from(ROOT), Buffer.from(one));
    report(
      comparison,
      'version 1 is the tree it was imported from, in content, mode, owner, times and links',
    );
    if (comparison.skipped > 0) {
      print(
        dim(
          `  (${count(comparison.skipped)} names were left out: what they name was written to, made or removed since the import began)`,
        ),
      );
    }

    const edited = new Comparison(Infinity);
    for (const name of WRITTEN)
      await edited.compare(Buffer.from(path.join(work, name)), Buffer.from(path.join(two, name)));
    for (const name of DELETED) {
      if (existsSync(path.join(two, name)))
        edited.differences.push(`${name} was deleted, and is in version 2`);
    }
    report(edited, 'version 2 has what was written, and not what was deleted');
    return comparison;
  }

  #report(comparison: Comparison, imported: Stored, snapshotted: Stored, memory: string): void {
    const widest = Math.max(...this.#steps.map(({ name }) => name.length));
    for (const { name, tookMs, note } of this.#steps) {
      print(
        `  ${name.padEnd(widest)}  ${duration(tookMs).padStart(8)}${note === '' ? '' : `  ${dim(note)}`}`,
      );
    }
    const { files, bytes } = comparison;
    const ratio = (imported.rawBytes / imported.bytes).toFixed(1);
    const added = {
      objects: snapshotted.objects - imported.objects,
      bytes: snapshotted.bytes - imported.bytes,
    };
    print('');
    print(`  files       ${count(files)}, ${size(bytes)}`);
    print(`  version 1   ${size(imported.rawBytes)} with equal files once, and with the manifest;`);
    print(
      `              ${size(imported.bytes)} in the store, compressed ${ratio} to 1: ${objects(imported)}`,
    );
    print(`  version 2   ${size(added.bytes)} more in the store: ${objects(added)}`);
    if (memory !== '') print(`  ${memory.replace(/^memory +/, 'memory      ')}`);
    print(
      dim(
        '  (Times are with the start of the command. Memory is that of the mount of version 1, after all of it was read.)',
      ),
    );
  }

  async #timed<Result>(name: string, work: () => Promise<Result>, note = ''): Promise<Result> {
    const beganMs = performance.now();
    const result = await work();
    this.#steps.push({ name, tookMs: performance.now() - beganMs, note });
    return result;
  }

  /** Runs the `cairn` command and shows it with what it prints, `lines` of it at most. Returns all of it. */
  async #cairn(words: readonly string[], options: { lines?: number } = {}): Promise<string> {
    interruption.signal.throwIfAborted();
    print(`${bold('$')} ${bold(`cairn ${words.map(quoted).join(' ')}`)}`);
    const { status, stdout } = await this.#spawn(process.execPath, [CAIRN, ...words], ROOT);
    const lines = stdout
      .trimEnd()
      .split('\n')
      .filter((line) => line !== '');
    for (const line of lines.slice(0, options.lines)) print(`  ${line}`);
    const more = lines.length - lines.slice(0, options.lines).length;
    if (more > 0) print(dim(`  … and ${count(more)} more`));
    interruption.signal.throwIfAborted();
    if (status !== 0) throw new DemoError(`cairn ${words[0] ?? ''} ended with status ${String(status)}`);
    return stdout;
  }

  async #shell(command: string, cwd: string, what?: string): Promise<string> {
    interruption.signal.throwIfAborted();
    print(`${bold('$')} ${bold(command)}${what === undefined ? '' : dim(`   # ${what}`)}`);
    const { status, stdout } = await this.#spawn('sh', ['-ec', command], cwd);
    interruption.signal.throwIfAborted();
    if (status !== 0) throw new DemoError(`${command} ended with status ${String(status)}`);
    return stdout;
  }

  /**
   * In a session of its own, so that Ctrl-C reaches this process alone: a `cairn mount` that is cut short could leave a mount that
   * appears only after everything was unmounted. An interruption is passed on to the step, which is then waited for.
   */
  async #spawn(
    command: string,
    words: readonly string[],
    cwd: string,
  ): Promise<{ status: number | null; stdout: string }> {
    const child = spawn(command, words, {
      cwd,
      env: { ...process.env, ...GIT_ENVIRONMENT, CAIRN_HOME: this.#home, CAIRN_STORE: '', CAIRN_CATALOG: '' },
      stdio: ['ignore', 'pipe', 'inherit'],
      detached: true,
    });
    interruptStep = () => {
      if (!words.includes('mount')) child.kill('SIGINT');
    };
    if (interruption.signal.aborted) interruptStep();
    const pieces: Buffer[] = [];
    child.stdout.on('data', (piece: Buffer) => pieces.push(piece));
    const status = await new Promise<number | null>((resolve, reject) => {
      child.on('error', reject);
      child.on('close', resolve);
    });
    interruptStep = () => undefined;
    return { status, stdout: Buffer.concat(pieces).toString() };
  }

  async #unmount(mountpoint: string): Promise<void> {
    const environment = { ...process.env, CAIRN_HOME: this.#home };
    const note = setTimeout(() => {
      print(
        dim(`  (waiting for the daemon of ${mountpoint}: another mount namespace may still have the mount)`),
      );
    }, UNMOUNT_NOTE_MS);
    try {
      for (let attempt = 0; attempt < UNMOUNT_ATTEMPTS; attempt++) {
        if (await succeeds(process.execPath, [CAIRN, 'unmount', mountpoint], environment)) return;
        if (!(await mountsBelow(this.#dir)).includes(mountpoint)) return;
        await delay(UNMOUNT_PAUSE_MS);
      }
    } finally {
      clearTimeout(note);
    }
    // In use for good, or without a daemon: out of sight at least, and gone when the last user is.
    if (process.getuid?.() === 0) await succeeds('umount', ['-l', mountpoint]);
    else await succeeds('fusermount3', ['-u', '-z', mountpoint]);
  }
}

/** Counts what is equal and collects what is not; of a `Comparison` with differences the demonstration fails. */
class Comparison {
  readonly differences: string[] = [];
  /** A file with several names counts once. */
  files = 0;
  bytes = 0;
  names = 0;
  /** Names in the first tree of what changed after `sinceMs`, or came or went since. */
  skipped = 0;
  readonly #sinceMs: number;
  readonly #linked = new Set<string>();
  readonly #buffers = [Buffer.allocUnsafe(COMPARE_BYTES), Buffer.allocUnsafe(COMPARE_BYTES)] as const;

  constructor(sinceMs: number) {
    this.#sinceMs = sinceMs;
  }

  /** Two names and all that is below them. Paths are bytes. */
  async compare(left: Buffer, right: Buffer): Promise<void> {
    const [a, b] = [attributes(left), attributes(right)];
    const changedSince = a === undefined || a.changedMs >= this.#sinceMs;
    if (a === undefined || (changedSince && a.kind !== 'directory')) {
      this.skipped++;
    } else if (b === undefined) {
      this.#differ(left, 'is missing');
    } else if (!changedSince && a.shown !== b.shown) {
      this.#differ(left, `has ${b.shown} instead of ${a.shown}`);
    } else if (a.kind === 'directory') {
      this.names++;
      await this.#compareDirectories(left, right, changedSince);
    } else {
      this.names++;
      if (a.kind === 'file') this.#compareFiles(left, right, a);
      if (a.kind === 'link' && !target(left).equals(target(right))) this.#differ(left, 'points elsewhere');
    }
  }

  /** Names may come and go in a directory that changed since: what is in both is compared. */
  async #compareDirectories(left: Buffer, right: Buffer, changedSince: boolean): Promise<void> {
    // Signals come in between.
    await setImmediate();
    interruption.signal.throwIfAborted();
    const names = readdirSync(left, { encoding: 'buffer' });
    const others = new Set(readdirSync(right, { encoding: 'latin1' }));
    for (const name of names) {
      const isThere = others.delete(name.toString('latin1'));
      if (changedSince && !isThere) this.skipped++;
      else await this.compare(joined(left, name), joined(right, name));
    }
    if (changedSince) this.skipped += others.size;
    else for (const name of others) this.#differ(left, `has no ${name}`);
  }

  #compareFiles(left: Buffer, right: Buffer, { sizeBytes, identity }: Attributes): void {
    if (identity !== undefined && this.#linked.has(identity)) return;
    if (identity !== undefined) this.#linked.add(identity);
    this.files++;
    this.bytes += sizeBytes;
    if (!this.#equalContent(left, right)) this.#differ(left, 'has another content');
  }

  #equalContent(left: Buffer, right: Buffer): boolean {
    const [ours, theirs] = this.#buffers;
    const descriptors: number[] = [];
    try {
      for (const file of [left, right]) descriptors.push(openSync(file, 'r'));
      const [a = -1, b = -1] = descriptors;
      for (let position = 0; ; position += COMPARE_BYTES) {
        const length = filled(a, ours, position);
        if (filled(b, theirs, position) !== length) return false;
        if (!ours.subarray(0, length).equals(theirs.subarray(0, length))) return false;
        if (length < COMPARE_BYTES) return true;
      }
    } finally {
      descriptors.forEach(closeSync);
    }
  }

  #differ(file: Buffer, how: string): void {
    this.differences.push(`${file.toString()} ${how}`);
  }
}

interface Attributes {
  kind: 'file' | 'directory' | 'link' | 'other';
  sizeBytes: number;
  /** Of contents, attributes or names. */
  changedMs: number;
  /** The same for all names of a file that has several. */
  identity: string | undefined;
  /** What a version keeps of it, as text. */
  shown: string;
}

function attributes(file: Buffer): Attributes | undefined {
  const stats = lstatSync(file, { bigint: true, throwIfNoEntry: false });
  if (stats === undefined) return undefined;
  const kind = kindOf(stats);
  // A directory's own size and links are the file system's business.
  const extent = kind === 'directory' ? '' : `, ${String(stats.size)} bytes, ${String(stats.nlink)} links`;
  const owner = `${String(stats.uid)}:${String(stats.gid)}`;
  return {
    kind,
    sizeBytes: Number(stats.size),
    changedMs: Number(stats.ctimeMs),
    identity: kind === 'file' && stats.nlink > 1n ? `${String(stats.dev)}:${String(stats.ino)}` : undefined,
    shown: `mode ${stats.mode.toString(8)}, owner ${owner}, mtime ${String(stats.mtimeNs)} ns${extent}`,
  };
}

function kindOf(stats: BigIntStats): Attributes['kind'] {
  if (stats.isFile()) return 'file';
  if (stats.isDirectory()) return 'directory';
  return stats.isSymbolicLink() ? 'link' : 'other';
}

function target(link: Buffer): Buffer {
  return readlinkSync(link, { encoding: 'buffer' });
}

/** Fills the buffer from `position` as far as the file goes. */
function filled(descriptor: number, buffer: Buffer, position: number): number {
  let length = 0;
  while (length < buffer.length) {
    const read = readSync(descriptor, buffer, length, buffer.length - length, position + length);
    if (read === 0) break;
    length += read;
  }
  return length;
}

interface Stored {
  objects: number;
  /** As they are in the store. */
  bytes: number;
  /** Of the blocks, before compression. */
  rawBytes: number;
}

/** What is in a store's folder. */
async function storedIn(store: string): Promise<Stored> {
  const total = { objects: 0, bytes: 0, rawBytes: 0 };
  const header = Buffer.alloc(BLOCK_HEADER_BYTES);
  for (const entry of await readdir(store, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const file = path.join(entry.parentPath, entry.name);
    total.objects++;
    total.bytes += (await stat(file)).size;
    if (!file.startsWith(path.join(store, 'blocks'))) continue;
    const descriptor = openSync(file, 'r');
    readSync(descriptor, header, 0, BLOCK_HEADER_BYTES, 0);
    closeSync(descriptor);
    total.rawBytes += header.readUInt32LE(RAW_LENGTH_OFFSET);
  }
  return total;
}

/** The mountpoints below a folder, in the order they were mounted. Asking the table waits for no file system. */
async function mountsBelow(dir: string): Promise<string[]> {
  const table = await readFile('/proc/self/mountinfo', 'utf8');
  return table
    .split('\n')
    .map((line) => (line.split(' ')[4] ?? '').replaceAll('\\040', ' '))
    .filter((mountpoint) => mountpoint.startsWith(`${dir}/`));
}

async function succeeds(command: string, words: readonly string[], env = process.env): Promise<boolean> {
  return await new Promise((resolve) => {
    const child = spawn(command, words, { stdio: 'ignore', detached: true, env });
    child.on('error', () => {
      resolve(false);
    });
    child.on('close', (status) => {
      resolve(status === 0);
    });
  });
}

function joined(folder: Buffer, name: Buffer): Buffer {
  return Buffer.concat([folder, Buffer.from('/'), name]);
}

function report(comparison: Comparison, claim: string): void {
  const { differences, names, files } = comparison;
  for (const difference of differences.slice(0, SHOWN_LINES)) print(`  ${difference}`);
  if (differences.length > 0)
    throw new DemoError(`not so: ${claim} (${count(differences.length)} differences)`);
  print(`  ${green('equal')}  ${claim}: ${count(names)} names, ${count(files)} files`);
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

function title(text: string): void {
  print(`\n${bold(text)}\n`);
}

function indented(text: string): string {
  return text.replaceAll(/^/gm, '  ');
}

function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}

function count(number: number): string {
  return number.toLocaleString('en');
}

function size(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB'];
  let value = bytes;
  let unit = 0;
  for (; value >= 1024 && unit < units.length - 1; unit++) value /= 1024;
  return `${unit === 0 ? String(value) : value.toPrecision(value < 1000 ? 3 : 4)} ${units[unit] ?? ''}`;
}

function duration(ms: number): string {
  return ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(2)} s`;
}

function objects(stored: Pick<Stored, 'objects'>): string {
  return `${count(stored.objects)} objects, a put each`;
}

/** The user's name, or number where there is no name. */
function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return String(process.getuid?.() ?? 0);
  }
}

const WHAT_NEXT = `
${bold('Now with a workspace of your own')}  (everything local goes to ~/.local/share/cairn, or to $CAIRN_HOME)

  export PATH="${path.join(ROOT, 'bin')}:$PATH"
  cairn import ~/project --workspace project     any directory
  mkdir -p ~/mnt && cairn mount project ~/mnt    work in it as in any other
  cairn status ~/mnt                             what differs from the version that is mounted
  cairn snapshot ~/mnt -m 'what changed'         the next version
  cairn log project                              all of them; cairn diff, ls, cat, restore look at one
  cairn unmount ~/mnt                            edits that are not in a snapshot are kept
  cairn doctor                                   what this machine can do; cairn --help for the rest
`;

async function main(): Promise<void> {
  try {
    await access(ROOT, constants.W_OK);
  } catch {
    throw new DemoError(
      `${ROOT} belongs to another user, who alone could edit it in a mount: use a clone of your own`,
    );
  }
  const demo = new Demo(await realpath(await mkdtemp(path.join(tmpdir(), `cairn-demo-${userName()}-`))));
  for (const signal of SIGNALS) {
    process.on(signal, () => {
      if (interruption.signal.aborted) return;
      print('\ninterrupted: cleaning up');
      interruption.abort(new DemoError('interrupted'));
      interruptStep();
    });
  }
  try {
    await demo.run();
  } catch (error) {
    if (!interruption.signal.aborted) await demo.printLogs();
    throw error;
  } finally {
    await demo.close();
  }
  print(`\n${green('Done.')} Everything was unmounted and removed again.`);
  print(WHAT_NEXT);
}

try {
  await main();
} catch (error) {
  process.stderr.write(`demo: ${error instanceof DemoError ? error.message : String(error)}\n`);
  if (!(error instanceof DemoError) && error instanceof Error) process.stderr.write(`${error.stack ?? ''}\n`);
  process.exitCode = interruption.signal.aborted ? 130 : 1;
}
