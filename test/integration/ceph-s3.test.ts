/** The S3 store on a production server, Ceph's RADOS gateway, with the faults only a real one has. */
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { execa } from 'execa';
import t from 'tap';
import { openObjectStore } from '../../src/objects/index.js';
import { S3Store } from '../../src/objects/s3-store.js';
import { objectStoreContract, refused } from '../contract/object-store.js';
import { withEnvironment } from '../fixtures/environment.js';
import { s3Environment } from '../fixtures/s3-server.js';

const SCRIPT = fileURLToPath(new URL('../../../scripts/test-servers/ceph-rgw.sh', import.meta.url));
const ACCESS_KEY = {
  accessKeyId: 'AKLOCALTEST00000',
  secretAccessKey: 'local-secret-local-secret-local-secret',
};
const BUCKET = 'cairn';

t.setTimeout(300_000);
const { stdout: missing } = await execa(SCRIPT, ['missing']);
if (missing !== '') t.plan(0, `Ceph is not installed: there is no ${missing.split('\n').join(', ')}`);
else await onCeph();

async function onCeph(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'cairn-ceph-'));
  const port = await freePort();
  t.teardown(async () => {
    await execa(SCRIPT, ['down', folder]);
    rmSync(folder, { recursive: true });
  });
  await execa(SCRIPT, ['up', folder, String(port)], { stdio: 'ignore' });
  const admin = (...args: string[]): Promise<unknown> => execa(SCRIPT, ['admin', folder, ...args]);

  withEnvironment(t, s3Environment(`http://127.0.0.1:${String(port)}`, ACCESS_KEY));
  const client = new S3Client({ forcePathStyle: true });
  await client.send(new CreateBucketCommand({ Bucket: BUCKET }));
  client.destroy();
  let stores = 0;
  const newUrl = (): string => `s3://${BUCKET}/store-${String((stores += 1))}`;

  await objectStoreContract(t, 'Ceph', () => openObjectStore(newUrl()));

  await t.test('a gateway that stands still is unreachable, and goes on where it was', async (t) => {
    const store = await S3Store.open(BUCKET, 'still', { idleMs: 500 });
    t.teardown(() => store.close());
    await store.put('object', Buffer.from('bytes'));
    const gateway = Number(readFileSync(join(folder, 'rgw.pid'), 'utf8'));
    process.kill(gateway, 'SIGSTOP');
    try {
      await refused(t, store.get('object'), 'unreachable', 'object');
      await refused(t, store.put('other', Buffer.from('bytes')), 'unreachable', 'other');
    } finally {
      process.kill(gateway, 'SIGCONT');
    }
    t.equal((await store.get('object')).toString(), 'bytes');
  });

  await t.test('a full quota is no space left', async (t) => {
    const store = await openObjectStore(newUrl());
    t.teardown(() => store.close());
    await admin('quota', 'set', '--quota-scope=user', '--uid=test', '--max-size=1K');
    await admin('quota', 'enable', '--quota-scope=user', '--uid=test');
    t.teardown(() => admin('quota', 'disable', '--quota-scope=user', '--uid=test'));
    await refused(t, store.put('object', Buffer.alloc(100_000)), 'no-space', 'object');
  });

  await t.test('a suspended user is denied access', async (t) => {
    const store = await openObjectStore(newUrl());
    t.teardown(() => store.close());
    await admin('user', 'suspend', '--uid=test');
    t.teardown(() => admin('user', 'enable', '--uid=test'));
    await refused(t, store.put('object', Buffer.from('bytes')), 'access-denied', 'object');
    await refused(t, store.get('object'), 'access-denied', 'object');
  });
}

async function freePort(): Promise<number> {
  const server = createServer();
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  await once(server.close(), 'close');
  return port;
}
