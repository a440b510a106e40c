import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { execaNode } from 'execa';
import type { Test } from 'tap';
import { CairnError, type ErrorCode } from '../../src/core/index.js';
import type { ObjectStore } from '../../src/objects/index.js';
import { patternedBytes } from '../fixtures/patterned-bytes.js';

const MIB = 1024 * 1024;
const WRITER = fileURLToPath(new URL('../fixtures/object-writer.js', import.meta.url));

/**
 * What src/objects/object-store.ts promises, of whatever implementation.
 *
 * @param open gives an empty store at a URL of its own, which other processes can open by that URL and this one's environment.
 */
export async function objectStoreContract(
  t: Test,
  name: string,
  open: () => Promise<ObjectStore>,
): Promise<void> {
  const withStore = (title: string, body: (t: Test, store: ObjectStore) => Promise<void>): Promise<unknown> =>
    t.test(`${name}: ${title}`, async (t) => {
      const store = await open();
      t.teardown(() => store.close());
      await body(t, store);
    });

  await withStore('an object comes back byte for byte, and only under its key', async (t, store) => {
    const bytes = patternedBytes('object', 3 * MIB + 1);
    t.equal(await store.put('blocks/ab/one', bytes), 'written');
    await store.put('blocks/ab/two', Buffer.from('another'));
    t.ok(bytes.equals(await store.get('blocks/ab/one')));
    t.same(await store.head('blocks/ab/one'), { sizeBytes: bytes.byteLength });
    t.equal((await store.get('blocks/ab/two')).toString(), 'another');
  });

  await withStore('an object may be empty', async (t, store) => {
    await store.put('empty', Buffer.alloc(0));
    t.equal((await store.get('empty')).byteLength, 0);
    t.same(await store.head('empty'), { sizeBytes: 0 });
    t.equal((await collect(await store.getStream('empty'))).byteLength, 0);
    await store.putStream('empty-stream', Readable.from([]));
    t.same(await store.head('empty-stream'), { sizeBytes: 0 });
  });

  await withStore('a put of the same bytes may be repeated', async (t, store) => {
    await store.put('again', Buffer.from('bytes'));
    t.equal(await store.put('again', Buffer.from('bytes')), 'written');
    t.equal((await store.get('again')).toString(), 'bytes');
  });

  await withStore('O-2: a put that may not replace leaves the object that is there', async (t, store) => {
    t.equal(await store.put('once', Buffer.from('first'), { ifAbsent: true }), 'written');
    t.equal(await store.put('once', Buffer.from('second'), { ifAbsent: true }), 'exists');
    t.equal((await store.get('once')).toString(), 'first');
  });

  await withStore('of eight writers of one key in one process exactly one wins', async (t, store) => {
    for (let round = 0; round < 5; round += 1) {
      const key = `race/${String(round)}`;
      const bodies = Array.from({ length: 8 }, (_, writer) => patternedBytes(writer, 50_000));
      const outcomes = await Promise.all(bodies.map((body) => store.put(key, body, { ifAbsent: true })));
      t.equal(outcomes.filter((outcome) => outcome === 'written').length, 1, `round ${String(round)}`);
      t.ok(bodies[outcomes.indexOf('written')]?.equals(await store.get(key)), 'the object is the winner’s');
    }
  });

  await withStore('of several processes that write one key exactly one wins', async (t, store) => {
    const names = ['a', 'b', 'c', 'd'];
    const writers = await startWriters(names.map((name) => ['race', store.url, '20', name]));
    const results = await Promise.all(writers.map((writer) => writer.run()));
    for (let index = 0; index < 20; index += 1) {
      const winners = names.filter((_, writer) =>
        (JSON.parse(results[writer] ?? '[]') as number[]).includes(index),
      );
      t.equal(winners.length, 1, `key ${String(index)}`);
      t.equal((await store.get(`race/${String(index)}`)).toString(), `${winners.join()} ${String(index)}`);
    }
  });

  await withStore(
    'two processes that write the same and other keys at once leave all objects whole',
    async (t, store) => {
      const writers = await startWriters([
        ['fill', store.url, '0', '20'],
        ['fill', store.url, '10', '20'],
      ]);
      await Promise.all(writers.map((writer) => writer.run()));
      for (let index = 0; index < 30; index += 1) {
        const bytes = await store.get(`fill/${String(index)}`);
        t.ok(
          bytes.equals(patternedBytes(index, bytes.byteLength)) && bytes.byteLength > 0,
          `object ${String(index)}`,
        );
      }
    },
  );

  await withStore('a writer that is killed leaves whole objects only', async (t, store) => {
    const [writer] = await startWriters([['forever', store.url]]);
    const lastWritten = Number(await writer?.killAfterLines(4));
    const keys: string[] = [];
    for await (const { key, sizeBytes } of store.list('')) {
      keys.push(key);
      const bytes = await store.get(key);
      t.ok(
        bytes.equals(patternedBytes(key.slice('forever/'.length), sizeBytes)) && sizeBytes === 4 * MIB,
        key,
      );
    }
    t.ok(keys.includes(`forever/${String(lastWritten)}`), 'what was acknowledged is there');
  });

  await withStore('a stream of 20 MiB goes in and out', async (t, store) => {
    const chunks = Array.from({ length: 200 }, (_, index) => patternedBytes(index, 104_858));
    await store.putStream('large', Readable.from(chunks));
    t.same(await store.head('large'), { sizeBytes: 200 * 104_858 });
    const expected = Buffer.concat(chunks);
    t.equal(sha256(await collect(await store.getStream('large'))), sha256(expected));
    const range = { start: 17 * MIB, end: 18 * MIB };
    t.ok(
      (await collect(await store.getStream('large', { range }))).equals(
        expected.subarray(17 * MIB, 18 * MIB),
      ),
    );
    await refused(t, store.get('large'), 'corrupt', 'large', 'a get without a limit of its own has one');
  });

  await withStore('a stream that fails leaves no object, and its own error', async (t, store) => {
    const broken = Readable.from(
      (async function* () {
        await Promise.resolve();
        yield patternedBytes('broken', 100_000);
        throw new Error('the source broke');
      })(),
    );
    await t.rejects(store.putStream('broken', broken), { message: 'the source broke' });
    t.equal(await store.head('broken'), undefined);
  });

  await withStore('a range is those bytes, and must lie within the object', async (t, store) => {
    const bytes = patternedBytes('range', 10_000);
    await store.put('range', bytes);
    const whole = await store.get('range', { range: { start: 0, end: 10_000 } });
    const middle = await store.get('range', { range: { start: 5_000, end: 5_001 }, maxBytes: 1 });
    t.ok(whole.equals(bytes));
    t.ok(middle.equals(bytes.subarray(5_000, 5_001)));
    await refused(t, store.get('range', { range: { start: 9_999, end: 10_001 } }), 'corrupt', 'range');
    await refused(t, store.get('range', { range: { start: 20_000, end: 20_001 } }), 'corrupt', 'range');
    await t.rejects(store.get('range', { range: { start: 5, end: 5 } }), { code: 'ERR_ASSERTION' });
  });

  await withStore('an object larger than the caller allows is refused', async (t, store) => {
    await store.put('large', Buffer.alloc(1001));
    t.equal((await store.get('large', { maxBytes: 1001 })).byteLength, 1001);
    await refused(t, store.get('large', { maxBytes: 1000 }), 'corrupt', 'large');
    await refused(t, store.getStream('large', { maxBytes: 1000 }), 'corrupt', 'large');
  });

  await withStore('an object that is not there is not found, by whatever operation', async (t, store) => {
    await store.put('there/object', Buffer.from('bytes'));
    for (const key of ['missing', 'there/other', 'there', 'there/object/below', 'no/such/folder']) {
      await refused(t, store.get(key), 'not-found', key);
      await refused(t, store.getStream(key), 'not-found', key);
      t.equal(await store.head(key), undefined);
    }
    await store.delete('missing');
    await store.delete('no/such/folder');
    await store.delete('there/object');
    await store.delete('there/object');
    t.equal(await store.head('there/object'), undefined);
  });

  await withStore('O-1: what is not a key is a programmer’s error', async (t, store) => {
    for (const key of [
      '',
      '/',
      '/a',
      'a/',
      'a//b',
      '.',
      '..',
      'a/../b',
      'a/.',
      'a b',
      'ä',
      'a\0',
      'a\\b',
      'tmp/a',
    ]) {
      const refusal = { code: 'ERR_ASSERTION' };
      await t.rejects(store.get(key), refusal, `get ${JSON.stringify(key)}`);
      await t.rejects(store.put(key, Buffer.alloc(1)), refusal, `put ${JSON.stringify(key)}`);
      await t.rejects(store.delete(key), refusal, `delete ${JSON.stringify(key)}`);
    }
    t.same(await keysOf(store, ''), []);
  });

  await withStore('a listing has the keys of a prefix, in byte order', async (t, store) => {
    const sorted = ['A', 'a-b', 'a.b/1', 'a/b', 'a/c/1', 'a/c/2', 'a/c-', 'a0', 'ab', 'b/1'];
    const inByteOrder = [...sorted].sort((one, other) =>
      Buffer.compare(Buffer.from(one), Buffer.from(other)),
    );
    for (const key of [...sorted].reverse()) await store.put(key, Buffer.alloc(key.length));
    t.same(await keysOf(store, ''), inByteOrder);
    t.same(
      await keysOf(store, 'a/'),
      inByteOrder.filter((key) => key.startsWith('a/')),
    );
    t.same(
      await keysOf(store, 'a'),
      inByteOrder.filter((key) => key.startsWith('a')),
      'a prefix may end within a segment',
    );
    t.same(
      await keysOf(store, 'a/c'),
      inByteOrder.filter((key) => key.startsWith('a/c')),
    );
    t.same(await keysOf(store, 'nothing/'), []);
    for (const after of [...inByteOrder, 'a/', 'a/c/15', 'zzz']) {
      t.same(
        await keysOf(store, '', after),
        inByteOrder.filter((key) => key > after),
        `after ${after}`,
      );
    }
    for await (const { key, sizeBytes, modifiedAtMs } of store.list('')) {
      t.equal(sizeBytes, key.length);
      t.ok(Math.abs(Date.now() - modifiedAtMs) < 3_600_000, 'it was put just now');
    }
  });

  await withStore('a listing is complete beyond a page of 1,000', async (t, store) => {
    const keys = Array.from({ length: 1_050 }, (_, index) => `blocks/${String(index).padStart(5, '0')}`);
    await Promise.all(keys.map((key) => store.put(key, Buffer.from(key))));
    t.same(await keysOf(store, 'blocks/'), keys);
    t.same(await keysOf(store, 'blocks/', keys[1_020]), keys.slice(1_021));
  });

  await withStore('an abort ends an operation at once, with its reason', async (t, store) => {
    const bytes = patternedBytes('abort', 4 * MIB);
    await store.put('object', bytes);
    const reason = new Error('no longer wanted');
    const operations: Record<string, (signal: AbortSignal) => Promise<unknown>> = {
      get: (signal) => store.get('object', { signal }),
      getStream: async (signal) => collect(await store.getStream('object', { signal })),
      put: (signal) => store.put('aborted', bytes, { signal }),
      putStream: (signal) => store.putStream('aborted', Readable.from([bytes]), { signal }),
      head: (signal) => store.head('object', { signal }),
      list: (signal) => keysOf(store, '', undefined, signal),
      delete: (signal) => store.delete('other', { signal }),
    };
    for (const [operation, run] of Object.entries(operations)) {
      await t.rejects(run(AbortSignal.abort(reason)), reason, `${operation}, aborted before`);
      const controller = new AbortController();
      const running = run(controller.signal);
      controller.abort(reason);
      await t.rejects(running, reason, `${operation}, aborted on its way`);
    }
    t.ok(bytes.equals(await store.get('object')), 'the store goes on');
  });

  await withStore(
    'more calls than may be in flight are all answered, and those that are aborted not',
    async (t, store) => {
      await store.put('object', Buffer.from('bytes'));
      const controller = new AbortController();
      const wanted = Array.from({ length: 200 }, () => store.get('object'));
      const unwanted = Array.from({ length: 200 }, () => store.get('object', { signal: controller.signal }));
      const outcomes = Promise.allSettled(unwanted);
      controller.abort();
      t.equal((await outcomes).filter(({ status }) => status === 'rejected').length, 200);
      for (const bytes of await Promise.all(wanted)) if (bytes.toString() !== 'bytes') t.fail('wrong bytes');
    },
  );

  await withStore('a stream that is given up unread gives its place back', async (t, store) => {
    await store.put('object', patternedBytes('unread', MIB));
    for (let round = 0; round < 100; round += 1) {
      const stream = await store.getStream('object');
      stream.destroy();
      await once(stream, 'close');
    }
    t.equal((await store.get('object')).byteLength, MIB);
  });

  await withStore('requests and bytes are counted', async (t, store) => {
    await store.put('object', Buffer.alloc(1000));
    await store.get('object');
    await store.get('object', { range: { start: 0, end: 100 } });
    await store.head('object');
    await keysOf(store, '');
    await store.delete('object');
    t.same(store.counters, {
      requests: { put: 1, get: 2, head: 1, list: 1, delete: 1 },
      retries: 0,
      bytesIn: 1100,
      bytesOut: 1000,
    });
  });
}

/** That `promise` is refused with a CairnError of `code` that names `subject`. */
export async function refused(
  t: Test,
  promise: Promise<unknown>,
  code: ErrorCode,
  subject: string,
  title = `${code}: ${subject}`,
): Promise<void> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof CairnError)) {
    t.fail(title, { found: error });
    return;
  }
  t.match({ code: error.code, message: error.message }, { code, message: subject }, title);
}

export async function keysOf(
  store: ObjectStore,
  prefix: string,
  after?: string,
  signal?: AbortSignal,
): Promise<string[]> {
  const keys: string[] = [];
  const options = { ...(after === undefined ? {} : { after }), ...(signal === undefined ? {} : { signal }) };
  for await (const { key } of store.list(prefix, options)) keys.push(key);
  return keys;
}

async function collect(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Starts one process for each list of arguments, and waits until all are about to write. */
async function startWriters(argumentLists: string[][]): Promise<Writer[]> {
  const writers = argumentLists.map((args) => new Writer(args));
  await Promise.all(writers.map((writer) => writer.nextLine()));
  return writers;
}

const startWriterProcess = (args: string[]) =>
  execaNode(WRITER, args, { buffer: false, reject: false, stderr: 'inherit' });

class Writer {
  readonly #process: ReturnType<typeof startWriterProcess>;
  readonly #lines: AsyncIterator<string>;

  constructor(args: string[]) {
    this.#process = startWriterProcess(args);
    this.#lines = createInterface(this.#process.stdout)[Symbol.asyncIterator]();
  }

  async nextLine(): Promise<string | undefined> {
    const next = await this.#lines.next();
    return next.done === true ? undefined : next.value;
  }

  /** @returns what it printed, when it has ended well. */
  async run(): Promise<string | undefined> {
    this.#process.stdin.end('go\n');
    const line = await this.nextLine();
    const { exitCode } = await this.#process;
    if (exitCode !== 0) throw new Error(`a writer ended with ${String(exitCode)}`);
    return line;
  }

  /** @returns the last line before it was killed, in the middle of something. */
  async killAfterLines(count: number): Promise<string | undefined> {
    this.#process.stdin.write('go\n');
    let line: string | undefined;
    for (let index = 0; index < count; index += 1) line = await this.nextLine();
    this.#process.kill('SIGKILL');
    await this.#process;
    return line;
  }
}
