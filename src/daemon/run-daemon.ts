import { once } from 'node:events';
import type { Worker } from 'node:worker_threads';
import { dieWithParent } from '../posix/index.js';
import { Daemon } from './daemon.js';
import { createLog } from './daemon-log.js';
import { errorRecord } from './error-record.js';
import { startHeartbeat } from './heartbeat.js';
import { MountFolder } from './mount-folder.js';
import { SessionClient } from './session-client.js';
import {
  FOLDER_VARIABLE,
  RESTARTS_VARIABLE,
  STAND_BY_VARIABLE,
  SUPERVISOR_VARIABLE,
  TOOK_OVER_VARIABLE,
  type DaemonReport,
} from './supervisor-protocol.js';

/** The main thread of the daemon, of everything but the requests themselves. Reports to the supervisor how the start went. */
export async function runDaemon(sessionThread: Worker): Promise<void> {
  const folder = new MountFolder(process.env[FOLDER_VARIABLE] ?? '');
  const request = folder.request();
  if (request === undefined) throw new Error(`${folder.dir} is not a mount's folder`);

  // Without a supervisor it goes on alone, until it is unmounted, dies, or another takes over.
  const report = async (message: DaemonReport): Promise<void> => {
    await new Promise<void>((resolve) => {
      if (!process.connected || process.send === undefined) resolve();
      else {
        process.send(message, undefined, undefined, () => {
          resolve();
        });
      }
    });
  };
  process.on('disconnect', () => undefined);

  const standsBy = process.env[STAND_BY_VARIABLE] !== undefined;
  // When its supervisor is gone, the old one starts a daemon again: there must not be two.
  if (standsBy) dieWithParent(true);

  const log = createLog(2, request.logLevel);
  const session = new SessionClient(sessionThread);
  startHeartbeat({
    getsOn: () => session.getsOn(),
    beat: () => {
      void report({ kind: 'beat' });
    },
    onSilent: () => {
      log.fatal({}, 'the thread that answers requests does not get on');
    },
  });
  try {
    const as = await Daemon.start({
      folder,
      request,
      tookOver: process.env[TOOK_OVER_VARIABLE] !== undefined,
      restarts: Number(process.env[RESTARTS_VARIABLE] ?? 0),
      supervisorPid: Number(process.env[SUPERVISOR_VARIABLE] ?? 0),
      session,
      log,
      turn: async () => {
        if (!standsBy) return;
        const turn = once(process, 'message');
        await report({ kind: 'standing by' });
        await turn;
      },
      onYield: async (to) => {
        await report({ kind: 'yielding', to });
      },
      onEnded: (status) => {
        if (status === 0) {
          void report({ kind: 'unmounted' }).finally(() => process.exit(0));
          return;
        }
        // Not by `exit`, which waits for all threads: the feeder may wait for a reply that the session thread does not send any more.
        process.kill(process.pid, 'SIGTERM');
      },
    });
    await report({ kind: 'mounted', as });
    // From here on it is the other daemon that is gone.
    if (standsBy) dieWithParent(false);
  } catch (error) {
    log.error({ error }, 'the daemon could not start');
    await report({ kind: 'failed', error: errorRecord(error) });
    process.exit(1);
  }
}
