import { CACHES_STAY, mayDropCaches } from '../measure/machine.js';
import { countEntries, expectCount, filesSearched, packAll, searchAll } from '../measure/scans.js';
import type { TimedCommands, TimedOutput } from '../measure/timed-commands.js';
import type { TreeCounts } from '../measure/tree-counts.js';
import type { Place } from '../systems/place.js';
import type { Bench } from './bench.js';
import { addKernelRequests, type JobRun } from './job-run.js';
import type { Job } from './job.js';

/** One command that goes over the whole tree, cold and warm. */
interface Scan {
  title: string;
  goals: { cold: number; warm?: number };
  command: (commands: TimedCommands, root: string) => Promise<TimedOutput>;
  /** Throws when not all of the tree was seen. */
  check: (output: TimedOutput, place: Place, counts: TreeCounts) => void;
}

const FIND: Scan = {
  title: 'find -ls',
  goals: { cold: 0.8, warm: 1.1 },
  command: countEntries,
  check: ({ stdout }, place, { files, directories, symlinks }) => {
    const entries = files + directories + (place.symlinks ? symlinks : 0) + 1;
    expectCount(`${place.system}: entries`, Number(stdout), entries);
  },
};

const SEARCH: Scan = {
  title: 'rg -uuu',
  goals: { cold: 0.6, warm: 1.1 },
  command: searchAll,
  check: (output, place, { files }) => {
    expectCount(`${place.system}: files searched`, filesSearched(output), files);
  },
};

async function measureScan(bench: Bench, run: JobRun, scan: Scan, places: readonly Place[]): Promise<void> {
  const { counts } = await bench.tree(run);
  const rowFor = (state: 'cold' | 'warm') => {
    const atMost = scan.goals[state];
    const goal = atMost !== undefined && { goal: { atMost, of: bench.local } };
    return run.row({ title: `${scan.title}, ${state}`, unit: 'ms', reference: bench.local, ...goal });
  };
  const cold = mayDropCaches ? rowFor('cold') : undefined;
  if (cold === undefined) run.leftOut.set('cold', CACHES_STAY);
  const warm = scan.goals.warm === undefined ? undefined : rowFor('warm');
  for (const place of places) scan.check(await scan.command(bench.commands, place.tree), place, counts);
  await bench.inRounds(places, async (place, round) => {
    if (place.once && round > 0) return;
    const command = () => scan.command(bench.commands, place.tree);
    if (cold !== undefined) {
      await bench.dropCaches();
      scan.check((await bench.time(cold, place, command)).output, place, counts);
    }
    if (warm === undefined) return;
    // Once more after the caches were filled, so that what is warm is so for every system.
    if (cold !== undefined && !place.once) await command();
    const { output, costs } = await bench.time(warm, place, command);
    scan.check(output, place, counts);
    if (costs !== undefined) addKernelRequests(run, warm.title, costs);
  });
}

export const find: Job = {
  name: 'find',
  title: 'Every name with its attributes',
  async measure(bench, run) {
    await measureScan(bench, run, FIND, [...(await bench.places(run)), ...(await bench.peers(run))]);
  },
};

export const search: Job = {
  name: 'rg',
  title: 'A search through every file',
  needs: ['rg'],
  async measure(bench, run) {
    await measureScan(bench, run, SEARCH, [...(await bench.places(run)), ...(await bench.peers(run))]);
  },
};

export const pack: Job = {
  name: 'tar-c',
  title: 'Every name and every byte, packed',
  async measure(bench, run) {
    const places = await bench.places(run);
    const sizeBytes = Number((await packAll(bench.commands, places[0].tree)).stdout);
    await measureScan(
      bench,
      run,
      {
        title: 'tar c',
        goals: { cold: 0.6 },
        command: packAll,
        check: ({ stdout }, { system }) => {
          expectCount(`${system}: bytes of the archive`, Number(stdout), sizeBytes);
        },
      },
      places,
    );
  },
};
