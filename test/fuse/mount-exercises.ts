import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import koffi from 'koffi';

import {
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  fallocate,
  getXattr,
  listXattrs,
  mknod,
  seek,
  setModificationTime,
  setXattr,
} from '../../src/posix/index.js';
import { remoteByte } from './mounted-session.js';
import { REMOTE_FILE_BYTES, STUCK_FILE_BYTES } from './session-worker.js';

const code = (action: () => unknown): string => {
  try {
    action();
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? (error as Error).message;
  }
  return 'none';
};

const renameat2 = koffi
  .load(null)
  .func('int renameat2(int from, const char *old, int to, const char *new_, unsigned int flags)') as (
  ...args: (number | string)[]
) => number;
const AT_FDCWD = -100;
const O_TMPFILE = 0o20200000;

/** What programs do to a mount, each with its assertions; run one at a time, in a process of its own. */
const exercises: Record<string, (mountpoint: string) => void> = {
  files(root) {
    const file = path.join(root, 'a');
    fs.writeFileSync(file, 'hello');
    fs.appendFileSync(file, ' world');
    assert.equal(fs.readFileSync(file, 'utf8'), 'hello world');
    fs.truncateSync(file, 5);
    assert.equal(fs.readFileSync(file, 'utf8'), 'hello');
    fs.truncateSync(file, 8);
    assert.deepEqual(fs.readFileSync(file), Buffer.from('hello\0\0\0'));
    fs.writeFileSync(file, 'new', { flag: 'w' });
    assert.equal(fs.statSync(file).size, 3);
    assert.equal(
      code(() => fs.openSync(file, 'wx')),
      'EEXIST',
    );
    assert.equal(
      code(() => fs.readFileSync(path.join(root, 'none'))),
      'ENOENT',
    );
    const fd = fs.openSync(file, 'r+');
    fs.unlinkSync(file);
    fs.writeSync(fd, 'NEW!', 0);
    const bytes = Buffer.alloc(10);
    assert.equal(fs.readSync(fd, bytes, 0, 10, 0), 4);
    assert.equal(fs.fstatSync(fd).nlink, 0);
    fs.closeSync(fd);
    // Created by MKNOD, opened by nothing: the mode of a new file is no obstacle to its creator (git does this).
    const sealed = path.join(root, 'sealed');
    const sealedFd = fs.openSync(sealed, 'wx', 0o444);
    fs.writeSync(sealedFd, 'written once');
    fs.closeSync(sealedFd);
    assert.equal(fs.readFileSync(sealed, 'utf8'), 'written once');
    fs.unlinkSync(sealed);
    assert.deepEqual(fs.readdirSync(root), []);
  },

  largeFile(root) {
    const file = path.join(root, 'large');
    const piece = Buffer.alloc(3_000_001, 'abcdefg');
    const fd = fs.openSync(file, 'w');
    for (let n = 0; n < 4; n++) fs.writeSync(fd, piece);
    fs.fsyncSync(fd);
    fs.closeSync(fd);
    assert.deepEqual(fs.readFileSync(file), Buffer.concat([piece, piece, piece, piece]));
    fs.unlinkSync(file);
  },

  directories(root) {
    const directory = path.join(root, 'd');
    fs.mkdirSync(directory, { mode: 0o750 });
    assert.equal(fs.statSync(directory).mode & 0o7777, 0o750);
    const names = Array.from({ length: 3000 }, (_, n) => `file-${String(n).padStart(5, '0')}`);
    for (const name of names) fs.closeSync(fs.openSync(path.join(directory, name), 'w'));
    assert.deepEqual(fs.readdirSync(directory).sort(), names);
    assert.equal(fs.statSync(root).nlink, 3);
    assert.equal(
      code(() => {
        fs.rmdirSync(directory);
      }),
      'ENOTEMPTY',
    );
    // Entries go while the listing is under way: those that stay are listed once.
    const seen: string[] = [];
    const listing = fs.opendirSync(directory, { bufferSize: 32 });
    for (let entry = listing.readSync(); entry !== null; entry = listing.readSync()) {
      seen.push(entry.name);
      fs.unlinkSync(path.join(directory, entry.name));
    }
    listing.closeSync();
    assert.deepEqual(seen.sort(), names);
    assert.deepEqual(fs.readdirSync(directory), []);
    fs.rmdirSync(directory);
    assert.equal(
      code(() => fs.mkdirSync(path.join(root, 'x'.repeat(256)))),
      'ENAMETOOLONG',
    );
  },

  renames(root) {
    const [a, b, d] = ['a', 'b', 'd'].map((name) => path.join(root, name)) as [string, string, string];
    fs.writeFileSync(a, 'a');
    fs.writeFileSync(b, 'b');
    fs.mkdirSync(d);
    assert.equal(renameat2(AT_FDCWD, a, AT_FDCWD, b, 1), -1);
    assert.equal(koffi.errno(), 17);
    assert.equal(renameat2(AT_FDCWD, a, AT_FDCWD, b, 2), 0);
    assert.equal(fs.readFileSync(a, 'utf8'), 'b');
    fs.renameSync(a, b);
    assert.equal(fs.readFileSync(b, 'utf8'), 'b');
    assert.equal(fs.existsSync(a), false);
    fs.renameSync(b, path.join(d, 'b'));
    assert.equal(
      code(() => {
        fs.renameSync(d, path.join(d, 'inside'));
      }),
      'EINVAL',
    );
    assert.deepEqual(fs.readdirSync(root), ['d']);
    fs.rmSync(d, { recursive: true });
  },

  links(root) {
    const [file, hard, soft] = ['f', 'hard', 'soft'].map((name) => path.join(root, name)) as [
      string,
      string,
      string,
    ];
    fs.writeFileSync(file, 'x');
    fs.linkSync(file, hard);
    assert.equal(fs.statSync(file).nlink, 2);
    assert.equal(fs.statSync(file).ino, fs.statSync(hard).ino);
    fs.symlinkSync('f', soft);
    assert.equal(fs.readlinkSync(soft), 'f');
    assert.equal(fs.readFileSync(soft, 'utf8'), 'x');
    assert.equal(fs.lstatSync(soft).size, 1);
    mknod(Buffer.from(path.join(root, 'fifo')), 0o010644, 0);
    assert.equal(fs.lstatSync(path.join(root, 'fifo')).isFIFO(), true);
    for (const name of fs.readdirSync(root)) fs.unlinkSync(path.join(root, name));
  },

  attributes(root) {
    const file = path.join(root, 'f');
    fs.writeFileSync(file, 'x');
    fs.chmodSync(file, 0o4711);
    assert.equal(fs.statSync(file).mode & 0o7777, 0o4711);
    setModificationTime(Buffer.from(file), -3, 123_456_789);
    assert.equal(fs.statSync(file, { bigint: true }).mtimeNs, -3_000_000_000n + 123_456_789n);
    const birth = fs.statSync(file).birthtimeMs;
    assert.ok(birth > 1e12, 'btime by statx');
    if (process.getuid?.() === 0) {
      fs.chownSync(file, 1234, 2345);
      const { uid, gid, mode } = fs.statSync(file);
      assert.deepEqual([uid, gid, mode & 0o7777], [1234, 2345, 0o711], 'chown takes the set-id bits');
    }
    assert.equal(fs.statSync(root).size, 4096);
    assert.equal(fs.statfsSync(root).bsize, 4096);
    fs.unlinkSync(file);
  },

  xattrs(root) {
    const file = Buffer.from(path.join(root, 'f'));
    const name = Buffer.from('user.colour');
    fs.writeFileSync(file, 'x');
    assert.equal(getXattr(file, name), undefined);
    setXattr(file, name, Buffer.from('blue'));
    setXattr(file, Buffer.from('user.large'), Buffer.alloc(20_000, 'z'));
    assert.equal(getXattr(file, name)?.toString(), 'blue');
    assert.equal(getXattr(file, Buffer.from('user.large'))?.length, 20_000);
    assert.deepEqual(listXattrs(file).map(String), ['user.colour', 'user.large']);
    assert.match(
      code(() => {
        setXattr(file, name, Buffer.from('red'), 1);
      }),
      /EEXIST/,
    );
    // Any name was taken, and kept in versions that could not be restored with it.
    for (const [refused, errno] of [
      ['system.posix_acl_access', 'EOPNOTSUPP'],
      ['nonsense', 'EOPNOTSUPP'],
      ['user.', 'EINVAL'],
    ] as const) {
      assert.match(
        code(() => {
          setXattr(file, Buffer.from(refused), Buffer.alloc(28));
        }),
        new RegExp(errno),
      );
    }
    fs.unlinkSync(file);
  },

  sparse(root) {
    const file = path.join(root, 'f');
    const fd = fs.openSync(file, 'w+');
    fs.writeSync(fd, 'data', 1_000_000);
    fs.fsyncSync(fd);
    assert.equal(seek(fd, 0, 'data'), Math.floor(1_000_000 / 4096) * 4096);
    assert.equal(seek(fd, 0, 'hole'), 0);
    assert.equal(seek(fd, 2_000_000, 'data'), undefined);
    fallocate(fd, 0, 0, 3_000_000);
    assert.equal(fs.fstatSync(fd).size, 3_000_000);
    fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1_000_002);
    assert.equal(fs.readFileSync(file).toString('latin1', 999_999, 1_000_005), '\0\0\0ta\0');
    fs.copyFileSync(file, path.join(root, 'copy'));
    assert.equal(fs.statSync(path.join(root, 'copy')).size, 3_000_000);
    fs.closeSync(fd);
    for (const name of fs.readdirSync(root)) fs.unlinkSync(path.join(root, name));
  },

  tmpfile(root) {
    const fd = fs.openSync(root, fs.constants.O_RDWR | O_TMPFILE, 0o600);
    fs.writeSync(fd, 'nameless');
    assert.equal(fs.fstatSync(fd).nlink, 0);
    const bytes = Buffer.alloc(8);
    fs.readSync(fd, bytes, 0, 8, 0);
    assert.equal(bytes.toString(), 'nameless');
    fs.closeSync(fd);
    assert.deepEqual(fs.readdirSync(root), []);
  },

  remote(root) {
    const file = path.join(root, 'remote');
    fs.writeFileSync(file, '');
    fs.truncateSync(file, REMOTE_FILE_BYTES);
    const bytes = fs.readFileSync(file);
    assert.equal(bytes.length, REMOTE_FILE_BYTES);
    for (let offset = 0; offset < bytes.length; offset += 997)
      assert.equal(bytes[offset], remoteByte(offset));
    fs.unlinkSync(file);
  },

  stuck(root) {
    const file = path.join(root, 'stuck');
    fs.writeFileSync(file, '');
    fs.truncateSync(file, STUCK_FILE_BYTES);
    const fd = fs.openSync(file, 'r+');
    fs.fsyncSync(fd);
  },

  readOnly(root) {
    assert.equal(
      code(() => {
        fs.writeFileSync(path.join(root, 'f'), 'x');
      }),
      'EROFS',
    );
    assert.deepEqual(fs.readdirSync(root), []);
  },

  permissions(root) {
    // Run as an ordinary user on a mount of root's.
    assert.equal(
      code(() => {
        fs.writeFileSync(path.join(root, 'f'), 'x');
      }),
      'EACCES',
    );
  },

  listing(root) {
    // find asks for what stat(2) gives, without the birth time that Node's stat wants.
    const sizes = execFileSync('find', [
      path.join(root, 'files'),
      '-type',
      'f',
      '-printf',
      '%s\n',
    ]).toString();
    assert.equal(sizes, '1024\n'.repeat(1000));
  },

  holdOpen(root) {
    fs.openSync(path.join(root, 'f'), 'w');
    process.stdout.write('open\n');
    process.stdin.once('end', () => process.exit());
    process.stdin.resume();
  },

  createStream(root) {
    // Every call must succeed, whatever happens to the daemon.
    for (let n = 0; n < 1500; n++) {
      const name = path.join(root, `f${String(n)}`);
      fs.writeFileSync(name, String(n), { flag: 'wx' });
      if (n % 3 === 0) fs.renameSync(name, path.join(root, `r${String(n)}`));
      if (n % 3 === 1) fs.unlinkSync(name);
    }
    for (let n = 0; n < 1500; n++) {
      const name = n % 3 === 0 ? `r${String(n)}` : `f${String(n)}`;
      if (n % 3 === 1) assert.equal(fs.existsSync(path.join(root, name)), false);
      else assert.equal(fs.readFileSync(path.join(root, name), 'utf8'), String(n));
    }
    assert.equal(fs.readdirSync(root).length, 1000);
  },
};

const [, , name, mountpoint] = process.argv;
if (name !== undefined && mountpoint !== undefined) {
  const chosen = exercises[name];
  assert.ok(chosen, `no exercise ${name}`);
  chosen(mountpoint);
}
