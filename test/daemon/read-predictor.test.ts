import t from 'tap';
import fc from 'fast-check';
import { AHEAD_MAX, ReadPredictor, type UnitOrder } from '../../src/daemon/read-predictor.js';

/** Units of so many blocks each. */
function orderOf(
  sizes: readonly number[],
  shared: ReadonlyMap<number, readonly number[]> = new Map(),
): UnitOrder {
  const firstRanks = [0];
  for (const size of sizes) firstRanks.push((firstRanks.at(-1) ?? 0) + size);
  return {
    units: sizes.length,
    firstRankOf: (unit) => firstRanks[unit] ?? 0,
    unitOf: (rank) => firstRanks.findIndex((first) => first > rank) - 1,
    sharedRanksOf: (unit) => shared.get(unit) ?? [],
  };
}

const packs = (count: number): UnitOrder => orderOf(Array.from({ length: count }, () => 1));

/** Somebody who reads blocks, each of which is there as soon as it was asked for. */
class Reading {
  readonly predictor: ReadPredictor;
  readonly there = new Set<number>();
  /** Blocks that were not there when they were read. */
  misses = 0;
  asked = 0;

  constructor(order: UnitOrder, aheadMax?: number) {
    this.predictor = new ReadPredictor(order, aheadMax);
  }

  /** What is asked for when this block was read. */
  read(rank: number): number[] {
    const missed = !this.there.has(rank);
    if (missed) this.misses++;
    this.there.add(rank);
    this.predictor.read(rank, missed);
    const asked: number[] = [];
    for (let next = this.predictor.next(); next !== undefined; next = this.predictor.next()) asked.push(next);
    for (const next of asked) this.there.add(next);
    this.asked += asked.length;
    return asked;
  }
}

t.test('a single read predicts nothing', (t) => {
  t.same(new Reading(packs(100)).read(50), []);
  t.end();
});

t.test('who gets on from block to block is asked for twice as many ahead each time, up to the limit', (t) => {
  const reading = new Reading(packs(1000));
  t.same(reading.read(10), []);
  t.same(reading.read(11), [12]);
  t.same(reading.read(12), [13, 14]);
  t.same(reading.read(13), [15, 16, 17, 9]);
  for (let rank = 14; rank < 200; rank++) {
    reading.read(rank);
    const ahead = [...reading.there].filter((there) => there > rank).length;
    t.ok(ahead <= AHEAD_MAX);
    if (rank > 30) t.equal(ahead, AHEAD_MAX);
  }
  t.equal(reading.misses, 2);
  t.end();
});

t.test('one who goes backwards is followed alike', (t) => {
  const reading = new Reading(packs(1000));
  for (let rank = 999; rank >= 0; rank--) reading.read(rank);
  t.equal(reading.misses, 2);
  t.end();
});

t.test('a walk with a stack of directories, which leaves out blocks and comes back to them, is one', (t) => {
  const reading = new Reading(packs(1000));
  // Of ten blocks each: a directory's own files come first in the order, and are read first; then what is in it, from behind.
  for (let first = 990; first >= 0; first -= 10) {
    reading.read(first);
    for (let rank = first + 9; rank > first; rank--) reading.read(rank);
  }
  t.ok(reading.misses < 20, `${String(reading.misses)} of 1000 were not there`);
  t.end();
});

t.test('several walks at once are told apart', (t) => {
  const reading = new Reading(packs(4000));
  for (let step = 0; step < 500; step++) {
    reading.read(step);
    reading.read(1999 - step);
    reading.read(2500 + step);
  }
  t.ok(reading.misses <= 6, `${String(reading.misses)} of 1500 were not there`);
  t.end();
});

t.test('who picks blocks here and there is left alone', (t) => {
  const reading = new Reading(packs(10_000));
  // Far apart, and never the same twice.
  for (let step = 1; step <= 500; step++) reading.read((step * 7919) % 10_000);
  t.ok(reading.asked < 50, `${String(reading.asked)} were asked for, for 500 reads`);
  t.end();
});

t.test(
  'a walk is also asked for the blocks its files share with others, when it goes through the whole tree',
  (t) => {
    const shared = new Map([[40, [200, 300]]]);
    const reading = new Reading(
      orderOf(
        Array.from({ length: 400 }, () => 1),
        shared,
      ),
    );
    for (let rank = 0; rank < 40; rank++) reading.read(rank);
    t.ok(reading.there.has(200) && reading.there.has(300));
    t.end();
  },
);

t.test('a large file read from its beginning is asked for ahead, and nothing behind its end', (t) => {
  const reading = new Reading(orderOf([1, 1, 20, 1, 1]));
  t.same(reading.read(2), [3, 4]);
  t.same(reading.read(3), [5, 6, 7]);
  for (let rank = 4; rank < 22; rank++) reading.read(rank);
  t.equal(reading.misses, 1);
  t.notOk(reading.there.has(22));
  t.end();
});

t.test('a large file read at random is not', (t) => {
  const reading = new Reading(orderOf([1, 1000, 1]));
  for (let step = 1; step <= 100; step++) reading.read(1 + ((step * 379) % 1000));
  t.equal(reading.asked, 0);
  t.end();
});

t.test('of a large file ahead in a walk only the beginning is asked for', (t) => {
  const reading = new Reading(orderOf([...Array.from({ length: 30 }, () => 1), 5000, 1]));
  for (let rank = 0; rank < 30; rank++) reading.read(rank);
  t.ok([...reading.there].filter((rank) => rank >= 30 && rank < 5030).length <= 16);
  t.end();
});

t.test('what was evicted before it was read is asked for again', (t) => {
  const reading = new Reading(packs(1000));
  for (let rank = 0; rank < 50; rank++) reading.read(rank);
  for (let rank = 50; rank < 200; rank++) reading.there.delete(rank);
  t.ok(reading.read(50).includes(51));
  t.equal(reading.misses, 3);
  t.end();
});

t.test('a tree that was evicted since is walked through as at first', (t) => {
  const reading = new Reading(orderOf(Array.from({ length: 300 }, (_, unit) => (unit % 10 === 0 ? 5 : 1))));
  const blocks = 300 + 30 * 4;
  for (const direction of [1, 1, -1]) {
    reading.there.clear();
    reading.misses = 0;
    for (let step = 0; step < blocks; step++) reading.read(direction === 1 ? step : blocks - 1 - step);
    t.ok(reading.misses < 10, `${String(reading.misses)} of ${String(blocks)} were not there`);
  }
  t.end();
});

t.test('nothing is asked for after all was forgotten, until somebody gets on again', (t) => {
  const reading = new Reading(packs(1000));
  for (let rank = 0; rank < 10; rank++) reading.read(rank);
  reading.predictor.forget();
  t.equal(reading.predictor.next(), undefined);
  reading.there.clear();
  t.same(reading.read(500), []);
  t.same(reading.read(501), [502]);
  t.end();
});

t.test('with no room ahead nothing is asked for', (t) => {
  const reading = new Reading(orderOf([1, 1, 1, 5, 1]), 0);
  for (let rank = 0; rank < 9; rank++) t.same(reading.read(rank), []);
  t.end();
});

t.test(
  'law 9: whatever is read, only blocks that are there are asked for, and a bounded number of them',
  (t) => {
    const units = fc.array(
      fc.oneof({ weight: 4, arbitrary: fc.constant(1) }, fc.integer({ min: 2, max: 40 })),
      {
        minLength: 1,
        maxLength: 60,
      },
    );
    const ranks = fc.array(fc.nat(2000), { maxLength: 100 });
    fc.assert(
      fc.property(units, ranks, fc.integer({ min: 0, max: 64 }), (sizes, reads, aheadMax) => {
        const blocks = sizes.reduce((sum, size) => sum + size, 0);
        const reading = new Reading(orderOf(sizes), aheadMax);
        for (const rank of reads) {
          const asked = reading.read(rank % blocks);
          if (asked.length > 16 * (aheadMax + 16)) return false;
          if (asked.some((next) => next < 0 || next >= blocks)) return false;
        }
        return true;
      }),
    );
    t.end();
  },
);
