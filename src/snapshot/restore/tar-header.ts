import {
  deviceNumber,
  isDirectory,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  type InodeAttributes,
} from '../../core/index.js';

/*
 * The pax interchange format (POSIX.1-2017, pax): a ustar header of 512 bytes, before it what does not fit there as records of an extended header. Names are
 * the bytes they are, whatever their encoding.
 */

export const TAR_RECORD_BYTES = 512;

const NAME_BYTES = 100;
const EXTENDED_HEADER = 'x';
const HARD_LINK = '1';

const TYPE_FLAGS = new Map<number, string>([
  [S_IFREG, '0'],
  [S_IFLNK, '2'],
  [S_IFCHR, '3'],
  [S_IFBLK, '4'],
  [S_IFDIR, '5'],
  [S_IFIFO, '6'],
]);

/** What the octal digits of a header hold, at most. */
const ID_MAX = 0o7777777;
const SIZE_MAX = 0o77777777777;

/** Whether tar has such a thing at all: it has no sockets. */
export function isInTar(mode: number): boolean {
  return TYPE_FLAGS.has(mode & S_IFMT);
}

export interface TarEntry {
  path: Buffer;
  inode: InodeAttributes;
  /** A symbolic link's target. */
  target?: Buffer | undefined;
  /** The path under which the same inode is in the archive already. */
  linkTo?: Buffer | undefined;
}

/** What stands before an entry's bytes. */
export function tarHeader({ path, inode, target, linkTo }: TarEntry): Buffer {
  const name = isDirectory(inode.mode) ? Buffer.concat([path, Buffer.from('/')]) : path;
  const link = linkTo ?? target ?? Buffer.alloc(0);
  const type = linkTo === undefined ? (TYPE_FLAGS.get(inode.mode & S_IFMT) ?? '0') : HARD_LINK;
  const size = type === '0' ? inode.size : 0;
  const { mtimeSec, mtimeNsec } = inode;
  const records: Buffer[] = [];
  const say = (key: string, value: Buffer | string): void => {
    records.push(paxRecord(key, Buffer.from(value)));
  };
  if (name.length > NAME_BYTES) say('path', name);
  if (link.length > NAME_BYTES) say('linkpath', link);
  if (size > SIZE_MAX) say('size', String(size));
  if (inode.uid > ID_MAX) say('uid', String(inode.uid));
  if (inode.gid > ID_MAX) say('gid', String(inode.gid));
  if (mtimeNsec > 0 || mtimeSec < 0 || mtimeSec > SIZE_MAX) say('mtime', decimalTime(mtimeSec, mtimeNsec));
  const header = ustarHeader({ name, link, type, size, inode });
  if (records.length === 0) return header;
  const extension = Buffer.concat(records);
  const before = ustarHeader({
    name: Buffer.from('PaxHeaders/extended'),
    link: Buffer.alloc(0),
    type: EXTENDED_HEADER,
    size: extension.length,
    inode,
  });
  return Buffer.concat([before, extension, tarPadding(extension.length), header]);
}

/** What fills up the last record of `length` bytes. */
export function tarPadding(length: number): Buffer {
  return Buffer.alloc((TAR_RECORD_BYTES - (length % TAR_RECORD_BYTES)) % TAR_RECORD_BYTES);
}

function ustarHeader(fields: {
  name: Buffer;
  link: Buffer;
  type: string;
  size: number;
  inode: InodeAttributes;
}): Buffer {
  const { name, link, type, size, inode } = fields;
  const header = Buffer.alloc(TAR_RECORD_BYTES);
  name.copy(header, 0, 0, NAME_BYTES);
  header.write(octal(inode.mode & 0o7777, 7), 100, 'latin1');
  header.write(octal(Math.min(inode.uid, ID_MAX), 7), 108, 'latin1');
  header.write(octal(Math.min(inode.gid, ID_MAX), 7), 116, 'latin1');
  header.write(octal(Math.min(size, SIZE_MAX), 11), 124, 'latin1');
  header.write(octal(Math.min(Math.max(inode.mtimeSec, 0), SIZE_MAX), 11), 136, 'latin1');
  header.write(type, 156, 'latin1');
  link.copy(header, 157, 0, NAME_BYTES);
  header.write('ustar\0' + '00', 257, 'latin1');
  const { major, minor } = deviceNumbers(deviceNumber(inode));
  header.write(octal(major, 7), 329, 'latin1');
  header.write(octal(minor, 7), 337, 'latin1');
  // The sum is taken with blanks in its own place.
  header.fill(' ', 148, 156);
  header.write(
    `${octal(
      header.reduce((sum, byte) => sum + byte, 0),
      6,
    )}\0 `,
    148,
    'latin1',
  );
  return header;
}

function octal(value: number, digits: number): string {
  return value.toString(8).padStart(digits, '0');
}

/** `<length> <key>=<value>\n`, where the length counts its own digits as well. */
function paxRecord(key: string, value: Buffer): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), value, Buffer.from('\n')]);
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

/** As POSIX writes it: nanoseconds count upwards, so those of a time before 1970 are subtracted from the next second. */
function decimalTime(sec: number, nsec: number): string {
  const isNegative = sec < 0 && nsec > 0;
  const whole = isNegative ? sec + 1 : sec;
  const fraction = isNegative ? 1_000_000_000 - nsec : nsec;
  const sign = isNegative && whole === 0 ? '-' : '';
  return `${sign}${String(whole)}.${String(fraction).padStart(9, '0')}`;
}

/** As the kernel packs them (linux/kdev_t.h, new_encode_dev). */
function deviceNumbers(rdev: number): { major: number; minor: number } {
  return { major: (rdev >>> 8) & 0xfff, minor: (rdev & 0xff) | ((rdev >>> 12) & 0xfff00) };
}
