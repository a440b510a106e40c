import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { CairnError, Errno, errnoOf, homeLayout, messageOf } from '../core/index.js';
import { claimLaunch } from './claim-launch.js';
import { isAlive } from './control-socket.js';
import { errorFromRecord } from './error-record.js';
import type { MountedAs, MountRequest } from './mount-control.js';
import { MountFolder } from './mount-folder.js';
import type { StartReport } from './supervisor-protocol.js';

const SUPERVISOR = fileURLToPath(new URL('./supervisor-main.js', import.meta.url));

/** What `startMount` promises. */
export async function launchMount(request: MountRequest): Promise<MountedAs> {
  const folder = folderFor(request);
  checkWritable(request.home);
  const release = claimLaunch(folder, request);
  try {
    return await launchIn(folder, request);
  } finally {
    release();
  }
}

/** Of two commands that mount one workspace at one place at the same time the other must not tidy up the folder that this one's daemon is in. */
async function launchIn(folder: MountFolder, request: MountRequest): Promise<MountedAs> {
  if (await isAlive(folder)) {
    throw new CairnError('conflict', `${request.mountpoint} is a mount already`, {
      hint: `cairn unmount ${request.mountpoint}`,
    });
  }
  const isNew = folder.request() === undefined;
  await createFolder(folder, request);
  try {
    return request.foreground ? await superviseHere(folder, request) : await startSupervisor(folder, request);
  } catch (error) {
    if (isNew) folder.remove();
    throw error;
  }
}

/** What `takeOverMount` promises. */
export async function launchTakeover(home: string, mountpoint: string): Promise<MountedAs> {
  for (const folder of MountFolder.list(home)) {
    const request = folder.request();
    if (request?.mountpoint === mountpoint && (await isAlive(folder)))
      return await startSupervisor(folder, request, 'takeover');
  }
  throw new CairnError('not-found', `no mount of this home answers at ${mountpoint}`, {
    hint: 'cairn mount without arguments lists the mounts',
  });
}

/** On a full disk what an earlier mount has set aside is there for this. */
async function createFolder(folder: MountFolder, request: MountRequest): Promise<void> {
  try {
    folder.create(request);
  } catch (error) {
    if (errnoOf(error) !== Errno.ENOSPC) throw error;
    const { Reserve } = await import('../upper/index.js');
    if (!new Reserve(folder.dir).release()) throw error;
    folder.create(request);
  }
}

function checkWritable(home: string): void {
  try {
    fs.accessSync(home, fs.constants.W_OK);
  } catch (error) {
    throw new CairnError('failed', `the home folder ${home} cannot be written to: ${messageOf(error)}`, {
      hint: 'check its owner and mode, and that its file system is mounted read-write; or name another by --home',
      cause: error,
    });
  }
}

/** One for each workspace at each mountpoint. */
function folderFor({ home, workspace, mountpoint }: MountRequest): MountFolder {
  const digest = createHash('sha256').update(mountpoint).digest('hex').slice(0, 12);
  return new MountFolder(path.join(homeLayout.mounts(home), `${workspace}-${digest}`));
}

async function superviseHere(folder: MountFolder, request: MountRequest): Promise<MountedAs> {
  const { Supervisor } = await import('./supervisor.js');
  return await new Supervisor(folder, request).start();
}

async function startSupervisor(
  folder: MountFolder,
  request: MountRequest,
  ...how: 'takeover'[]
): Promise<MountedAs> {
  const log = fs.openSync(folder.logPath, 'a', 0o600);
  const supervisor = spawn(process.execPath, [...process.execArgv, SUPERVISOR, folder.dir, ...how], {
    stdio: ['ignore', log, log, 'ipc'],
    detached: true,
    cwd: '/',
  });
  fs.closeSync(log);
  try {
    return await new Promise((resolve, reject) => {
      supervisor.on('message', (report: StartReport & { as?: MountedAs }) => {
        if (report.kind === 'failed') reject(errorFromRecord(report.error));
        else resolve(report.as);
      });
      supervisor.on('error', reject);
      supervisor.on('exit', (status) => {
        const what = `the supervisor of ${request.mountpoint} ended with status ${String(status)}`;
        reject(new CairnError('failed', what, { hint: `see ${folder.logPath}` }));
      });
    });
  } finally {
    if (supervisor.connected) supervisor.disconnect();
    supervisor.unref();
  }
}
