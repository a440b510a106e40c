import { randomInt } from 'node:crypto';
import t, { type Test } from 'tap';
import { Site } from '../mount/site.js';
import { losePower, type PowerLossOptions } from './power-loss.js';
import { whyNoRecordedDisk } from './recorded-disk.js';

/** `node power-loss.test.js [power losses] [of which mounted]`, for each of both places of the store. */
const [points = '24', mounts = '2'] = process.argv.slice(2);
const seed = Number(process.env['CAIRN_TEST_SEED'] ?? randomInt(1_000_000));
const steps = Math.min(500, 60 + Number(points));

const why = await whyNoRecordedDisk();
if (why !== undefined) {
  t.plan(0, why);
} else {
  t.comment(`CAIRN_TEST_SEED=${String(seed)}`);
  t.test('law 3: after power loss all is there that was promised, the store on the same disk', async (t) => {
    await allKept(t, { storeInside: true });
  });
  t.test('law 3: after power loss all is there that was promised, the store elsewhere', async (t) => {
    await allKept(t, { storeInside: false });
  });
}

async function allKept(t: Test, { storeInside }: Pick<PowerLossOptions, 'storeInside'>): Promise<void> {
  const site = await Site.start(t);
  const options = { seed, steps, points: Number(points), mounts: Number(mounts), storeInside };
  const { problems, ...counters } = await losePower(site, options);
  t.comment(JSON.stringify(counters));
  t.same(problems.slice(0, 20), [], `${String(problems.length)} problems`);
}
