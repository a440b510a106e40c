import { cpSync } from 'node:fs';
import t, { type Test } from 'tap';
import { whyNoMounts } from './ordinary-user.js';
import { startWorkplace, without, type Workplace } from './programs.js';
import { differences, isRoot, run, runDone, treeTask } from './site.js';

const MIB = 1024 * 1024;
const SIZES = { largeBytes: 24 * MIB, sparseBytes: 100 * MIB };
/** rsync's "some files or attributes were not transferred". */
const PARTIAL_TRANSFER = 23;

if (whyNoMounts !== undefined) {
  t.plan(0, whyNoMounts);
} else {
  t.test(
    'rsync -aHAX copies a tree of oddities both ways, and then has nothing to do',
    { skip: await without('rsync') },
    rsync,
  );
  t.test('tar archives and unpacks a tree of oddities as it does elsewhere', tar);
  t.test(
    'ACLs are refused, by name, and all the rest is copied',
    { skip: await without('rsync', 'setfacl') },
    acls,
  );
}

/** With the oddities on the local disk, in `site`/odd. */
async function oddWorkplace(t: Test): Promise<Workplace & { odd: string }> {
  const workplace = await startWorkplace(t);
  const odd = workplace.site.folder('odd');
  await treeTask('oddities', odd, JSON.stringify(SIZES));
  await runDone(['setfattr', '-x', 'system.posix_acl_access', `${odd}/xattrs/acl`]);
  return { ...workplace, odd };
}

async function rsync(t: Test): Promise<void> {
  const { site, home, mountpoint, odd } = await oddWorkplace(t);
  const copy = async (from: string, to: string, ...options: string[]): Promise<string> =>
    await runDone([
      'rsync',
      '-aHAXS',
      '--modify-window=-1',
      '--delete',
      '--itemize-changes',
      ...options,
      `${from}/`,
      `${to}/`,
    ]);
  const [there, back] = [`${mountpoint}/there`, `${site.base}/back`];
  t.match(await copy(odd, there), /large\/random/);
  t.same(await differences(odd, there, { holes: true }), [], 'what is on the mount is what was copied');
  t.equal(await copy(odd, there), '', 'once more: nothing is transferred');
  await copy(there, back);
  t.same(await differences(odd, back, { holes: true }), [], 'back on the local disk it is the same');
  t.equal(await copy(there, back), '');

  const edits = `cd "$1" && rm -r many/part-1 && mkdir many/part-1 && echo x >many/part-1/new && rm links/two && echo y >>sizes/4096 &&
    chmod 700 many && mv sizes/5242880 sizes/renamed && ln sizes/renamed empty/linked && rmdir modes/setgid && : >modes/setgid`;
  await runDone(['sh', '-c', edits, 'sh', there]);
  t.match(await copy(there, back), /deleting +many\/part-1\/file-7\n/);
  t.same(
    await differences(there, back, { holes: true }),
    [],
    'what was changed on the mount is brought back',
  );
  t.match(await copy(odd, there), /deleting +many\/part-1\/new\n/);
  t.same(await differences(odd, there, { holes: true }), [], 'and undone on the mount');

  await home.snapshot(mountpoint);
  await home.unmount(mountpoint);
  await home.mount('work', 'mnt', '--read-only');
  t.equal(await copy(odd, there, '--dry-run'), '', 'nor does rsync find anything to do on the version');
}

async function tar(t: Test): Promise<void> {
  const { site, mountpoint, odd } = await oddWorkplace(t);
  const pack = async (from: string, archive: string): Promise<void> => {
    await runDone([
      'tar',
      '--create',
      '--warning=no-timestamp',
      '--xattrs',
      '--acls',
      '--sparse',
      `--file=${archive}`,
      `--directory=${from}`,
      '.',
    ]);
  };
  const unpack = async (archive: string, to: string): Promise<string[]> => {
    await runDone(['mkdir', to]);
    const names = ['--xattrs', '--xattrs-include=*', '--acls'];
    const owners = isRoot ? ['--same-owner'] : [];
    const unpacked = await run([
      'tar',
      '--extract',
      '--warning=no-timestamp',
      ...names,
      ...owners,
      '--preserve-permissions',
      `--file=${archive}`,
      `--directory=${to}`,
    ]);
    t.equal(unpacked.code, 0);
    // A name may have a line's end.
    return unpacked.stderr.split(/^tar: /m).slice(1);
  };
  // A socket cannot be archived, so what is compared is what tar makes elsewhere.
  const [archive, local, there] = [`${site.base}/odd.tar`, `${site.base}/local`, `${mountpoint}/there`];
  await pack(odd, archive);
  t.same(await unpack(archive, local), []);
  const said = await unpack(archive, there);
  t.same(
    said.filter((line) => !/POSIX ACLs for file '[^]*': Operation not supported\n$/.test(line)),
    [],
    'it only says that there are no ACLs',
  );
  t.same(
    await differences(local, there, { holes: true }),
    [],
    'what is unpacked on the mount is what is unpacked elsewhere',
  );
  const [again, back] = [`${mountpoint}/again.tar`, `${site.base}/back`];
  await pack(there, again);
  await unpack(again, back);
  // A writable mount shows no holes, so tar does not look for any.
  t.same(
    await differences(local, back),
    [],
    'archived from the mount, onto the mount, and unpacked elsewhere too',
  );
}

async function acls(t: Test): Promise<void> {
  const { site, mountpoint } = await startWorkplace(t);
  const tree = site.folder('tree');
  cpSync(process.execPath, `${tree}/plain`);
  await runDone(['sh', '-c', 'echo x >"$1/listed" && chmod 640 "$1/listed"', 'sh', tree]);
  await runDone(['setfacl', '-m', 'u:1234:r', `${tree}/listed`]);
  const there = `${mountpoint}/there`;
  const copied = await run(['rsync', '-aA', `${tree}/`, `${there}/`]);
  t.equal(copied.code, PARTIAL_TRANSFER);
  t.match(copied.stderr, /set_acl: .*listed.*Operation not supported/);
  t.notMatch(copied.stderr, /plain/, 'a file without an ACL is nothing to mention');
  t.same(await differences(`${tree}/plain`, `${there}/plain`), []);
  t.equal(await runDone(['cat', `${there}/listed`]), 'x\n');
  t.match(
    await run(['rsync', '-a', `${tree}/`, `${there}/`]),
    { code: 0, stderr: '' },
    'without -A it is not asked for',
  );
  t.match(await run(['setfacl', '-m', 'u:1234:r', `${there}/listed`]), {
    code: 1,
    stderr: /Operation not supported/,
  });
  t.match(await run(['getfacl', '--omit-header', `${there}/plain`]), {
    code: 0,
    stdout: /^user::rwx\ngroup::r-x\nother::r-x\n/,
  });
}
