import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { access, open, readFile, stat, statfs } from 'node:fs/promises';
import { release } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { CairnError, messageOf, systemCode } from '../core/index.js';
import type { ObjectStore } from '../objects/index.js';
import { countText, sizeText } from './quantities.js';
import { isServiceUrl, type Settings } from './settings.js';

export interface Check {
  name: string;
  result: 'ok' | 'warn' | 'fail';
  found: string;
  /** What to do, when it is not ok. */
  advice?: string;
}

type Finding = Omit<Check, 'name'>;

const ok = (found: string): Finding => ({ result: 'ok', found });
const warn = (found: string, advice: string): Finding => ({ result: 'warn', found, advice });
const fail = (found: string, advice: string): Finding => ({ result: 'fail', found, advice });

const NODE_MINIMUM = [20, 19] as const;
const SPACE_WARNING_BYTES = 2 ** 30;
const MOUNT_ANSWER_MS = 2000;
/** Network file systems, on which SQLite's locks and shared memory do not work (sqlite.org/wal.html). */
const NETWORK_FILE_SYSTEMS = /^(nfs4?|cifs|smb3|9p|ceph|fuse\.sshfs)$/;

/** True when `version` (as `6.12.3-amd64`) is at least major.minor. */
function atLeast(version: string, [major, minor]: readonly [number, number]): boolean {
  const [foundMajor = 0, foundMinor = 0] = version.split('.').map(Number.parseFloat);
  return foundMajor > major || (foundMajor === major && foundMinor >= minor);
}

function checkNode(): Finding {
  const version = process.versions.node;
  if (atLeast(version, NODE_MINIMUM)) return ok(version);
  return fail(version, `install Node ${NODE_MINIMUM.join('.')} or newer`);
}

async function checkNativeModules(): Promise<Finding> {
  const [{ default: Database }] = await Promise.all([
    import('better-sqlite3'),
    import('koffi'),
    import('zstd-napi'),
  ]);
  new Database(':memory:').close();
  return ok('better-sqlite3, koffi and zstd-napi load');
}

function checkKernel(): Finding {
  const version = release();
  if (process.platform !== 'linux') return fail(`${process.platform} ${version}`, 'mounting needs Linux');
  if (!atLeast(version, [6, 2])) return fail(version, 'mounting needs Linux 6.2 or newer');
  if (atLeast(version, [6, 9])) return ok(`${version}, requests survive the death of a daemon (FUSE_RESEND)`);
  return warn(version, 'from Linux 6.9 on, requests in flight survive the death of a daemon');
}

async function checkFuseDevice(): Promise<Finding> {
  try {
    await (await open('/dev/fuse', constants.O_RDWR)).close();
    return ok('/dev/fuse opens');
  } catch (error) {
    const code = systemCode(error) ?? messageOf(error);
    const advice =
      code === 'ENOENT'
        ? 'modprobe fuse; in a container: --device /dev/fuse'
        : 'let this user open /dev/fuse';
    return fail(`/dev/fuse: ${code}`, advice);
  }
}

async function findProgram(name: string): Promise<string | undefined> {
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    const path = join(folder, name);
    const found = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (found) return path;
  }
  return undefined;
}

async function checkFusermount(): Promise<Finding> {
  const path = await findProgram('fusermount3');
  const root = process.getuid?.() === 0;
  if (path === undefined) {
    return root
      ? ok('not installed, and root does not need it')
      : fail('not installed', 'apt install fuse3 (mounting as an ordinary user needs it)');
  }
  const setuid = ((await stat(path)).mode & 0o4000) !== 0;
  return setuid || root
    ? ok(path)
    : fail(`${path} is not setuid root`, `as root: chown root ${path}; chmod u+s ${path}`);
}

async function checkAllowOther(): Promise<Finding> {
  if (process.getuid?.() === 0) return ok('root may mount with --allow-other');
  const config = await readFile('/etc/fuse.conf', 'utf8').catch(() => '');
  if (/^\s*user_allow_other\s*$/m.test(config)) return ok('user_allow_other is set');
  return warn(
    'user_allow_other is not set',
    'only for --allow-other: add user_allow_other to /etc/fuse.conf',
  );
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** The path itself, or the nearest folder above it that is there. */
async function nearestExisting(path: string): Promise<string> {
  for (let at = path; ; at = dirname(at)) {
    if ((await exists(at)) || at === dirname(at)) return at;
  }
}

interface MountLine {
  mountpoint: string;
  type: string;
}

/** proc(5), mountinfo: the fifth field is the mountpoint, the first after the separator the type; `\040` stands for a space. */
async function mountLines(): Promise<MountLine[]> {
  const text = await readFile('/proc/self/mountinfo', 'utf8');
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [before = '', after = ''] = line.split(' - ');
      const mountpoint = before.split(' ')[4] ?? '';
      return {
        mountpoint: mountpoint.replaceAll(/\\([0-7]{3})/g, (_, octal: string) =>
          String.fromCharCode(parseInt(octal, 8)),
        ),
        type: after.split(' ')[0] ?? '',
      };
    });
}

async function checkHome(home: string): Promise<Finding> {
  const folder = await nearestExisting(home);
  try {
    await access(folder, constants.W_OK | constants.X_OK);
  } catch (error) {
    return fail(
      `${folder} is not writable (${systemCode(error) ?? 'unknown'})`,
      'use another --home or change its owner',
    );
  }
  if (folder === home && !(await stat(home)).isDirectory())
    return fail(`${home} is not a folder`, 'use another --home');
  const { bavail, bsize } = await statfs(folder);
  const mounts = (await mountLines()).filter(
    ({ mountpoint }) => mountpoint === '/' || folder === mountpoint || folder.startsWith(`${mountpoint}/`),
  );
  const type = mounts.sort((a, b) => a.mountpoint.length - b.mountpoint.length).at(-1)?.type ?? 'unknown';
  const found = `${home} on ${type}, ${sizeText(bavail * bsize)} free`;
  if (NETWORK_FILE_SYSTEMS.test(type))
    return warn(found, 'use a --home on a local disk: SQLite needs working locks');
  if (bavail * bsize < SPACE_WARNING_BYTES)
    return warn(found, 'free some space: edits and the cache live there');
  return ok(found);
}

async function probeWriting(objects: ObjectStore): Promise<Finding> {
  const key = `probe-${randomUUID()}`;
  const body = Buffer.from('cairn doctor');
  try {
    await objects.put(key, body, { ifAbsent: true });
    const again = await objects.put(key, body, { ifAbsent: true });
    const read = await objects.get(key);
    if (!read.equals(body))
      return fail(`${objects.url} gives back other bytes than it was given`, 'use another store');
    if (again !== 'exists')
      return fail(`${objects.url} has no conditional put`, 'use a store that honours If-None-Match');
    return ok(`${objects.url} reads, writes and deletes`);
  } finally {
    await objects.delete(key);
  }
}

async function checkStore(settings: Settings, write: boolean): Promise<Finding> {
  const { openObjectStore } = await import('../objects/index.js');
  const objects = await openObjectStore(settings.store, { home: settings.home });
  try {
    // Listing and deleting are the service's own.
    if (isServiceUrl(settings.store)) return ok(`${objects.url} is a service`);
    if (write) return await probeWriting(objects);
    const listed = objects.list('manifests/')[Symbol.asyncIterator]();
    const { done } = await listed.next();
    await listed.return?.();
    return ok(
      `${objects.url} answers${done === true ? ', and holds no version yet' : ''} (--write to try writing)`,
    );
  } finally {
    await objects.close();
  }
}

async function checkCatalog({ catalog: url, home }: Settings): Promise<Finding> {
  // Opening would make the file, and looking changes nothing.
  if (url.startsWith('sqlite:') && !(await exists(fileURLToPath(url.replace(/^sqlite/, 'file'))))) {
    return ok(`${url} is not there yet: the first import makes it`);
  }
  const { openCatalog } = await import('../catalog/index.js');
  const catalog = await openCatalog(url, home);
  try {
    const workspaces = await catalog.workspaces();
    return ok(`${catalog.url} opens, ${countText(workspaces.length, 'workspace')}`);
  } finally {
    await catalog.close();
  }
}

/**
 * `dead` for a mount whose daemon is gone, `silent` for one that does not answer in time. Another process asks, which can be killed: a call of this one
 * that waits for ever would keep it from ending.
 */
async function mountState(mountpoint: string): Promise<'alive' | 'dead' | 'silent'> {
  const options = {
    timeout: MOUNT_ANSWER_MS,
    killSignal: 'SIGKILL',
    env: { ...process.env, LC_ALL: 'C' },
  } as const;
  try {
    await promisify(execFile)('stat', ['--', mountpoint], options);
    return 'alive';
  } catch (error) {
    const { killed, stderr } = error as { killed?: boolean; stderr?: string };
    if (killed === true) return 'silent';
    return stderr?.includes('Transport endpoint is not connected') === true ? 'dead' : 'alive';
  }
}

/** What keeps a mount of this home from working although it answers: its supervisor says so when no daemon stays alive. */
async function mountProblem(home: string, mountpoint: string): Promise<CairnError | undefined> {
  const { connectMount } = await import('../daemon/index.js');
  const control = await connectMount(home, [mountpoint]);
  try {
    await control.stats();
  } catch (error) {
    if (error instanceof CairnError) return error;
    throw error;
  } finally {
    control.close();
  }
  return undefined;
}

async function checkMounts(settings: Settings): Promise<Finding> {
  const fuseMounts = (await mountLines()).filter(({ type }) => type === 'fuse' || type.startsWith('fuse.'));
  const { listMounts } = await import('../daemon/index.js');
  const own = await listMounts(settings.home);
  const states = await Promise.all(
    fuseMounts.map(async ({ mountpoint }) => ({ mountpoint, state: await mountState(mountpoint) })),
  );
  const bad = states
    .filter(({ state }) => state !== 'alive')
    .map(({ mountpoint, state }) => `${mountpoint} is ${state}`);
  if (bad.length > 0)
    return warn(bad.join(', '), 'cairn unmount it, or fusermount3 -u -z it, then mount again');
  const damaged = own.find((mount) => mount.problem !== undefined);
  if (damaged?.problem !== undefined) return fail(damaged.problem, 'cairn fsck');
  for (const { mountpoint, alive } of own) {
    const problem = alive ? await mountProblem(settings.home, mountpoint) : undefined;
    if (problem !== undefined) return fail(problem.message, problem.hint ?? `cairn unmount ${mountpoint}`);
  }
  const left = own.filter(({ alive }) => !alive).map(({ mountpoint }) => mountpoint);
  const edits = left.length === 0 ? '' : `; edits are kept for ${left.join(', ')}`;
  return ok(`${String(own.length - left.length)} of this home, none dead${edits}`);
}

/** Runs every check, one after the other; a check that throws has failed, with the error's hint as advice. */
export async function* runChecks(settings: Settings, options: { write: boolean }): AsyncGenerator<Check> {
  const checks: readonly (readonly [name: string, check: () => Finding | Promise<Finding>])[] = [
    ['node', checkNode],
    ['native modules', checkNativeModules],
    ['kernel', checkKernel],
    ['fuse', checkFuseDevice],
    ['fusermount3', checkFusermount],
    ['allow other', checkAllowOther],
    ['home', () => checkHome(settings.home)],
    ['store', () => checkStore(settings, options.write)],
    ['catalog', () => checkCatalog(settings)],
    ['mounts', () => checkMounts(settings)],
  ];
  for (const [name, check] of checks) {
    try {
      yield { name, ...(await check()) };
    } catch (error) {
      const hint = error instanceof CairnError ? error.hint : undefined;
      yield { name, ...fail(messageOf(error), hint ?? 'run cairn doctor --debug, or look at the message') };
    }
  }
}
