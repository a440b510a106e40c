/**
 * Runs cases of one target: fuzz-process.js <folder> <target> <seed> <first case> <cases> <minutes>. Which case it is at is in the file `case` of the
 * folder, for whoever finds this process dead; prints what the cases came to. A broken promise is told on standard error, and ends it with 1.
 */
import { mkdirSync, openSync, writeSync } from 'node:fs';
import path from 'node:path';
import { inspect } from 'node:util';
import { Random } from './random.js';
import { TARGETS } from './targets/index.js';

/** Whatever is read: decoders must not take what a damaged length asks for. */
const MEMORY_MAX_KIB = 512 * 1024;

const [, , folder = '', name, seed = '', first = '', cases = '', minutes = ''] = process.argv;
const target = TARGETS.find((candidate) => candidate.name === name);
if (target === undefined) throw new Error(`no target ${String(name)}`);

mkdirSync(folder, { recursive: true });
const caseFile = openSync(path.join(folder, 'case'), 'w');
const begin = performance.now();
const outcomes: Record<string, number> = {};
const fuzzed = await target.begin(folder);
let done = 0;
for (let number = Number(first); ; number++) {
  const enough =
    Number(minutes) > 0 ? performance.now() - begin > Number(minutes) * 60_000 : done >= Number(cases);
  if (enough) break;
  writeSync(caseFile, `${String(number).padEnd(16)}\n`, 0);
  try {
    const outcome = await fuzzed.run(new Random(Number(seed), number));
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
  } catch (error) {
    process.stderr.write(`case ${String(number)}: ${inspect(error)}\n`);
    process.exit(1);
  }
  done += 1;
}
await fuzzed.end();
const peakKib = process.resourceUsage().maxRSS;
if (peakKib > MEMORY_MAX_KIB) {
  process.stderr.write(`${String(Math.round(peakKib / 1024))} MiB of memory were taken\n`);
  process.exit(1);
}
process.stdout.write(JSON.stringify({ cases: done, outcomes, peakMib: Math.round(peakKib / 1024) }));
