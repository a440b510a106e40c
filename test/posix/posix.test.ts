import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';

import { Errno, FsError } from '../../src/core/index.js';
import {
  createEventDrain,
  createEventFd,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  fallocate,
  getXattr,
  isOpenElsewhere,
  listXattrs,
  mknod,
  PollSet,
  readInto,
  receiveFd,
  seek,
  setModificationTime,
  setNonBlocking,
  setXattr,
  signalEventFd,
  socketPair,
  syncfs,
  writeFrom,
} from '../../src/posix/index.js';

/** The errno an action fails with, undefined when it succeeds. */
function errnoOf(action: () => unknown): number | undefined {
  try {
    action();
  } catch (error) {
    if (error instanceof FsError) return error.errno;
    throw error;
  }
  return undefined;
}

const bytes = (text: string): Buffer => Buffer.from(text);

t.test('readInto and writeFrom return what the kernel says, and throw nothing', async (t) => {
  const [ours, theirs] = socketPair();
  t.teardown(() => {
    fs.closeSync(ours);
  });
  setNonBlocking(ours);
  const buffer = Buffer.alloc(16);
  t.equal(readInto(ours, buffer, 16), -Errno.EAGAIN);
  t.equal(writeFrom(theirs, bytes('hello'), 4), 4);
  t.equal(readInto(ours, buffer.subarray(2), 14), 4);
  t.equal(buffer.toString('latin1', 0, 7), '\0\0hell\0');
  fs.closeSync(theirs);
  t.equal(readInto(ours, buffer, 16), 0, 'end of file');
  t.equal(readInto(-1, buffer, 16), -Errno.EBADF);
});

t.test('an eventfd is ready from its signal to its drain', async (t) => {
  const [idle, other] = socketPair();
  const fd = createEventFd();
  t.teardown(() => {
    for (const each of [idle, other, fd]) fs.closeSync(each);
  });
  const set = new PollSet([idle, fd]);
  const drain = createEventDrain(fd);
  set.wait(0);
  t.same([set.isReady(0), set.isReady(1)], [false, false]);
  signalEventFd(fd);
  signalEventFd(fd);
  set.wait(-1);
  t.same([set.isReady(0), set.isReady(1)], [false, true]);
  drain();
  drain();
  set.wait(0);
  t.equal(set.isReady(1), false);
});

t.test('a socket without a message has no descriptor to receive', async (t) => {
  const [ours, theirs] = socketPair();
  t.teardown(() => {
    for (const each of [ours, theirs]) fs.closeSync(each);
  });
  t.equal(
    errnoOf(() => receiveFd(ours)),
    Errno.EAGAIN,
  );
  fs.writeSync(theirs, 'x');
  t.equal(
    errnoOf(() => receiveFd(ours)),
    Errno.EBADF,
  );
});

t.test('data and holes are found, made and punched', async (t) => {
  const fd = fs.openSync(path.join(t.testdir(), 'sparse'), 'w+');
  t.teardown(() => {
    fs.closeSync(fd);
  });
  const data = Buffer.alloc(65_536, 'x');
  fs.writeSync(fd, data, 0, data.length, 1 << 20);
  if (seek(fd, 0, 'data') === 0) {
    t.pass('a file system without holes');
    return;
  }
  t.equal(seek(fd, 0, 'data'), 1 << 20);
  t.equal(seek(fd, 1 << 20, 'hole'), (1 << 20) + data.length);
  t.equal(seek(fd, 1 << 21, 'data'), undefined);
  fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1 << 20, data.length);
  t.equal(seek(fd, 0, 'data'), undefined);
  await syncfs(fd);
  await t.rejects(syncfs(-1), FsError);
});

t.test('attributes of a symbolic link are its own, of any name', async (t) => {
  const folder = bytes(t.testdir());
  const odd = Buffer.concat([folder, bytes('/'), Buffer.from([0xff, 0x20, 0xfe])]);
  fs.symlinkSync('nowhere', odd);
  setModificationTime(odd, -1, 5);
  t.equal(fs.lstatSync(odd, { bigint: true }).mtimeNs, -999_999_995n);
  const fifo = Buffer.concat([folder, bytes('/fifo')]);
  mknod(fifo, 0o010600, 0);
  t.equal(fs.lstatSync(fifo).isFIFO(), true);
  t.equal(
    errnoOf(() => {
      mknod(fifo, 0o010600, 0);
    }),
    Errno.EEXIST,
  );
  t.equal(
    errnoOf(() => getXattr(Buffer.from('a\0b'), bytes('user.a'))),
    Errno.EINVAL,
  );
});

t.test('extended attributes come back whole, whatever their size', async (t) => {
  const file = bytes(path.join(t.testdir({ file: '' }), 'file'));
  try {
    setXattr(file, bytes('user.small'), bytes('1'));
  } catch (error) {
    if (!(error instanceof FsError) || error.errno !== Errno.EOPNOTSUPP) throw error;
    t.pass('a file system without user attributes');
    return;
  }
  setXattr(file, bytes('user.large'), Buffer.alloc(3000, 'z'));
  t.same(getXattr(file, bytes('user.large')), Buffer.alloc(3000, 'z'));
  t.equal(getXattr(file, bytes('user.none')), undefined);
  t.same(
    listXattrs(file)
      .map(String)
      .filter((name) => name.startsWith('user.'))
      .sort(),
    ['user.large', 'user.small'],
  );
});

t.test('a file is open elsewhere while any other descriptor of it is', (t) => {
  const file = path.join(t.testdir({ file: 'x' }), 'file');
  const fd = fs.openSync(file, 'r+');
  t.equal(isOpenElsewhere(fd), false);
  for (const flags of ['r', 'r+']) {
    const other = fs.openSync(file, flags);
    t.equal(isOpenElsewhere(fd), true, flags);
    fs.closeSync(other);
    t.equal(isOpenElsewhere(fd), false, `${flags}, closed`);
  }
  const again = fs.openSync(file, 'r');
  fs.closeSync(again);
  t.pass('and nobody is kept from opening it');
  fs.closeSync(fd);
  t.end();
});
