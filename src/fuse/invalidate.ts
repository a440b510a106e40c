import { write } from 'node:fs';
import { promisify } from 'node:util';
import { systemCode, type Ino } from '../core/index.js';
import { notification } from './notification.js';
import { NOTIFY_DELETE, NOTIFY_INVAL_ENTRY, NOTIFY_INVAL_INODE } from './protocol.js';

const INODE_BYTES = 24;
const ENTRY_BYTES = 16;
const DELETE_BYTES = 24;

const writeAsync = promisify(write);

/**
 * Has the kernel forget an inode's attributes and all its pages, of a directory its listing; pages changed through a mapping are written back
 * first. Waits for the locks of pages and directories, which requests that were not answered yet may hold: so it runs on a thread of the pool,
 * and never on one that answers requests (law 10).
 */
export async function invalidateInode(fd: number, ino: Ino): Promise<void> {
  const body = Buffer.alloc(INODE_BYTES);
  body.writeBigUInt64LE(BigInt(ino), 0);
  // From offset 0, length 0: all of it.
  await notify(fd, NOTIFY_INVAL_INODE, body);
}

/**
 * Whether the kernel knows an inode. What it has of it but the attributes stays. May wait for an inode that is just going, until it is gone: so it runs on a
 * thread of the pool. True unless the kernel has said that there is none.
 */
export async function kernelKnows(fd: number, ino: Ino): Promise<boolean> {
  const body = Buffer.alloc(INODE_BYTES);
  body.writeBigUInt64LE(BigInt(ino), 0);
  // A negative offset: the attributes alone, no page and so no page's lock.
  body.writeBigInt64LE(-1n, 8);
  return await notify(fd, NOTIFY_INVAL_INODE, body, ['ENOENT']);
}

/** Has the kernel forget what a name stands for, also that it stands for nothing. Waits as `invalidateInode` does. */
export async function invalidateEntry(fd: number, parent: Ino, name: Buffer): Promise<void> {
  const body = Buffer.alloc(ENTRY_BYTES + name.length + 1);
  body.writeBigUInt64LE(BigInt(parent), 0);
  body.writeUInt32LE(name.length, 8);
  name.copy(body, ENTRY_BYTES);
  await notify(fd, NOTIFY_INVAL_ENTRY, body);
}

/**
 * As `invalidateEntry`, for a name whose inode `ino` has no name any more: the kernel lets it go as soon as nobody has it open, and does not keep it for
 * later.
 */
export async function deleteEntry(fd: number, parent: Ino, ino: Ino, name: Buffer): Promise<void> {
  const body = Buffer.alloc(DELETE_BYTES + name.length + 1);
  body.writeBigUInt64LE(BigInt(parent), 0);
  body.writeBigUInt64LE(BigInt(ino), 8);
  body.writeUInt32LE(name.length, 16);
  name.copy(body, DELETE_BYTES);
  await notify(fd, NOTIFY_DELETE, body, [...NOT_KNOWN, ...NOT_DELETED]);
}

/** The kernel does not know the inode or the name, or the mount is gone. */
const NOT_KNOWN = ['ENOENT', 'ENOTDIR', 'ENODEV'];

/** Something is mounted on it, or is still in it: its name is forgotten all the same. */
const NOT_DELETED = ['EBUSY', 'ENOTEMPTY'];

/** False where the kernel answers with one of `expected`. */
async function notify(
  fd: number,
  code: number,
  body: Buffer,
  expected: readonly string[] = NOT_KNOWN,
): Promise<boolean> {
  try {
    await writeAsync(fd, notification(code, body));
    return true;
  } catch (error) {
    if (!expected.includes(systemCode(error) ?? '')) throw error;
    return false;
  }
}
