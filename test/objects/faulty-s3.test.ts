import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { LimitedStore } from '../../src/objects/limited-store.js';
import type { ObjectStore } from '../../src/objects/index.js';
import { RetryingStore } from '../../src/objects/retrying-store.js';
import { S3Store } from '../../src/objects/s3-store.js';
import { refused } from '../contract/object-store.js';
import { withEnvironment } from '../fixtures/environment.js';
import { FaultyProxy, randomFaults, type Fault } from '../fixtures/faulty-proxy.js';
import { patternedBytes } from '../fixtures/patterned-bytes.js';
import { startS3 } from '../fixtures/s3-server.js';

/** The chain is asked once a second. */
const RENEWAL_LOOK_MS = 50;
const RENEWAL_LOOKS = 600;
const seed = Number(process.env['CAIRN_TEST_SEED'] ?? Math.floor(Math.random() * 1e6));
t.comment(`CAIRN_TEST_SEED=${String(seed)}`);

const server = await startS3();
t.teardown(() => server.stop());

/** What another attempt may not meet, or what cannot pass for an object. */
const PASSING: readonly Fault[] = [
  { kind: 'status', status: 500, code: 'InternalError' },
  { kind: 'status', status: 503, code: 'SlowDown' },
  { kind: 'status', status: 429, code: 'TooManyRequests' },
  { kind: 'hang' },
  { kind: 'reset' },
  { kind: 'lost' },
  { kind: 'cut' },
  { kind: 'trickle' },
];

async function proxied(t: Test): Promise<FaultyProxy> {
  const proxy = await FaultyProxy.start(server.endpoint);
  t.teardown(() => proxy.stop());
  withEnvironment(t, { ...server.env, AWS_ENDPOINT_URL_S3: proxy.endpoint });
  return proxy;
}

/** As `openObjectStore` makes it, with less patience. */
async function impatient(t: Test, timeouts = { idleMs: 200, requestMs: 800 }): Promise<ObjectStore> {
  const bare = await S3Store.open('test', server.newUrl().slice(-36), timeouts);
  const limited = new LimitedStore(bare, { reads: 32, writes: 16 });
  const store = new RetryingStore(limited, { attempts: 20, pauseBaseMs: 10, pauseMaxMs: 100 });
  t.teardown(() => store.close());
  return store;
}

await t.test('through each fault that passes an object is put, and read as it was', async (t) => {
  const proxy = await proxied(t);
  const store = await impatient(t);
  const bytes = patternedBytes('object', 300_000);
  await store.put('first', bytes);
  await store.get('first');
  for (const fault of PASSING) {
    const key = `object-${fault.kind}-${'status' in fault ? String(fault.status) : ''}`;
    const thrice = (): (() => Fault | undefined) => {
      let left = 3;
      return () => (left-- > 0 ? fault : undefined);
    };
    proxy.choose = thrice();
    t.equal(await store.put(key, bytes, { ifAbsent: true }), 'written', `put: ${key}`);
    t.equal(await store.put(key, Buffer.from('other'), { ifAbsent: true }), 'exists');
    proxy.choose = thrice();
    t.ok((await store.get(key)).equals(bytes), `get: ${key}`);
    proxy.choose = thrice();
    t.match(await store.head(key), { sizeBytes: bytes.length }, `head: ${key}`);
  }
  t.ok(store.counters.retries >= PASSING.length * 6, 'it took retries');
});

await t.test('objects under random faults, many at once: each is what was put', async (t) => {
  const proxy = await proxied(t);
  // Many at once take their time on a busy machine, faults or not.
  const store = await impatient(t, { idleMs: 1_000, requestMs: 5_000 });
  proxy.choose = randomFaults(seed, 0.3, PASSING);
  const indexes = Array.from({ length: 60 }, (_, index) => index);
  await Promise.all(
    indexes.map((index) =>
      store.put(`many/${String(index)}`, patternedBytes(index, 20_000), { ifAbsent: true }),
    ),
  );
  const read = await Promise.all(indexes.map((index) => store.get(`many/${String(index)}`)));
  t.ok(
    read.every((bytes, index) => bytes.equals(patternedBytes(index, 20_000))),
    `after ${[...proxy.done].map(([kind, count]) => `${String(count)} × ${kind}`).join(', ')}`,
  );
});

await t.test(
  'a store that is away is asked a bounded number of times, with pauses, and says since when',
  async (t) => {
    const proxy = await proxied(t);
    const store = await impatient(t);
    await store.put('object', Buffer.from('bytes'));
    t.equal(store.counters.outage, undefined);
    proxy.choose = () => ({ kind: 'status', status: 503, code: 'SlowDown' });
    const asked = proxy.requests.length;
    const began_ms = Date.now();
    await refused(t, store.get('object'), 'unreachable', '20 attempts');
    t.equal(proxy.requests.length - asked, 20);
    t.match(store.counters.outage, { sinceMs: Number, problem: /object/ });
    t.ok((store.counters.outage?.sinceMs ?? 0) >= began_ms, 'the outage began with this request');
    proxy.choose = () => ({ kind: 'status', status: 403, code: 'AccessDenied' });
    await refused(t, store.get('object'), 'access-denied', 'object');
    t.equal(store.counters.outage, undefined, 'a refusal is an answer');
    proxy.choose = () => ({ kind: 'reset' });
    await refused(t, store.get('object'), 'unreachable', '20 attempts');
    proxy.choose = () => undefined;
    await store.get('object');
    t.equal(store.counters.outage, undefined, 'it is back');
  },
);

await t.test('an object that is expected may appear late', async (t) => {
  const proxy = await proxied(t);
  const store = await impatient(t);
  await store.put('late', Buffer.from('bytes'));
  let absent = 4;
  proxy.choose = () => (absent-- > 0 ? { kind: 'status', status: 404, code: 'NoSuchKey' } : undefined);
  t.equal((await store.get('late', { expected: true })).toString(), 'bytes');
  absent = 2;
  await refused(t, store.get('late'), 'not-found', 'late');
  await refused(t, store.get('never', { expected: true }), 'not-found', '20 attempts');
});

await t.test('a clock that is an hour wrong is corrected by what the server says', async (t) => {
  const proxy = await proxied(t);
  const store = await impatient(t);
  await store.put('object', Buffer.from('bytes'));
  const serverTime = (): Date => new Date(Date.now() + 3_600_000);
  let corrected = 0;
  proxy.choose = ({ headers }) => {
    const [, y = '', mo = '', d = '', h = '', mi = '', s = ''] =
      /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(String(headers['x-amz-date'])) ?? [];
    const signed_ms = Date.parse(`${y}-${mo}-${d}T${h}:${mi}:${s}Z`);
    if (Math.abs(signed_ms - serverTime().getTime()) > 15 * 60_000) {
      const now = { date: serverTime().toUTCString() };
      return { kind: 'status', status: 403, code: 'RequestTimeTooSkewed', headers: now };
    }
    corrected += 1;
    // What is behind the proxy has the other time, and would refuse it.
    return { kind: 'status', status: 404, code: 'NoSuchKey' };
  };
  await refused(t, store.get('object'), 'not-found', 'object');
  t.equal(corrected, 1, 'the second attempt was signed with the server’s time');
  await refused(t, store.get('object'), 'not-found', 'object');
  t.equal(corrected, 2, 'and so are all that follow');
});

await t.test('credentials that have ended are asked for again, where they come from', async (t) => {
  const proxy = await proxied(t);
  const folder = t.testdir({});
  const file = join(folder, 'credentials');
  const { AWS_ACCESS_KEY_ID: id = '', AWS_SECRET_ACCESS_KEY: secret = '' } = server.env;
  const write = (accessKeyId: string): void => {
    writeFileSync(file, `[default]\naws_access_key_id = ${accessKeyId}\naws_secret_access_key = ${secret}\n`);
  };
  withEnvironment(t, {
    AWS_ACCESS_KEY_ID: undefined,
    AWS_SECRET_ACCESS_KEY: undefined,
    AWS_SHARED_CREDENTIALS_FILE: file,
  });
  const expired = (code: string, status: number): void => {
    proxy.choose = ({ headers }) =>
      String(headers.authorization).includes('AKENDED') ? { kind: 'status', status, code } : undefined;
  };
  for (const [status, code] of [
    [400, 'ExpiredToken'],
    [403, 'InvalidAccessKeyId'],
  ] as const) {
    expired(code, status);
    write(id);
    const writer = await S3Store.open('test', code);
    t.teardown(() => writer.close());
    await writer.put('object', Buffer.from('bytes'));

    write('AKENDED000000000');
    const lasting = await S3Store.open('test', code);
    t.teardown(() => lasting.close());
    const error = await errorOf(lasting.get('object'));
    t.match(error, { code: 'access-denied', hint: String }, `${code}: refused while there are no others`);
    if (code === 'ExpiredToken') t.match(error, { hint: /renew them/ });
    const asked = proxy.requests.length;
    await errorOf(lasting.get('object'));
    t.equal(proxy.requests.length - asked, 1, 'nothing is tried again while there are no others');

    write(id);
    // The chain is not asked for each request that is refused.
    for (let times = 0; times < RENEWAL_LOOKS; times += 1) {
      if ((await errorOf(lasting.get('object'))) === undefined) break;
      await new Promise((resolve) => setTimeout(resolve, RENEWAL_LOOK_MS));
    }
    t.equal((await lasting.get('object')).toString(), 'bytes', 'the same store goes on with the others');
    t.equal(await lasting.put('next', Buffer.from('bytes'), { ifAbsent: true }), 'written');
  }
});

await t.test(
  'URLs are signed with the credentials of now, also where nothing else is asked of the store',
  async (t) => {
    const proxy = await proxied(t);
    const file = join(t.testdir({}), 'credentials');
    const { AWS_ACCESS_KEY_ID: id = '', AWS_SECRET_ACCESS_KEY: secret = '' } = server.env;
    const write = (accessKeyId: string): void => {
      writeFileSync(
        file,
        `[default]\naws_access_key_id = ${accessKeyId}\naws_secret_access_key = ${secret}\n`,
      );
    };
    withEnvironment(t, {
      AWS_ACCESS_KEY_ID: undefined,
      AWS_SECRET_ACCESS_KEY: undefined,
      AWS_SHARED_CREDENTIALS_FILE: file,
    });
    proxy.choose = ({ headers }) =>
      String(headers.authorization).includes('AKENDED')
        ? { kind: 'status', status: 403, code: 'InvalidAccessKeyId' }
        : undefined;
    write('AKENDED000000000');
    const store = await S3Store.open('test', 'presigned');
    t.teardown(() => store.close());
    t.match(await store.presign('PUT', 'object', 60), /AKENDED/, 'there are no others');
    write(id);
    let url = '';
    for (let times = 0; times < RENEWAL_LOOKS && !url.includes(id); times += 1) {
      url = await store.presign('PUT', 'object', 60);
      await new Promise((resolve) => setTimeout(resolve, RENEWAL_LOOK_MS));
    }
    t.equal((await fetch(url, { method: 'PUT', body: 'bytes' })).status, 200);
  },
);

async function errorOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => undefined,
    (error: unknown) => error,
  );
}
