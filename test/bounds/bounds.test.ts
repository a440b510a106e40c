/**
 * What is large: each works, on a mount and in versions, and takes no more memory than what is small. In the suite a tenth of it, or less;
 * all of it with CAIRN_TEST_LARGE=1, which takes 70 GiB of the disk and half an hour.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import Database from 'better-sqlite3';
import t, { type Test } from 'tap';
import { connectMount } from '../../src/daemon/index.js';
import { whyNoMounts } from '../mount/ordinary-user.js';
import {
  differences,
  isRoot,
  programPath,
  run,
  runDone,
  Site,
  type Home,
  type Mounted,
} from '../mount/site.js';

const LARGE = process.env['CAIRN_TEST_LARGE'] === '1';
const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;
const LIMIT_S = LARGE ? 3000 : 200;

/** Of a daemon and of an import, at their peak, whatever the size of the tree. */
const DAEMON_MAX_BYTES = 400 * MIB;
const IMPORT_MAX_BYTES = 700 * MIB;

const PROGRAM = programPath('../bounds/bounds.py');

const LARGE_FILE = LARGE ? { size: 50 * GIB, real: 4 * GIB } : { size: 5 * GIB, real: 16 * MIB };
const FILES = LARGE ? 1_000_000 : 20_000;
/** Of a name that makes the path longer than PATH_MAX. */
const DEPTH = LARGE ? 2000 : 250;
const OPEN_FILES = LARGE ? 10_000 : 1000;
const SNAPSHOTS = LARGE ? 1000 : 40;
const XATTRS = { files: LARGE ? 1000 : 30, names: 100 };
const LINKS = LARGE ? 65_000 : 2000;

if (whyNoMounts !== undefined || !isRoot) {
  t.plan(0, whyNoMounts ?? 'only root may have so many files open');
} else {
  t.setTimeout(0);
  t.test(`a sparse file of ${String(LARGE_FILE.size / GIB)} GiB`, largeFile);
  t.test(`${String(FILES)} files in one folder`, manyFiles);
  t.test(`${String(DEPTH)} folders, each in the one before`, deepFolders);
  t.test(`${String(OPEN_FILES)} open files, half of them without a name`, openFiles);
  t.test(`${String(SNAPSHOTS)} snapshots, one after the other`, snapshots);
  t.test(`${String(XATTRS.files * XATTRS.names)} extended attributes`, xattrs);
  t.test('names of 255 bytes of every value', names);
  t.test(`${String(LINKS)} links to one file`, links);
}

/** Runs one function of bounds.py. */
async function task(name: string, ...args: (string | number)[]): Promise<Record<string, number>> {
  const command = ['python3', PROGRAM, name, ...args.map(String)];
  return JSON.parse(await runDone(command, { limit_s: LIMIT_S })) as Record<string, number>;
}

/** Imports and says in the test's output how much memory that took. */
async function importMeasured(t: Test, home: Home, dir: string, workspace: string): Promise<void> {
  const peakFile = `${home.site.base}/peak`;
  const command = home.command(['import', dir, '--workspace', workspace]);
  await runDone(['python3', PROGRAM, 'measured', peakFile, ...command], {
    env: home.environment(),
    limit_s: LIMIT_S,
  });
  const peakBytes = Number(readFileSync(peakFile, 'utf8'));
  t.comment(`import: ${mib(peakBytes)} at the peak`);
  t.ok(peakBytes <= IMPORT_MAX_BYTES, `an import takes at most ${mib(IMPORT_MAX_BYTES)}`);
}

const mib = (bytes: number): string => `${(bytes / MIB).toFixed(0)} MiB`;

/** That a mount had one daemon, which stayed small. */
async function stayedSmall(t: Test, home: Home, { mountpoint }: Mounted): Promise<void> {
  const { daemon, supervisor } = await home.stats(mountpoint);
  const [, kib] =
    /^VmHWM:\s*(\d+) kB$/m.exec(readFileSync(`/proc/${String(daemon.pid)}/status`, 'utf8')) ?? [];
  const peakBytes = Number(kib) * KIB;
  t.comment(`daemon: ${mib(peakBytes)} at the peak`);
  t.ok(peakBytes <= DAEMON_MAX_BYTES, `a daemon takes at most ${mib(DAEMON_MAX_BYTES)}`);
  t.equal(supervisor.restarts, 0, 'by the same daemon');
}

async function snapshot(home: Home, mountpoint: string): Promise<void> {
  await home.json(['snapshot', mountpoint], { limit_s: LIMIT_S });
}

async function restore(home: Home, version: string, name: string): Promise<string> {
  const folder = `${home.site.base}/${name}`;
  await home.json(['restore', version, folder], { limit_s: LIMIT_S });
  return folder;
}

/** A workspace of one file, mounted. */
async function mounted(t: Test): Promise<{ site: Site; home: Home; mount: Mounted }> {
  const site = await Site.start(t);
  const home = site.home();
  await runDone(['sh', '-c', 'echo begin > "$1/begin"', 'sh', site.folder('tree')]);
  await home.import(`${site.base}/tree`, 'work');
  return { site, home, mount: await home.mount('work', 'mnt') };
}

async function largeFile(t: Test): Promise<void> {
  const { site, home, mount } = await mounted(t);
  const { size, real } = LARGE_FILE;
  const file = `${mount.mountpoint}/large`;
  await task('write_large', file, size, real);
  await task('check_large', file, size, real);
  await snapshot(home, mount.mountpoint);
  await stayedSmall(t, home, mount);
  await home.unmount(mount.mountpoint);

  const again = await home.mount('work', 'mnt', '--read-only');
  await task('check_large', file, size, real);
  await stayedSmall(t, home, again);
  await home.unmount(again.mountpoint);

  const restored = await restore(home, 'work', 'restored');
  const { stored = 0 } = await task('check_large', `${restored}/large`, size, real);
  t.ok(stored < real + 64 * MIB, `${mib(stored)} of the disk for a file of ${mib(size)}`);
  await importMeasured(t, site.home('other'), restored, 'restored');
}

async function manyFiles(t: Test): Promise<void> {
  const site = await Site.start(t);
  const home = site.home();
  const tree = site.folder('tree');
  await task('make_files', `${tree}/all`, FILES);
  await importMeasured(t, home, tree, 'work');
  const mount = await home.mount('work', 'mnt');
  const folder = `${mount.mountpoint}/all`;
  await task('check_files', folder, FILES);
  await task('change_files', folder, FILES);
  await task('check_files', folder, FILES, 'made');
  await snapshot(home, mount.mountpoint);
  await task('check_files', folder, FILES, 'made');
  await stayedSmall(t, home, mount);
  const changed = (await home.json(['diff', 'work@1', 'work@2', '--stat'])) as object;
  t.match(changed, { counts: { added: 1, modified: 10, removed: 0 } }, 'the version has what changed');
}

async function deepFolders(t: Test): Promise<void> {
  const { site, home, mount } = await mounted(t);
  const deep = (base: string): [string, number, string] => [`${base}/deep`, DEPTH, 'a-folder-of-folders'];
  await task('make_deep', ...deep(mount.mountpoint));
  await task('check_deep', ...deep(mount.mountpoint));
  await snapshot(home, mount.mountpoint);
  await stayedSmall(t, home, mount);
  const version = await site.home('other').mount('work', 'version', '--read-only');
  await task('check_deep', ...deep(version.mountpoint));

  // What names files by paths cannot name these.
  const tooLong = /^cairn: cannot [^\n]{1,600}: the path is longer than 4095 bytes: [^\n]+\n$/;
  const restored = await home.cairn(['restore', 'work', `${site.base}/restored`], { limit_s: LIMIT_S });
  t.match(restored, { code: 1, stdout: '', stderr: tooLong }, 'a restore says so');
  t.notOk(existsSync(`${site.base}/restored`), 'and leaves nothing');
  await task('make_deep', ...deep(`${site.base}/plain`));
  const imported = await home.cairn(['import', `${site.base}/plain`, '--workspace', 'deep']);
  t.match(imported, { code: 1, stdout: '', stderr: tooLong }, 'and an import');

  await runDone(['rm', '-rf', `${mount.mountpoint}/deep`]);
  await snapshot(home, mount.mountpoint);
  t.equal((await home.cairn(['ls', 'work'])).stdout, 'begin\n');
}

async function openFiles(t: Test): Promise<void> {
  const { home, mount } = await mounted(t);
  await task('open_files', `${mount.mountpoint}/open`, OPEN_FILES);
  await stayedSmall(t, home, mount);
  await snapshot(home, mount.mountpoint);
  const names = await home.cairn(['ls', 'work:open']);
  t.equal(names.stdout.split('\n').length - 1, OPEN_FILES / 2, 'those with a name are in the version');
}

async function snapshots(t: Test): Promise<void> {
  const { home, mount } = await mounted(t);
  const writer = spawn('timeout', [
    ...['-s', 'KILL', String(LIMIT_S), 'python3', PROGRAM, 'write_when_told', mount.mountpoint],
  ]);
  const answers = createInterface({ input: writer.stdout })[Symbol.asyncIterator]();
  const control = await connectMount(home.dir, [mount.mountpoint]);
  const times_ms: number[] = [];
  const tenth = Math.floor(SNAPSHOTS / 10);
  let earlyBytes = 0;
  for (let number = 1; number <= SNAPSHOTS; number++) {
    writer.stdin.write(`${String(number)}\n`);
    await answers.next();
    const { seq, totalMs } = await control.snapshot(
      { message: String(number), author: 't', rebase: false },
      () => undefined,
    );
    if (seq !== number + 1) throw new Error(`snapshot ${String(number)} made version ${String(seq)}`);
    times_ms.push(totalMs);
    if (number === tenth) earlyBytes = catalogBytes(home);
  }
  control.close();
  const ended = once(writer, 'exit');
  writer.stdin.end();
  await ended;
  await stayedSmall(t, home, mount);

  t.comment(
    `a snapshot took ${medianText(times_ms.slice(0, tenth))} ms at first, ${medianText(times_ms.slice(-tenth))} at last`,
  );
  const perVersion = (catalogBytes(home) - earlyBytes) / (SNAPSHOTS - tenth);
  t.comment(`the catalog grew by ${perVersion.toFixed(0)} bytes a version`);
  t.ok(perVersion < 16 * KIB, 'a version costs what it changes');
  const manifests = readdirSync(path.join(home.dir, 'manifests')).filter((name) => name.endsWith('.sqlite'));
  t.ok(manifests.length <= 4, `${String(manifests.length)} manifests are kept on this machine`);
  t.comment(`on the disk:\n${await runDone(['du', '-sh', home.dir, home.site.base])}`);

  const middle = Math.floor(SNAPSHOTS / 2);
  const old = await home.cairn(['cat', `work@${String(middle + 1)}:${String(middle % 37)}`]);
  t.equal(old.stdout, `version ${String(middle)}\n`);
  const lines = (await home.cairn(['log', 'work', '--json'])).stdout.trimEnd().split('\n');
  t.equal(lines.length, SNAPSHOTS + 1, 'each of them is in the log');
}

/** With nothing left in its log, whose size says nothing. */
function catalogBytes({ site }: Home): number {
  const file = `${site.base}/catalog.sqlite`;
  const database = new Database(file);
  database.pragma('wal_checkpoint(TRUNCATE)');
  database.close();
  return statSync(file).size;
}

function medianText(values: readonly number[]): string {
  return ([...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0).toFixed(0);
}

async function xattrs(t: Test): Promise<void> {
  const { site, home, mount } = await mounted(t);
  const { files, names } = XATTRS;
  await task('make_xattrs', `${mount.mountpoint}/xattrs`, files, names);
  await snapshot(home, mount.mountpoint);
  await stayedSmall(t, home, mount);
  const version = await site.home('other').mount('work', 'version', '--read-only');
  await task('check_xattrs', `${version.mountpoint}/xattrs`, files, names);
  await importMeasured(t, home, `${version.mountpoint}/xattrs`, 'imported');
  const imported = await site.home('other').mount('imported', 'imported', '--read-only');
  await task('check_xattrs', imported.mountpoint, files, names);

  // The disk may have less room for them.
  const folder = `${site.base}/restored`;
  const { skipped } = (await home.json(['restore', 'work:xattrs', folder])) as { skipped: string[] };
  if (skipped.length === 0) await task('check_xattrs', folder, files, names);
  else t.match(skipped[0], /attribute user\.name-\d+ \(ENOSPC\)$/, 'what the disk does not keep is named');
}

async function names(t: Test): Promise<void> {
  const { site, home, mount } = await mounted(t);
  await task('make_names', `${mount.mountpoint}/names`);
  await snapshot(home, mount.mountpoint);
  const restored = await restore(home, 'work:names', 'restored');
  await task('check_names', restored);
  await importMeasured(t, home, restored, 'restored');
  const version = await site.home('other').mount('restored', 'version', '--read-only');
  await task('check_names', version.mountpoint);
  t.same(await differences(restored, version.mountpoint), []);
}

async function links(t: Test): Promise<void> {
  const { site, home, mount } = await mounted(t);
  await task('make_links', `${mount.mountpoint}/links`, LINKS);
  await task('check_links', `${mount.mountpoint}/links`, LINKS);
  await snapshot(home, mount.mountpoint);
  const restored = await restore(home, 'work:links', 'restored');
  await task('check_links', restored, LINKS);
  await importMeasured(t, home, restored, 'restored');
  const version = await site.home('other').mount('restored', 'version', '--read-only');
  await task('check_links', version.mountpoint, LINKS);
  await task('remove_links', `${mount.mountpoint}/links`, LINKS);
  await snapshot(home, mount.mountpoint);
  await stayedSmall(t, home, mount);
  t.match(await run(['stat', '-c', '%h', `${mount.mountpoint}/links/link-${String(LINKS - 1)}`]), {
    stdout: '1\n',
  });
}
