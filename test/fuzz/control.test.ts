/**
 * A daemon whose control socket is given anything but requests: it refuses, and the mount goes on. `--seed` and `--minutes` as in fuzz.test.ts.
 */
import { once } from 'node:events';
import net from 'node:net';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import t, { type Test } from 'tap';
import { whyNoMounts } from '../mount/ordinary-user.js';
import { runDone, Site, type Home, type Mounted } from '../mount/site.js';
import { mutated, mutatedJson } from './mutate.js';
import { Random } from './random.js';

const CASES = 60;
const MIB = 1024 * 1024;
const MEMORY_MAX_BYTES = 300 * MIB;
/** A daemon that does not answer by then never will: a guard, as for everything that asks a mount. */
const ANSWER_MS = 60_000;
const CONNECTIONS = 2000;

const { values } = parseArgs({
  options: { minutes: { type: 'string', default: '0' }, seed: { type: 'string' } },
  strict: false,
});
const seed = Number(values.seed ?? process.env['CAIRN_TEST_SEED'] ?? Date.now() & 0x7fffffff);
const endMs = performance.now() + Number(values.minutes) * 60_000;

if (whyNoMounts !== undefined) {
  t.plan(0, whyNoMounts);
} else {
  t.setTimeout(0);
  t.test('what is no request on the control socket is refused, and the mount goes on', garbage);
  t.test('a client that asks and asks, and reads no answer, takes no memory', deaf);
  t.test('clients without number take no descriptors from the mount', crowd);
}

interface Stand {
  home: Home;
  mount: Mounted;
  socket: string;
}

async function mounted(t: Test): Promise<Stand> {
  const site = await Site.start(t);
  const home = site.home();
  await runDone(['sh', '-c', 'echo begin > "$1/file"', 'sh', site.folder('tree')]);
  await home.import(`${site.base}/tree`, 'work');
  const mount = await home.mount('work', 'mnt');
  const mounts = path.join(home.dir, 'mounts');
  const [folder = ''] = readdirSync(mounts);
  return { home, mount, socket: path.join(mounts, folder, 'control.sock') };
}

/** The same daemon answers, on the socket and on the mount, and is as small as it was. */
async function goesOn(t: Test, { home, mount }: Stand): Promise<void> {
  const { daemon, supervisor } = await home.stats(mount.mountpoint);
  t.same([daemon.pid, supervisor.restarts], [mount.daemonPid, 0], 'the same daemon answers');
  const written = await runDone([
    'sh',
    '-c',
    'echo more >> "$1/file"; tail -1 "$1/file"',
    'sh',
    mount.mountpoint,
  ]);
  t.equal(written, 'more\n', 'the mount goes on');
  const [, kib] =
    /^VmHWM:\s*(\d+) kB$/m.exec(readFileSync(`/proc/${String(daemon.pid)}/status`, 'utf8')) ?? [];
  const peakBytes = Number(kib) * 1024;
  t.ok(peakBytes < MEMORY_MAX_BYTES, `${(peakBytes / MIB).toFixed(0)} MiB at the peak`);
}

async function garbage(t: Test): Promise<void> {
  const stand = await mounted(t);
  t.comment(`--seed ${String(seed)}`);
  const counts: Record<string, number> = {};
  for (let number = 0; number < CASES || performance.now() < endMs; number++) {
    const outcome = await sendOnce(stand.socket, new Random(seed, number));
    counts[outcome] = (counts[outcome] ?? 0) + 1;
  }
  t.comment(JSON.stringify(counts));
  t.ok((counts['error'] ?? 0) > 0 && (counts['closed'] ?? 0) > 0, 'some were answered, some cut off');
  await goesOn(t, stand);
}

const REQUESTS = [
  { method: 'status', limit: 3 },
  { method: 'stats' },
  { method: 'snapshot', message: 'm', author: 'a' },
];

/** What a client may send, by mistake or on purpose. */
function message(random: Random): Buffer {
  switch (random.below(6)) {
    case 0:
      return Buffer.concat([random.bytes(random.below(5000)), Buffer.from('\n')]);
    case 1:
      // A line that is longer than any request.
      return Buffer.alloc(2 * MIB + random.below(MIB), random.pick(['a', '[', '"', '\\']));
    case 2:
      return Buffer.from(JSON.stringify(random.pick(REQUESTS)).slice(0, 10));
    case 3:
      return Buffer.from('\n'.repeat(random.below(3000)) + '{}\n');
    case 4:
      return Buffer.concat([
        mutated(Buffer.from(JSON.stringify(random.pick(REQUESTS))), random),
        Buffer.from('\n'),
      ]);
    default:
      return Buffer.from(`${mutatedJson(random.pick(REQUESTS), random)}\n`);
  }
}

/** How the daemon took it: by an answer of some kind, by closing, or by waiting for more, until the client went. */
async function sendOnce(address: string, random: Random): Promise<string> {
  const socket = net.connect(address);
  const closed = new Promise<string>((resolve) => {
    socket.once('close', () => {
      resolve('closed');
    });
  });
  // The daemon closes on a line that is too long while it is still being sent.
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  const answered = new Promise<string>((resolve) => {
    socket.once('data', (bytes: Buffer) => {
      resolve((JSON.parse(bytes.toString().split('\n', 1)[0] ?? '') as { kind: string }).kind);
    });
  });
  const bytes = message(random);
  if (random.once(4) && bytes.length < 200) for (const byte of bytes) socket.write(Buffer.from([byte]));
  else socket.write(bytes);
  if (random.once(5)) {
    socket.destroy();
    return 'gone';
  }
  // Half a line has no answer; whoever sent it ends.
  if (!bytes.includes(0x0a) && bytes.length < MIB) socket.end();
  const guard = setTimeout(() => socket.destroy(new Error('no answer')), ANSWER_MS);
  const outcome = await Promise.race([answered, closed]);
  clearTimeout(guard);
  socket.destroy();
  return outcome;
}

async function deaf(t: Test): Promise<void> {
  const stand = await mounted(t);
  const socket = net.connect(stand.socket);
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  socket.pause();
  const questions = Buffer.from('{"method":"stats"}\n'.repeat(50_000));
  socket.write(questions);
  // By now the daemon has read all it is going to read, or all of it.
  for (let asked = 0; asked < 5; asked++) await stand.home.stats(stand.mount.mountpoint);
  t.ok(socket.bytesWritten > 0);
  await goesOn(t, stand);
  socket.destroy();
}

async function crowd(t: Test): Promise<void> {
  const stand = await mounted(t);
  const sockets = Array.from({ length: CONNECTIONS }, () => {
    const socket = net.connect(stand.socket);
    socket.on('error', () => undefined);
    return socket;
  });
  // Each is in or turned away.
  await Promise.all(
    sockets.map(
      async (socket) =>
        new Promise((resolve) => {
          socket.once('connect', resolve).once('close', resolve);
        }),
    ),
  );
  const descriptors = readdirSync(`/proc/${String(stand.mount.daemonPid)}/fd`).length;
  t.ok(descriptors < CONNECTIONS / 2, `the daemon has ${String(descriptors)} descriptors`);
  for (const socket of sockets) socket.destroy();
  await goesOn(t, stand);
}
