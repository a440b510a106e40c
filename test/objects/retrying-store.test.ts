import { join } from 'node:path';
import t from 'tap';
import { CairnError } from '../../src/core/index.js';
import { DirectoryStore } from '../../src/objects/directory-store.js';
import type { ObjectStore } from '../../src/objects/index.js';
import { RetryingStore, type RetryPolicy } from '../../src/objects/retrying-store.js';
import { keysOf, refused } from '../contract/object-store.js';
import { InterceptedStore, type Interception } from '../fixtures/intercepted-store.js';

const folder = t.testdir({});
let stores = 0;

/** A clock that only moves when someone sleeps, and the pauses it was asked for. */
function fakeTime(): { policy: Partial<RetryPolicy>; pausesMs: number[] } {
  const pausesMs: number[] = [];
  let nowMs = 1_000_000;
  const sleep = (ms: number): Promise<void> => {
    pausesMs.push(ms);
    nowMs += ms;
    return Promise.resolve();
  };
  return { policy: { now: () => nowMs, sleep, random: () => 0.5 }, pausesMs };
}

function openDirectory(): Promise<DirectoryStore> {
  return DirectoryStore.open(join(folder, `store-${String((stores += 1))}`));
}

async function openWith(interception: Interception, policy: Partial<RetryPolicy>): Promise<ObjectStore> {
  return new RetryingStore(new InterceptedStore(await openDirectory(), interception), policy);
}

const away = (): CairnError => new CairnError('unreachable', 'the store is away', { hint: 'wait' });

/** Throws the first `times` times it is called. */
function failing(times: number, error: () => Error = away): () => void {
  let left = times;
  return () => {
    if (left === 0) return;
    left -= 1;
    throw error();
  };
}

await t.test('a store that comes back is asked until it answers', async (t) => {
  const { policy, pausesMs } = fakeTime();
  const store = await openWith({ before: failing(4) }, { ...policy, pauseBaseMs: 100, pauseMaxMs: 500 });
  t.equal(await store.put('object', Buffer.from('bytes')), 'written');
  t.same(
    pausesMs,
    [50, 100, 200, 250],
    'pauses double up to a limit, and are jittered from nothing to all of it',
  );
  t.equal(store.counters.retries, 4);
});

await t.test('each operation that may be retried is', async (t) => {
  const operations: Record<string, (store: ObjectStore) => Promise<unknown>> = {
    get: (store) => store.get('object'),
    getStream: async (store) => (await store.getStream('object')).destroy(),
    head: (store) => store.head('object'),
    list: (store) => keysOf(store, ''),
    delete: (store) => store.delete('object'),
  };
  for (const [name, operation] of Object.entries(operations)) {
    const inner = await openDirectory();
    await inner.put('object', Buffer.from('bytes'));
    const intercepted = new InterceptedStore(inner, { before: failing(2) });
    await operation(new RetryingStore(intercepted, fakeTime().policy));
    t.equal(inner.counters.retries, 2, name);
  }
});

await t.test('attempts end with their number, and the last error', async (t) => {
  const { policy, pausesMs } = fakeTime();
  const store = await openWith({ before: failing(100) }, { ...policy, attempts: 3 });
  await refused(t, store.get('object'), 'unreachable', 'the store is away (3 attempts in 0.1 s)');
  t.equal(pausesMs.length, 2);
  t.match(await store.get('object').catch((error: unknown) => error), { hint: 'wait', cause: away() });
});

await t.test('no attempt begins after the deadline', async (t) => {
  const { policy, pausesMs } = fakeTime();
  const store = await openWith(
    { before: failing(100) },
    { ...policy, attempts: 50, pauseMaxMs: 1_000_000, deadlineMs: 1_000 },
  );
  await refused(t, store.get('object'), 'unreachable', 'attempts');
  const sleptMs = pausesMs.reduce((sum, ms) => sum + ms, 0);
  t.ok(sleptMs <= 1_000 && sleptMs > 500, `slept ${String(sleptMs)} ms`);
});

await t.test('nothing but unreachable is tried again', async (t) => {
  for (const code of [
    'not-found',
    'access-denied',
    'corrupt',
    'no-space',
    'failed',
    'unsupported',
  ] as const) {
    const { policy, pausesMs } = fakeTime();
    const store = await openWith({ before: failing(1, () => new CairnError(code, 'once')) }, policy);
    await refused(t, store.put('object', Buffer.from('bytes')), code, 'once');
    t.same(pausesMs, []);
  }
  const { policy } = fakeTime();
  const store = await openWith({ before: failing(1, () => new TypeError('a mistake')) }, policy);
  await t.rejects(store.get('object'), { message: 'a mistake' });
});

await t.test('an abort ends the pause, with its reason', async (t) => {
  const controller = new AbortController();
  const reason = new Error('no longer wanted');
  const interception = {
    before: () => {
      setImmediate(() => {
        controller.abort(reason);
      });
      throw away();
    },
  };
  const store = await openWith(interception, {
    random: () => 0.99,
    pauseBaseMs: 3_600_000,
    pauseMaxMs: 3_600_000,
    deadlineMs: Infinity,
  });
  await t.rejects(store.get('object', { signal: controller.signal }), reason);
  t.equal(store.counters.retries, 0);
});

await t.test('a conditional put that finds its own object after a lost answer has written it', async (t) => {
  const store = await openWith({ after: failing(1) }, fakeTime().policy);
  t.equal(await store.put('object', Buffer.from('mine'), { ifAbsent: true }), 'written');
});

await t.test('a conditional put that finds another’s object after a lost answer has not', async (t) => {
  for (const others of ['theirs', 'longer than mine', '']) {
    const inner = await openDirectory();
    await inner.put('object', Buffer.from(others));
    const store = new RetryingStore(new InterceptedStore(inner, { before: failing(1) }), fakeTime().policy);
    t.equal(await store.put('object', Buffer.from('mine'), { ifAbsent: true }), 'exists');
    t.equal((await store.get('object')).toString(), others);
  }
});

await t.test('without a lost answer the same bytes of another are not one’s own', async (t) => {
  const store = await openWith({}, fakeTime().policy);
  t.equal(await store.put('object', Buffer.from('same'), { ifAbsent: true }), 'written');
  t.equal(await store.put('object', Buffer.from('same'), { ifAbsent: true }), 'exists');
});

await t.test('racing conditional puts whose answers get lost have one winner', async (t) => {
  const inner = await openDirectory();
  const racers = Array.from(
    { length: 8 },
    (_, racer) =>
      new RetryingStore(
        new InterceptedStore(inner, racer % 2 === 0 ? { after: failing(2) } : {}),
        fakeTime().policy,
      ),
  );
  const outcomes = await Promise.all(
    racers.map((store, racer) =>
      store.put('object', Buffer.from(`racer ${String(racer)}`), { ifAbsent: true }),
    ),
  );
  t.equal(outcomes.filter((outcome) => outcome === 'written').length, 1);
  t.equal((await inner.get('object')).toString(), `racer ${String(outcomes.indexOf('written'))}`);
});

await t.test('a listing goes on after the last key, however often it breaks off', async (t) => {
  const inner = await openDirectory();
  const keys = Array.from({ length: 30 }, (_, index) => `key-${String(index + 10)}`);
  for (const key of keys) await inner.put(key, Buffer.from(key));
  const { policy, pausesMs } = fakeTime();
  const broken = new InterceptedStore(inner, {
    after: () => {
      throw away();
    },
  });
  const store = new RetryingStore(broken, { ...policy, attempts: 2 });
  t.same(await keysOf(store, 'key-'), keys);
  t.ok(pausesMs.length >= 29, 'each key was progress, and began the attempts anew');
});
