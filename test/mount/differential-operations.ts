import fc from 'fast-check';

const KIB = 1024;

/** Records are printed as what they are. */
const PLAIN = { noNullPrototype: true };

/** What happens to the mount alone. */
export type Event =
  /** With the daemon killed in the step of that name, or the next operations while the version is published. */
  | { event: 'snapshot'; during: 'nothing' | 'operations' | 'kill at sealing' | 'kill at publishing' }
  | { event: 'remount' }
  /** The daemon is killed when so many further operations are answered. */
  | { event: 'kill'; after: number }
  | { event: 'drop caches' };

/** What both sides do; differential-executor.py knows the arguments. */
export interface Operation {
  op: string;
  [argument: string]: unknown;
}

export type Step = Event | Operation;

// Names are few, and most are of the start tree, so that operations meet. None leads out of it, but by a symlink that was moved to its
// root: the folder around the tree is the sequence's own.
const plantedPath = fc.constantFrom(
  ...['empty', 'tiny', 'small', 'page', 'large', 'zeros', 'sparse', 'set-id', 'theirs', 'odd-\u00ff\u0080'],
  ...['d/small', 'd/small-too', 'd/e/tiny', 'd/e/tiny-too', 'sticky/theirs', 'group/small', 'private/small'],
  ...['open/shared', 'many/3', 'link', 'd/up', 'dangling', 'fifo', 'null', 'd', 'd/e'],
);
const directory = fc.constantFrom(
  ...['.', '.', 'd', 'd', 'd/e', 'many', 'sticky', 'group', 'private', 'open', 'to-d', 'a', 'd/b'],
);
const name = fc.constantFrom(
  'a',
  'b',
  'c',
  'e',
  'tiny',
  'small',
  'theirs',
  '\u00fe\u0001 \n',
  'n'.repeat(255),
);
const slot = fc.nat({ max: 3 });
const place = fc
  .tuple(directory, name)
  .map(([parent, child]) => (parent === '.' ? child : `${parent}/${child}`));
const oddPath = fc.constantFrom(
  ...['', '.', 'd/', 'd/e/.', 'd/../tiny', 'tiny/', 'tiny/a', 'loop', 'loop/a', 'dangling/a', 'nowhere/a'],
  ...['link/', 'to-d/', 'a/', 'n'.repeat(256), `d/${'n'.repeat(256)}`, 'd/../'.repeat(900)],
);
const path = fc.oneof(
  { weight: 8, arbitrary: plantedPath },
  { weight: 7, arbitrary: place },
  { weight: 1, arbitrary: oddPath },
  { weight: 1, arbitrary: fc.tuple(slot, name).map(([of, child]) => `@${of}/${child}`) },
);
const newPath = fc.oneof({ weight: 5, arbitrary: place }, { weight: 1, arbitrary: path });
const target = fc.oneof({ weight: 3, arbitrary: path }, { weight: 1, arbitrary: slot });

/** As the kernel writes pages back, at odd places, and into what is cut into several blocks. */
const offset = fc.oneof(
  { weight: 3, arbitrary: fc.nat({ max: 6 }).map((pages) => pages * 4 * KIB) },
  { weight: 4, arbitrary: fc.nat({ max: 6000 }) },
  { weight: 3, arbitrary: fc.nat({ max: 400 * KIB }) },
  { weight: 1, arbitrary: fc.nat({ max: 5000 * KIB }) },
);
const length = fc.oneof(
  { weight: 3, arbitrary: fc.integer({ min: 1, max: 4 }).map((pages) => pages * 4 * KIB) },
  { weight: 4, arbitrary: fc.nat({ max: 300 }) },
  { weight: 2, arbitrary: fc.nat({ max: 20_000 }) },
  { weight: 1, arbitrary: fc.nat({ max: 500 * KIB }) },
);
/** Sixteen terabytes are the most that ext4 takes. */
const size = fc.oneof({ weight: 12, arbitrary: offset }, { weight: 1, arbitrary: fc.constant(10 ** 12) });
/** Of the bytes; 0 are zeros. */
const seed = fc.nat({ max: 9 });
const mode = fc.constantFrom(0o644, 0o755, 0o600, 0o666, 0o777, 0, 0o4755, 0o2775, 0o2644, 0o6711, 0o1777);
const follow = fc.boolean();
const watch = fc.boolean();
const user = fc.oneof(
  { weight: 6, arbitrary: fc.constant('root') },
  { weight: 2, arbitrary: fc.constantFrom('owner', 'member', 'stranger') },
);
const openFlags = fc
  .tuple(
    fc.constantFrom('RDWR', 'RDWR', 'RDWR', 'RDONLY', 'WRONLY'),
    fc.constantFrom(
      ...[[], [], [], ['CREAT'], ['CREAT'], ['CREAT', 'EXCL'], ['CREAT', 'TRUNC'], ['TRUNC'], ['APPEND']],
      ...[
        ['CREAT', 'APPEND'],
        ['NOFOLLOW'],
        ['CREAT', 'NOFOLLOW'],
        ['DIRECTORY'],
        ['PATH'],
        ['CREAT', 'DIRECTORY'],
      ],
    ),
  )
  .map(([access, more]) => [access, ...more]);
const group = fc.constantFrom(0, 1000, 2000);
const time = fc.constantFrom(
  ...['now', 'omit', [1_234_567_890, 123_456_789], [-5, 3], [0, 0], [4_000_000_000, 999_999_999]],
);
const xattr = fc.constantFrom(
  ...['user.a', 'user.a', 'user.b', 'user.b', 'trusted.t', `user.${'n'.repeat(240)}`],
  ...[`user.${'n'.repeat(251)}`, 'user.', 'nonsense'],
);
const manyNumber = fc.nat({ max: 19 }).map(String);
const manyChange = fc.oneof(
  fc.record({ op: fc.constant('unlink'), path: manyNumber }, PLAIN),
  fc.record(
    { op: fc.constant('mknod'), path: name, kind: fc.constant('file'), mode: fc.constant(0o644) },
    PLAIN,
  ),
  fc.record({ op: fc.constant('rename'), path: manyNumber, to: name, flags: fc.constant(0) }, PLAIN),
);

function operation(
  weight: number,
  op: string,
  parts: Record<string, fc.Arbitrary<unknown>>,
): { weight: number; arbitrary: fc.Arbitrary<Step> } {
  return { weight, arbitrary: fc.record({ op: fc.constant(op), ...parts }, PLAIN) };
}

function event(
  weight: number,
  arbitrary: fc.Arbitrary<Event>,
): { weight: number; arbitrary: fc.Arbitrary<Step> } {
  return { weight, arbitrary };
}

const during = fc.constantFrom(
  ...(['nothing', 'nothing', 'operations', 'operations', 'kill at sealing', 'kill at publishing'] as const),
);
const tmpfileFlags = fc.constantFrom(['TMPFILE', 'RDWR'], ['TMPFILE', 'RDWR'], ['TMPFILE', 'WRONLY', 'EXCL']);

const step = fc.oneof(
  operation(22, 'open', { slot, path, flags: openFlags, mode, as: user, watch }),
  operation(4, 'open', { slot, path: directory, flags: tmpfileFlags, mode, as: user, watch }),
  operation(6, 'link_opened', { slot, to: newPath, as: user, watch }),
  operation(4, 'close', { slot }),
  operation(4, 'read', { slot, length }),
  operation(8, 'pread', { slot, offset, length }),
  operation(8, 'write', { slot, seed, length, as: user, watch }),
  operation(18, 'pwrite', { slot, offset, seed, length, as: user, watch }),
  operation(6, 'map_write', { slot, offset, seed, length }),
  operation(10, 'truncate', { target, length: size, as: user, watch }),
  operation(12, 'fallocate', {
    slot,
    // KEEP_SIZE 1, PUNCH_HOLE 2, ZERO_RANGE 16; UNSHARE_RANGE is known to neither. COLLAPSE_RANGE and INSERT_RANGE a mount refuses.
    mode: fc.constantFrom(0, 1, 3, 3, 16, 17, 2, 64),
    offset,
    length,
    as: user,
    watch,
  }),
  // SEEK_SET, SEEK_CUR, SEEK_END. Of holes `map` speaks.
  operation(3, 'seek', { slot, offset: fc.integer({ min: -100, max: 10_000 }), whence: fc.nat({ max: 2 }) }),
  operation(6, 'map', { slot }),
  operation(8, 'copy', { slot, offset, to_slot: slot, to_offset: offset, length, as: user, watch }),
  operation(2, 'sync', { slot, data_only: fc.boolean() }),
  operation(4, 'drop_pages', { slot }),
  operation(8, 'mkdir', { path: newPath, mode, as: user, watch }),
  operation(6, 'rmdir', { path, as: user, watch }),
  operation(14, 'unlink', { path, as: user, watch }),
  // NOREPLACE 1, EXCHANGE 2. WHITEOUT a mount refuses.
  operation(22, 'rename', {
    path,
    to: newPath,
    flags: fc.constantFrom(0, 0, 0, 1, 2, 2, 3),
    as: user,
    watch,
  }),
  operation(12, 'link', { path, to: newPath, follow, as: user, watch }),
  operation(5, 'symlink', {
    to: fc.constantFrom('tiny', 'a', 'd', 'e', '../small', 'nowhere', 'n'.repeat(4095), 'n'.repeat(4096), ''),
    path: newPath,
    as: user,
    watch,
  }),
  operation(3, 'readlink', { path }),
  operation(6, 'mknod', {
    path: newPath,
    kind: fc.constantFrom('file', 'file', 'fifo', 'socket', 'character', 'block'),
    mode,
    as: user,
    watch,
  }),
  operation(10, 'chmod', { target, mode, as: user, watch }),
  operation(5, 'chown', {
    target,
    uid: fc.constantFrom(0, 1000, 1001),
    gid: fc.oneof(group, fc.constant(-1)),
    follow,
    as: user,
    watch,
  }),
  // Both left as they are would take set-id bits, which the kernel does not tell a FUSE file system.
  operation(3, 'chown', { target, uid: fc.constant(-1), gid: group, follow, as: user, watch }),
  operation(7, 'utimens', { target, atime: time, mtime: time, follow, as: user, watch }),
  operation(8, 'setxattr', {
    target,
    name: xattr,
    seed,
    length: fc.constantFrom(0, 5, 300, 700),
    flags: fc.constantFrom(0, 0, 0, 1, 2, 3),
    follow,
    as: user,
    watch,
  }),
  operation(4, 'getxattr', { target, name: xattr, follow, as: user }),
  operation(3, 'listxattr', { target, follow, as: user }),
  operation(4, 'removexattr', { target, name: xattr, follow, as: user, watch }),
  operation(8, 'stat', { target, follow, as: user }),
  operation(4, 'access', { path, mode: fc.nat({ max: 7 }), as: user }),
  operation(5, 'list', { path: fc.oneof(directory, path), as: user }),
  operation(4, 'list_while', {
    path: fc.constantFrom('many', 'many', 'd', '.'),
    // Room for an entry of the longest name, or for some of usual ones.
    room: fc.constantFrom(280, 500),
    first: fc.nat({ max: 2 }),
    changes: fc.array(manyChange, { maxLength: 4 }),
  }),
  event(3, fc.record({ event: fc.constant('snapshot' as const), during }, PLAIN)),
  event(1, fc.constant({ event: 'remount' as const })),
  event(3, fc.record({ event: fc.constant('kill' as const), after: fc.nat({ max: 6 }) }, PLAIN)),
  event(1, fc.constant({ event: 'drop caches' as const })),
);

/** What is done to one tree, from its beginning. */
export const sequence = fc.array(step, { minLength: 1, maxLength: 100, size: 'max' });
