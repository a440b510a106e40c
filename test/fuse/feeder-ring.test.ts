import { Worker } from 'node:worker_threads';
import t from 'tap';
import { createFeederRing, OfferSide, PushSide } from '../../src/fuse/feeder-ring.js';
import { Outcome, type RingWorkerData } from './feeder-ring-worker.js';

const RUNS = Number(process.env['CAIRN_TEST_RUNS'] ?? 1);

const offer = (ino: number): { ino: number; directory: number; fromCookie: number; cookie: number } => ({
  ino,
  directory: 1,
  fromCookie: 3,
  cookie: ino,
});

function bothSides(): { offers: OfferSide; pushes: PushSide; unreadable: number[] } {
  const shared = createFeederRing();
  const unreadable: number[] = [];
  const offers = new OfferSide(shared, (address) => unreadable.push(address));
  const pushes = new PushSide(shared);
  return { offers, pushes, unreadable };
}

t.test('law 10: what was taken back before its push began is passed over', async (t) => {
  const { offers, pushes, unreadable } = bothSides();
  t.equal(offers.isOpen, false);
  pushes.open(4096);
  t.equal(offers.isOpen, true);
  for (const ino of [7, 8, 9]) offers.offer(offer(ino));
  offers.withdraw(8);
  offers.withdraw(12);
  offers.publish();
  t.match(pushes.next(), { kind: 'push', ino: 7, cookie: 7 });
  t.equal(pushes.begin(), true);
  t.equal(pushes.end(), true);
  pushes.done();
  t.match(pushes.next(), { kind: 'pass' });
  pushes.done();
  t.match(pushes.next(), { kind: 'push', ino: 9 });
  offers.withdraw(9);
  t.equal(pushes.begin(), false, 'and so is what was taken back while its bytes were put together');
  pushes.done();
  t.same(unreadable, []);
});

t.test('law 10: a push that is under way loses its bytes before the request is answered', async (t) => {
  const { offers, pushes, unreadable } = bothSides();
  pushes.open(8192);
  offers.offer(offer(7));
  offers.publish();
  pushes.next();
  t.equal(pushes.begin(), true);
  offers.withdraw(7);
  t.same(unreadable, [8192]);
  offers.withdraw(7);
  t.same(unreadable, [8192], 'once');
  t.equal(pushes.end(), false);
  t.equal(pushes.endRevoked(), undefined);
  pushes.done();
  t.equal(offers.holdReply(7, Buffer.from('late')), false);
});

t.test('law 10: the reply that shortens a file waits for the end of its revoked push', async (t) => {
  const { offers, pushes } = bothSides();
  pushes.open(8192);
  offers.offer(offer(7));
  offers.offer(offer(8));
  offers.publish();
  pushes.next();
  pushes.begin();
  t.equal(offers.holdReply(7, Buffer.from('not revoked')), false);
  offers.withdraw(7);
  t.equal(offers.holdReply(8, Buffer.from('another inode')), false);
  t.equal(offers.holdReply(7, Buffer.from('shorter')), true);
  t.equal(pushes.end(), false);
  t.same(pushes.endRevoked(), Buffer.from('shorter'));
  pushes.done();
});

t.test('replies come in order, and with the last the feeder ends', async (t) => {
  const { offers, pushes } = bothSides();
  pushes.open(8192);
  offers.offer(offer(7));
  offers.replyAfter(5, 6);
  offers.publish();
  offers.close();
  t.match(pushes.next(), { kind: 'push' });
  pushes.done();
  t.match(pushes.next(), { kind: 'reply', uniqueLow: 5, uniqueHigh: 6 });
  pushes.done();
  t.equal(pushes.next(), undefined);
  t.equal(offers.isOpen, false);
});

t.test(
  'the feeder reads from the version that was current when a file was offered, or a later one',
  async (t) => {
    const { offers, pushes } = bothSides();
    offers.setRoot('aa');
    offers.offer(offer(7));
    const before = pushes.root();
    offers.setRoot('bbbb');
    offers.offer(offer(8));
    offers.publish();
    const after = pushes.root();
    t.same([before.root, after.root], ['aa', 'bbbb']);
    t.match(pushes.next(), { kind: 'push', ino: 7, generation: before.generation });
    pushes.done();
    t.match(pushes.next(), { kind: 'push', ino: 8, generation: after.generation });
  },
);

t.test('a full ring has no room, and none of it is lost while it goes round', async (t) => {
  const { offers, pushes } = bothSides();
  let next = 1;
  let expected = 1;
  for (let round = 0; round < 10; round++) {
    while (offers.room > 0) offers.offer(offer(next++));
    offers.publish();
    for (let taken = 0; taken < 1000; taken++) {
      t.equal((pushes.next() as { ino?: number }).ino === expected++, true);
      pushes.done();
    }
    t.equal(offers.room, 1000);
  }
});

t.test('two threads: every push ends once, every held reply is sent once, whoever is first', async (t) => {
  const files = 30_000 * RUNS;
  const ring = createFeederRing();
  const outcomes = new Int32Array(new SharedArrayBuffer(files * 4));
  const unreadable = new Int32Array(new SharedArrayBuffer(4));
  const progress = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(new URL('./feeder-ring-worker.js', import.meta.url), {
    workerData: { ring, outcomes, unreadable, progress } satisfies RingWorkerData,
  });
  const exited = new Promise<void>((resolve, reject) => {
    worker.once('error', reject);
    worker.once('exit', () => {
      resolve();
    });
  });
  await new Promise((resolve) => worker.once('message', resolve));
  let revoked = 0;
  const offers = new OfferSide(ring, () => {
    revoked += 1;
    Atomics.store(unreadable, 0, 1);
  });
  const held = new Set<number>();
  const slots = offers.room;
  for (let ino = 1; ino <= files; ino++) {
    offers.offer(offer(ino));
    offers.publish();
    // Never far behind, so that what is taken back is often on its way.
    while (slots - offers.room > 2);
    const victim = ino - (ino % 2);
    while (ino % 3 === 0 && Atomics.load(progress, 0) < victim);
    offers.withdraw(victim);
    const reply = Buffer.alloc(4);
    reply.writeUInt32LE(victim);
    if (!held.has(victim) && ino % 4 < 2 && offers.holdReply(victim, reply)) held.add(victim);
  }
  offers.publish();
  offers.close();
  await exited;
  const count = (outcome: number): number => outcomes.filter((one) => one === outcome).length;
  t.equal(count(0), 0, 'every file was dealt with');
  t.equal(count(Outcome.WRONG), 0);
  t.equal(count(Outcome.REVOKED) + count(Outcome.HELD), revoked);
  t.equal(count(Outcome.HELD), held.size);
  t.ok(
    [...held].every((ino) => outcomes[ino - 1] === Outcome.HELD),
    `${String(count(Outcome.PUSHED))} pushed, ${String(count(Outcome.PASSED))} passed over, ${String(revoked)} revoked, ${String(held.size)} replies held`,
  );
});
