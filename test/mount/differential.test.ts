/**
 * A mount beside a plain directory: random sequences of operations are done on both, and answers, errnos and trees are the same, whatever
 * happens to the mount meanwhile: snapshots, deaths of its daemon, remounts, the loss of the kernel's caches. Every version is the plain
 * directory's tree of the moment of the seal.
 *
 *   npm run test:differential -- --sequences 5000            so many sequences, of a new seed
 *   npm run test:differential -- --seed S [--path P]         a seed again, or one sequence of it, as a failure prints them
 */
import { parseArgs } from 'node:util';
import fc from 'fast-check';
import t from 'tap';
import { sequence, type Step } from './differential-operations.js';
import { Stand } from './differential-stand.js';
import { whyNoMounts } from './ordinary-user.js';
import { isRoot, Site } from './site.js';

const RUNS = Number(process.env['CAIRN_TEST_RUNS'] ?? 1);
const SEQUENCES = 150 * RUNS;

const { values } = parseArgs({
  options: { seed: { type: 'string' }, path: { type: 'string' }, sequences: { type: 'string' } },
});
const seed = values.seed ?? process.env['CAIRN_TEST_SEED'];

if (whyNoMounts !== undefined || !isRoot) {
  t.plan(0, whyNoMounts ?? 'only root can be everybody, and look at what others may not read');
} else {
  // Shrinking a failure, and a longer run, take as long as they take.
  t.setTimeout(0);
  t.test('a mount does what a plain directory does, and so do its versions', async (t) => {
    const stand = new Stand(await Site.start(t));
    t.teardown(async () => {
      await stand.close();
    });
    const property = fc.asyncProperty(sequence, async (steps: readonly Step[]) => {
      await stand.run(steps);
    });
    const parameters: fc.Parameters<[readonly Step[]]> = {
      seed: seed === undefined ? Date.now() & 0x7fffffff : Number(seed),
      numRuns: Number(values.sequences ?? SEQUENCES),
      includeErrorInReport: true,
      ...(values.path === undefined ? {} : { path: values.path, endOnFailure: true }),
    };
    t.comment(`--seed ${String(parameters.seed)}`);
    await fc.assert(property, parameters);
    await stand.finish();
    t.pass(stand.summary());
  });
}
