import { spawn } from 'node:child_process';
import { closeSync, constants, openSync } from 'node:fs';
import { access, readdir, realpath, stat, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';

import { CairnError, Errno, FsError, messageOf, systemCode } from '../core/index.js';
import {
  MNT_DETACH,
  mount,
  MS_RDONLY,
  receiveFd,
  socketPair,
  unmount,
  UMOUNT_NOFOLLOW,
} from '../posix/index.js';
import { mountAt } from './mount-table.js';

export interface MountOptions {
  /** An empty directory. */
  mountpoint: string;
  /** What `mount` and `df` show as the source. */
  fsname: string;
  /** The file system's type is shown as `fuse.<subtype>`. */
  subtype: 'cairn';
  readOnly: boolean;
  /** Whether other users than the one who mounts may enter: without it not even root may, on a mount of somebody else's. */
  allowOther: boolean;
}

const DEVICE = '/dev/fuse';

/** What one READ carries: more read-ahead than that makes each page fault of a mapped file fetch more than it needs. */
const READ_AHEAD_KB = 1024;

/**
 * Mounts, and returns the connection's descriptor: the kernel's INIT waits there for a session. Until one runs, every access
 * to the mount hangs, so nothing here touches it. Root mounts by mount(2), anybody else through `fusermount3`.
 *
 * Errors are CairnError with a hint: `conflict` (a mount already, not empty), `not-found`, `usage` (no directory),
 * `unsupported` (no FUSE here), `access-denied`.
 */
export async function mountFuse(options: MountOptions): Promise<{ fd: number }> {
  const mountpoint = await checkedMountpoint(options.mountpoint);
  const fd =
    process.getuid?.() === 0 ? mountAsRoot(mountpoint, options) : await mountAsUser(mountpoint, options);
  await raiseReadAhead(mountpoint);
  return { fd };
}

/**
 * Unmounts; the session's `runSession` then returns. `conflict` while programs have files of it open, `not-found` when
 * nothing is mounted there.
 */
export async function unmountFuse(mountpoint: string): Promise<void> {
  await takeAway(resolve(mountpoint), { evenInUse: false });
}

/** Takes a mount away that nobody answers for any more (ENOTCONN), also from programs that still stand in it: it gives them nothing but errors. */
export async function clearDeadMount(mountpoint: string): Promise<void> {
  await takeAway(resolve(mountpoint), { evenInUse: true });
}

async function takeAway(path: string, { evenInUse }: { evenInUse: boolean }): Promise<void> {
  if ((await mountAt(path)) === undefined) throw new CairnError('not-found', `nothing is mounted at ${path}`);
  if (process.getuid?.() === 0) {
    try {
      await unmount(Buffer.from(path), UMOUNT_NOFOLLOW | (evenInUse ? MNT_DETACH : 0));
    } catch (error) {
      if (error instanceof FsError && error.errno === Errno.EBUSY) throw busy(path);
      throw new CairnError('failed', `cannot unmount ${path}: ${messageOf(error)}`, { cause: error });
    }
    return;
  }
  const { status, stderr } = await runFusermount([evenInUse ? '-uz' : '-u', '--', path], undefined);
  if (status === 0) return;
  if (stderr.includes('busy')) throw busy(path);
  throw new CairnError('failed', `cannot unmount ${path}: ${stderr}`);
}

function busy(path: string): CairnError {
  return new CairnError('conflict', `${path} is in use`, {
    hint: `end the programs that use it (fuser -vm ${path} lists them), then try again`,
  });
}

async function checkedMountpoint(given: string): Promise<string> {
  const alreadyMounted = (path: string): CairnError =>
    new CairnError('conflict', `${path} is a mount already`, { hint: `cairn unmount ${path}` });
  // Asked before anything touches the path: on a mount without a daemon that would hang or fail.
  const path = resolve(given);
  if ((await mountAt(path)) !== undefined) throw alreadyMounted(path);
  let names: string[];
  let real: string;
  try {
    real = await realpath(path);
    if (!(await stat(real)).isDirectory()) {
      throw new CairnError('usage', `${path} is not a directory`, { hint: 'mount on an empty directory' });
    }
    names = await readdir(real);
  } catch (error) {
    if (error instanceof CairnError) throw error;
    if (systemCode(error) === 'ENOENT') {
      throw new CairnError('not-found', `${path} does not exist`, { hint: `mkdir -p ${path}`, cause: error });
    }
    throw new CairnError('failed', `cannot mount on ${path}: ${messageOf(error)}`, { cause: error });
  }
  if (real !== path && (await mountAt(real)) !== undefined) throw alreadyMounted(real);
  if (names.length > 0) {
    throw new CairnError('conflict', `${path} is not empty`, {
      hint: 'mount on an empty directory: what is in this one would be hidden',
    });
  }
  return real;
}

function mountAsRoot(mountpoint: string, options: MountOptions): number {
  const fd = openDevice();
  // Set-id bits and devices work as on a local disk: it is root's own tree.
  const others = options.allowOther ? ',allow_other' : '';
  const data = `fd=${String(fd)},rootmode=40000,user_id=0,group_id=0,default_permissions${others}`;
  try {
    const flags = options.readOnly ? MS_RDONLY : 0;
    mount(options.fsname, Buffer.from(mountpoint), `fuse.${options.subtype}`, flags, data);
  } catch (error) {
    closeSync(fd);
    if (error instanceof FsError && error.errno === Errno.EPERM) {
      throw new CairnError('access-denied', `not allowed to mount on ${mountpoint}`, {
        hint: 'in a container this needs --device /dev/fuse --cap-add SYS_ADMIN (and --security-opt apparmor=unconfined)',
        cause: error,
      });
    }
    if (error instanceof FsError && error.errno === Errno.ENODEV) throw noFuse(error);
    throw new CairnError('failed', `cannot mount on ${mountpoint}: ${messageOf(error)}`, { cause: error });
  }
  return fd;
}

function openDevice(): number {
  try {
    return openSync(DEVICE, constants.O_RDWR | constants.O_NONBLOCK);
  } catch (error) {
    throw deviceError(error);
  }
}

function deviceError(error: unknown): CairnError {
  const code = systemCode(error);
  if (code === 'ENOENT' || code === 'ENODEV' || code === 'ENXIO') return noFuse(error);
  if (code === 'EACCES' || code === 'EPERM') {
    return new CairnError('access-denied', `no permission to open ${DEVICE}`, {
      hint: `chmod 666 ${DEVICE} as root; a container needs --device ${DEVICE}`,
      cause: error,
    });
  }
  return new CairnError('failed', `cannot open ${DEVICE}: ${messageOf(error)}`, { cause: error });
}

function noFuse(cause: unknown): CairnError {
  return new CairnError('unsupported', `this system has no ${DEVICE}`, {
    hint: `modprobe fuse as root; a container needs --device ${DEVICE}`,
    cause,
  });
}

/** fusermount3 mounts with its privileges (nosuid, nodev) and sends the descriptor back over the socket _FUSE_COMMFD. */
async function mountAsUser(mountpoint: string, options: MountOptions): Promise<number> {
  try {
    await access(DEVICE, constants.R_OK | constants.W_OK);
  } catch (error) {
    throw deviceError(error);
  }
  const mountOptions = [
    `fsname=${options.fsname.replaceAll('\\', '\\\\').replaceAll(',', '\\,')}`,
    `subtype=${options.subtype}`,
    'default_permissions',
    options.readOnly ? 'ro' : 'rw',
    ...(options.allowOther ? ['allow_other'] : []),
  ];
  const [ours, theirs] = socketPair();
  try {
    const { status, stderr } = await runFusermount(['-o', mountOptions.join(','), '--', mountpoint], theirs);
    if (status !== 0) throw refused(mountpoint, stderr);
    return receiveFd(ours);
  } finally {
    closeSync(ours);
    closeSync(theirs);
  }
}

function refused(mountpoint: string, stderr: string): CairnError {
  if (stderr.includes('user_allow_other')) {
    return new CairnError('access-denied', 'other users may not be let into a mount of yours', {
      hint: 'put the line user_allow_other into /etc/fuse.conf, or leave out --allow-other',
    });
  }
  if (stderr.includes('too many FUSE filesystems mounted')) {
    return new CairnError('access-denied', 'too many FUSE file systems are mounted', {
      hint: 'raise mount_max in /etc/fuse.conf',
    });
  }
  if (stderr.includes('could not determine username')) {
    return new CairnError('access-denied', `user ${String(process.getuid?.())} has no entry in /etc/passwd`, {
      hint: 'fusermount3 mounts only for users it can name: add one, or mount as root',
    });
  }
  return new CairnError('access-denied', `cannot mount on ${mountpoint}: ${stderr}`);
}

/** Runs fusermount3 with `socket`, if there is one, as its descriptor 3. */
async function runFusermount(
  args: readonly string[],
  socket: number | undefined,
): Promise<{ status: number | null; stderr: string }> {
  return new Promise((resolveRun, reject) => {
    const child = spawn('fusermount3', args, {
      stdio: ['ignore', 'ignore', 'pipe', ...(socket === undefined ? [] : [socket])],
      env: { ...process.env, _FUSE_COMMFD: '3' },
    });
    let stderr = '';
    child.stderr?.on('data', (chunk: Buffer) => {
      stderr += chunk.toString();
    });
    child.on('error', (error) => {
      reject(
        systemCode(error) === 'ENOENT'
          ? new CairnError('unsupported', 'fusermount3 is not installed', {
              hint: 'apt-get install fuse3 (or mount as root)',
              cause: error,
            })
          : error,
      );
    });
    child.on('close', (status) => {
      resolveRun({ status, stderr: stderr.trim() });
    });
  });
}

/** The kernel's default is 128 KiB; only root may change it, and the mount works without. */
async function raiseReadAhead(mountpoint: string): Promise<void> {
  const entry = await mountAt(mountpoint);
  if (entry === undefined) return;
  try {
    await writeFile(`/sys/class/bdi/${entry.device}/read_ahead_kb`, String(READ_AHEAD_KB));
  } catch (error) {
    const code = systemCode(error);
    if (code !== 'EACCES' && code !== 'EPERM' && code !== 'EROFS' && code !== 'ENOENT') throw error;
  }
}
