import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import t, { type Test } from 'tap';
import { openObjectStore, type ObjectStore } from '../../src/objects/index.js';
import { S3Store } from '../../src/objects/s3-store.js';
import { keysOf, objectStoreContract, refused } from '../contract/object-store.js';
import { withEnvironment } from '../fixtures/environment.js';
import { patternedBytes } from '../fixtures/patterned-bytes.js';
import { s3Environment, startS3 } from '../fixtures/s3-server.js';

const ACCESS_KEY = {
  accessKeyId: 'AKLOCALTEST00000',
  secretAccessKey: 'local-secret-local-secret-local-secret',
};
const MIB = 1024 * 1024;

t.setTimeout(120_000);
const server = await startS3();
t.teardown(() => server.stop());
withEnvironment(t, server.env);

await objectStoreContract(t, 'S3', () => openObjectStore(server.newUrl()));

await t.test('a long stream goes in parts, each of them counted', async (t) => {
  const store = await openObjectStore(server.newUrl());
  t.teardown(() => store.close());
  const chunks = Array.from({ length: 40 }, (_, index) => patternedBytes(index, MIB));
  await store.putStream('large', Readable.from(chunks));
  t.equal(store.counters.requests.put, 1 + 3 + 1, 'one to begin, three parts, one to complete');
  t.ok(store.counters.bytesOut >= 40 * MIB);
  t.same(await store.head('large'), { sizeBytes: 40 * MIB });
});

await t.test('a presigned URL is for one object and one verb, and ends', async (t) => {
  const store = await openObjectStore(server.newUrl());
  t.teardown(() => store.close());
  const presign = async (verb: 'GET' | 'PUT', key: string, seconds = 300): Promise<string> =>
    (await store.presign?.(verb, key, seconds)) ?? '';
  const status = async (url: string, method: string): Promise<number> => {
    const response = await fetch(url, { method });
    await response.arrayBuffer();
    return response.status;
  };
  // The first is the SDK's own, and those after it are not.
  for (const key of ['blocks/aa/first', 'blocks/bb/second']) {
    const put = await presign('PUT', key);
    const written = await fetch(put, { method: 'PUT', body: key });
    t.equal(written.status, 200, key);
    t.equal((await store.get(key)).toString(), key);
    const get = await presign('GET', key);
    t.equal(await (await fetch(get)).text(), key);
    t.equal(await status(get, 'PUT'), 403, 'what reads does not write');
    t.equal(await status(put, 'GET'), 403, 'nor the other way round');
    t.equal(await status(get.replace(key, 'blocks/cc/third'), 'GET'), 403, 'and it is of this object alone');
  }
  const short = await presign('GET', 'blocks/aa/first', 1);
  for (let ended = false; !ended;) ended = (await status(short, 'GET')) === 403;
  t.equal(store.counters.requests.put, 0, 'signing sends nothing');
});

await t.test('a bucket that is not there is not found, by name', async (t) => {
  const store = await openObjectStore('s3://no-such-bucket/prefix');
  t.teardown(() => store.close());
  await refused(t, store.put('object', Buffer.from('bytes')), 'not-found', 's3://no-such-bucket/prefix');
  await refused(t, store.get('object'), 'not-found', 's3://no-such-bucket/prefix');
  await refused(t, keysOf(store, ''), 'not-found', 's3://no-such-bucket/prefix');
  t.match(await errorOf(store.get('object')), { hint: /no-such-bucket/ });
});

await t.test('wrong credentials are access denied', async (t) => {
  const wrong = [
    { ...ACCESS_KEY, secretAccessKey: 'another-secret-another-secret-another-s' },
    { ...ACCESS_KEY, accessKeyId: 'AKNOBODY00000000' },
  ];
  for (const credentials of wrong) {
    withEnvironment(t, s3Environment(server.endpoint, credentials));
    // With retries: this server may close the connection on which it has refused a put.
    const store = await openObjectStore('s3://test/prefix');
    t.teardown(() => store.close());
    await refused(t, store.get('object'), 'access-denied', 'object');
    await refused(
      t,
      store.put('object', Buffer.from('bytes'), { ifAbsent: true }),
      'access-denied',
      'object',
    );
    await refused(t, store.head('object'), 'access-denied', 'object');
    t.match(await errorOf(store.get('object')), { hint: /AWS_ACCESS_KEY_ID/ });
    const streaming = await S3Store.open('test', 'prefix');
    t.teardown(() => streaming.close());
    await refused(t, streaming.putStream('object', Readable.from(['bytes'])), 'access-denied', 'object');
  }
});

await t.test('missing credentials are access denied, with a hint', async (t) => {
  const store = await openIn(t, {
    ...server.env,
    AWS_ACCESS_KEY_ID: undefined,
    AWS_SECRET_ACCESS_KEY: undefined,
  });
  await refused(t, store.get('object'), 'access-denied', 'object');
  t.match(await errorOf(store.get('object')), { hint: /set AWS_ACCESS_KEY_ID/ });
});

await t.test('without a region in the environment any server is asked all the same', async (t) => {
  const store = await openIn(t, { ...server.env, AWS_REGION: undefined });
  await store.put('object', Buffer.from('bytes'));
  t.equal((await store.get('object')).toString(), 'bytes');
});

await t.test('a server that is not there is unreachable', async (t) => {
  const closed = createServer();
  const endpoint = await listen(closed);
  closed.close();
  const store = await openIn(t, s3Environment(endpoint, ACCESS_KEY));
  await refused(t, store.get('object'), 'unreachable', 'ECONNREFUSED');
  await refused(t, store.put('object', Buffer.from('bytes')), 'unreachable', 'ECONNREFUSED');
  await refused(
    t,
    store.putStream('object', Readable.from([Buffer.alloc(1)])),
    'unreachable',
    'ECONNREFUSED',
  );
  await refused(t, store.head('object'), 'unreachable', 'ECONNREFUSED');
  await refused(t, keysOf(store, ''), 'unreachable', 'ECONNREFUSED');
  t.match(await errorOf(store.get('object')), { hint: /AWS_ENDPOINT_URL_S3/ });
});

await t.test('a server that never answers is unreachable after the idle timeout', async (t) => {
  const silent = createServer(() => undefined);
  const store = await openIn(t, s3Environment(await listen(silent), ACCESS_KEY), { idleMs: 100 });
  stopAtEnd(t, silent);
  await refused(t, store.get('object'), 'unreachable', 'object');
  await refused(t, store.put('object', Buffer.alloc(MIB)), 'unreachable', 'object');
  await refused(
    t,
    store.putStream('object', Readable.from([Buffer.alloc(20 * MIB)])),
    'unreachable',
    'object',
  );
});

await t.test('a server that answers byte by byte is unreachable after the deadline', async (t) => {
  const slow = createServer((_request, response) => {
    response.writeHead(200, { 'content-length': '1000000' });
    const dripping = setInterval(() => response.write('x'), 10);
    response.on('close', () => {
      clearInterval(dripping);
    });
  });
  const store = await openIn(t, s3Environment(await listen(slow), ACCESS_KEY), { requestMs: 200 });
  stopAtEnd(t, slow);
  await refused(t, store.get('object'), 'unreachable', 'not done after 0.2 s');
});

await t.test('an answer that breaks off, or stops, is unreachable and not a short object', async (t) => {
  for (const ending of ['close', 'stall'] as const) {
    const failing = createServer((_request, response) => {
      response.writeHead(200, { 'content-length': '1000' });
      response.write('only so much', () => {
        if (ending === 'close') response.destroy();
      });
    });
    const store = await openIn(t, s3Environment(await listen(failing), ACCESS_KEY), { idleMs: 100 });
    stopAtEnd(t, failing);
    await refused(t, store.get('object'), 'unreachable', 'object', `get: ${ending}`);
    const stream = await store.getStream('object');
    stream.resume();
    await refused(t, once(stream, 'end'), 'unreachable', 'object', `getStream: ${ending}`);
  }
});

await t.test('a server’s refusals keep their meaning', async (t) => {
  let status = 500;
  let code = '';
  const refusing = createServer((request, response) => {
    request.resume();
    response.writeHead(status, { 'content-type': 'application/xml' });
    response.end(code === '' ? 'not XML' : `<Error><Code>${code}</Code><Message>as asked</Message></Error>`);
  });
  const store = await openIn(t, s3Environment(await listen(refusing), ACCESS_KEY));
  stopAtEnd(t, refusing);
  const cases = [
    [500, 'InternalError', 'unreachable'],
    [502, '', 'unreachable'],
    [503, 'SlowDown', 'unreachable'],
    [503, '', 'unreachable'],
    [429, 'TooManyRequests', 'unreachable'],
    [409, 'ConditionalRequestConflict', 'unreachable'],
    [400, 'RequestTimeout', 'unreachable'],
    [403, 'RequestTimeTooSkewed', 'unreachable'],
    [403, 'AccessDenied', 'access-denied'],
    [403, 'InvalidAccessKeyId', 'access-denied'],
    [403, 'QuotaExceeded', 'no-space'],
    [507, 'XMinioStorageFull', 'no-space'],
    [404, 'NoSuchBucket', 'not-found'],
    [301, 'PermanentRedirect', 'failed'],
    [400, 'InvalidArgument', 'failed'],
    [501, 'NotImplemented', 'unsupported'],
  ] as const;
  for (const [givenStatus, givenCode, meaning] of cases) {
    status = givenStatus;
    code = givenCode;
    const title = `${String(status)} ${code}`;
    await refused(
      t,
      store.put('object', Buffer.alloc(1), { ifAbsent: true }),
      meaning,
      'object',
      `put: ${title}`,
    );
    await refused(t, store.get('object'), meaning, 'object', `get: ${title}`);
  }
});

/** Answers as `answer` says, at first with an object: the store knows then where objects are, and asks without the SDK. */
async function storeAfterAnObject(
  t: Test,
  answer: (request: IncomingMessage, response: ServerResponse) => void,
  timeouts: Parameters<typeof S3Store.open>[2] = {},
): Promise<{ store: ObjectStore; ask: () => Promise<Buffer> }> {
  let first = true;
  const answering = createServer((request, response) => {
    request.resume();
    if (first) response.writeHead(200, { 'content-length': '5' }).end('bytes');
    else answer(request, response);
    first = false;
  });
  const store = await openIn(t, s3Environment(await listen(answering), ACCESS_KEY), timeouts);
  stopAtEnd(t, answering);
  const ask = async (): Promise<Buffer> => {
    first = true;
    t.equal((await store.get('first')).toString(), 'bytes');
    return await store.get('object');
  };
  return { store, ask };
}

await t.test('refusals keep their meaning after an object was read', async (t) => {
  let status = 500;
  let code = '';
  const { ask } = await storeAfterAnObject(t, (_request, response) => {
    response.writeHead(status, { 'content-type': 'application/xml' });
    response.end(`<Error><Code>${code}</Code><Message>as asked</Message></Error>`);
  });
  const cases = [
    [500, 'InternalError', 'unreachable'],
    [503, 'SlowDown', 'unreachable'],
    [429, 'TooManyRequests', 'unreachable'],
    [400, 'RequestTimeout', 'unreachable'],
    [403, 'RequestTimeTooSkewed', 'unreachable'],
    [403, 'AccessDenied', 'access-denied'],
    [403, 'QuotaExceeded', 'no-space'],
    [507, 'XMinioStorageFull', 'no-space'],
    [404, 'NoSuchKey', 'not-found'],
    [301, 'PermanentRedirect', 'failed'],
    [416, 'InvalidRange', 'corrupt'],
    [501, 'NotImplemented', 'unsupported'],
  ] as const;
  for (const [givenStatus, givenCode, meaning] of cases) {
    status = givenStatus;
    code = givenCode;
    await refused(t, ask(), meaning, 'object', `${String(status)} ${code}`);
  }
});

await t.test('timeouts and broken answers mean the same after an object was read', async (t) => {
  const silent = await storeAfterAnObject(t, () => undefined, { idleMs: 100 });
  await refused(t, silent.ask(), 'unreachable', 'object');
  const broken = await storeAfterAnObject(t, (_request, response) => {
    response.writeHead(200, { 'content-length': '1000' });
    response.write('only so much', () => response.destroy());
  });
  await refused(t, broken.ask(), 'unreachable', 'object');
  const large = await storeAfterAnObject(t, (_request, response) => {
    response.writeHead(200, { 'content-length': String(100 * MIB) });
    response.write('the beginning');
  });
  await refused(t, large.ask(), 'corrupt', 'object');
  const hung = await storeAfterAnObject(t, (request) => request.socket.destroy());
  await refused(t, hung.ask(), 'unreachable', 'object');
});

await t.test('reads after the first are signed and counted as it was, ranges too', async (t) => {
  const asked: { url: string | undefined; authorization: string | undefined; range: string | undefined }[] =
    [];
  const { store, ask } = await storeAfterAnObject(t, (request, response) => {
    const { authorization, range } = request.headers;
    asked.push({ url: request.url, authorization, range });
    response.writeHead(range === undefined ? 200 : 206, { 'content-length': '4' }).end('more');
  });
  t.equal((await ask()).toString(), 'more');
  t.equal((await store.get('object', { range: { start: 10, end: 14 } })).toString(), 'more');
  t.equal(store.counters.requests.get, 3);
  t.equal(store.counters.bytesIn, 5 + 4 + 4);
  t.match(asked, [
    {
      url: '/test/prefix/object',
      authorization: /^AWS4-HMAC-SHA256 Credential=AKLOCALTEST00000\/.*us-east-1\/s3\//,
    },
    { url: '/test/prefix/object', authorization: /^AWS4-HMAC-SHA256 /, range: 'bytes=10-13' },
  ]);
});

async function errorOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => undefined,
    (error: unknown) => error,
  );
}

/** A store, without retries, as a process with `environment` would open it. */
async function openIn(
  t: Test,
  environment: Record<string, string | undefined>,
  timeouts: Parameters<typeof S3Store.open>[2] = {},
): Promise<ObjectStore> {
  withEnvironment(t, environment);
  const store = await S3Store.open('test', 'prefix', timeouts);
  t.teardown(() => store.close());
  return store;
}

function stopAtEnd(t: Test, httpServer: Server): void {
  t.teardown(() => {
    httpServer.close().closeAllConnections();
  });
}

async function listen(httpServer: Server): Promise<string> {
  await once(httpServer.listen(0, '127.0.0.1'), 'listening');
  return `http://127.0.0.1:${String((httpServer.address() as AddressInfo).port)}`;
}
