import { createHash, randomBytes } from 'node:crypto';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { startS3 } from '../fixtures/s3-server.js';
import { asOrdinaryUser, whyNoMounts } from './ordinary-user.js';
import { isRoot, mountpointsBelow, run, runDone, Site, type Home, type Ran } from './site.js';

/** One line that says what and what to do. */
const ONE_LINE = /^cairn: [^\n]+: [^\n]+\n$/;
const MIB = 1024 * 1024;

if (whyNoMounts !== undefined) {
  t.plan(0, whyNoMounts);
} else {
  t.test('folders that are missing, full, a file, or in use', folders);
  t.test('a store that may only be read: the snapshot waits and nothing is lost', readOnlyStore);
  t.test('unmounting what is busy, and what is not mounted', unmounting);
  if (isRoot) {
    t.test('workspaces and versions that are not there', unknownNames);
    t.test('a store out of reach, or with other credentials', stores);
    t.test(
      'a block that was damaged in the store: EIO for what needs it, and for nothing else',
      corruptBlock,
    );
    t.test('a manifest that was damaged in the store: nothing is mounted', corruptManifest);
    t.test('the damaged folder of one mount is no other’s problem', damagedFolder);
    t.test('no /dev/fuse', noDevice);
    t.test(
      'no space for edits: that write fails, what was there stays, and it goes on when there is space',
      noSpace,
    );
    t.test('a file that changes while it is imported', changingFile);
    t.test('the first three for an ordinary user, who also needs fusermount3', async (t) => {
      await asOrdinaryUser(t, 'bad-input.test.js');
    });
  } else {
    t.test('no fusermount3', noFusermount);
  }
}

/** A workspace `demo` with one version. */
async function siteWithDemo(t: Test): Promise<{ site: Site; home: Home }> {
  const site = await Site.start(t);
  const home = site.home();
  const tree = site.folder('tree');
  writeFileSync(`${tree}/file`, 'of version 1\n');
  await home.import(tree, 'demo');
  return { site, home };
}

function refused(t: Test, ran: Ran, code: number, message: RegExp): void {
  t.match(ran, { code, stdout: '', stderr: ONE_LINE });
  t.match(ran.stderr, message);
}

async function nothingMounted(t: Test, site: Site, home: Home): Promise<void> {
  t.same(await home.mounts(), [], 'no mount is listed');
  t.same(mountpointsBelow(site.base), [], 'and none is there');
}

async function damagedFolder(t: Test): Promise<void> {
  const { home } = await siteWithDemo(t);
  const { mountpoint } = await home.mount('demo', 'mnt');
  for (const name of ['layers.json', 'request.json']) {
    const other = await home.mount('demo', `other-${name}`);
    await runDone(['touch', `${other.mountpoint}/edit`]);
    await home.unmount(other.mountpoint);
    const folder = readdirSync(`${home.dir}/mounts`).find(
      (mount) =>
        (
          JSON.parse(
            readFileSync(`${home.dir}/mounts/${mount}/request.json`, 'utf8').split('\n', 1)[0] ?? '',
          ) as {
            mountpoint: string;
          }
        ).mountpoint === other.mountpoint,
    );
    writeFileSync(`${home.dir}/mounts/${folder ?? ''}/${name}`, '{');
    const listed = (await home.mounts()).find((mount) => mount.mountpoint === mountpoint);
    t.match(listed, { alive: true });
    await runDone(['touch', `${mountpoint}/${name}`]);
    t.match(await home.snapshot(mountpoint), { created: true });
    const again = await home.cairn(['mount', 'demo', other.mountpoint]);
    refused(t, again, 1, new RegExp(name.replace('.', '\\.')));
    if (name === 'layers.json') {
      const doctor = await home.cairn(['doctor']);
      t.match(doctor.stdout, /layers\.json does not describe upper layers/);
    }
    // The next one is looked for among those that can be read.
    await runDone(['mv', `${home.dir}/mounts/${folder ?? ''}`, `${home.dir}/${name}-folder`]);
  }
}

async function folders(t: Test): Promise<void> {
  const { site, home } = await siteWithDemo(t);
  const none = `${site.base}/none`;
  refused(t, await home.cairn(['import', none, '--workspace', 'new']), 3, /none/);
  refused(t, await home.cairn(['import', `${site.base}/tree/file`, '--workspace', 'new']), 2, /file/);
  refused(t, await home.cairn(['mount', 'demo', none]), 3, /none.*mkdir/);
  refused(t, await home.cairn(['mount', 'demo', site.folder('tree')]), 4, /tree is not empty/);
  refused(t, await home.cairn(['mount', 'demo', `${site.base}/tree/file`]), 2, /not a folder/);
  refused(t, await home.cairn(['log', 'new']), 3, /new/);
  await nothingMounted(t, site, home);

  const { mountpoint } = await home.mount('demo', 'mnt');
  refused(t, await home.cairn(['mount', 'demo', mountpoint]), 4, /is a mount already/);
  refused(t, await site.home('other').cairn(['mount', 'demo', mountpoint]), 4, /is a mount already/);
  symlinkSync(mountpoint, `${site.base}/link`);
  refused(
    t,
    await home.cairn(['mount', 'demo@1', `${site.base}/link`, '--read-only']),
    4,
    /is a mount already/,
  );
  t.equal(await runDone(['cat', `${mountpoint}/file`]), 'of version 1\n', 'the mount that is there goes on');
  await home.unmount(mountpoint);
  await nothingMounted(t, site, home);
  t.same(await site.home('other').mounts(), []);
}

async function unknownNames(t: Test): Promise<void> {
  const { site, home } = await siteWithDemo(t);
  const folder = site.folder('mnt');
  refused(t, await home.cairn(['mount', 'dmeo', folder]), 3, /dmeo/);
  refused(t, await home.cairn(['mount', 'demo@99', folder]), 3, /99/);
  refused(t, await home.cairn(['mount', 'demo@release', folder]), 3, /release/);
  refused(t, await home.cairn(['mount', 'DEMO!', folder]), 3, /DEMO!/);
  await nothingMounted(t, site, home);
}

async function stores(t: Test): Promise<void> {
  const { site } = await siteWithDemo(t);
  const server = await startS3();
  t.teardown(() => server.stop());
  const env = {
    ...server.env,
    CAIRN_STORE: server.newUrl(),
    CAIRN_CATALOG: `sqlite://${site.base}/s3.sqlite`,
  };
  const home = site.home('s3');
  const tree = `${site.base}/tree`;
  t.match(await home.cairn(['import', tree, '--workspace', 'demo'], { env }), { code: 0 });

  const elsewhere = { ...env, AWS_ENDPOINT_URL_S3: 'http://127.0.0.1:1/' };
  const wrong = { ...env, AWS_SECRET_ACCESS_KEY: 'not-the-secret' };
  const [folder, other] = [site.folder('mnt'), site.home('other')];
  writeFileSync(`${tree}/second`, randomBytes(100_000));
  for (const [what, bad] of [
    ['out of reach', elsewhere],
    ['with a wrong secret', wrong],
  ] as const) {
    t.comment(what);
    refused(t, await other.cairn(['mount', 'demo', folder], { env: bad }), 5, /s3|127\.0\.0\.1/);
    refused(t, await home.cairn(['import', tree, '--workspace', 'demo'], { env: bad }), 5, /s3|127\.0\.0\.1/);
    t.match(
      await home.cairn(['log', 'demo', '--json'], { env }),
      { stdout: /^[^\n]*"seq":1,[^\n]*\n$/ },
      'no version was made',
    );
    await nothingMounted(t, site, other);
  }
  t.match(
    await other.cairn(['mount', 'demo', folder], { env }),
    { code: 0 },
    'with the right ones it mounts',
  );
}

async function readOnlyStore(t: Test): Promise<void> {
  const { site, home } = await siteWithDemo(t);
  const { mountpoint } = await home.mount('demo', 'mnt');
  await runDone([
    'sh',
    '-c',
    `echo edited > ${mountpoint}/file; head -c 300000 /dev/urandom > ${mountpoint}/new`,
  ]);
  const store = `${site.base}/store`;
  if (isRoot) {
    await runDone(['mount', '--bind', store, store]);
    await runDone(['mount', '-o', 'remount,bind,ro', store]);
  } else await runDone(['chmod', '-R', 'a-w', store]);
  refused(t, await home.cairn(['snapshot', mountpoint]), 5, /store/);
  t.match(await home.status(mountpoint), { seq: 1, headSeq: 1, sealedLayers: 1, publishProblem: /store/ });
  t.equal(await runDone(['cat', `${mountpoint}/file`]), 'edited\n', 'the mount goes on');
  await runDone(['sh', '-c', `echo more >> ${mountpoint}/file`]);

  if (isRoot) await runDone(['umount', store]);
  else await runDone(['chmod', '-R', 'u+w', store]);
  t.match(await home.snapshot(mountpoint), { created: true, seq: 3 }, 'both layers are published');
  t.match(await home.cairn(['cat', 'demo@2:file']), { stdout: 'edited\n' });
  t.match(await home.cairn(['cat', 'demo@3:file']), { stdout: 'edited\nmore\n' });
}

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

function damage(path: string): void {
  const bytes = readFileSync(path);
  const at = bytes.length - 10;
  bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
  writeFileSync(path, bytes);
}

async function corruptBlock(t: Test): Promise<void> {
  const site = await Site.start(t);
  const [home, tree] = [site.home(), site.folder('tree')];
  // One chunk, one block: its id is that of the bytes.
  const [bad, good] = [randomBytes(200_000), randomBytes(2 * MIB)];
  writeFileSync(`${tree}/bad`, bad);
  writeFileSync(`${tree}/good`, good);
  await home.import(tree, 'demo');
  const id = sha256(bad);
  const object = `${site.base}/store/blocks/${id.slice(0, 2)}/${id}`;
  await runDone(['chmod', 'u+w', object]);
  damage(object);

  const other = site.home('other');
  const { mountpoint } = await other.mount('demo', 'mnt');
  t.match(await run(['cat', `${mountpoint}/bad`], { limit_s: 60 }), {
    code: 1,
    stdout: '',
    stderr: /Input\/output error/,
  });
  t.match(await run(['sha256sum', `${mountpoint}/good`]), { code: 0, stdout: sha256(good) });
  t.match(
    await run(['sh', '-c', `cd ${mountpoint} && mv bad renamed && stat -c %s renamed && echo x > other`]),
    { stdout: '200000\n' },
  );
  t.match(other.log(), new RegExp(id), 'the log names the block');
  t.match(
    await run(['sh', '-c', `grep -r ${id} ${other.dir}/cache; find ${other.dir}/cache -name ${id}`]),
    { stdout: '' },
    'it is not cached',
  );
  damage(object);
  t.match(
    await run(['sha256sum', `${mountpoint}/renamed`]),
    { code: 0, stdout: id },
    'repaired in the store, it is read',
  );
}

async function corruptManifest(t: Test): Promise<void> {
  const { site, home } = await siteWithDemo(t);
  const manifests = `${site.base}/store/manifests`;
  const index =
    readdirSync(manifests, { recursive: true, encoding: 'utf8' }).find((name) =>
      /[0-9a-f]{64}$/.test(name),
    ) ?? '';
  const bytes = readFileSync(`${manifests}/${index}`);
  const block = bytes.subarray(24 + 8, 24 + 8 + 32).toString('hex');
  const folder = site.folder('mnt');
  for (const [number, path] of [
    `${manifests}/${index}`,
    `${site.base}/store/blocks/${block.slice(0, 2)}/${block}`,
  ].entries()) {
    const other = site.home(`other-${String(number)}`);
    await runDone(['chmod', 'u+w', path]);
    damage(path);
    refused(t, await other.cairn(['mount', 'demo', folder]), 1, new RegExp(number === 0 ? index : block));
    await nothingMounted(t, site, other);
    damage(path);
    t.match(await other.cairn(['mount', 'demo', folder]), { code: 0 }, 'repaired, it mounts');
    await other.unmount(folder);
  }
  t.match(await home.cairn(['mount', 'demo', folder]), { code: 0 });
}

async function noDevice(t: Test): Promise<void> {
  const { site, home } = await siteWithDemo(t);
  const script = `mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && exec "$@"`;
  const mount = home.command(['mount', 'demo', site.folder('mnt')]);
  const ran = await run(['unshare', '-m', 'sh', '-c', script, 'sh', ...mount], { env: home.environment() });
  refused(t, ran, 1, /no \/dev\/fuse.*modprobe/);
  await nothingMounted(t, site, home);
}

async function noFusermount(t: Test): Promise<void> {
  const { site, home } = await siteWithDemo(t);
  const mount = home.command(['mount', 'demo', site.folder('mnt')]);
  const ran = await run(['env', 'PATH=/nowhere', ...mount], { env: home.environment() });
  refused(t, ran, 1, /fusermount3 is not installed.*apt-get/);
  await nothingMounted(t, site, home);
}

async function noSpace(t: Test): Promise<void> {
  const { site } = await siteWithDemo(t);
  const home = site.home('small');
  await runDone(['mount', '-t', 'tmpfs', '-o', 'size=24m', 'none', home.dir]);
  const { mountpoint } = await home.mount('demo', 'mnt');
  const write = async (name: string, mib: number): Promise<Ran> =>
    await run([
      'dd',
      'if=/dev/urandom',
      `of=${mountpoint}/${name}`,
      'bs=1M',
      `count=${String(mib)}`,
      'conv=fsync',
      'status=none',
    ]);
  t.match(await write('before', 2), { code: 0 });
  const before = await runDone(['sha256sum', `${mountpoint}/before`]);
  t.match(await write('too-large', 60), { code: 1, stderr: /No space left on device/ });
  t.match(
    await run(['sha256sum', `${mountpoint}/before`]),
    { code: 0, stdout: before },
    'what was there is whole',
  );
  t.equal(await runDone(['cat', `${mountpoint}/file`]), 'of version 1\n');
  const { daemon, supervisor } = await home.stats(mountpoint);
  t.equal(supervisor.restarts, 0);
  await runDone(['rm', `${mountpoint}/too-large`]);
  t.match(await write('after', 3), { code: 0 }, 'there is space again');
  t.match(await home.snapshot(mountpoint), { created: true, seq: 2 });
  t.equal((await home.stats(mountpoint)).daemon.pid, daemon.pid, 'by the same daemon');
  await home.unmount(mountpoint);
  const version = await site.home('other').mount('demo', 'version', '--read-only');
  t.match(await run(['sha256sum', `${version.mountpoint}/before`]), { stdout: before.slice(0, 64) });
}

async function changingFile(t: Test): Promise<void> {
  const { site, home } = await siteWithDemo(t);
  const tree = site.folder('changing');
  mkdirSync(`${tree}/folder`);
  writeFileSync(`${tree}/folder/file`, Buffer.alloc(60 * MIB, 'text '));
  const writer = spawn('sh', ['-c', 'while echo x >> "$1"; do :; done', 'sh', `${tree}/folder/file`], {
    stdio: 'ignore',
  });
  const ended = once(writer, 'exit');
  const ran = await home.cairn(['import', tree, '--workspace', 'changing']);
  writer.kill('SIGKILL');
  await ended;
  const lines = ran.stderr.split('\n').filter((line) => line.startsWith('cairn: '));
  t.equal(ran.code, 1);
  t.equal(lines.length, 1);
  t.match(lines[0], /folder\/file/);
  t.match(await home.cairn(['ls', 'changing']), { code: 3 }, 'no version was made');
  t.match(
    await home.cairn(['import', tree, '--workspace', 'changing']),
    { code: 0 },
    'left alone, it is imported',
  );
}

async function unmounting(t: Test): Promise<void> {
  const { site, home } = await siteWithDemo(t);
  const { mountpoint } = await home.mount('demo', 'mnt');
  const holder = spawn('timeout', [
    '-s',
    'KILL',
    '60',
    'sh',
    '-c',
    'exec 3<"$1"; echo; cat',
    'sh',
    `${mountpoint}/file`,
  ]);
  const ended = once(holder, 'exit');
  await once(holder.stdout, 'data');
  refused(t, await home.cairn(['unmount', mountpoint]), 4, /in use/);
  t.match(await home.mounts(), [{ mountpoint, alive: true }], 'it is still there');
  t.equal(await runDone(['cat', `${mountpoint}/file`]), 'of version 1\n');
  holder.stdin.end();
  await ended;
  await home.unmount(mountpoint);
  await nothingMounted(t, site, home);
  refused(t, await home.cairn(['unmount', mountpoint]), 3, /nothing is mounted/);
  for (const command of ['snapshot', 'status', 'stats']) {
    refused(t, await home.cairn([command, mountpoint]), 3, /nothing is mounted/);
  }
}
