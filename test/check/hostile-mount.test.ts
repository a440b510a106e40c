/** Manifests and edits that somebody made, or a disk spoilt, on real mounts: an error for whoever reads what is wrong, and the mount goes on. */
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import t, { type Test } from 'tap';
import { openBlockStore } from '../../src/blocks/index.js';
import { openCatalog } from '../../src/catalog/index.js';
import { localManifestPath, publishManifest } from '../../src/manifest/index.js';
import { openObjectStore } from '../../src/objects/index.js';
import { isRoot, kill, run, Site, type Home } from '../mount/site.js';

const LIMIT_S = 60;
const HUGE = 64 * 1024 * 1024;

if (!isRoot) t.plan(0, 'mounts as root');
else {
  t.test('hostile rows: EIO or ENOENT for what needs them, and the daemon goes on', hostileRows);
  t.test(
    'damaged edits: the mount says what is damaged, and with the right bytes they are there again',
    damagedEdits,
  );
}

const path = (name: string): string => `(SELECT ino FROM dentry WHERE name = CAST('${name}' AS BLOB))`;

/** What a hostile writer does to the manifest, each to files of its own. */
const HOSTILE = [
  `UPDATE inode SET size = 9007199254740991 WHERE ino = ${path('huge-size')}`,
  `UPDATE inode SET size = -5 WHERE ino = ${path('negative-size')}`,
  `UPDATE extent SET length = 4000000, block_offset = 4000000 WHERE ino = ${path('beyond-block')}`,
  `UPDATE extent SET block = 99999 WHERE ino = ${path('no-block')}`,
  `UPDATE embedded SET bytes = zeroblob(${String(HUGE)}) WHERE ino = ${path('huge-embedded')}`,
  `DELETE FROM inode WHERE ino = ${path('no-inode')}`,
  `UPDATE symlink SET target = zeroblob(100000) WHERE ino = ${path('bad-link')}`,
  `DELETE FROM extent WHERE ino = ${path('many-extents')}`,
  `UPDATE inode SET size = 900000 WHERE ino = ${path('many-extents')}`,
  `WITH RECURSIVE n(i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n WHERE i < 800000)
   INSERT INTO extent SELECT ${path('many-extents')}, i, 1, 1, 0 FROM n`,
  `WITH RECURSIVE n(i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
   INSERT INTO xattr SELECT ${path('many-xattrs')}, CAST('user.' || i AS BLOB), x'00' FROM n`,
  `UPDATE dentry SET name = CAST('../escape' AS BLOB) WHERE name = CAST('dots' AS BLOB)`,
  `UPDATE dentry SET name = zeroblob(${String(HUGE)}) WHERE name = CAST('long' AS BLOB)`,
  // A directory within itself, and one with two names.
  `INSERT INTO dentry SELECT ${path('circle')}, 900001, CAST('again' AS BLOB), ${path('circle')}`,
  `INSERT INTO dentry SELECT ${path('pair-a')}, 900002, CAST('b' AS BLOB), ${path('pair-b')}`,
  `INSERT INTO dentry SELECT ${path('pair-b')}, 900003, CAST('a' AS BLOB), ${path('pair-a')}`,
  `UPDATE meta SET value = 9007198180999167 WHERE key IN ('next_ino', 'next_cookie')`,
];

function buildTree(tree: string): void {
  for (const folder of ['escapes', 'longs', 'circle', 'pair-a', 'pair-b'])
    mkdirSync(join(tree, folder), { recursive: true });
  for (const name of [
    'huge-size',
    'negative-size',
    'beyond-block',
    'no-block',
    'no-inode',
    'many-extents',
    'many-xattrs',
    'sound',
    'escapes/dots',
    'longs/long',
  ])
    writeFileSync(join(tree, name), `${name}\n`.repeat(100));
  writeFileSync(join(tree, 'huge-embedded'), 'small\n');
}

async function publishHostile(home: Home, root: string): Promise<void> {
  const objects = await openObjectStore(home.site.store.url);
  const blocks = await openBlockStore({ objects, cacheDir: join(home.dir, 'cache'), cacheBudgetBytes: 1e9 });
  const catalog = await openCatalog(`sqlite://${home.site.base}/catalog.sqlite`);
  const dir = join(home.dir, 'manifests');
  const version = await catalog.version('demo');
  const made = join(dir, 'hostile');
  copyFileSync(localManifestPath(dir, version.root), made);
  const database = new Database(made);
  database.unsafeMode(true);
  for (const statement of HOSTILE) {
    const { changes } = database.prepare(statement).run();
    if (changes === 0) throw new Error(`changes nothing: ${statement}`);
  }
  database.close();
  const manifest = await publishManifest({ path: made, dir, blocks, objects });
  await catalog.publish({
    ...version,
    parentSeq: version.seq,
    root: manifest.root,
    publishId: root,
    blocks: manifest.newBlocks,
    contents: [],
    removed: [],
    added: [],
  });
  await catalog.close();
  await blocks.close();
  await objects.close();
}

async function hostileRows(t: Test): Promise<void> {
  const site = await Site.start(t);
  const home = site.home();
  const tree = site.folder('tree');
  buildTree(tree);
  const link = await run(['ln', '-s', 'somewhere', join(tree, 'bad-link')]);
  t.equal(link.code, 0);
  await home.import(tree, 'demo');
  await publishHostile(home, 'hostile');
  for (const flags of [['--read-only'], []]) {
    const { mountpoint } = await home.mount('demo', `mnt${flags.join('')}`, ...flags);
    const { daemon } = await home.stats(mountpoint);
    const refused = async (command: string): Promise<void> => {
      const ran = await run(['sh', '-c', `cd "$0" && ${command}`, mountpoint], { limit_s: LIMIT_S });
      t.not(ran.code, 0, `${command} fails`);
      t.not(ran.code, 137, `${command} ends by itself`);
      t.match(
        ran.stderr,
        /Input\/output error|No such file|Invalid argument|Structure needs cleaning|Stale file handle/,
        command,
      );
    };
    for (const name of [
      'negative-size',
      'beyond-block',
      'no-block',
      'huge-embedded',
      'many-extents',
      'no-inode',
    ])
      await refused(`cat ${name}`);
    await refused('readlink -v bad-link');
    await refused('getfattr -d many-xattrs');
    await refused('ls escapes');
    await refused('ls longs');
    await refused('ls .');
    // Whatever these answer, they end.
    for (const command of [
      'find circle pair-a pair-b',
      'ls -lR circle',
      'head -c 100000 huge-size',
      'cat pair-a/b/a/b/a/../../..',
      'rm -rf pair-a',
    ]) {
      const ran = await run(['sh', '-c', `cd "$0" && ${command}`, mountpoint], { limit_s: LIMIT_S });
      t.not(ran.code, 137, `${command} ends`);
    }
    t.match(await run(['cat', `${mountpoint}/sound`]), { code: 0, stdout: 'sound\n'.repeat(100) });
    const after = await home.stats(mountpoint);
    t.equal(after.daemon.pid, daemon.pid, 'by the same daemon');
    t.ok(after.memory.daemonBytes < 600 * 1024 * 1024, `${String(after.memory.daemonBytes)} bytes of memory`);
    await home.unmount(mountpoint);
  }
  const checked = await home.cairn(['fsck', 'demo@2']);
  t.equal(checked.code, 1);
  t.match(checked.stdout, /the manifest of demo@2 breaks M-3/);
  for (const command of [
    ['ls', 'demo@2:', '-R'],
    ['restore', 'demo@2', `${site.base}/restored`],
    ['diff', 'demo@1', 'demo@2'],
    ['cat', 'demo@2:huge-embedded'],
  ]) {
    const ran = await home.cairn(command, { limit_s: LIMIT_S });
    t.not(ran.code, 137, `${command.join(' ')} ends`);
    t.notMatch(ran.stderr, /\n\s+at /, 'without a stack');
  }
}

async function damagedEdits(t: Test): Promise<void> {
  const site = await Site.start(t);
  const home = site.home();
  buildTree(site.folder('tree'));
  await home.import(site.folder('tree'), 'demo');
  const { mountpoint } = await home.mount('demo', 'mnt');
  const write = 'cd "$0" && for i in $(seq 40); do echo "edit $i" > "edited-$i"; done && sync .';
  t.match(await run(['sh', '-c', write, mountpoint]), { code: 0 });
  const busy = await home.cairn(['fsck']);
  t.match(busy, { code: 0, stdout: /in use, its edits were not checked: [^\n]*\n[^]*nothing is wrong/ });
  const { supervisor, daemon } = await home.stats(mountpoint);
  kill(supervisor.pid);
  kill(daemon.pid);
  await run(['umount', '-l', mountpoint]);
  const folder = join(home.dir, 'mounts', readdirSync(join(home.dir, 'mounts'))[0] ?? '');
  t.match(await home.cairn(['fsck']), { code: 0, stdout: /1 layer of edits/ }, 'what a kill leaves is whole');

  for (const name of ['layers.json', 'layers/1/upper.sqlite']) {
    const file = join(folder, name);
    const bytes = readFileSync(file);
    const damaged = Buffer.from(bytes);
    damaged.fill(0x55, 20, 60);
    writeFileSync(file, damaged);
    const fsck = await home.cairn(['fsck']);
    t.equal(fsck.code, 1, name);
    t.match(fsck.stdout, new RegExp(name.split('/').at(-1) ?? ''), name);
    const ran = await home.cairn(['mount', 'demo', mountpoint]);
    t.match(ran, { code: 1, stdout: '', stderr: /^cairn: [^\n]+: [^\n]+\n$/ }, name);
    writeFileSync(file, bytes);
  }
  await home.mount('demo', 'mnt');
  t.match(
    await run(['sh', '-c', 'cat "$0"/edited-*', mountpoint]),
    { code: 0, stdout: /edit 40/ },
    'nothing was lost',
  );
  await home.unmount(mountpoint);
}
