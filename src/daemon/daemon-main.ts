/** The daemon of one mount, as its supervisor starts it: main thread of everything but the requests themselves. */
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
    log,
    onEnded: (status) => {
      process.exit(status);
    },
  });
  report({ kind: 'mounted', as });
} catch (error) {
  log.error({ error }, 'the daemon could not start');
  report({ kind: 'failed', error: errorRecord(error) });
  process.exit(1);
}
