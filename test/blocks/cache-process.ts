/**
 * A process that uses a cache folder, for tests to start several of, and to kill:
 *
 *     node cache-process.js mixed <dir> <budget in bytes> <seed>   fills and reads what the seed says, in turns, then ends
 *     node cache-process.js endless <dir> <budget in bytes> <seed>   fills without end; prints a line after each block
 *
 * Ends with 1 when it was served bytes that are not the block's.
 */
import { DiskCache, openCachedBlockReader } from '../../src/blocks/index.js';
import { sampleBytes } from './sample-bytes.js';
import { sharedBlock, SHARED_BLOCKS } from './shared-blocks.js';

const TURNS = 200;

const [mode, dir = '', budget = '', seed = ''] = process.argv.slice(2);
const cache = await DiskCache.open(dir, Number(budget));
const choices = sampleBytes(seed, TURNS * 2);

if (mode === 'endless') {
  for (let turn = 0; ; turn++) {
    const { id, raw } = sharedBlock(turn);
    await cache.fill(id, raw);
    process.stdout.write('filled\n');
  }
}

const reader = await openCachedBlockReader(dir, Number(budget), { memoryBytes: 1024 * 1024 });
const target = Buffer.alloc(sharedBlock(0).raw.length);
let wrong = 0;
for (let turn = 0; turn < TURNS; turn++) {
  const { id, raw } = sharedBlock((choices[2 * turn] ?? 0) % SHARED_BLOCKS);
  const choice = (choices[2 * turn + 1] ?? 0) % 3;
  if (choice === 0) {
    await cache.fill(id, raw);
  } else if (choice === 1) {
    const cached = await cache.read(id);
    if (cached !== undefined && !cached.equals(raw)) wrong++;
  } else if (reader.tryRead(id, 1000, raw.length - 1000, target, 0)) {
    if (!target.subarray(0, raw.length - 1000).equals(raw.subarray(1000))) wrong++;
  }
}
reader.close();
await cache.close();
process.stdout.write(`${JSON.stringify(reader.counters)}\n`);
process.exitCode = wrong === 0 ? 0 : 1;
