import { chownSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { run } from './site.js';

/** `nobody`: fusermount3 mounts only for a user that has a name. */
export const UID = '65534';
const LIMIT_S = 250;

/**
 * Runs a test file of this folder once more, as an ordinary user. In a mount namespace of its own, where /dev/fuse may be opened by
 * everybody, as it is on a desktop; the machine's stays as it is.
 */
export async function asOrdinaryUser(t: Test, file: string): Promise<void> {
  const why = await whyNoOrdinaryUser();
  if (why !== undefined) {
    t.pass(why, { skip: why });
    return;
  }
  const folder = mkdtempSync(path.join(tmpdir(), 'cairn-user-'));
  t.teardown(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  // Whatever else is mounted on this machine would not be gone when it is unmounted there, as long as this namespace has it too.
  const script = `umount -a -l -t fuse.cairn; mknod ${folder}/fuse c 10 229 && chmod 666 ${folder}/fuse && mount --bind ${folder}/fuse /dev/fuse &&
    exec setpriv --reuid=${UID} --regid=${UID} --clear-groups -- "$@"`;
  chownSync(folder, Number(UID), Number(UID));
  const node = [process.execPath, '--enable-source-maps', fileURLToPath(new URL(file, import.meta.url))];
  const ran = await run(['unshare', '-m', 'sh', '-c', script, 'sh', ...node], {
    cwd: folder,
    env: { HOME: folder, TAP_TIMEOUT: String(LIMIT_S) },
    limit_s: LIMIT_S,
  });
  t.equal(ran.code, 0, ran.code === 0 ? 'all its tests pass' : `${ran.stdout}\n${ran.stderr}`);
}

/** Why nothing can be run as an ordinary user from here, or undefined. */
export async function whyNoOrdinaryUser(): Promise<string | undefined> {
  if (process.geteuid?.() !== 0) return 'this runs as an ordinary user already';
  for (const program of ['fusermount3', 'setpriv', 'unshare']) {
    if ((await run(['sh', '-c', `command -v ${program}`])).code !== 0) return `no ${program}`;
  }
  if ((await run(['unshare', '-m', 'true'])).code !== 0) return 'no mount namespaces here';
  const readable = await run([
    'setpriv',
    `--reuid=${UID}`,
    `--regid=${UID}`,
    '--clear-groups',
    '--',
    'test',
    '-r',
    fileURLToPath(import.meta.url),
  ]);
  return readable.code === 0 ? undefined : 'an ordinary user cannot read this checkout';
}

/** Why nothing can be mounted here, or undefined. */
export const whyNoMounts = existsSync('/dev/fuse') ? undefined : 'no /dev/fuse';
