/** Mounts, uses and unmounts, as whoever runs it: `node user-mount.js`. Prints how the kernel shows the mount. */
import { mountAt } from '../../src/fuse/index.js';
import { exercise, startMountedSession } from './mounted-session.js';

const session = await startMountedSession();
try {
  await session.message('negotiated');
  process.stdout.write(JSON.stringify(await mountAt(session.mountpoint)));
  await exercise('files', session.mountpoint);
} finally {
  await session.stop();
}
