import { randomInt, randomUUID } from 'node:crypto';
import { readdirSync, writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { openCatalog } from '../../src/catalog/index.js';
import type { SnapshotResult } from '../../src/daemon/index.js';
import { whyNoMounts } from './ordinary-user.js';
import {
  differences,
  kill,
  pause,
  programPath,
  run,
  runDone,
  scriptPath,
  Site,
  until,
  type Home,
} from './site.js';

const seed = Number(process.env['CAIRN_TEST_SEED'] ?? randomInt(1_000_000));
const large = process.env['CAIRN_TEST_LARGE'] !== undefined;
const KILLS = large ? 100 : 8;
const STORM_WRITERS = 3;
const STORM_ROUNDS = large ? 60 : 6;

if (whyNoMounts !== undefined) {
  t.plan(0, whyNoMounts);
} else {
  t.comment(`CAIRN_TEST_SEED=${String(seed)}`);
  t.test('of two that snapshot one head one wins, the other is told, and keeps its work', oneWins);
  t.test('a rebase merges file by file, and the mount shows what others did', merged);
  t.test('what the kernel and programs knew is true after a rebase', kernelKnowledge);
  t.test('a file removed here and changed there comes back when nobody has the old one open', (t) =>
    comesBack(t, false),
  );
  t.test('also after the daemon that knew who has it open died', (t) => comesBack(t, true));
  t.test('files that others remove and bring back, with daemons dying, are shown', broughtBack);
  t.test('a daemon killed in a rebase: nothing is lost, done twice or half shown', killedInRebase);
  t.test('a rebase under a program that never stops', underWork);
  t.test(`${String(STORM_WRITERS)} writers that never agree end with one tree and every file`, storm);
}

const TREE = {
  'ours.txt': 'base',
  'theirs.txt': 'base',
  'both.txt': 'base',
  'removed-by-them': 'base',
  'removed-by-us': 'base',
  'moved-by-them': 'base',
  'dir/kept': 'base',
  'dir/large': 'x'.repeat(3_000_000),
  'gone/inner': 'base',
};

interface Writer {
  home: Home;
  mountpoint: string;
}

async function twoWriters(t: Test): Promise<{ site: Site; us: Writer; them: Writer }> {
  const site = await Site.start(t);
  const tree = site.folder('tree');
  for (const [name, text] of Object.entries(TREE)) {
    await run(['mkdir', '-p', `${tree}/${name.split('/').slice(0, -1).join('/')}`]);
    writeFileSync(`${tree}/${name}`, text);
  }
  const [ours, theirs] = [site.home('our-home'), site.home('their-home')];
  await ours.import(tree, 'work');
  const us = { home: ours, mountpoint: (await ours.mount('work', 'ours')).mountpoint };
  const them = { home: theirs, mountpoint: (await theirs.mount('work', 'theirs')).mountpoint };
  return { site, us, them };
}

async function sh(cwd: string, script: string): Promise<string> {
  return await runDone(['sh', '-ec', script], { cwd });
}

async function rebase({ home, mountpoint }: Writer): Promise<SnapshotResult> {
  return (await home.json(['snapshot', mountpoint, '--rebase'])) as SnapshotResult;
}

/** The tree a mount shows is that of the version it says it stands on. */
async function showsItsVersion(t: Test, { home, mountpoint }: Writer, name: string): Promise<void> {
  const { workspace, seq } = await home.status(mountpoint);
  const restored = `${home.site.base}/${name}`;
  await home.json(['restore', `${workspace}@${String(seq)}`, restored]);
  t.same(await differences(mountpoint, restored), [], `${name} is what the mount shows`);
}

async function oneWins(t: Test): Promise<void> {
  const { us, them } = await twoWriters(t);
  await sh(them.mountpoint, 'echo theirs > theirs.txt');
  await sh(us.mountpoint, 'echo ours > ours.txt');
  t.match(await them.home.snapshot(them.mountpoint), { created: true, seq: 2 });
  const refused = await us.home.cairn(['snapshot', us.mountpoint]);
  t.equal(refused.code, 4);
  t.match(refused.stderr, /is at version 2, not at 1/);
  t.match(refused.stderr, /cairn snapshot --rebase/);
  t.equal(await sh(us.mountpoint, 'cat ours.txt theirs.txt'), 'ours\nbase');
  t.match(await us.home.status(us.mountpoint), { seq: 1, headSeq: 2, sealedLayers: 1 });
  // Also after an unmount and a mount.
  await us.home.unmount(us.mountpoint);
  await us.home.mount('work', 'ours');
  t.match(await rebase(us), { created: true, seq: 3, rebased: { conflicts: [], moved: true } });
  t.equal(await sh(us.mountpoint, 'cat ours.txt theirs.txt'), 'ours\ntheirs\n');
  await showsItsVersion(t, us, 'ours-3');
}

async function merged(t: Test): Promise<void> {
  const { us, them } = await twoWriters(t);
  await sh(
    them.mountpoint,
    `echo theirs > theirs.txt; echo theirs > both.txt; rm removed-by-them; mv moved-by-them dir/moved
     mkdir new; echo theirs > new/file; echo theirs > added; rm -r gone; chmod 600 dir/kept`,
  );
  await sh(
    us.mountpoint,
    `echo ours > ours.txt; echo ours > both.txt; rm removed-by-us; mkdir new; echo ours > new/other
     echo ours > added; echo more >> dir/large; echo ours > gone/inner`,
  );
  await them.home.snapshot(them.mountpoint);
  const result = await rebase(us);
  t.match(result, { created: true, seq: 3, rebased: { moved: true } });
  t.equal(
    await sh(us.mountpoint, 'cat ours.txt theirs.txt both.txt new/file new/other added gone/inner dir/moved'),
    'ours\ntheirs\nours\ntheirs\nours\nours\nours\nbase',
  );
  t.equal(await sh(us.mountpoint, 'cat "both.txt (conflict @2)" "added (conflict @2)"'), 'theirs\ntheirs\n');
  t.equal(await sh(us.mountpoint, 'stat -c %a dir/kept; stat -c %s dir/large'), '600\n3000005\n');
  await t.rejects(sh(us.mountpoint, 'stat removed-by-them'));
  await t.rejects(sh(us.mountpoint, 'stat removed-by-us'));
  t.ok(result.rebased?.conflicts.length, 'what was in conflict is told');
  await showsItsVersion(t, us, 'ours-3');
  // The other machine has nothing of its own, and only moves on.
  t.match(await rebase(them), { created: false, seq: 3, rebased: { conflicts: [], moved: true } });
  await showsItsVersion(t, them, 'theirs-3');
  t.same(await differences(us.mountpoint, them.mountpoint), []);
  t.match(await us.home.snapshot(us.mountpoint), { created: false, seq: 3 });
}

async function kernelKnowledge(t: Test): Promise<void> {
  const { us, them } = await twoWriters(t);
  await sh(
    them.mountpoint,
    'echo theirs > theirs.txt; rm removed-by-them; mkdir new; rm -r gone; echo + >> dir/large',
  );
  await sh(them.mountpoint, 'mv dir elsewhere; ln ours.txt second-name');
  await them.home.snapshot(them.mountpoint);
  // Everything is in the kernel's caches, absences too; a file that goes is open, and one that changes is mapped.
  const program = run([
    'python3',
    programPath('rebase-witness.py'),
    us.mountpoint,
    `${us.home.site.base}/witness-ready`,
    `${us.home.site.base}/witness-go`,
  ]);
  await until('the witness knows the tree', () =>
    Promise.resolve(readdirSync(us.home.site.base).includes('witness-ready')),
  );
  t.match(await rebase(us), { created: false, seq: 2, rebased: { moved: true } });
  writeFileSync(`${us.home.site.base}/witness-go`, '');
  const { code, stdout, stderr } = await program;
  t.equal(code, 0, `${stdout}${stderr}`);
  await showsItsVersion(t, us, 'ours-2');
  // What was open and had no name any more is in no version.
  t.match(await us.home.snapshot(us.mountpoint), { created: false, seq: 2 });
}

async function comesBack(t: Test, daemonDies: boolean): Promise<void> {
  const { site, us, them } = await twoWriters(t);
  const [ready, go] = [`${site.base}/ready`, `${site.base}/go`];
  const script = 'exec 3<both.txt; rm both.txt; touch "$1"; until [ -e "$2" ]; do sleep 0.05; done; cat <&3';
  const program = run(['sh', '-ec', script, 'sh', ready, go], { cwd: us.mountpoint });
  await until('it is removed', () => Promise.resolve(readdirSync(site.base).includes('ready')));
  if (daemonDies) kill((await us.home.stats(us.mountpoint)).daemon.pid);
  await sh(them.mountpoint, 'echo theirs > both.txt');
  await them.home.snapshot(them.mountpoint);
  t.match(await rebase(us), { created: true, seq: 3, rebased: { moved: false } });
  writeFileSync(go, '');
  t.match(await program, { code: 0, stdout: 'base' }, 'who had it open reads what it was');
  t.match(await rebase(us), { created: false, rebased: { moved: true } });
  t.equal(await sh(us.mountpoint, 'cat both.txt'), 'theirs\n');
  await showsItsVersion(t, us, 'ours-3');
}

/** A directory that goes and comes again under its number. */
async function broughtBack(t: Test): Promise<void> {
  const { us, them } = await twoWriters(t);
  await sh(us.mountpoint, 'cat gone/inner dir/kept; stat gone');
  kill((await us.home.stats(us.mountpoint)).daemon.pid);
  await sh(them.mountpoint, 'rm -r gone; rm dir/kept');
  await them.home.snapshot(them.mountpoint);
  t.match(await rebase(us), { rebased: { moved: true } });
  t.equal(await sh(us.mountpoint, 'ls gone dir/kept 2> /dev/null || echo none'), 'none\n');
  await restoreFirst(us.home);
  t.match(await rebase(us), { rebased: { moved: true } });
  t.equal(await sh(us.mountpoint, 'cat gone/inner dir/kept'), 'basebase');
  await showsItsVersion(t, us, 'ours-again');
}

/** Makes the first version's tree that of a new head. */
async function restoreFirst(home: Home): Promise<void> {
  const catalog = await openCatalog(home.environment()['CAIRN_CATALOG'] ?? '');
  try {
    const first = await catalog.version('work', 1);
    const { seq } = await catalog.version('work');
    const changes = await catalog.changes('work', seq, 1);
    await catalog.publish({
      ...first,
      parentSeq: seq,
      publishId: randomUUID(),
      blocks: [],
      contents: [],
      removed: changes.flatMap(({ path, before }) => (before === undefined ? [] : [path])),
      added: changes.flatMap(({ after }) => (after === undefined ? [] : [after])),
    });
  } finally {
    await catalog.close();
  }
}

async function killedInRebase(t: Test): Promise<void> {
  const { site, us, them } = await twoWriters(t);
  const reference = site.folder('reference');
  const steps = ['sealing', 'publishing', 'moving on'];
  for (let round = 0; round < KILLS; round += 1) {
    const file = `round-${String(round)}`;
    await sh(
      them.mountpoint,
      `echo theirs > ${file}-theirs; echo ${file} > theirs.txt; echo ${file} > dir/kept`,
    );
    await sh(us.mountpoint, `echo ours > ${file}-ours; mkdir ${file}-dir; echo ours > ${file}-dir/inner`);
    await sh(reference, `echo theirs > ${file}-theirs; echo ours > ${file}-ours`);
    await rebase(them);
    const { daemon } = await us.home.stats(us.mountpoint);
    const step = steps[round % steps.length] ?? '';
    const snapshot = us.home.cairn(['snapshot', us.mountpoint, '--rebase']);
    await pause(randomInt(step === 'sealing' ? 60 : 250));
    kill(daemon.pid);
    await snapshot;
    const { rebased } = await rebase(us);
    t.not(rebased?.moved, false, `round ${String(round)}`);
    t.equal(await sh(us.mountpoint, `cat theirs.txt dir/kept ${file}-dir/inner`), `${file}\n${file}\nours\n`);
  }
  t.same(await sh(us.mountpoint, 'ls | grep conflict || true'), '', 'no conflict was made up');
  const names = (await sh(reference, 'ls')).split('\n');
  const shown = new Set((await sh(us.mountpoint, 'ls')).split('\n'));
  t.same(
    names.filter((name) => !shown.has(name)),
    [],
  );
  await showsItsVersion(t, us, 'ours-last');
}

async function underWork(t: Test): Promise<void> {
  const { site, us, them } = await twoWriters(t);
  const stopFile = `${site.base}/stop`;
  const script = 'mkdir "$1/work" && exec "$2" "$3" "$1/work" "$4" - "$5"';
  const args = [us.mountpoint, process.execPath, scriptPath('workload.js'), String(seed), stopFile];
  const work = run(['sh', '-c', script, 'sh', ...args]);
  await until('it works', async () => (await run(['test', '-e', `${us.mountpoint}/work`])).code === 0);
  for (let round = 0; round < 5; round += 1) {
    await sh(them.mountpoint, `echo ${String(round)} > theirs.txt; date > theirs-${String(round)}`);
    await rebase(them);
    await rebase(us);
  }
  writeFileSync(stopFile, '');
  const { code, stderr } = await work;
  t.equal(code, 0, `the program saw nothing: ${stderr}`);
  const { rebased } = await rebase(us);
  t.not(rebased?.moved, false);
  t.equal(await sh(us.mountpoint, 'cat theirs.txt; ls | grep -c "^theirs-"'), '4\n5\n');
  await showsItsVersion(t, us, 'ours-last');
}

/** Each adds files of its own and fights over a few; a merge may rename what others have, and loses none of it. */
async function storm(t: Test): Promise<void> {
  const site = await Site.start(t);
  const tree = site.folder('tree');
  writeFileSync(`${tree}/shared-0`, 'base');
  await site.home('home-0').import(tree, 'work');
  const writers = await Promise.all(
    Array.from({ length: STORM_WRITERS }, async (_, index) => {
      const home = site.home(`home-${String(index)}`);
      return { home, mountpoint: (await home.mount('work', `mnt-${String(index)}`)).mountpoint };
    }),
  );
  await Promise.all(
    writers.map(async (writer, index) => {
      for (let round = 0; round < STORM_ROUNDS; round += 1) {
        const mark = `writer ${String(index)} round ${String(round)}`;
        const shared = `shared-${String((round + index) % 3)}`;
        await sh(
          writer.mountpoint,
          `echo "${mark}" > "${mark}"; echo "${mark}" > ${shared}; mkdir -p d; echo "${mark}" > d/${shared}`,
        );
        const ran = await writer.home.cairn(['snapshot', writer.mountpoint, '--rebase']);
        // Others may publish all the time: then it is refused, kept, and in the next.
        if (ran.code !== 0) t.equal(ran.code, 4, ran.stderr);
      }
    }),
  );
  for (const writer of [...writers, ...writers]) await rebase(writer);
  const contents = new Set(
    (await sh(writers[0]?.mountpoint ?? '', 'find . -type f -print0 | xargs -0 cat')).split('\n'),
  );
  for (let index = 0; index < STORM_WRITERS; index += 1) {
    for (let round = 0; round < STORM_ROUNDS; round += 1) {
      t.ok(contents.has(`writer ${String(index)} round ${String(round)}`));
    }
  }
  for (const [index, writer] of writers.entries()) {
    await showsItsVersion(t, writer, `restored-${String(index)}`);
    t.same(await differences(writer.mountpoint, writers[0]?.mountpoint ?? ''), []);
  }
}
