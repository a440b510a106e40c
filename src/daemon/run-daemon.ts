import type { Worker } from 'node:worker_threads';
import { Daemon } from './daemon.js';
import { createLog } from './daemon-log.js';
import { errorRecord } from './error-record.js';
import { startHeartbeat } from './heartbeat.js';
import { MountFolder } from './mount-folder.js';
import { SessionClient } from './session-client.js';
import {
  FOLDER_VARIABLE,
  RESTARTS_VARIABLE,
  SUPERVISOR_VARIABLE,
  type DaemonReport,
} from './supervisor-protocol.js';

/** The main thread of the daemon, of everything but the requests themselves. Reports to the supervisor how the start went. */
export async function runDaemon(sessionThread: Worker): Promise<void> {
  const folder = new MountFolder(process.env[FOLDER_VARIABLE] ?? '');
  const request = folder.request();
  if (request === undefined) throw new Error(`${folder.dir} is not a mount's folder`);

  // Without a supervisor it goes on alone, until it is unmounted, dies, or another takes over.
  const report = (message: DaemonReport): void => {
    if (process.connected) process.send?.(message, undefined, undefined, () => undefined);
  };
  process.on('disconnect', () => undefined);

  const log = createLog(2, request.logLevel);
  const session = new SessionClient(sessionThread);
  startHeartbeat({
    getsOn: () => session.getsOn(),
    beat: () => {
      report({ kind: 'beat' });
    },
    onSilent: () => {
      log.fatal({}, 'the thread that answers requests does not get on');
    },
  });
  try {
    const as = await Daemon.start({
      folder,
      request,
      restarts: Number(process.env[RESTARTS_VARIABLE] ?? 0),
      supervisorPid: Number(process.env[SUPERVISOR_VARIABLE] ?? 0),
      session,
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
