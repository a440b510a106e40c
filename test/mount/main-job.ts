/** The main job, whole, on one kind of store: import, mount, edit, snapshot, mount every version. */
import t, { type Test } from 'tap';
import { asOrdinaryUser, whyNoMounts } from './ordinary-user.js';
import { differences, programPath, run, runDone, Site, treeTask, type StoreKind } from './site.js';

const MIB = 1024 * 1024;
const LARGE = process.env['CAIRN_TEST_LARGE'] === '1';
const SIZES = LARGE
  ? { largeBytes: 1024 * MIB, sparseBytes: 5 * 1024 * MIB }
  : { largeBytes: 40 * MIB, sparseBytes: 300 * MIB };

/** git's index holds inode numbers and times. */
const isOfGitIndex = (difference: string): boolean => difference.startsWith('./repository/.git/index:');

/** The tests of one store: as whoever runs them and, from root, as an ordinary user, by running the same file again. */
export function testMainJob(kind: StoreKind, file: string): void {
  if (whyNoMounts !== undefined) {
    t.plan(0, whyNoMounts);
    return;
  }
  t.test('a tree of oddities: imported, mounted, edited, snapshotted, mounted again', async (t) => {
    await mainJob(t, kind);
  });
  t.test('the same for an ordinary user', async (t) => {
    await asOrdinaryUser(t, file);
  });
}

async function mainJob(t: Test, kind: StoreKind): Promise<void> {
  const site = await Site.start(t, kind);
  const [publisher, editor, reader] = [site.home('publisher'), site.home('editor'), site.home('reader')];
  const tree = site.folder('tree');
  await treeTask('oddities', tree, JSON.stringify(SIZES));
  // A mount has no ACLs: it refuses to set them and to show those of a version.
  await runDone(['rm', `${tree}/xattrs/acl`]);
  const copy = `${site.base}/copy`;
  await runDone(['cp', '-a', tree, copy]);
  await publisher.import(tree, 'odd');

  const { mountpoint } = await editor.mount('odd', 'edited');
  t.same(await differences(tree, mountpoint), [], 'the first mount, on an empty cache, is the tree');
  t.match(await editor.status(mountpoint), { seq: 1, entries: [] }, 'reading has changed nothing');

  const asides: string[] = [];
  for (const round of ['1', '2']) {
    await runDone(['sh', programPath('edits.sh'), mountpoint, round]);
    await runDone(['sh', programPath('edits.sh'), copy, round]);
    const unequal = await differences(copy, mountpoint, { times: false });
    t.same(
      unequal.filter((line) => !isOfGitIndex(line)),
      [],
      `edits ${round} do what they do on a local disk`,
    );
    const aside = `${site.base}/aside-${round}`;
    await runDone(['cp', '-a', mountpoint, aside]);
    asides.push(aside);
    const { created, seq, sealMs, totalMs } = await editor.snapshot(mountpoint);
    t.match(
      { created, seq },
      { created: true, seq: Number(round) + 1 },
      `snapshot ${round} is version ${String(seq)}`,
    );
    t.comment(`sealed in ${sealMs.toFixed(1)} ms, published in ${totalMs.toFixed(0)} ms`);
    t.same(await differences(aside, mountpoint), [], 'the mount goes on, on the new version');
    t.match(
      await editor.snapshot(mountpoint),
      { created: false, seq },
      'a snapshot without changes makes no version',
    );
  }

  const versions = await Promise.all(
    [1, 2, 3].map(
      async (seq) => await reader.mount(`odd@${String(seq)}`, `version-${String(seq)}`, '--read-only'),
    ),
  );
  for (const [index, kept] of [tree, ...asides].entries()) {
    const mounted = versions[index]?.mountpoint ?? '';
    t.same(await differences(kept, mounted), [], `version ${String(index + 1)} is what was kept aside`);
    t.match(await run(['touch', `${mounted}/new`]), { code: 1, stderr: /Read-only file system/ });
  }
  for (const mounted of [{ mountpoint }, ...versions]) {
    await (mounted.mountpoint === mountpoint ? editor : reader).unmount(mounted.mountpoint);
  }
  t.same([...(await editor.mounts()), ...(await reader.mounts())], [], 'no mount is left');
}
