import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import { rmdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import t, { type Test } from 'tap';
import { mountFuse, writeReadReply } from '../../src/fuse/index.js';
import { createFeederRing, pushedFiles } from '../../src/fuse/feeder-ring.js';
import { createEventFd, isDead, releaseMemory } from '../../src/posix/index.js';
import { FILE_BYTES, OLD_BYTE, type StagedData, type StagedMessage } from './feeder-session-worker.js';
import { newMountpoint, stopMount, whyNoMounts } from './mounted-session.js';

const execute = promisify(execFile);
const LIMIT_S = '60';
const FILES = 100 * Number(process.env['CAIRN_TEST_RUNS'] ?? 1);

interface Staged {
  mountpoint: string;
  fd: number;
  ring: SharedArrayBuffer;
  /** From now on READs that were handed over are answered, those that wait too. */
  answerReads: () => void;
  message: <Kind extends StagedMessage['kind']>(
    kind: Kind,
  ) => Promise<Extract<StagedMessage, { kind: Kind }>>;
}

/** A mount whose every first READ of a file finds the feeder waiting for the pages of that READ. */
async function startStaged(
  t: Test,
  options: { files: number; revokes?: boolean; handsOver?: boolean },
): Promise<Staged> {
  const mountpoint = await newMountpoint();
  const { fd } = await mountFuse({
    mountpoint,
    fsname: 'staged, of a test',
    subtype: 'cairn',
    readOnly: false,
    allowOther: false,
  });
  const wakeFd = createEventFd();
  const ring = createFeederRing();
  const feederThread = new Int32Array(new SharedArrayBuffer(8));
  const { files, revokes = true, handsOver = false } = options;
  const messages: StagedMessage[] = [];
  const waiting: { kind: string; resolve: (message: StagedMessage) => void }[] = [];
  const workers: Promise<void>[] = [];
  let answers = false;
  const answer = (message: StagedMessage): void => {
    if (message.kind !== 'read') return;
    writeReadReply(fd, message.unique, [Buffer.alloc(message.size, OLD_BYTE)]);
  };
  const start = async (role: StagedData['role']): Promise<void> => {
    const workerData: StagedData = {
      role,
      fd,
      wakeFd,
      ring,
      feederThread,
      files,
      stages: true,
      revokes,
      handsOver,
    };
    const worker = new Worker(new URL('./feeder-session-worker.js', import.meta.url), { workerData });
    workers.push(
      new Promise((resolve) =>
        worker.once('exit', () => {
          resolve();
        }),
      ),
    );
    await new Promise<void>((resolve, reject) => {
      worker.once('error', reject);
      worker.on('message', (message: StagedMessage) => {
        if (message.kind === 'ready') resolve();
        if (message.kind === 'failure') t.fail(`${message.what}: ${message.message}`);
        messages.push(message);
        if (answers) answer(message);
        for (const one of waiting) if (one.kind === message.kind) one.resolve(message);
      });
    });
  };
  await start('feeder');
  await start('session');
  t.teardown(async () => {
    await stopMount(mountpoint);
    await Promise.all(workers);
    closeSync(fd);
    closeSync(wakeFd);
    await rmdir(mountpoint);
  });
  return {
    mountpoint,
    fd,
    ring,
    answerReads: () => {
      answers = true;
      messages.forEach(answer);
    },
    message: async <Kind extends StagedMessage['kind']>(kind: Kind) =>
      (messages.find((message) => message.kind === kind) ??
        (await new Promise<StagedMessage>((resolve) => waiting.push({ kind, resolve })))) as Extract<
        StagedMessage,
        { kind: Kind }
      >,
  };
}

async function lostPages(mountpoint: string, files: number): Promise<number> {
  const script = fileURLToPath(new URL('../../../test/fuse/page-writer.py', import.meta.url));
  const args = ['-s', 'KILL', LIMIT_S, 'python3', script, mountpoint, String(files), String(FILE_BYTES)];
  return Number((await execute('timeout', args)).stdout);
}

const skip = whyNoMounts() ?? false;

t.test(
  'law 10: a push that waits for a page does not overwrite what a program then writes there',
  { skip },
  async (t) => {
    const staged = await startStaged(t, { files: FILES });
    t.equal(await lostPages(staged.mountpoint, FILES), 0, 'pages written through a mapping');
    t.equal(pushedFiles(staged.ring), 0, 'every push was revoked');
  },
);

t.test('law 10: without taking pushes back, written pages would be lost', { skip }, async (t) => {
  const staged = await startStaged(t, { files: FILES, revokes: false });
  const lost = await lostPages(staged.mountpoint, FILES);
  t.ok(lost > 0, `${String(lost)} pages of ${String(FILES)} files`);
});

t.test(
  'law 10: a truncation is answered after a push that was under way, which does not make the file longer again',
  { skip },
  async (t) => {
    const staged = await startStaged(t, { files: 1, handsOver: true });
    const file = `${staged.mountpoint}/file-0`;
    const reader = execute('timeout', ['-s', 'KILL', LIMIT_S, 'cat', file]);
    await staged.message('read');
    let truncated = false;
    const truncation = execute('timeout', ['-s', 'KILL', LIMIT_S, 'truncate', '-s', '10', file]).then(() => {
      truncated = true;
    });
    await staged.message('held');
    t.equal(truncated, false, 'it waits');
    staged.answerReads();
    await Promise.all([reader, truncation]);
    const { stdout } = await execute('timeout', ['-s', 'KILL', LIMIT_S, 'stat', '-c', '%s', file]);
    t.equal(stdout.trim(), '10');
  },
);

function startDaemon(fd: number, how: 'feeding' | 'takingOver'): ChildProcess {
  const script = fileURLToPath(new URL('./feeder-session-process.js', import.meta.url));
  return spawn(process.execPath, [script, how], { stdio: ['ignore', 'pipe', 'inherit', fd] });
}

t.test(
  'law 5: a daemon that dies while its feeder waits for a page is followed by the next, and its push comes to nothing',
  { skip },
  async (t) => {
    const mountpoint = await newMountpoint();
    const options = {
      mountpoint,
      fsname: 'staged, of a test',
      subtype: 'cairn',
      readOnly: false,
      allowOther: false,
    } as const;
    const { fd } = await mountFuse(options);
    const first = startDaemon(fd, 'feeding');
    const daemons = [first];
    t.teardown(async () => {
      await stopMount(mountpoint);
      for (const daemon of daemons) daemon.kill('SIGKILL');
      closeSync(fd);
      await rmdir(mountpoint);
    });
    const writer = lostPages(mountpoint, 1);
    // The only thing it says: that it was asked for the page, and the feeder waits.
    await once(first.stdout ?? first, 'data');
    let ended = false;
    const end = once(first, 'exit').then(() => {
      ended = true;
    });
    const { pid } = first;
    if (pid === undefined) throw new Error('the daemon has a process');
    first.kill('SIGKILL');
    while (!isDead(pid)) await new Promise((resolve) => setTimeout(resolve, 1));
    t.equal(releaseMemory(pid), true);
    t.equal(ended, false, 'it is dead, and does not end');
    daemons.push(startDaemon(fd, 'takingOver'));
    t.equal(await writer, 0, 'pages that were overwritten');
    await end;
  },
);
