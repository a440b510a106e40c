import { readdirSync, writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { patternedBytes } from '../fixtures/patterned-bytes.js';
import { whyNoMounts } from './ordinary-user.js';
import { differences, isRoot, mountpointsBelow, run, runDone, Site, type Home } from './site.js';

const ONE_LINE = /^cairn: [^\n]+: [^\n]+\n$/;

if (whyNoMounts !== undefined) {
  t.plan(0, whyNoMounts);
} else {
  t.test('a home folder that cannot be written to: one line, and nothing is mounted', readOnlyHome);
  t.test('two mounts at once for one mountpoint: one is made, the other told', twoAtOnce);
  t.test('a home folder copied while in use has the edits of then, and harms nobody', copiedHome);
  t.test(
    'a daemon without descriptors to spare: what needs one is refused, and nothing is lost',
    fewDescriptors,
  );
}

async function siteWithWork(t: Test): Promise<{ site: Site; home: Home; tree: string }> {
  const site = await Site.start(t);
  const tree = site.folder('tree');
  for (let index = 0; index < 8; index++)
    writeFileSync(`${tree}/${String(index)}`, patternedBytes(index, 600_000));
  await site.home('publisher').import(tree, 'work');
  return { site, tree, home: site.home() };
}

async function readOnlyHome(t: Test): Promise<void> {
  const { site, home } = await siteWithWork(t);
  if (isRoot) {
    await runDone(['mount', '--bind', home.dir, home.dir]);
    await runDone(['mount', '-o', 'remount,bind,ro', home.dir]);
  } else await runDone(['chmod', 'a-w', home.dir]);
  const ran = await home.cairn(['mount', 'work', site.folder('mnt')]);
  t.match(ran, { code: 1, stdout: '', stderr: ONE_LINE });
  t.match(ran.stderr, /home folder .*home cannot be written to.*--home/);
  t.notOk(mountpointsBelow(site.base).includes(`${site.base}/mnt`));
  if (isRoot) await runDone(['umount', home.dir]);
  else await runDone(['chmod', 'u+w', home.dir]);
  await home.mount('work', 'mnt');
}

async function twoAtOnce(t: Test): Promise<void> {
  const { site, home, tree } = await siteWithWork(t);
  const mountpoint = site.folder('mnt');
  const both = await Promise.all([1, 2].map(() => home.cairn(['mount', 'work', mountpoint])));
  const codes = both.map(({ code }) => code).sort();
  t.same(codes, [0, 4]);
  t.match(both.find(({ code }) => code === 4)?.stderr, ONE_LINE);
  t.equal(mountpointsBelow(site.base).length, 1);
  t.same(await differences(tree, mountpoint), []);
  await home.unmount(mountpoint);
  await home.mount('work', 'mnt');
}

async function copiedHome(t: Test): Promise<void> {
  const { site, home } = await siteWithWork(t);
  const { mountpoint } = await home.mount('work', 'mnt');
  await runDone(['sh', '-c', 'echo then > "$1/edit"', 'sh', mountpoint]);
  await run(['cp', '-a', home.dir, `${site.base}/copy`]);
  await runDone(['sh', '-c', 'echo later > "$1/edit"', 'sh', mountpoint]);
  const copy = site.home('copy');
  const refused = await copy.cairn(['mount', 'work', mountpoint]);
  t.match(refused, { code: 4, stderr: ONE_LINE }, 'not while the other is mounted there');
  const beside = await copy.mount('work', 'beside');
  t.equal(beside.resumedEdits, false, 'elsewhere it has no edits');
  await copy.unmount(beside.mountpoint);
  await home.unmount(mountpoint);

  t.equal((await copy.mount('work', 'mnt')).resumedEdits, true);
  t.equal(await runDone(['cat', `${mountpoint}/edit`]), 'then\n');
  t.match(await copy.snapshot(mountpoint), { created: true, seq: 2 });
  await copy.unmount(mountpoint);
  t.equal((await home.mount('work', 'mnt')).resumedEdits, true);
  t.equal(await runDone(['cat', `${mountpoint}/edit`]), 'later\n');
  t.match(await home.cairn(['snapshot', mountpoint]), { code: 4, stderr: ONE_LINE }, 'two lines of work');
}

async function fewDescriptors(t: Test): Promise<void> {
  const { home, tree } = await siteWithWork(t);
  const { mountpoint, daemonPid } = await home.mount('work', 'mnt');
  await runDone(['sh', '-c', 'echo before > "$1/before"', 'sh', mountpoint]);
  const limit = async (soft: number): Promise<void> => {
    await runDone(['prlimit', `--nofile=${String(soft)}:4096`, '--pid', String(daemonPid)]);
  };
  await limit(readdirSync(`/proc/${String(daemonPid)}/fd`).length + 1);
  const script = 'for i in 1 2 3 4 5 6 7 8 9; do head -c 200000 /dev/zero > "$1/own-$i" || exit 1; done';
  const written = await run(['sh', '-c', script, 'sh', mountpoint], { limit_s: 60 });
  if (written.code !== 0) t.match(written.stderr, /Too many open files/);
  t.match(await run(['cat', `${mountpoint}/before`]), { code: 0, stdout: 'before\n' });
  await limit(4096);
  t.same(
    (await differences(tree, mountpoint, { times: false })).filter((line) => !/own-|before/.test(line)),
    [],
    'with descriptors again all is read',
  );
  t.match(await run(['sh', '-c', script, 'sh', mountpoint]), { code: 0, stderr: '' });
  t.match(await home.stats(mountpoint), { daemon: { pid: daemonPid } }, 'by the same daemon');
  t.match(await home.snapshot(mountpoint), { created: true, seq: 2 });
}
