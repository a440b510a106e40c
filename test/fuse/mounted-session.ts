import { execFile, spawn, type ChildProcess, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { closeSync, existsSync, openSync, statSync } from 'node:fs';
import { mkdtemp, rmdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';

import { Errno } from '../../src/core/index.js';
import {
  mountAt,
  mountFuse,
  RequestCounters,
  unmountFuse,
  writeErrorReply,
  writeReadReply,
} from '../../src/fuse/index.js';
import { createEventFd } from '../../src/posix/index.js';
import { STUCK, type SessionWorkerData, type SessionWorkerMessage } from './session-worker.js';

const execute = promisify(execFile);

/** Why mounts cannot be tested here, or undefined when they can. */
export function whyNoMounts(): string | undefined {
  if (!existsSync('/dev/fuse')) return 'no /dev/fuse';
  try {
    closeSync(openSync('/dev/fuse', 'r+'));
  } catch {
    return 'no permission on /dev/fuse';
  }
  return undefined;
}

/** Why an ordinary user's mount cannot be tested from here, or undefined when it can. */
export function whyNoUserMounts(): string | undefined {
  if (process.getuid?.() !== 0) return 'every test of this file does, when root does not run it';
  if ((statSync('/dev/fuse').mode & 0o006) !== 0o006) return 'only root may open /dev/fuse';
  const programs = ['fusermount3', 'setpriv'];
  const isThere = (program: string): boolean =>
    (process.env['PATH'] ?? '').split(':').some((folder) => existsSync(path.join(folder, program)));
  const missing = programs.find((program) => !isThere(program));
  return missing === undefined ? undefined : `no ${missing}`;
}

/** Byte `offset` of every file whose bytes have to be fetched. */
export const remoteByte = (offset: number): number => (offset * 31) & 0xff;

export interface MountedSession {
  mountpoint: string;
  wakeFd: number;
  counters: RequestCounters;
  messages: SessionWorkerMessage[];
  /** Resolves with the first message of a kind, come or to come. */
  message: (kind: SessionWorkerMessage['kind']) => Promise<SessionWorkerMessage>;
  /** Unmounts, waits for the session's end and removes the mountpoint; a mount that does not want to go is aborted. */
  stop: () => Promise<void>;
}

/** A new, empty directory that a mount may stay on when a test fails: not `t.testdir`, which is emptied before the unmount. */
export async function newMountpoint(): Promise<string> {
  return mkdtemp(path.join(tmpdir(), 'cairn-mount-'));
}

/** Mounts a MemoryFileSystem on a new directory, served by a worker thread; this thread answers what is handed over and never touches the mount. */
export async function startMountedSession(
  options: { readOnly?: boolean; allowOther?: boolean; spinUs?: number; files?: number } = {},
): Promise<MountedSession> {
  const mountpoint = await newMountpoint();
  const readOnly = options.readOnly ?? false;
  const { fd } = await mountFuse({
    mountpoint,
    fsname: 'memory, of a test',
    subtype: 'cairn',
    readOnly,
    allowOther: options.allowOther ?? false,
  });
  const wakeFd = createEventFd();
  const counters = new RequestCounters();
  const data: SessionWorkerData = {
    fd,
    wakeFd,
    counters: counters.shared,
    readOnly,
    spinUs: options.spinUs ?? 40,
    files: options.files ?? 0,
  };
  const worker = new Worker(new URL('session-worker.js', import.meta.url), { workerData: data });
  const messages: SessionWorkerMessage[] = [];
  const waiting: { kind: string; resolve: (message: SessionWorkerMessage) => void }[] = [];
  const stuck = new Set<bigint>();
  const exited = new Promise<void>((resolve) =>
    worker.once('exit', () => {
      resolve();
    }),
  );
  worker.on('message', (message: SessionWorkerMessage) => {
    messages.push(message);
    if (message.kind === 'read') {
      writeReadReply(fd, message.unique, [remoteBytes(message.offset, message.size)]);
    } else if (message.kind === 'interrupt') {
      if (stuck.delete(message.unique)) writeErrorReply(fd, message.unique, Errno.EINTR);
    } else if (message.kind === 'sync') {
      if (message.files.includes(STUCK)) stuck.add(message.unique);
      else writeErrorReply(fd, message.unique, 0);
    }
    for (const { kind, resolve } of waiting) if (kind === message.kind) resolve(message);
  });
  return {
    mountpoint,
    wakeFd,
    counters,
    messages,
    message: async (kind) =>
      messages.find((message) => message.kind === kind) ??
      new Promise((resolve) => waiting.push({ kind, resolve })),
    stop: async () => {
      await stopMount(mountpoint);
      await exited;
      closeSync(fd);
      closeSync(wakeFd);
      await rmdir(mountpoint);
    },
  };
}

function remoteBytes(offset: number, size: number): Buffer {
  const bytes = Buffer.allocUnsafe(size);
  for (let index = 0; index < size; index++) bytes[index] = remoteByte(offset + index);
  return bytes;
}

/** Ends a mount whatever state it is in. */
export async function stopMount(mountpoint: string): Promise<void> {
  const entry = await mountAt(mountpoint);
  if (entry === undefined) return;
  try {
    await unmountFuse(mountpoint);
  } catch {
    await abortConnection(entry.device);
    await execute('umount', ['-l', mountpoint]);
  }
}

/** Ends a connection that hangs: everyone who waits for it gets an error. Root only. */
async function abortConnection(device: string): Promise<void> {
  const [, minor = ''] = device.split(':');
  const control = `/sys/fs/fuse/connections/${minor}/abort`;
  if (!existsSync(control)) await execute('mount', ['-t', 'fusectl', 'none', '/sys/fs/fuse/connections']);
  await writeFile(control, '1');
}

const EXERCISE_LIMIT_S = 60;

const script = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** Runs one function of mount-exercises.ts in a process of its own, which is killed when it hangs. Rejects with its error. */
export async function exercise(name: string, mountpoint: string): Promise<string> {
  return runLimited([process.execPath, script('mount-exercises.js'), name, mountpoint]);
}

/** Runs a script of this folder as another user; root only. */
export async function runAsUser(name: string, uid: number, ...args: string[]): Promise<string> {
  const id = String(uid);
  const identity = [`--reuid=${id}`, `--regid=${id}`, '--clear-groups'];
  return runLimited(['setpriv', ...identity, '--', process.execPath, script(name), ...args]);
}

async function runLimited(command: readonly string[]): Promise<string> {
  const { stdout } = await execute('timeout', ['-s', 'KILL', String(EXERCISE_LIMIT_S), ...command]);
  return stdout;
}

/** Starts one that is to be watched while it runs. */
export function startExercise(name: string, mountpoint: string): ChildProcessWithoutNullStreams {
  return spawn(process.execPath, [script('mount-exercises.js'), name, mountpoint], {
    timeout: EXERCISE_LIMIT_S * 1000,
    killSignal: 'SIGKILL',
  });
}

/** A daemon process on a mount whose descriptor this process holds; see session-process.ts. */
export function spawnDaemon(
  fd: number,
  journal: string,
  changesUntilDeath: number,
  when: 'before' | 'after',
): ChildProcess {
  const args = [script('session-process.js'), '3', journal, String(changesUntilDeath), when];
  return spawn(process.execPath, args, { stdio: ['ignore', 'inherit', 'inherit', fd] });
}
