import type { Worker } from 'node:worker_threads';
import { Daemon } from './daemon.js';
import { createLog } from './daemon-log.js';
import { errorRecord } from './error-record.js';
import { MountFolder } from './mount-folder.js';
import {
  FOLDER_VARIABLE,
  RESTARTS_VARIABLE,
  SUPERVISOR_VARIABLE,
  type StartReport,
} from './supervisor-protocol.js';

/** The main thread of the daemon, of everything but the requests themselves. Reports to the supervisor how the start went. */
export async function runDaemon(sessionThread: Worker): Promise<void> {
  const folder = new MountFolder(process.env[FOLDER_VARIABLE] ?? '');
  const request = folder.request();
  if (request === undefined) throw new Error(`${folder.dir} is not a mount's folder`);

  const report = (message: StartReport): void => {
    process.send?.(message);
  };

  // A supervisor that is gone has taken the mount's name along: the descriptor here is the last, and ends with the mount.
  process.on('disconnect', () => undefined);

  const log = createLog(2, request.logLevel);
  try {
    const as = await Daemon.start({
      folder,
      request,
      restarts: Number(process.env[RESTARTS_VARIABLE] ?? 0),
      supervisorPid: Number(process.env[SUPERVISOR_VARIABLE] ?? 0),
      sessionThread,
      log,
      onEnded: (status) => {
        if (status === 0) process.exit(0);
        // Not by `exit`, which waits for all threads: the feeder may wait for a reply that the session thread does not send any more.
        process.kill(process.pid, 'SIGTERM');
      },
    });
    report({ kind: 'mounted', as });
  } catch (error) {
    log.error({ error }, 'the daemon could not start');
    report({ kind: 'failed', error: errorRecord(error) });
    process.exit(1);
  }
}
