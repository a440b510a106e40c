import { spawn } from 'node:child_process';
import fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import { CairnError } from '../core/index.js';
import { isAlive } from './control-socket.js';
import { errorFromRecord } from './error-record.js';
import type { MountedAs, MountRequest } from './mount-control.js';
import { MountFolder } from './mount-folder.js';
import type { StartReport } from './supervisor-protocol.js';

const SUPERVISOR = fileURLToPath(new URL('./supervisor-main.js', import.meta.url));

/**
 * Mounts. Resolves when the mount answers; its processes go on without the caller, unless `foreground` makes the caller the supervisor, which
 * then lives as long as the mount. On failure nothing stays mounted.
 *
 * Throws what keeps a mount from being made: `not-found` (workspace, version, mountpoint), `conflict` (mounted, in use, edits of another
 * version), `unsupported` (no FUSE), `access-denied`, `unreachable`, `corrupt`.
 */
export async function startMount(request: MountRequest): Promise<MountedAs> {
  const folder = MountFolder.for(request.home, request.workspace, request.mountpoint);
  if (await isAlive(folder)) {
    throw new CairnError('conflict', `${request.mountpoint} is a mount already`, {
      hint: `cairn unmount ${request.mountpoint}`,
    });
  }
  const isNew = folder.request() === undefined;
  folder.create(request);
  try {
    return request.foreground ? await superviseHere(folder, request) : await startSupervisor(folder, request);
  } catch (error) {
    if (isNew) folder.remove();
    throw error;
  }
}

async function superviseHere(folder: MountFolder, request: MountRequest): Promise<MountedAs> {
  const { Supervisor } = await import('./supervisor.js');
  return await new Supervisor(folder, request).start();
}

async function startSupervisor(folder: MountFolder, request: MountRequest): Promise<MountedAs> {
  const log = fs.openSync(folder.logPath, 'a', 0o600);
  const supervisor = spawn(process.execPath, [...process.execArgv, SUPERVISOR, folder.dir], {
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
