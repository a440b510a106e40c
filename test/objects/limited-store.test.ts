import { join } from 'node:path';
import t from 'tap';
import { DirectoryStore } from '../../src/objects/directory-store.js';
import { LimitedStore } from '../../src/objects/limited-store.js';
import { InterceptedStore } from '../fixtures/intercepted-store.js';

const folder = t.testdir({});
let stores = 0;

/** A store whose operations stand still until they are let on, in any order. */
async function openGated(limits: { reads: number; writes: number }): Promise<{
  store: LimitedStore;
  inFlight: string[];
  letOn: (key: string) => void;
}> {
  const inner = await DirectoryStore.open(join(folder, `store-${String((stores += 1))}`));
  const inFlight: string[] = [];
  const gates = new Map<string, () => void>();
  const gated = new InterceptedStore(inner, {
    before: (_operation, key) => {
      inFlight.push(key);
      return new Promise<void>((resolve) => gates.set(key, resolve));
    },
  });
  const letOn = (key: string): void => {
    inFlight.splice(inFlight.indexOf(key), 1);
    gates.get(key)?.();
  };
  return { store: new LimitedStore(gated, limits), inFlight, letOn };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

await t.test(
  'no more requests are in flight than allowed, and the next is the one that waited longest',
  async (t) => {
    const { store, inFlight, letOn } = await openGated({ reads: 2, writes: 1 });
    const keys = ['a', 'b', 'c', 'd', 'e'];
    const running = keys.map((key) => store.head(key));
    await turn();
    t.same(inFlight, ['a', 'b']);
    letOn('b');
    await running[1];
    await turn();
    t.same(inFlight, ['a', 'c']);
    letOn('a');
    await running[0];
    letOn('c');
    await running[2];
    await turn();
    t.same(inFlight, ['d', 'e']);
    letOn('d');
    letOn('e');
    await Promise.all(running);
  },
);

await t.test('reads do not wait behind writes', async (t) => {
  const { store, inFlight, letOn } = await openGated({ reads: 1, writes: 1 });
  const writes = ['w1', 'w2', 'w3'].map((key) => store.put(key, Buffer.from(key)));
  const read = store.head('r');
  await turn();
  t.same(inFlight, ['w1', 'r']);
  letOn('r');
  t.equal(await read, undefined);
  for (const [index, key] of ['w1', 'w2', 'w3'].entries()) {
    letOn(key);
    await writes[index];
    await turn();
  }
});

await t.test(
  'an abort is answered at once, and a request in flight keeps its place until it has ended',
  async (t) => {
    const { store, inFlight, letOn } = await openGated({ reads: 1, writes: 1 });
    const [flying, waiting] = [new AbortController(), new AbortController()];
    const reason = new Error('no longer wanted');
    const first = store.head('flying', { signal: flying.signal });
    const second = store.head('waiting', { signal: waiting.signal });
    const third = store.head('last');
    await turn();
    waiting.abort(reason);
    await t.rejects(second, reason);
    flying.abort(reason);
    await t.rejects(first, reason);
    await turn();
    t.same(inFlight, ['flying'], 'the request is still on its way');
    letOn('flying');
    while (inFlight.length === 0) await turn();
    t.same(inFlight, ['last'], 'the one that was given up while it waited is never made');
    letOn('last');
    t.equal(await third, undefined);
  },
);

await t.test('a stream keeps its place until it is closed', async (t) => {
  const { store, inFlight, letOn } = await openGated({ reads: 1, writes: 1 });
  const written = store.put('object', Buffer.from('bytes'));
  await turn();
  letOn('object');
  await written;
  const opening = store.getStream('object');
  await turn();
  letOn('object');
  const stream = await opening;
  const next = store.head('other');
  await turn();
  t.same(inFlight, []);
  stream.resume();
  while (inFlight.length === 0) await turn();
  letOn('other');
  t.equal(await next, undefined);
});

await t.test('a request that fails gives its place back', async (t) => {
  const { store, letOn } = await openGated({ reads: 1, writes: 1 });
  for (const key of ['missing-1', 'missing-2']) {
    const get = store.get(key);
    await turn();
    letOn(key);
    await t.rejects(get, { code: 'not-found' });
    const stream = store.getStream(key);
    await turn();
    letOn(key);
    await t.rejects(stream, { code: 'not-found' });
  }
});
