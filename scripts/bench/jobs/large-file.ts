import path from 'node:path';
import { CACHES_STAY, mayDropCaches } from '../measure/machine.js';
import { writeRandomFile } from '../measure/random-file.js';
import { NOT_INSTALLED } from '../systems/installed.js';
import type { TimedOutput } from '../measure/timed-commands.js';
import type { WritablePlace } from '../systems/place.js';
import type { Bench } from './bench.js';
import type { JobRun } from './job-run.js';
import type { Job } from './job.js';

const SPEED_GOAL = 0.8;
const RANDOM_READS = 8192;
const RANDOM_READ_BYTES = 4096;

async function measureWrite(
  bench: Bench,
  run: JobRun,
  places: readonly WritablePlace[],
  source: string,
): Promise<void> {
  const workBytes = bench.scale.largeFileBytes;
  const row = run.row({
    title: 'write and fsync one large file',
    unit: 'ms',
    reference: bench.local,
    goal: { atMost: 1 / SPEED_GOAL, of: bench.local, asSpeed: true },
    workBytes,
  });
  await bench.commands.shell('cat "$1" >/dev/null', [source]);
  await bench.inRounds(places, async (place) => {
    const file = path.join(place.work, 'large');
    await bench.commands.run('rm', ['-f', file]);
    await bench.time(row, place, () =>
      bench.commands.shell('dd if="$1" of="$2" bs=1M conv=fsync status=none', [source, file]),
    );
    await bench.commands.run('cmp', [source, file]);
  });
}

async function measureRead(bench: Bench, run: JobRun, places: readonly WritablePlace[]): Promise<void> {
  const sequential = run.row({
    title: 'read one large file, cold',
    unit: 'ms',
    reference: bench.local,
    goal: { atMost: 1 / SPEED_GOAL, of: bench.local, asSpeed: true },
    workBytes: bench.scale.largeFileBytes,
  });
  await bench.inRounds(places, async (place) => {
    await bench.dropCaches();
    await bench.time(sequential, place, () =>
      bench.commands.shell('dd if="$1" of=/dev/null bs=1M status=none', [path.join(place.work, 'large')]),
    );
  });
  if (bench.installed.fio === undefined) {
    run.leftOut.set('fio', NOT_INSTALLED);
    return;
  }
  const random = run.row({
    title: `${RANDOM_READS.toLocaleString('en')} random reads of 4 KiB, cold`,
    unit: 'ms',
    reference: bench.local,
    goal: { atMost: 1 / SPEED_GOAL, of: bench.local, asSpeed: true },
    workBytes: RANDOM_READS * RANDOM_READ_BYTES,
  });
  await bench.inRounds(places, async (place) => {
    await bench.dropCaches();
    await bench.time(random, place, () => readAtRandom(bench, path.join(place.work, 'large')));
  });
}

/** The same places each time. The time is what fio took for the reads, without its own start. */
async function readAtRandom(bench: Bench, file: string): Promise<TimedOutput> {
  const output = await bench.commands.run('fio', [
    '--name=random',
    `--filename=${file}`,
    '--readonly',
    '--rw=randread',
    `--bs=${RANDOM_READ_BYTES}`,
    `--io_size=${RANDOM_READS * RANDOM_READ_BYTES}`,
    '--ioengine=psync',
    '--randseed=1',
    '--allrandrepeat=1',
    '--output-format=json',
  ]);
  const { jobs } = JSON.parse(output.stdout) as { jobs: { read: { runtime: number; total_ios: number } }[] };
  const read = jobs[0]?.read;
  if (read?.total_ios !== RANDOM_READS) throw new Error(`fio made ${read?.total_ios ?? 'no'} reads`);
  return { ...output, tookMs: read.runtime };
}

export const largeFile: Job = {
  name: 'large-file',
  title: 'One large file',
  async measure(bench, run) {
    const places = await bench.places(run);
    const [local, cairn] = places;
    const source = path.join(bench.folder, 'large');
    await writeRandomFile(source, bench.scale.largeFileBytes);
    for (const { work } of places) await bench.emptyFolder(work);
    await measureWrite(bench, run, places, source);
    if (mayDropCaches) {
      // What is read is a file of a version, then, whose blocks are in the cache.
      await (await bench.mount(run)).snapshot();
      await bench.commands.run('cmp', [path.join(local.work, 'large'), path.join(cairn.work, 'large')]);
      await measureRead(bench, run, places);
    } else {
      run.leftOut.set('cold', CACHES_STAY);
    }
    for (const { work } of places) await bench.emptyFolder(work);
    await bench.commands.run('rm', [source]);
  },
};
