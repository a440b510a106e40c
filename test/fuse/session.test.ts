import { closeSync } from 'node:fs';
import { rmdir } from 'node:fs/promises';
import t from 'tap';

import { mountFuse, unmountFuse } from '../../src/fuse/index.js';
import { signalEventFd } from '../../src/posix/index.js';
import {
  exercise,
  newMountpoint,
  runAsUser,
  spawnDaemon,
  startExercise,
  startMountedSession,
  stopMount,
  whyNoMounts,
  whyNoUserMounts,
  type MountedSession,
} from './mounted-session.js';

const skip = whyNoMounts() ?? false;
/** fusermount3 wants a user that /etc/passwd knows. */
const NOBODY = 65534;
const isRoot = process.getuid?.() === 0;

function failures(session: MountedSession): unknown[] {
  return session.messages.filter(({ kind }) => kind === 'failure');
}

t.test('POSIX calls do what they say', { skip }, async (t) => {
  const session = await startMountedSession();
  t.teardown(() => session.stop());
  const names = [
    'files',
    'largeFile',
    'directories',
    'renames',
    'links',
    'attributes',
    'xattrs',
    'sparse',
    'tmpfile',
  ];
  for (const name of names) await t.resolves(exercise(name, session.mountpoint), name);
  t.same(failures(session), []);
});

t.test('what is not at hand is handed over and answered by another thread', { skip }, async (t) => {
  const session = await startMountedSession();
  t.teardown(() => session.stop());
  await t.resolves(exercise('remote', session.mountpoint));
  t.ok(session.messages.some(({ kind }) => kind === 'read'));
  t.same(failures(session), []);
});

t.test('a program that is interrupted while its request is handed over ends', { skip }, async (t) => {
  const session = await startMountedSession();
  t.teardown(() => session.stop());
  const program = startExercise('stuck', session.mountpoint);
  const ended = new Promise((resolve) =>
    program.once('exit', (_status, signal) => {
      resolve(signal);
    }),
  );
  await session.message('sync');
  program.kill('SIGINT');
  t.equal(await ended, 'SIGINT');
  t.ok(session.messages.some(({ kind }) => kind === 'interrupt'));
});

t.test('the wake descriptor gets the session thread out of its sleep', { skip }, async (t) => {
  const session = await startMountedSession();
  t.teardown(() => session.stop());
  await session.message('negotiated');
  signalEventFd(session.wakeFd);
  t.same(await session.message('woken'), { kind: 'woken' });
});

t.test('the session ends when the mount does', { skip }, async (t) => {
  const session = await startMountedSession();
  await session.message('negotiated');
  await session.stop();
  t.same(await session.message('ended'), { kind: 'ended', how: 'unmounted' });
});

t.test('a read-only mount refuses every change', { skip }, async (t) => {
  const session = await startMountedSession({ readOnly: true });
  t.teardown(() => session.stop());
  await t.resolves(exercise('readOnly', session.mountpoint));
});

t.test(
  'another user on a mount of root is held to the modes',
  { skip: skip || (!isRoot && 'needs root') },
  async (t) => {
    const session = await startMountedSession({ allowOther: true });
    t.teardown(() => session.stop());
    await t.resolves(runAsUser('mount-exercises.js', NOBODY, 'permissions', session.mountpoint));
  },
);

t.test('what one listing brought is not asked for again', { skip }, async (t) => {
  const session = await startMountedSession({ files: 1000 });
  t.teardown(() => session.stop());
  await t.resolves(exercise('listing', session.mountpoint));
  const first = session.counters.byName();
  t.match(
    first,
    { LOOKUP: 1, GETATTR: 1 },
    'READDIRPLUS brings names and attributes; the directory itself is looked up',
  );
  await t.resolves(exercise('listing', session.mountpoint));
  // Having read the directory the kernel wants its access time anew.
  t.match(session.counters.byName(), { READDIRPLUS: first['READDIRPLUS'], LOOKUP: 1, GETATTR: 2 });
});

t.test(
  'a mount that is there already, and a directory that is not empty, are conflicts',
  { skip },
  async (t) => {
    const session = await startMountedSession();
    t.teardown(() => session.stop());
    const options = { fsname: 'x', subtype: 'cairn', readOnly: true, allowOther: false } as const;
    await t.rejects(mountFuse({ ...options, mountpoint: session.mountpoint }), { code: 'conflict' });
    const directory = t.testdir({ full: { file: '' }, empty: {}, file: '' });
    await t.rejects(mountFuse({ ...options, mountpoint: `${directory}/full` }), { code: 'conflict' });
    await t.rejects(mountFuse({ ...options, mountpoint: `${directory}/none` }), { code: 'not-found' });
    await t.rejects(mountFuse({ ...options, mountpoint: `${directory}/file` }), { code: 'usage' });
    await t.rejects(unmountFuse(`${directory}/empty`), { code: 'not-found' });
  },
);

t.test(
  'an ordinary user mounts and unmounts through fusermount3',
  { skip: skip || whyNoUserMounts() || false },
  async (t) => {
    const shown = await runAsUser('user-mount.js', NOBODY);
    t.match(JSON.parse(shown), { type: 'fuse.cairn', source: 'memory, of a test' });
  },
);

t.test('a mount in use is a conflict to unmount, and goes on', { skip }, async (t) => {
  const session = await startMountedSession();
  t.teardown(() => session.stop());
  const program = startExercise('holdOpen', session.mountpoint);
  await new Promise((resolve) => program.stdout.once('data', resolve));
  await t.rejects(unmountFuse(session.mountpoint), { code: 'conflict' });
  const ended = new Promise((resolve) => program.once('exit', resolve));
  program.stdin.end();
  t.equal(await ended, 0);
});

t.test(
  'law 3, law 5: daemons are killed during a stream of changes, and no call fails',
  { skip },
  async (t) => {
    const mountpoint = await newMountpoint();
    const { fd } = await mountFuse({
      mountpoint,
      fsname: 'journaled',
      subtype: 'cairn',
      readOnly: false,
      allowOther: false,
    });
    const journal = `${t.testdir()}/journal`;
    const stopped = { now: false };
    const deaths = { before: 0, after: 0 };
    const supervisor = (async () => {
      for (let n = 0; !stopped.now; n++) {
        const when = n % 2 === 0 ? 'before' : 'after';
        const daemon = spawnDaemon(fd, journal, 211 + n * 97, when);
        const signal = await new Promise((resolve) =>
          daemon.once('exit', (_status, by) => {
            resolve(by);
          }),
        );
        if (signal !== 'SIGKILL') break;
        deaths[when]++;
      }
    })();
    t.teardown(async () => {
      stopped.now = true;
      await stopMount(mountpoint);
      await supervisor;
      closeSync(fd);
      await rmdir(mountpoint);
    });
    await t.resolves(exercise('createStream', mountpoint));
    t.ok(deaths.before >= 2 && deaths.after >= 2, `died ${JSON.stringify(deaths)}`);
  },
);
