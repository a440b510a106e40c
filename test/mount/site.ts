/**
 * A place to use the product as its users do: the command line in processes of its own, on temporary homes, on real mounts. No test
 * process touches a mount itself: whatever does is a child that is killed when it hangs.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import type { Test } from 'tap';
import type { MountedAs, MountStats, MountStatus, SnapshotResult } from '../../src/daemon/index.js';
import { startS3 } from '../fixtures/s3-server.js';

export const isRoot = process.geteuid?.() === 0;

/** As a user runs it, bundled. */
const CAIRN = fileURLToPath(new URL('../../../bin/cairn', import.meta.url));
const COMMAND_LIMIT_S = 120;
const UNMOUNT_LIMIT_S = 20;

/** A program or script of this folder that is not compiled. */
export const programPath = (name: string): string =>
  fileURLToPath(new URL(`../../../test/mount/${name}`, import.meta.url));

/** A compiled script of this folder. */
export const scriptPath = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

export interface Ran {
  code: number | undefined;
  stdout: string;
  stderr: string;
}

export interface RunLimits {
  env?: Record<string, string>;
  cwd?: string;
  limit_s?: number;
}

/** Runs a command, killed (code 137) when it takes too long. Nothing of this process's environment but PATH. */
export async function run(command: readonly string[], options: RunLimits = {}): Promise<Ran> {
  const { env = {}, cwd = '/', limit_s = COMMAND_LIMIT_S } = options;
  const { stdout, stderr, exitCode } = await execa('timeout', ['-s', 'KILL', String(limit_s), ...command], {
    reject: false,
    stdin: 'ignore',
    extendEnv: false,
    env: { PATH: process.env['PATH'] ?? '', ...env },
    cwd,
    stripFinalNewline: false,
  });
  return { code: exitCode, stdout, stderr };
}

/** The same; throws unless it ends with 0. Returns standard output. */
export async function runDone(command: readonly string[], options: RunLimits = {}): Promise<string> {
  const ran = await run(command, options);
  if (ran.code !== 0) {
    throw new Error(`${command.join(' ')} ended with ${String(ran.code)}: ${ran.stderr}${ran.stdout}`);
  }
  return ran.stdout;
}

/** Runs one function of tree-tasks.ts in a process of its own; its answer. */
export async function treeTask(name: string, ...args: string[]): Promise<unknown> {
  return JSON.parse(await runDone([process.execPath, scriptPath('tree-tasks.js'), name, ...args]));
}

/** What `compareTrees` finds, in a process of its own. */
export async function differences(a: string, b: string, options: object = {}): Promise<string[]> {
  return (await treeTask('compare', a, b, JSON.stringify(options))) as string[];
}

export interface Store {
  url: string;
  env: Record<string, string>;
}

export type StoreKind = 'directory' | 'S3';

/** One store and one catalog in a temporary folder, with as many homes as are asked for. */
export class Site {
  readonly base: string;
  readonly store: Store;

  private constructor(base: string, store: Store) {
    this.base = base;
    this.store = store;
  }

  /** Gone, with every mount and process in it, when the test ends. */
  static async start(t: Test, kind: StoreKind = 'directory'): Promise<Site> {
    const base = realpathSync(mkdtempSync(path.join(tmpdir(), 'cairn-site-')));
    const server = kind === 'S3' ? await startS3() : undefined;
    const store = { url: server?.newUrl() ?? `file://${base}/store`, env: server?.env ?? {} };
    const site = new Site(base, store);
    const guard = startGuard(base);
    t.teardown(async () => {
      await site.#end();
      guard.stdin?.end();
      await server?.stop();
    });
    return site;
  }

  /** A folder of the site, made if need be. */
  folder(name: string): string {
    const folder = path.join(this.base, name);
    mkdirSync(folder, { recursive: true });
    return folder;
  }

  home(name = 'home'): Home {
    return new Home(this, this.folder(name));
  }

  async #end(): Promise<void> {
    await endMountsBelow(this.base);
    if (mountpointsBelow(this.base).length > 0)
      throw new Error(`a mount below ${this.base} does not go away`);
    // A tree of an ordinary user's may have folders without the right to write.
    await run(['chmod', '-R', 'u+rwX', this.base]);
    await run(['rm', '-rf', '--one-file-system', this.base]);
  }
}

export interface Mounted extends MountedAs {
  tookMs: number;
}

/** One home folder: a machine, as far as the product is concerned. */
export class Home {
  readonly site: Site;
  readonly dir: string;

  constructor(site: Site, dir: string) {
    this.site = site;
    this.dir = dir;
  }

  environment(): Record<string, string> {
    const { base, store } = this.site;
    return {
      CAIRN_HOME: this.dir,
      CAIRN_STORE: store.url,
      CAIRN_CATALOG: `sqlite://${base}/catalog.sqlite`,
      ...store.env,
    };
  }

  /** What runs the command line, in `environment()`. */
  command(args: readonly string[]): string[] {
    return [process.execPath, CAIRN, ...args];
  }

  async cairn(args: readonly string[], options: RunLimits = {}): Promise<Ran> {
    return await run(this.command(args), {
      ...options,
      env: { ...this.environment(), ...options.env },
    });
  }

  /** The one document that a command prints with `--json`; throws unless it ends with 0. */
  async json(args: readonly string[], options: RunLimits = {}): Promise<unknown> {
    const ran = await this.cairn([...args, '--json'], options);
    if (ran.code !== 0)
      throw new Error(`cairn ${args.join(' ')} ended with ${String(ran.code)}: ${ran.stderr}`);
    return JSON.parse(ran.stdout);
  }

  async import(dir: string, workspace: string): Promise<void> {
    await this.json(['import', dir, '--workspace', workspace]);
  }

  /** On the folder `name` of the site. */
  async mount(version: string, name: string, ...flags: string[]): Promise<Mounted> {
    return (await this.json(['mount', version, this.site.folder(name), ...flags])) as Mounted;
  }

  async unmount(mountpoint: string): Promise<void> {
    await this.json(['unmount', mountpoint]);
  }

  async snapshot(mountpoint: string): Promise<SnapshotResult> {
    return (await this.json(['snapshot', mountpoint])) as SnapshotResult;
  }

  async stats(mountpoint: string): Promise<MountStats> {
    return (await this.json(['stats', mountpoint])) as MountStats;
  }

  async status(mountpoint: string): Promise<MountStatus> {
    return (await this.json(['status', mountpoint])) as MountStatus;
  }

  /** What `cairn mount` lists. */
  async mounts(): Promise<{ mountpoint: string; workspace: string; alive: boolean }[]> {
    return (await this.json(['mount'])) as { mountpoint: string; workspace: string; alive: boolean }[];
  }

  /** All that the mounts of this home have logged. */
  log(): string {
    const folder = path.join(this.dir, 'log');
    return readdirSync(folder)
      .map((name) => readFileSync(path.join(folder, name), 'utf8'))
      .join('');
  }
}

/** From the mount table, which touches no mount. The last mounted first. */
export function mountpointsBelow(base: string): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((mountpoint) => mountpoint.startsWith(`${base}/`))
    .reverse();
}

/**
 * Ends what a test left mounted, however it is stuck: the processes of a mount hold its connection, which is aborted with the last of them;
 * everybody who waits then gets an error.
 */
async function endMountsBelow(base: string): Promise<void> {
  for (const mountpoint of mountpointsBelow(base)) {
    await run(isRoot ? ['umount', mountpoint] : ['fusermount3', '-u', mountpoint], {
      limit_s: UNMOUNT_LIMIT_S,
    });
  }
  for (const mountpoint of mountpointsBelow(base)) {
    killProcessesOf(base);
    await run(isRoot ? ['umount', '-l', mountpoint] : ['fusermount3', '-uz', mountpoint], {
      limit_s: UNMOUNT_LIMIT_S,
    });
  }
  await processesEnd(base);
}

/** Unmounts what is left when this process is killed: it learns that by the end of its standard input. */
function startGuard(base: string): ChildProcess {
  const unmount = isRoot ? 'umount -l' : 'fusermount3 -uz';
  const script = `cat; grep -o " $1/[^ ]*" /proc/self/mountinfo | while read -r mountpoint; do ${unmount} "$mountpoint"; done`;
  const guard = spawn('sh', ['-c', script, 'sh', base], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  });
  guard.unref();
  return guard;
}

/** Supervisors and daemons of mounts whose home is below `base`: both are told its folder. */
function processesOf(base: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter(
      (pid) => processText(pid, 'cmdline').includes(`\0${base}/`) || daemonFolder(pid).startsWith(`${base}/`),
    )
    .filter((pid) => /(supervisor|daemon)-main\.js/.test(processText(pid, 'cmdline')))
    .map(Number);
}

function daemonFolder(pid: string): string {
  return /(?:^|\0)CAIRN_MOUNT_FOLDER=([^\0]*)/.exec(processText(pid, 'environ'))?.[1] ?? '';
}

function processText(pid: string, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    // Another user's, or gone meanwhile.
    return '';
  }
}

function killProcessesOf(base: string): void {
  for (const pid of processesOf(base)) kill(pid);
}

/** An unmounted daemon still closes what it has open, in the folder that is about to go. */
async function processesEnd(base: string): Promise<void> {
  const deadlineMs = performance.now() + UNMOUNT_LIMIT_S * 1000;
  while (processesOf(base).length > 0) {
    if (performance.now() > deadlineMs) killProcessesOf(base);
    await pause(20);
  }
}

/** SIGKILL; false when the process is gone. */
export function kill(pid: number): boolean {
  try {
    return process.kill(pid, 'SIGKILL');
  } catch {
    return false;
  }
}

export async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}

/** Resolves when `isTrue` does. Throws with `what` after a minute: then it never will. */
export async function until(what: string, isTrue: () => Promise<boolean>): Promise<void> {
  const deadlineMs = performance.now() + 60_000;
  while (!(await isTrue())) {
    if (performance.now() > deadlineMs) throw new Error(`waited in vain: ${what}`);
    await pause(50);
  }
}
