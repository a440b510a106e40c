import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, mkdirSync, writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { UID, whyNoMounts, whyNoOrdinaryUser } from './ordinary-user.js';
import { run, runDone, Site, type Home, type Ran } from './site.js';

const OWNER = Number(UID);
const OTHER = 54_321;
const GROUP = 2345;

const why = whyNoMounts ?? (await whyNoOrdinaryUser());
if (why !== undefined) {
  t.plan(0, why);
} else {
  t.test('what root has mounted is for root alone, unless others are let in; then permissions say', ofRoot);
  t.test('what an ordinary user has mounted is for that user alone, unless others are let in', ofUser);
}

/** A store with the version work@1, of files of root's, of the user's and of others. */
async function siteWithWork(t: Test): Promise<Site> {
  const site = await Site.start(t);
  chmodSync(site.base, 0o755);
  const tree = site.folder('tree');
  const put = (name: string, mode: number, uid: number, gid = uid): void => {
    writeFileSync(`${tree}/${name}`, `${name}\n`);
    chownSync(`${tree}/${name}`, uid, gid);
    chmodSync(`${tree}/${name}`, mode);
  };
  put('readable', 0o644, 0);
  put('secret', 0o600, 0);
  put('own', 0o600, OWNER);
  put('of-group', 0o640, 1234, GROUP);
  put('set-id', 0o4755, 0);
  for (const [name, mode] of [
    ['shared', 0o2770],
    ['sticky', 0o1777],
  ] as const) {
    mkdirSync(`${tree}/${name}`);
    chownSync(`${tree}/${name}`, 0, GROUP);
    chmodSync(`${tree}/${name}`, mode);
  }
  put('sticky/of-root', 0o644, 0);
  chownSync(tree, OWNER, OWNER);
  chmodSync(tree, 0o755);
  await site.home('publisher').import(tree, 'work');
  return site;
}

type Shell = (uid: number, script: string, ...groups: number[]) => Promise<Ran>;

/** Runs a script of the shell in a folder, as a user. Entering it is part of the script: it may be refused. */
function shellIn(folder: string, enter: readonly string[] = []): Shell {
  return async (uid, script, ...groups) => {
    const identity = [`--reuid=${String(uid)}`, `--regid=${String(uid)}`];
    const belongs = groups.length === 0 ? '--clear-groups' : `--groups=${groups.join(',')}`;
    const command = ['setpriv', ...identity, belongs, '--', 'sh', '-c', `cd "$1" && ${script}`, 'sh', folder];
    return await run([...enter, ...command]);
  };
}

const REFUSED = { code: 2, stdout: '', stderr: /Permission denied|can't cd/ };
const DENIED = { code: 1, stderr: /Permission denied/ };
const NOT_PERMITTED = { code: 1, stderr: /Operation not permitted/ };
const OWNERS = `readable 0:0 644
secret 0:0 600
own ${UID}:${UID} 600
of-group 1234:${String(GROUP)} 640
set-id 0:0 4755
`;
const SHOW_OWNERS = `stat -c '%n %u:%g %a' readable secret own of-group set-id`;

/** What anybody may who is let in. */
async function othersAreLetIn(t: Test, shell: Shell): Promise<void> {
  t.match(await shell(OTHER, SHOW_OWNERS), { code: 0, stdout: OWNERS }, 'files are shown as who owns them');
  t.match(await shell(OTHER, 'cat readable'), { code: 0, stdout: 'readable\n' });
  t.match(await shell(OTHER, 'cat own'), DENIED);
  t.match(await shell(OTHER, 'cat of-group'), DENIED);
  t.match(await shell(OTHER, 'cat of-group', GROUP), { code: 0 }, 'a group of several counts');
  t.match(await shell(OTHER, 'touch new'), DENIED);
  t.match(await shell(OTHER, 'chmod 777 readable'), NOT_PERMITTED);
  t.match(await shell(OTHER, 'touch shared/new'), DENIED);
  t.match(await shell(OTHER, 'touch shared/new && stat -c %u:%g shared/new', GROUP), {
    code: 0,
    stdout: `${String(OTHER)}:${String(GROUP)}\n`,
  });
  t.match(await shell(OTHER, 'touch sticky/new && rm sticky/new'), { code: 0 });
  t.match(await shell(OTHER, 'rm -f sticky/of-root'), NOT_PERMITTED);
  t.match(await shell(OWNER, 'echo more >>own && cat own'), { code: 0, stdout: 'own\nmore\n' });
  t.match(await shell(0, 'cat own of-group secret'), { code: 0 }, 'root may read everything');
}

async function ofRoot(t: Test): Promise<void> {
  const site = await siteWithWork(t);
  const home = site.home();
  const { mountpoint } = await home.mount('work', 'mnt');
  const shell = shellIn(mountpoint);
  t.match(await shell(0, 'cat secret'), { code: 0, stdout: 'secret\n' });
  t.match(await shell(OWNER, 'cat own'), REFUSED, 'not even who owns it all');
  t.match(await shell(OTHER, 'cat readable'), REFUSED);
  await home.unmount(mountpoint);
  await home.mount('work', 'mnt', '--allow-other');
  await othersAreLetIn(t, shell);
}

/**
 * A mount namespace in which everybody may open /dev/fuse, as on a desktop, with an /etc/fuse.conf of its own; the machine's stay as they
 * are. Returns what runs a command in it, and what writes that file.
 */
async function startNamespace(
  t: Test,
  site: Site,
): Promise<{ enter: string[]; configure: (text: string) => void }> {
  const folder = site.folder('etc');
  const configure = (text: string): void => {
    writeFileSync(`${folder}/fuse.conf`, text);
  };
  configure('');
  const script = `mknod "$1/fuse" c 10 229 && chmod 666 "$1/fuse" && mount --bind "$1/fuse" /dev/fuse &&
    mount --bind "$1/fuse.conf" /etc/fuse.conf && echo ready && exec cat`;
  const holder = spawn('unshare', ['-m', 'sh', '-c', script, 'sh', folder], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const exited = once(holder, 'exit');
  t.teardown(async () => {
    holder.stdin.end();
    await exited;
  });
  await Promise.race([
    once(holder.stdout, 'data'),
    exited.then(([code]) => {
      throw new Error(`no namespace: ${String(code)}`);
    }),
  ]);
  return { enter: ['nsenter', `--mount=/proc/${String(holder.pid)}/ns/mnt`], configure };
}

async function ofUser(t: Test): Promise<void> {
  const site = await siteWithWork(t);
  const { enter, configure } = await startNamespace(t, site);
  const home = site.home();
  const folder = site.folder('mnt');
  // The catalog's own folder among it, where SQLite puts its journal.
  await runDone(['chown', '-R', UID, `${site.base}/store`, home.dir, folder]);
  await runDone(['sh', '-c', 'chown "$1" "$2" "$2"/catalog.sqlite*', 'sh', UID, site.base]);
  const cairn = cairnOf(home, enter);
  const shell = shellIn(folder, enter);
  t.teardown(async () => {
    await run([...enter, 'umount', '-l', folder]);
  });

  t.match(await cairn('mount', 'work', folder), { code: 0, stderr: '' });
  t.match(await shell(OTHER, 'cat readable'), REFUSED);
  t.match(await shell(0, 'cat readable'), REFUSED, 'not even root may enter');
  t.match(await shell(OWNER, SHOW_OWNERS), { code: 0, stdout: OWNERS }, 'files are shown as who owns them');
  t.match(await shell(OWNER, 'cat own readable'), { code: 0, stdout: 'own\nreadable\n' });
  t.match(await shell(OWNER, 'cat secret'), DENIED, 'permissions hold for who has mounted it too');
  t.match(await shell(OWNER, 'echo x >>readable'), { code: 2, stderr: /Permission denied/ });
  t.match(await shell(OWNER, 'chown 1234 own'), NOT_PERMITTED);
  t.match(await shell(OWNER, 'chmod 644 secret'), NOT_PERMITTED);
  t.match(await shell(OWNER, 'echo x >new && mv new renamed && stat -c %u:%g renamed'), {
    code: 0,
    stdout: `${UID}:${UID}\n`,
  });
  t.match(await run([...enter, 'grep', ` ${folder} `, '/proc/self/mountinfo']), {
    stdout: / \S*nosuid,nodev/,
  });
  t.match(await cairn('snapshot', folder), { code: 0, stderr: '' });
  t.match(await cairn('unmount', folder), { code: 0, stderr: '' });

  t.match(await cairn('mount', 'work', folder, '--allow-other'), { code: 5, stderr: /user_allow_other/ });
  configure('user_allow_other\n');
  t.match(await cairn('mount', 'work', folder, '--allow-other'), { code: 0, stderr: '' });
  t.match(await shell(0, 'cat renamed'), { code: 0, stdout: 'x\n' }, 'the next version has its owners still');
  await othersAreLetIn(t, shell);
  t.match(await cairn('unmount', folder), { code: 0, stderr: '' });
}

/** The command line as the user OWNER, where `enter` leads. */
function cairnOf(home: Home, enter: readonly string[]): (...args: string[]) => Promise<Ran> {
  const identity = ['setpriv', `--reuid=${UID}`, `--regid=${UID}`, '--clear-groups', '--'];
  return async (...args) =>
    await run([...enter, ...identity, ...home.command(args)], { env: home.environment() });
}
