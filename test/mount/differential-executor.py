"""One side of the differential test: does to a directory what it is told, a JSON object a line, and answers each with a line: `result`, or
`errno` by name, and where the operation is to be watched what became of the objects it names. It runs on a mount and on a plain directory,
so an answer holds nothing that may differ between two file systems that are both right: what POSIX leaves open is checked here, and only
the verdict is answered. Paths and names are latin1 text, a character a byte; `@2/name` is in the directory that is open in slot 2."""
import ctypes, errno, hashlib, json, mmap, os, random, stat, sys, time

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, AT_SYMLINK_NOFOLLOW, AT_SYMLINK_FOLLOW = -100, 0x100, 0x400
UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2
CLOCK_REALTIME_COARSE = 5
DAY_NS = 86_400 * 10**9
SPARSE_BYTES = 16 << 20
PAGE = 4096

# Who does an operation: uid, gid, supplementary groups. Those in the start tree, and somebody it knows only by a group.
USERS = {'owner': (1000, 1000, []), 'member': (1001, 1001, [2000]), 'stranger': (1002, 1002, [])}
# Any stretch of it is a content; all of it is random, but for what begins at 0.
CONTENT = bytes(1 << 20) + random.Random(1).randbytes(1 << 20)

slots = {}


class Timespec(ctypes.Structure):
    _fields_ = [('sec', ctypes.c_long), ('nsec', ctypes.c_long)]


class NoSlot(Exception):
    pass


def call(name, *args):
    result = getattr(libc, name)(*args)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result


def opened(slot):
    if slot not in slots:
        raise NoSlot
    return slots[slot]


def path_of(text):
    if text.startswith('@'):
        slot, _, rest = text[1:].partition('/')
        return f'/proc/self/fd/{opened(int(slot))}/{rest}'.encode('latin-1')
    return text.encode('latin-1')


def target_of(target):
    """A slot's descriptor, or a path."""
    return opened(target) if isinstance(target, int) else path_of(target)


def followed(target, follow):
    """Only a path can be followed or not."""
    return {} if isinstance(target, int) else {'follow_symlinks': follow}


def content(seed, length):
    begin = 0 if seed == 0 else (1 << 20) + seed * 977
    return CONTENT[begin:begin + length]


def digest(data):
    return f'{len(data)}:{hashlib.md5(data).hexdigest()[:12]}'


def time_text(ns):
    """Times that were set are as they were set; all others are of about now, on whichever clock."""
    return 'now' if abs(ns - time.time_ns()) < DAY_NS else str(ns)


def describe(st):
    """What must be equal of two inodes. A directory's size is the file system's own affair; the device number counts for devices only."""
    mode = st.st_mode
    # Whether a set-gid bit outlives a write without the group's right to execute: fuse.h says yes (FUSE_HANDLE_KILLPRIV_V2), and Linux, since
    # 6.2, not for who is not of the group, which only the kernel knows.
    if stat.S_ISREG(mode) and not mode & stat.S_IXGRP:
        mode &= ~stat.S_ISGID
    text = f'{mode:o} {st.st_uid}:{st.st_gid} nlink {st.st_nlink}'
    if stat.S_ISREG(st.st_mode) or stat.S_ISLNK(st.st_mode):
        text += f' size {st.st_size}'
    if stat.S_ISCHR(st.st_mode) or stat.S_ISBLK(st.st_mode):
        text += f' rdev {st.st_rdev}'
    # The kernel tells no FUSE file system that a fifo was written to.
    return text if stat.S_ISFIFO(st.st_mode) else f'{text} mtime {time_text(st.st_mtime_ns)}'


# The operations.

def op_open(slot, path, flags, mode):
    # Without O_NONBLOCK a fifo is opened only when somebody opens its other end.
    bits = os.O_NONBLOCK
    for flag in flags:
        bits |= getattr(os, f'O_{flag}')
    fd = os.open(path_of(path), bits, mode)
    op_close(slot)
    slots[slot] = fd


def op_close(slot):
    if slot in slots:
        os.close(slots.pop(slot))


def op_close_all():
    for slot in list(slots):
        op_close(slot)


def op_read(slot, length):
    return digest(os.read(opened(slot), length))


def op_pread(slot, offset, length):
    return digest(os.pread(opened(slot), length, offset))


def op_write(slot, seed, length):
    return os.write(opened(slot), content(seed, length))


def op_pwrite(slot, offset, seed, length):
    return os.pwrite(opened(slot), content(seed, length), offset)


def op_map_write(slot, offset, seed, length):
    fd = opened(slot)
    if length == 0 or os.fstat(fd).st_size < offset + length:
        return 'nothing to map'
    begin = offset // PAGE * PAGE
    with mmap.mmap(fd, offset + length - begin, offset=begin) as mapped:
        mapped[offset - begin:] = content(seed, length)
        mapped.flush()


def op_truncate(target, length):
    os.truncate(target_of(target), length)


def op_fallocate(slot, mode, offset, length):
    call('fallocate', opened(slot), mode, ctypes.c_long(offset), ctypes.c_long(length))


def op_seek(slot, offset, whence):
    """The positions of a directory are the file system's own affair."""
    fd = opened(slot)
    return 'a directory' if stat.S_ISDIR(os.fstat(fd).st_mode) else os.lseek(fd, offset, whence)


def op_map(slot):
    """Where holes are is the file system's own affair, but what it calls one reads as zeros."""
    fd = opened(slot)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        return 'no file'
    reader = os.open(f'/proc/self/fd/{fd}', os.O_RDONLY)
    try:
        size = os.fstat(reader).st_size
        position = 0
        while position < size:
            data = next_of(reader, position, os.SEEK_DATA, size)
            assert data >= position, f'the data after {position} begins at {data}'
            assert not any(os.pread(reader, min(data - position, SPARSE_BYTES), position)), f'data in a hole at {position}'
            position = data
            if position < size:
                hole = os.lseek(reader, position, os.SEEK_HOLE)
                assert position < hole <= size, f'the hole after {position} begins at {hole}'
                position = hole
        assert next_of(reader, size, os.SEEK_DATA, None) is None, 'data beyond the end'
        assert next_of(reader, size, os.SEEK_HOLE, None) is None, 'a hole beyond the end'
        return size
    finally:
        os.close(reader)


def next_of(fd, offset, whence, none):
    try:
        return os.lseek(fd, offset, whence)
    except OSError as error:
        assert error.errno == errno.ENXIO
        return none


def op_copy(slot, offset, to_slot, to_offset, length):
    """One call may copy less than asked for: what counts is what they come to."""
    source, target = opened(slot), opened(to_slot)
    copied = 0
    while copied < length:
        count = os.copy_file_range(source, target, length - copied, offset + copied, to_offset + copied)
        if count == 0:
            break
        copied += count
    return copied


def op_sync(slot, data_only):
    (os.fdatasync if data_only else os.fsync)(opened(slot))


def op_drop_pages(slot):
    os.posix_fadvise(opened(slot), 0, 0, os.POSIX_FADV_DONTNEED)


def op_mkdir(path, mode):
    os.mkdir(path_of(path), mode)


def op_rmdir(path):
    os.rmdir(path_of(path))


def op_unlink(path):
    os.unlink(path_of(path))


def op_rename(path, to, flags):
    call('renameat2', AT_FDCWD, path_of(path), AT_FDCWD, path_of(to), flags)


def op_link(path, to, follow):
    os.link(path_of(path), path_of(to), follow_symlinks=follow)


def op_link_opened(slot, to):
    call('linkat', AT_FDCWD, f'/proc/self/fd/{opened(slot)}'.encode(), AT_FDCWD, path_of(to), AT_SYMLINK_FOLLOW)


def op_symlink(to, path):
    os.symlink(to.encode('latin-1'), path_of(path))


def op_readlink(path):
    return os.readlink(path_of(path)).decode('latin-1')


KINDS = {
    'file': (stat.S_IFREG, 0),
    'fifo': (stat.S_IFIFO, 0),
    'socket': (stat.S_IFSOCK, 0),
    # /dev/null, and a number that is for local use (admin-guide/devices.rst): whoever opens them does no harm.
    'character': (stat.S_IFCHR, os.makedev(1, 3)),
    'block': (stat.S_IFBLK, os.makedev(120, 300)),
}


def op_mknod(path, kind, mode):
    type_bits, device = KINDS[kind]
    os.mknod(path_of(path), type_bits | mode, device)


def op_chmod(target, mode):
    os.chmod(target_of(target), mode)


def op_chown(target, uid, gid, follow):
    os.chown(target_of(target), uid, gid, **followed(target, follow))


def op_utimens(target, atime, mtime, follow):
    times = (Timespec * 2)(timespec(atime), timespec(mtime))
    if isinstance(target, int):
        call('futimens', opened(target), times)
    else:
        call('utimensat', AT_FDCWD, path_of(target), times, 0 if follow else AT_SYMLINK_NOFOLLOW)


def timespec(value):
    if value == 'now':
        return Timespec(0, UTIME_NOW)
    if value == 'omit':
        return Timespec(0, UTIME_OMIT)
    return Timespec(*value)


def op_setxattr(target, name, seed, length, flags, follow):
    os.setxattr(target_of(target), name, content(seed, length), flags, **followed(target, follow))


def op_getxattr(target, name, follow):
    return digest(os.getxattr(target_of(target), name, **followed(target, follow)))


def op_listxattr(target, follow):
    return xattr_names(target_of(target), **followed(target, follow))


def op_removexattr(target, name, follow):
    os.removexattr(target_of(target), name, **followed(target, follow))


def xattr_names(target, **follow):
    """Their order is open; a security module has its own."""
    return sorted(name for name in os.listxattr(target, **follow) if name.startswith(('user.', 'trusted.')))


def op_stat(target, follow):
    return describe(os.stat(target_of(target), **followed(target, follow)))


def op_access(path, mode):
    return os.access(path_of(path), mode, effective_ids=True)


def op_list(path):
    with os.scandir(path_of(path)) as entries:
        return sorted(f'{entry.name.decode("latin-1")} {kind_of(entry)}' for entry in entries)


def kind_of(entry):
    if entry.is_symlink():
        return 'link'
    return 'directory' if entry.is_dir() else 'file' if entry.is_file() else 'special'


def op_list_while(path, room, first, changes):
    """
    Reads a directory by small pieces, with changes of it after the first few. Their order is open, and whether a name shows that comes or
    goes meanwhile; all that stay show, once each, and nothing else does.
    """
    directory = path_of(path)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        before = set(os.listdir(directory))
        seen = []
        for _ in range(first):
            seen += entries_of(fd, room)
        touched = set()
        outcomes = []
        for change in changes:
            touched.update(change[key].encode('latin-1') for key in ('path', 'to') if key in change)
            inside = {key: f'{path}/{change[key]}' for key in ('path', 'to') if key in change}
            outcomes.append(outcome({**change, **inside}))
        while piece := entries_of(fd, room):
            seen += piece
        seen = [name for name in seen if name not in (b'.', b'..')]
        missing = before - touched - set(seen)
        assert not missing, f'{missing} is not listed'
        twice = [name for name in seen if name not in touched and seen.count(name) > 1]
        assert not twice, f'{twice} is listed twice'
        strange = set(seen) - before - touched
        assert not strange, f'{strange} is listed'
        return [outcomes, [name.decode('latin-1') for name in sorted(os.listdir(directory))]]
    finally:
        os.close(fd)


def entries_of(fd, room):
    """Names of one getdents64(2): d_ino, d_off, d_reclen, d_type, d_name."""
    buffer = ctypes.create_string_buffer(room)
    length = call('getdents64', fd, buffer, room)
    names = []
    at = 0
    while at < length:
        names.append(buffer.raw[at + 19:].split(b'\0', 1)[0])
        at += int.from_bytes(buffer.raw[at + 16:at + 18], 'little')
    return names


# Trees.

def op_enter(path):
    os.chdir(path_of(path))


def op_walk(path):
    """All of a tree, a line an entry; two names of one file are told by the first of them."""
    lines = []
    first_names = {}

    def visit(name, place):
        st = os.lstat(place)
        text = f'{name.decode("latin-1")} {describe(st)}'
        for xattr in xattr_names(place, follow_symlinks=False):
            text += f' {xattr}={digest(os.getxattr(place, xattr, follow_symlinks=False))}'
        if stat.S_ISLNK(st.st_mode):
            text += f' to {os.readlink(place).decode("latin-1")}'
        if stat.S_ISREG(st.st_mode):
            text += f' {file_digest(place, st.st_size)}'
        if not stat.S_ISDIR(st.st_mode) and st.st_nlink > 1:
            text += f' is {first_names.setdefault((st.st_dev, st.st_ino), name).decode("latin-1")}'
        lines.append(text)
        if stat.S_ISDIR(st.st_mode):
            for entry in sorted(os.listdir(place)):
                visit(name + b'/' + entry, place + b'/' + entry)

    visit(b'.', path_of(path))
    return lines


def file_digest(place, size):
    """Of the pages that are not zeros. Of a large file holes are passed over, which are zeros: `op_map`."""
    hasher = hashlib.md5()
    fd = os.open(place, os.O_RDONLY)
    position = 0
    while position < size:
        if size > SPARSE_BYTES:
            position = next_of(fd, position, os.SEEK_DATA, size) // PAGE * PAGE
        data = os.pread(fd, 1 << 20, position)
        if len(data) < min(1 << 20, size - position):
            hasher.update(b'short read')
            break
        for begin in range(0, len(data), PAGE):
            page = data[begin:begin + PAGE]
            if any(page):
                hasher.update(b'%d' % (position + begin) + page)
        position += len(data)
    os.close(fd)
    return hasher.hexdigest()[:12]


def op_plant(path):
    """The tree every sequence begins with; each kind of file that a version can hold, and of every way to hold its content."""
    root = path_of(path).decode()
    os.makedirs(root)
    for name, mode in (('d', 0o755), ('d/e', 0o755), ('many', 0o755), ('sticky', 0o1777), ('group', 0o2775), ('private', 0o700), ('open', 0o777)):
        os.mkdir(f'{root}/{name}')
        os.chmod(f'{root}/{name}', mode)
    files = {
        'empty': b'', 'tiny': content(1, 100), 'small': content(2, 5000), 'page': content(3, PAGE), 'large': content(4, 300_001), 'zeros': bytes(20_000),
        'd/small': content(5, 9000), 'd/e/tiny': content(6, 10), 'sticky/theirs': content(7, 50), 'group/small': content(8, 7000),
        'private/small': content(9, 3000), 'set-id': content(10, 500), 'theirs': content(11, 6000), 'odd-\udcff\udc80': b'odd', 'open/shared': content(12, 4500),
    }
    files.update({f'many/{number}': b'%d' % number for number in range(20)})
    for name, data in files.items():
        with open(f'{root}/{name}', 'wb') as file:
            file.write(data)
    with open(f'{root}/sparse', 'wb') as file:
        file.truncate(400_000)
        file.seek(150_000)
        file.write(content(13, 70_000))
    os.link(f'{root}/small', f'{root}/d/small-too')
    os.link(f'{root}/tiny', f'{root}/d/e/tiny-too')
    for name, to in (('link', 'tiny'), ('to-d', 'd'), ('d/up', '../large'), ('dangling', 'nowhere'), ('loop', 'loop')):
        os.symlink(to, f'{root}/{name}')
    os.mkfifo(f'{root}/fifo')
    os.setxattr(f'{root}/small', 'user.a', content(1, 30))
    os.setxattr(f'{root}/d', 'user.b', content(2, 300))
    os.mknod(f'{root}/null', stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.setxattr(f'{root}/large', 'trusted.t', content(3, 40))
    for name in ('theirs', 'open/shared'):
        os.chown(f'{root}/{name}', 1000, 1000)
    os.chown(f'{root}/sticky/theirs', 1001, 1001)
    for name in ('group', 'group/small'):
        os.chown(f'{root}/{name}', 1000, 2000)
    os.chmod(f'{root}/set-id', 0o6777)
    os.chmod(f'{root}/group/small', 0o664)
    os.chmod(f'{root}/open/shared', 0o660)
    for folder, folders, names in os.walk(root, topdown=False):
        for index, name in enumerate(sorted(names)):
            os.utime(f'{folder}/{name}', ns=(0, (1_600_000_000 + index) * 10**9 + 123_456_789), follow_symlinks=False)
        for name in [f'{folder}/{name}' for name in folders if os.path.islink(f'{folder}/{name}')] + [folder]:
            os.utime(name, ns=(0, 1_500_000_000 * 10**9 + 1), follow_symlinks=False)


# Doing one.

class Watch:
    """What an operation does to the objects it names and the directories they are in: held open, so that they stay the same objects."""

    def __init__(self, operation):
        self.before = {}
        for key in ('path', 'to', 'target'):
            name = operation.get(key)
            if not isinstance(name, str):
                continue
            self.hold(key, name, os.O_NOFOLLOW)
            self.hold(f'{key}, followed', name, 0)
            self.hold(f'directory of {key}', name.rstrip('/').rpartition('/')[0] or '.', 0)
        for key in ('slot', 'to_slot', 'target'):
            slot = operation.get(key)
            if isinstance(slot, int) and slot in slots:
                self.before[key] = (os.dup(slots[slot]), os.fstat(slots[slot]))

        # Where a kernel stamps by its tick, a change right after another may leave no trace.
        newest_ns = max((st.st_ctime_ns for _, st in self.before.values()), default=0)
        while time.clock_gettime_ns(CLOCK_REALTIME_COARSE) <= newest_ns:
            pass

    def hold(self, key, name, flags):
        try:
            fd = os.open(path_of(name), os.O_PATH | flags)
        except (OSError, NoSlot):
            return
        self.before[key] = (fd, os.fstat(fd))

    def changes(self):
        found = {}
        for key, (fd, before) in self.before.items():
            after = os.fstat(fd)
            os.close(fd)
            found[key] = describe(after)
            if not stat.S_ISFIFO(after.st_mode):
                found[key] += f' {self.times(before, after)}'
        return found

    @staticmethod
    def times(before, after):
        mtime = 'untouched' if after.st_mtime_ns == before.st_mtime_ns else 'set'
        ctime = after.st_ctime_ns - before.st_ctime_ns
        return f'{mtime}, ctime {"untouched" if ctime == 0 else "later" if ctime > 0 else "EARLIER"}'


def outcome(operation):
    arguments = {key: value for key, value in operation.items() if key not in ('op', 'as', 'watch')}
    try:
        return {'result': globals()[f'op_{operation["op"]}'](**arguments)}
    except OSError as error:
        return {'errno': errno.errorcode[error.errno]}
    except NoSlot:
        return {'errno': 'nothing is open there'}
    except AssertionError as error:
        return {'wrong': str(error)}


def outcome_as(operation):
    user = operation.get('as', 'root')
    if user == 'root':
        return outcome(operation)
    uid, gid, groups = USERS[user]
    os.setgroups(groups)
    os.setegid(gid)
    os.seteuid(uid)
    try:
        return outcome(operation)
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups([])


def main():
    os.umask(0o022)
    os.setgroups([])
    for line in sys.stdin.buffer:
        operation = json.loads(line)
        watch = Watch(operation) if operation.get('watch') else None
        answer = outcome_as(operation)
        if watch:
            answer['watched'] = watch.changes()
        print(json.dumps(answer), flush=True)


main()
