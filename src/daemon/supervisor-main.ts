/**
 * The supervisor as a process of its own: started by `cairn mount` with the mount's folder as its argument, and `takeover` as the second if it is
 * to go on with what others serve.
 */
import { errorRecord } from './error-record.js';
import type { MountedAs } from './mount-control.js';
import { MountFolder } from './mount-folder.js';
import { Supervisor } from './supervisor.js';
import type { StartReport } from './supervisor-protocol.js';

const folder = new MountFolder(process.argv[2] ?? '');
const request = folder.request();
if (request === undefined) throw new Error(`${folder.dir} is not a mount's folder`);

const report = (message: StartReport & { supervisorPid?: number }): void => {
  if (process.connected) process.send?.(message);
};

const supervisor = new Supervisor(folder, request);
process.on('SIGTERM', () => {
  // Refused while the mount is in use; whoever sent the signal can look into the log.
  supervisor.unmount().catch(() => undefined);
});
// A closed terminal or an interrupted command is not a reason to unmount.
process.on('SIGHUP', () => undefined);
process.on('SIGINT', () => undefined);

async function takeOver(): Promise<MountedAs> {
  const [{ ControlClient }, { receiveMount }] = await Promise.all([
    import('./control-client.js'),
    import('./shared-mount.js'),
  ]);
  if (request === undefined) throw new Error(`${folder.dir} is not a mount's folder`);
  const control = new ControlClient(folder, request);
  const shared = await receiveMount(folder, () => control.share());
  return await supervisor.takeOver(shared, () => control.yieldTo(process.pid));
}

try {
  report({ kind: 'mounted', as: await (process.argv[3] === 'takeover' ? takeOver() : supervisor.start()) });
  if (process.connected) process.disconnect();
  await supervisor.ended;
} catch (error) {
  report({ kind: 'failed', error: errorRecord(error) });
  process.exitCode = 1;
}
if (process.connected) process.disconnect();
