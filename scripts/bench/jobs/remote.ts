import { readdir } from 'node:fs/promises';
import path from 'node:path';
import type { Costs } from '../measure/costs.js';
import { getAll } from '../measure/get-all.js';
import type { ServerCounts } from '../measure/object-server.js';
import { expectCount, filesSearched, searchAll } from '../measure/scans.js';
import { CAIRN } from '../systems/place.js';
import { REMOTE_WORKSPACE, RemoteStore } from '../systems/remote-store.js';
import type { Bench } from './bench.js';
import { addSample, addTime, say, type JobRun } from './job-run.js';
import type { Job } from './job.js';

const ROUNDS_GOAL = 4;
/** In every round, as they are quick and the difference of two times is wanted. */
const MOUNTS = 3;
const LINE_GOAL = 1.2;
const LINE = 'the line at its speed';
const PLAIN_GETS = 'plain GETs, 32 at once';
const PLAIN_GETS_AT_ONCE = 32;

export async function withRemoteStore(
  bench: Bench,
  run: JobRun,
  work: (remote: RemoteStore) => Promise<void>,
): Promise<void> {
  const { root: tree } = await bench.tree(run);
  const folder = await bench.jobFolder('remote');
  await RemoteStore.serve(bench.commands, { folder, tree, speed: bench.speed }, work);
}

/** What a server saw, as what its client cost. */
export function serverCosts({ requests, bytesOut }: ServerCounts): Costs {
  const count = Object.values(requests).reduce((sum, one) => sum + one, 0);
  return { fuse: {}, store: { requests: count, bytesIn: bytesOut, bytesOut: 0 } };
}

export const remoteFirstByte: Job = {
  name: 'remote-first-byte',
  title: 'First byte of a file, nothing cached, the store far away',
  async measure(bench, run) {
    const { root } = await bench.tree(run);
    const file = await middleFile(root);
    const far = run.row({ title: 'mount to first byte, far store', unit: 'ms' });
    const near = run.row({ title: 'mount to first byte, the same without latency', unit: 'ms' });
    const chain = run.row({
      title: 'requests one after another until the first byte',
      unit: 'count',
      goal: { atMost: ROUNDS_GOAL },
      note: 'the longest chain the server saw, fetching ahead included',
    });
    await withRemoteStore(bench, run, async (remote) => {
      await bench.inRounds(Array<(typeof far)[]>(MOUNTS).fill([near, far]).flat(), async (row) => {
        remote.server.speed = row === far ? bench.speed : { ...bench.speed, latencyMs: 0 };
        await remote.newMachine(async (home) => {
          await bench.settle();
          remote.server.take();
          const { mount, tookMs, shown } = await home.mount(REMOTE_WORKSPACE);
          const read = await bench.commands.run('head', ['-c', '1', path.join(mount.mountpoint, file)]);
          const counts = remote.server.take();
          const output = { stdout: '', tookMs: tookMs + read.tookMs, shown: `${shown} && ${read.shown}` };
          addTime(row, CAIRN, output, serverCosts(counts));
          if (row === far) addSample(chain, CAIRN, counts.rounds);
        });
      });
    });
    const [farMs, nearMs] = [far, near].map((row) => row.series[0]?.samples ?? []);
    const waits = run.row({
      title: 'latencies waited for until the first byte',
      unit: 'count',
      note: `the difference of the two times, in latencies of ${bench.speed.latencyMs} ms`,
    });
    for (const [at, tookMs] of (farMs ?? []).entries()) {
      addSample(waits, CAIRN, (tookMs - (nearMs?.[at] ?? NaN)) / bench.speed.latencyMs);
    }
  },
};

/** From the middle of the tree, and no doubt more than one block away from what came with the mount. */
async function middleFile(root: string): Promise<string> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  const names = entries
    .filter((entry) => entry.isFile() && entry.name.endsWith('.js'))
    .map((entry) => path.relative(root, path.join(entry.parentPath, entry.name)))
    .sort();
  const name = names[Math.floor(names.length / 2)];
  if (name === undefined) throw new Error('there is no .js file in the tree');
  return name;
}

export const remoteSearch: Job = {
  name: 'remote-rg',
  title: 'A search through every file, nothing cached, the store far away',
  needs: ['rg'],
  async measure(bench, run) {
    const { counts } = await bench.tree(run);
    const row = run.row({
      title: 'rg -uuu, far store',
      unit: 'ms',
      reference: LINE,
      goal: { atMost: LINE_GOAL, of: LINE },
    });
    await withRemoteStore(bench, run, async (remote) => {
      const { urls, bytes } = await remote.objects();
      row.workBytes = bytes;
      row.note = `${urls.length.toLocaleString('en')} objects`;
      addSample(row, LINE, (bytes / bench.speed.bytesPerSecond) * 1000);
      await bench.inRounds([CAIRN, PLAIN_GETS], async (system) => {
        remote.server.take();
        if (system === PLAIN_GETS) {
          const got = await getAll({ urls, atOnce: PLAIN_GETS_AT_ONCE });
          expectCount('plain GETs: bytes', got.bytes, bytes);
          addSample(row, PLAIN_GETS, got.tookMs, { costs: serverCosts(remote.server.take()) });
          say(`  ${row.title}, ${PLAIN_GETS}: ${(got.tookMs / 1000).toFixed(3)} s`);
          return;
        }
        await remote.newMachine(async (home) => {
          const { mount } = await home.mount(REMOTE_WORKSPACE);
          await bench.settle();
          remote.server.take();
          const { result: output, costs } = await mount.costsOf(() =>
            searchAll(bench.commands, mount.mountpoint),
          );
          expectCount('files searched', filesSearched(output), counts.files);
          const { store } = serverCosts(remote.server.take());
          addTime(row, CAIRN, output, { fuse: costs.fuse, store });
        });
      });
    });
  },
};
