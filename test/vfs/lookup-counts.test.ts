import fc from 'fast-check';
import t from 'tap';
import { LookupCounts } from '../../src/vfs/lookup-counts.js';

const RUNS = 100 * Number(process.env['CAIRN_TEST_RUNS'] ?? 1);

// Few numbers, many of which share a slot, so that removing one moves others up.
const ino = fc.oneof(
  fc.integer({ min: 1, max: 40 }),
  fc.integer({ min: 1, max: 200 }).map((n) => n * 2 ** 25),
  fc.constantFrom(2 ** 32, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER),
);
const step = fc.oneof(
  fc.record({ ino, add: fc.integer({ min: 1, max: 3 }) }),
  fc.record({ ino, subtract: fc.integer({ min: 0, max: 4 }) }),
);

t.test('lookup counts are what a map would hold', async (t) => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 600, size: 'max' }), (steps) => {
      const counts = new LookupCounts();
      const model = new Map<number, number>();
      for (const one of steps) {
        if ('add' in one) {
          for (let count = 0; count < one.add; count += 1) counts.add(one.ino);
          model.set(one.ino, (model.get(one.ino) ?? 0) + one.add);
        } else {
          const left = Math.max(0, (model.get(one.ino) ?? 0) - one.subtract);
          if (counts.subtract(one.ino, one.subtract) !== left) return false;
          if (left === 0) model.delete(one.ino);
          else model.set(one.ino, left);
        }
      }
      return steps.every((one) => counts.get(one.ino) === (model.get(one.ino) ?? 0));
    }),
    { numRuns: RUNS },
  );
  t.pass(`${RUNS} sequences`);
});

t.test('lookup counts of a hundred thousand inodes grow, and go again in any order', async (t) => {
  const counts = new LookupCounts();
  const inos = Array.from({ length: 100_000 }, (_, index) => 1 + index * 3);
  for (const ino of inos) counts.add(ino);
  for (const ino of inos) counts.add(ino);
  t.ok(inos.every((ino) => counts.get(ino) === 2));
  for (const [index, ino] of inos.entries()) if (index % 2 === 0) counts.subtract(ino, 2);
  t.ok(inos.every((ino, index) => counts.get(ino) === (index % 2 === 0 ? 0 : 2)));
});

t.test(
  'law 10: an inode is untouched since the listing that named it last, until it is touched or forgotten',
  async (t) => {
    const counts = new LookupCounts();
    const inos = Array.from({ length: 5000 }, (_, index) => 1 + index);
    const listingOf = (ino: number): number => 1 + (ino % 7);
    counts.setListing(1, 5);
    t.equal(counts.isUntouchedSince(1, 5), false, 'what the kernel does not know is part of no listing');
    for (const ino of inos) {
      counts.add(ino);
      counts.setListing(ino, listingOf(ino));
    }
    t.ok(
      inos.every((ino) => counts.isUntouchedSince(ino, listingOf(ino)) && !counts.isUntouchedSince(ino, 9)),
    );
    for (const ino of inos.filter((one) => one % 3 === 0)) t.equal(counts.touch(ino), listingOf(ino));
    for (const ino of inos.filter((one) => one % 3 === 0)) {
      counts.setListing(ino, 9);
      if (counts.touch(ino) !== 0 || counts.isUntouchedSince(ino, 9)) t.fail('touched is touched');
    }
    for (const ino of inos.filter((one) => one % 5 === 0)) counts.subtract(ino, 1);
    t.ok(
      inos.every((ino) => counts.isUntouchedSince(ino, listingOf(ino)) === (ino % 3 !== 0 && ino % 5 !== 0)),
      'the others keep what they had',
    );
    counts.add(15);
    counts.setListing(15, 9);
    t.equal(counts.isUntouchedSince(15, 9), true, 'and what the kernel learns anew is new');
  },
);
