"""Locks, mappings, watches and what else programs hold on to: `python3 locks-and-maps.py <operation> <folder> [<arguments>]`. Ends with 0 if the
folder is as a local disk's, or prints as JSON what is to be compared."""
import ctypes, errno, fcntl, json, mmap, os, random, select, signal, struct, sys, time

PAGE = 4096
MIB = 1024 * 1024

libc = ctypes.CDLL(None, use_errno=True)
libc.opendir.restype = libc.readdir.restype = ctypes.c_void_p
libc.opendir.argtypes = [ctypes.c_char_p]
libc.readdir.argtypes = libc.closedir.argtypes = libc.rewinddir.argtypes = libc.telldir.argtypes = [ctypes.c_void_p]
libc.telldir.restype = ctypes.c_long
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]

F_OFD_GETLK, F_OFD_SETLK = 36, 37


def write(path, data):
    with open(path, 'wb') as file:
        file.write(data)


def fails(number, operation):
    try:
        operation()
    except OSError as error:
        assert error.errno == number, f'{errno.errorcode[error.errno]}, not {errno.errorcode[number]}'
        return
    raise AssertionError(f'no {errno.errorcode[number]}')


class Other:
    """Another process, forked with what there is; it calls what it is told, one at a time."""

    def __init__(self):
        requests, self.requests = os.pipe()
        self.replies, replies = os.pipe()
        self.functions = []
        self.pid = os.fork()
        if self.pid != 0:
            os.close(requests)
            os.close(replies)
            return
        names = {}
        while True:
            line = os.read(requests, 65536)
            if line == b'':
                os._exit(0)
            try:
                answer = eval(line, globals(), names)
                os.write(replies, repr(answer).encode() + b'\n')
            except OSError as error:
                os.write(replies, repr(errno.errorcode[error.errno]).encode() + b'\n')

    def ask(self, expression):
        self.begin(expression)
        return self.end()

    def begin(self, expression):
        os.write(self.requests, expression.encode())

    def waits(self):
        """Returns when it waits for a lock; not, if it gets it."""
        while not any(' -> ' in line and str(self.pid) in line.split() for line in open('/proc/locks')):
            assert not select.select([self.replies], [], [], 0.01)[0], 'it did not wait'

    def end(self):
        return eval(os.read(self.replies, 65536))

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def maps_between_processes(folder):
    path = f'{folder}/mapped'
    write(path, b'-' * (4 * MIB + 100))
    other = Other()
    other.ask(f'globals().update(fd=os.open({path!r}, os.O_RDWR))')
    other.ask('globals().update(shared=mmap.mmap(fd, 0), private=mmap.mmap(fd, 0, mmap.MAP_PRIVATE))')
    fd = os.open(path, os.O_RDWR)
    shared = mmap.mmap(fd, 0)
    private = mmap.mmap(fd, 0, mmap.MAP_PRIVATE)
    for number, at in enumerate((0, 2 * PAGE - 2, MIB, 3 * MIB + 5, 4 * MIB + 94)):
        here, there = b'%06d' % number, b'%06d' % (number + 500)
        os.pwrite(fd, here, at)
        assert other.ask(f'shared[{at}:{at + 6}], private[{at}:{at + 6}], os.pread(fd, 6, {at})') == (here,) * 3
        other.ask(f'shared.__setitem__(slice({at}, {at + 6}), {there!r})')
        assert shared[at:at + 6] == private[at:at + 6] == os.pread(fd, 6, at) == there
        other.ask(f'os.pwrite(fd, {here!r}, {at})')
        assert shared[at:at + 6] == private[at:at + 6] == here
        private[at:at + 6] = b'secret'
        assert other.ask(f'shared[{at}:{at + 6}], private[{at}:{at + 6}], os.pread(fd, 6, {at})') == (here,) * 3
        shared[at:at + 6] = there
        assert private[at:at + 6] == b'secret', 'a page that was written to is private for good'
        assert other.ask(f'os.pread(fd, 6, {at})') == there
    # what another process made of the size
    os.ftruncate(fd, PAGE + 10)
    assert other.ask(f'shared[{PAGE}:{PAGE + 12}]') == b'-' * 10 + bytes(2)
    other.begin(f'shared[{2 * PAGE}]')
    assert os.waitstatus_to_exitcode(os.waitpid(other.pid, 0)[1]) == -signal.SIGBUS
    os.ftruncate(fd, MIB)
    assert shared[PAGE:MIB] == b'-' * 10 + bytes(MIB - PAGE - 10)


def flocks(folder):
    path = f'{folder}/lock'
    write(path, b'')
    fd = os.open(path, os.O_RDWR)
    other = Other()
    other.ask(f'globals().update(own=os.open({path!r}, os.O_RDONLY), inherited={fd})')
    fcntl.flock(fd, fcntl.LOCK_EX)
    assert other.ask('fcntl.flock(own, fcntl.LOCK_SH | fcntl.LOCK_NB)') == 'EAGAIN'
    assert other.ask('fcntl.flock(inherited, fcntl.LOCK_EX | fcntl.LOCK_NB)') is None, 'it is the same open file'
    os.close(fd)
    assert other.ask('fcntl.flock(own, fcntl.LOCK_SH | fcntl.LOCK_NB)') == 'EAGAIN', 'a copy of it is still open'
    other.ask('os.close(inherited)')
    assert other.ask('fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)') is None, 'the last close lets go'
    fd = os.open(path, os.O_RDONLY)
    fails(errno.EAGAIN, lambda: fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB))
    other.ask('fcntl.flock(own, fcntl.LOCK_SH)')
    fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    other.begin('fcntl.flock(own, fcntl.LOCK_EX)')
    other.waits()
    fcntl.flock(fd, fcntl.LOCK_UN)
    assert other.end() is None, 'who waits gets it'
    other.kill()
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def record_lock(kind, start=0, length=0, pid=0):
    return struct.pack('hhqqixxxx', kind, os.SEEK_SET, start, length, pid)


def holder(fd, start, length, command=fcntl.F_GETLK):
    """Of what keeps a write lock of this range from being had: its kind, range and process."""
    kind, _, start, length, pid = struct.unpack('hhqqixxxx', fcntl.fcntl(fd, command, record_lock(fcntl.F_WRLCK, start, length)))
    return None if kind == fcntl.F_UNLCK else (kind, start, length, pid)


def record_locks(folder):
    path = f'{folder}/lock'
    write(path, b'0123456789')
    fd = os.open(path, os.O_RDWR)
    other = Other()
    fcntl.lockf(fd, fcntl.LOCK_EX, 100, 0)
    assert other.ask(f'fcntl.lockf({fd}, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 50)') == 'EAGAIN', 'a fork has none'
    other.ask(f'globals().update(own=os.open({path!r}, os.O_RDWR))')
    assert other.ask('holder(own, 20, 5)') == (fcntl.F_WRLCK, 0, 100, os.getpid())
    fcntl.lockf(fd, fcntl.LOCK_UN, 20, 40)
    assert other.ask('fcntl.lockf(own, fcntl.LOCK_EX | fcntl.LOCK_NB, 20, 40)') is None, 'a range is split'
    assert other.ask('fcntl.lockf(own, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 60)') == 'EAGAIN'
    assert holder(fd, 0, 0) == (fcntl.F_WRLCK, 40, 20, other.pid)
    fcntl.lockf(fd, fcntl.LOCK_SH, 10, 0)
    assert other.ask('fcntl.lockf(own, fcntl.LOCK_SH | fcntl.LOCK_NB, 10, 0)') is None
    assert other.ask('fcntl.lockf(own, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 0)') == 'EAGAIN'
    # each waits for the other
    other.begin('fcntl.lockf(own, fcntl.LOCK_EX, 1, 99)')
    other.waits()
    fails(errno.EDEADLK, lambda: fcntl.lockf(fd, fcntl.LOCK_EX, 1, 40))
    fcntl.lockf(fd, fcntl.LOCK_UN, 1, 99)
    assert other.end() is None
    # closing any descriptor of the file lets go of all
    assert holder(fd, 0, 0) is not None
    other.ask(f'os.close(os.open({path!r}, os.O_RDONLY))')
    assert holder(fd, 0, 0) is None
    other.ask('fcntl.lockf(own, fcntl.LOCK_EX, 0, 1000)')
    fails(errno.EAGAIN, lambda: fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 10**12))
    other.kill()
    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def open_file_locks(folder):
    path = f'{folder}/lock'
    write(path, b'')
    first, second = os.open(path, os.O_RDWR), os.open(path, os.O_RDWR)
    lock = lambda fd, kind, *at: fcntl.fcntl(fd, F_OFD_SETLK, record_lock(kind, *at))
    lock(first, fcntl.F_WRLCK, 0, 10)
    fails(errno.EAGAIN, lambda: lock(second, fcntl.F_RDLCK, 5, 1))
    fails(errno.EAGAIN, lambda: fcntl.lockf(second, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 5))
    assert holder(second, 0, 0, F_OFD_GETLK) == (fcntl.F_WRLCK, 0, 10, -1)
    lock(second, fcntl.F_WRLCK, 10, 10)
    os.close(os.open(path, os.O_RDONLY))
    fails(errno.EAGAIN, lambda: lock(second, fcntl.F_RDLCK, 5, 1))
    other = Other()
    os.close(first)
    fails(errno.EAGAIN, lambda: lock(second, fcntl.F_RDLCK, 5, 1))  # the other has it too
    other.kill()
    lock(second, fcntl.F_RDLCK, 5, 1)


def watches(folder):
    """Prints the events of what happens in two directories and to a file, as they come."""
    names = {0x2: 'modify', 0x4: 'attrib', 0x8: 'close_write', 0x40: 'moved_from', 0x80: 'moved_to', 0x100: 'create', 0x200: 'delete',
             0x400: 'delete_self', 0x800: 'move_self', 0x8000: 'ignored', 0x40000000: 'directory'}
    inotify = libc.inotify_init()
    watched = {}

    def watch(name):
        watched[libc.inotify_add_watch(inotify, f'{folder}/{name}'.encode(), 0xfc6 | 0x8)] = name

    for name in 'a', 'b':
        os.mkdir(f'{folder}/{name}')
        watch(name)
    at = lambda name: f'{folder}/{name}'
    write(at('a/file'), b'content')
    watch('a/file')
    fd = os.open(at('a/file'), os.O_RDWR)
    os.pwrite(fd, b'more', 100)
    os.ftruncate(fd, 50)
    os.posix_fallocate(fd, 0, 60)
    os.fchmod(fd, 0o600)
    os.close(fd)
    os.truncate(at('a/file'), 10)
    os.utime(at('a/file'), (1, 1))
    os.setxattr(at('a/file'), 'user.x', b'y')
    os.link(at('a/file'), at('a/second'))
    os.rename(at('a/second'), at('b/third'))
    os.mkdir(at('a/folder'))
    os.rename(at('a/folder'), at('b/folder'))
    os.rmdir(at('b/folder'))
    os.symlink('x', at('b/symlink'))
    os.mkfifo(at('b/fifo'))
    write(at('b/replaced'), b'')
    os.rename(at('b/replaced'), at('b/fifo'))
    os.unlink(at('a/file'))
    os.unlink(at('b/third'))
    os.rmdir(at('a'))
    write(at('b/last'), b'')
    events, cookies = [], []
    while not events or events[-1][:2] != ['b', 'close_write last']:
        data = os.read(inotify, 65536)
        while data:
            which, mask, cookie, length = struct.unpack_from('iIII', data)
            name = data[16:16 + length].rstrip(b'\0').decode()
            if cookie != 0 and cookie not in cookies:
                cookies.append(cookie)
            what = ' '.join(word for bit, word in names.items() if mask & bit)
            events.append([watched[which], f'{what} {name}'.strip(), cookies.index(cookie) if cookie else None])
            data = data[16 + length:]
    print(json.dumps(events))


def birth_time(path):
    """Nanoseconds since the epoch."""
    buffer = ctypes.create_string_buffer(256)
    AT_FDCWD, AT_SYMLINK_NOFOLLOW, STATX_BTIME = -100, 0x100, 0x800
    assert libc.statx(AT_FDCWD, path.encode(), AT_SYMLINK_NOFOLLOW, STATX_BTIME, buffer) == 0
    mask, = struct.unpack_from('I', buffer)
    assert mask & STATX_BTIME
    seconds, nanoseconds = struct.unpack_from('qI', buffer, 80)
    return seconds * 10**9 + nanoseconds


def birth_times(folder):
    print(json.dumps({name: birth_time(f'{folder}/{name}') for name in sorted(os.listdir(folder))}))


def births(folder):
    """What is imported, and what is made here, keeps its time of birth."""
    begin = time.time_ns() - 50_000_000  # a local disk's clock ticks that coarsely
    for name in 'file', 'linked':
        write(f'{folder}/{name}', b'x')
    os.mkdir(f'{folder}/folder')
    os.symlink('x', f'{folder}/symlink')
    os.mkfifo(f'{folder}/fifo')
    born = {name: birth_time(f'{folder}/{name}') for name in os.listdir(folder)}
    for name, birth in born.items():
        if not name.startswith('imported'):
            assert begin <= birth <= time.time_ns(), (name, birth)
    for name in os.listdir(folder):
        path = f'{folder}/{name}'
        os.utime(path, (1, 1), follow_symlinks=False)
        if not os.path.islink(path):
            os.chmod(path, 0o700)
        os.rename(path, f'{path}-moved')
        os.rename(f'{path}-moved', path)
    for name in 'file', 'imported':
        os.truncate(f'{folder}/{name}', 100)
        with open(f'{folder}/{name}', 'ab') as file:
            file.write(b'more')
    os.link(f'{folder}/linked', f'{folder}/second')
    os.unlink(f'{folder}/linked')
    os.rename(f'{folder}/second', f'{folder}/linked')
    write(f'{folder}/folder/within', b'')
    assert born == {name: birth_time(f'{folder}/{name}') for name in os.listdir(folder)}
    birth_times(folder)


def xattr_limits(folder):
    path = f'{folder}/file'
    write(path, b'')
    longest = 'user.' + 'n' * 250
    os.setxattr(path, longest, b'v' * 3000)
    assert os.getxattr(path, longest) == b'v' * 3000
    fails(errno.ERANGE, lambda: os.setxattr(path, longest + 'n', b''))
    fails(errno.E2BIG, lambda: os.setxattr(path, 'user.large', bytes(65_537)))
    os.setxattr(path, 'user.empty', b'')
    assert os.getxattr(path, 'user.empty') == b''
    fails(errno.EEXIST, lambda: os.setxattr(path, 'user.empty', b'', os.XATTR_CREATE))
    fails(errno.ENODATA, lambda: os.setxattr(path, 'user.missing', b'', os.XATTR_REPLACE))
    fails(errno.ENODATA, lambda: os.getxattr(path, 'user.missing'))
    fails(errno.ENODATA, lambda: os.removexattr(path, 'user.missing'))
    os.symlink('file', f'{folder}/symlink')
    fails(errno.EPERM, lambda: os.setxattr(f'{folder}/symlink', 'user.x', b'', follow_symlinks=False))
    buffer = ctypes.create_string_buffer(100)
    for room in 1, 100:
        assert libc.getxattr(path.encode(), longest.encode(), buffer, room) == -1 and ctypes.get_errno() == errno.ERANGE
    assert libc.getxattr(path.encode(), longest.encode(), None, 0) == 3000
    assert libc.listxattr(path.encode(), buffer, 100) == -1 and ctypes.get_errno() == errno.ERANGE
    assert sorted(os.listxattr(path)) == sorted([longest, 'user.empty'])
    os.removexattr(path, longest)
    # until there is no room
    kept = {'user.empty'}
    for number in range(2000):
        name = f'user.{number:04}' + 'n' * 190
        try:
            os.setxattr(path, name, b'v')
        except OSError as error:
            assert error.errno == errno.ENOSPC, error
            break
        kept.add(name)
    else:
        raise AssertionError('there is no limit')
    assert set(os.listxattr(path)) == kept
    os.removexattr(path, kept.pop())
    assert set(os.listxattr(path)) == kept


def listing_while_changed(folder, listings=40):
    """What is there all the time is in each listing, once; while others come and go."""
    lasting = sorted(os.listdir(folder))
    children = []
    for number in range(2):
        child = os.fork()
        if child == 0:
            while os.getppid() != 1:
                for turn in range(100):
                    os.close(os.open(f'{folder}/passing-{number}-{turn}', os.O_CREAT))
                for turn in range(100):
                    os.rename(f'{folder}/passing-{number}-{turn}', f'{folder}/moved-{number}-{turn}')
                for turn in range(100):
                    os.unlink(f'{folder}/moved-{number}-{turn}')
        children.append(child)
    try:
        for _ in range(int(listings)):
            names = os.listdir(folder)
            assert sorted(name for name in names if not name.startswith(('passing', 'moved'))) == lasting
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def entries(directory):
    """Names from the position of an open directory on, each with the position before it."""
    found = []
    while True:
        position = libc.telldir(directory)
        entry = libc.readdir(directory)
        if entry is None:
            return found
        name = ctypes.string_at(entry + 19).decode()
        if name not in ('.', '..'):
            found.append((name, position))


def positions(folder):
    """telldir and seekdir: from each position on the same lasting entries follow; what has come and gone since, once the directory is rewound."""
    for number in range(1500):
        os.close(os.open(f'{folder}/new-{number}', os.O_CREAT))
    directory = libc.opendir(folder.encode())
    found = entries(directory)
    assert sorted(name for name, _ in found) == sorted(os.listdir(folder))

    def check(passing):
        for index in range(len(found) - 1, 0, -(len(found) // 12)):
            libc.seekdir(directory, found[index][1])
            lasting = [name for name, _ in found[index:] if name not in passing]
            following = [name for name, _ in entries(directory) if name not in passing]
            assert following == lasting, (index, following[:3], len(following), lasting[:3], len(lasting))

    check(set())
    gone = {name for index, (name, _) in enumerate(found) if index % 3 == 0}
    for name in gone:
        os.unlink(f'{folder}/{name}')
    check(gone)
    added = {f'added-{number}' for number in range(200)}
    for name in added:
        os.mkdir(f'{folder}/{name}')
    check(gone | added)
    libc.rewinddir(directory)
    assert sorted(name for name, _ in entries(directory)) == sorted({name for name, _ in found} - gone | added)
    libc.closedir(directory)


ISLANDS = (5 * MIB, 300 * MIB, 700 * MIB)
ISLAND_BYTES = 64 * 1024


def make_sparse(folder):
    """Islands in a file, one that is only a hole, and one with a hole made later."""
    bytes_of = random.Random(1)
    with open(f'{folder}/islands', 'wb') as file:
        for at in ISLANDS:
            os.pwrite(file.fileno(), bytes_of.randbytes(ISLAND_BYTES), at)
        os.ftruncate(file.fileno(), 1000 * MIB)
    with open(f'{folder}/hole', 'wb') as file:
        os.ftruncate(file.fileno(), 500 * MIB)
    with open(f'{folder}/punched', 'wb') as file:
        file.write(bytes_of.randbytes(8 * MIB))
        assert libc.fallocate(file.fileno(), 3, ctypes.c_long(MIB), ctypes.c_long(6 * MIB)) == 0


def data_ranges(folder):
    """Prints of each file how large it is and where it has data."""
    found = {}
    for name in sorted(os.listdir(folder)):
        with open(f'{folder}/{name}', 'rb') as file:
            size, ranges, at = os.fstat(file.fileno()).st_size, [], 0
            while at < size:
                try:
                    begin = os.lseek(file.fileno(), at, os.SEEK_DATA)
                except OSError as error:
                    assert error.errno == errno.ENXIO
                    break
                at = os.lseek(file.fileno(), begin, os.SEEK_HOLE)
                ranges.append([begin, at])
            found[name] = [size, ranges]
    print(json.dumps(found))


def free_space(folder, disk):
    here, there = os.statvfs(folder), os.statvfs(disk)
    assert (here.f_frsize, here.f_blocks, here.f_files) == (there.f_frsize, there.f_blocks, there.f_files)
    # Others write to the disk too.
    assert abs(here.f_bavail - there.f_bavail) * here.f_frsize < 1024 * MIB


def write_linked(folder):
    """Through one of three names of a file that a version holds."""
    with open(f'{folder}/one', 'r+b') as file:
        file.write(b'changed')
        file.seek(0, os.SEEK_END)
        file.write(b' and more')
    os.chmod(f'{folder}/two', 0o640)
    os.unlink(f'{folder}/three')
    linked(folder)


def linked(folder):
    names = [f'{folder}/one', f'{folder}/two', f'{folder}/within/four']
    statuses = [os.stat(name) for name in names]
    contents = [open(name, 'rb').read() for name in names]
    assert len({status.st_ino for status in statuses}) == 1 and len(set(contents)) == 1
    print(json.dumps([statuses[0].st_ino, statuses[0].st_nlink, oct(statuses[0].st_mode), contents[0].decode()]))


globals()[sys.argv[1]](*sys.argv[2:])
