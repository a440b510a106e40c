"""What editors and tools ask of a file system: `python3 operations.py <operation> <folder> [<arguments>]`. Ends with 0 if it is as on a
local disk. Python, because it can make these calls with nothing to install."""
import ctypes, errno, fcntl, mmap, os, select, shutil, signal, stat, struct, subprocess, sys, threading, time

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100


def call(name, *args):
    if getattr(libc, name)(*args) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), name)


def write(path, data):
    with open(path, 'wb') as file:
        file.write(data)


def read(path):
    with open(path, 'rb') as file:
        return file.read()


def fails(number, operation):
    try:
        operation()
    except OSError as error:
        assert error.errno == number, f'{errno.errorcode[error.errno]}, not {errno.errorcode[number]}'
        return
    raise AssertionError(f'no {errno.errorcode[number]}')


def append_from_two_processes(folder):
    children = []
    for letter in (b'a', b'b'):
        child = os.fork()
        if child == 0:
            fd = os.open(f'{folder}/log', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for number in range(500):
                os.write(fd, letter * 50 + b'%04d\n' % number)
            os._exit(0)
        children.append(child)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    lines = read(f'{folder}/log').splitlines()
    for letter in (b'a', b'b'):
        assert [line for line in lines if line[:1] == letter] == [letter * 50 + b'%04d' % n for n in range(500)]
    assert len(lines) == 1000


def temporary_file_linked(folder):
    fd = os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o640)
    os.write(fd, b'first nameless')
    assert os.listdir(folder) == [] and os.fstat(fd).st_nlink == 0
    call('linkat', AT_FDCWD, f'/proc/self/fd/{fd}'.encode(), AT_FDCWD, f'{folder}/named'.encode(), 0x400)
    os.close(fd)
    assert read(f'{folder}/named') == b'first nameless' and os.stat(f'{folder}/named').st_nlink == 1
    os.close(os.open(folder, os.O_TMPFILE | os.O_RDWR))
    assert os.listdir(folder) == ['named']


def rename_flags(folder):
    NOREPLACE, EXCHANGE = 1, 2
    rename = lambda a, b, flags: call('renameat2', AT_FDCWD, f'{folder}/{a}'.encode(), AT_FDCWD, f'{folder}/{b}'.encode(), flags)
    write(f'{folder}/a', b'a')
    write(f'{folder}/b', b'b')
    os.makedirs(f'{folder}/d/within')
    fails(errno.EEXIST, lambda: rename('a', 'b', NOREPLACE))
    rename('a', 'c', NOREPLACE)
    rename('b', 'c', EXCHANGE)
    assert read(f'{folder}/b') == b'a' and read(f'{folder}/c') == b'b'
    rename('b', 'd', EXCHANGE)
    assert read(f'{folder}/d') == b'a' and os.listdir(f'{folder}/b') == ['within']
    fails(errno.ENOENT, lambda: rename('b', 'nothing', EXCHANGE))
    fails(errno.EINVAL, lambda: rename('b', 'b/within', EXCHANGE))
    if os.geteuid() == 0:
        write(f'{folder}/w', b'w')
        rename('w', 'w2', 4)  # WHITEOUT
        whiteout = os.stat(f'{folder}/w')
        assert stat.S_ISCHR(whiteout.st_mode) and whiteout.st_rdev == 0 and read(f'{folder}/w2') == b'w'
        os.unlink(f'{folder}/w')
    os.mkdir(f'{folder}/empty')
    rename('b', 'empty', 0)
    fails(errno.ENOTEMPTY, lambda: (os.mkdir(f'{folder}/e2'), rename('e2', 'empty', 0)))


def shared_map(folder):
    path = f'{folder}/mapped'
    write(path, bytes(300_000))
    with open(path, 'r+b') as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[100_000:100_005] = b'first'
        assert read(path)[100_000:100_005] == b'first'
        mapped.flush()
        mapped[299_995:300_000] = b'final'
    os.sync()
    data = read(path)
    assert data[100_000:100_005] == b'first' and data[-5:] == b'final' and len(data) == 300_000
    with open(path, 'r+b') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as private:
        private[0:4] = b'mine'
    assert read(path)[0:4] == bytes(4)


def holes(folder):
    path = f'{folder}/holes'
    write(path, b'x' * 1_000_000)
    fd = os.open(path, os.O_RDWR)
    fallocate = lambda mode, offset, length: call('fallocate', fd, mode, ctypes.c_long(offset), ctypes.c_long(length))
    os.fsync(fd)
    fallocate(3, 100_000, 500_000)  # PUNCH_HOLE | KEEP_SIZE
    data = os.pread(fd, 1_000_000, 0)
    assert data == b'x' * 100_000 + bytes(500_000) + b'x' * 400_000
    hole = os.lseek(fd, 0, os.SEEK_HOLE)
    assert 100_000 <= hole <= 104_096, hole
    assert 595_000 <= os.lseek(fd, hole, os.SEEK_DATA) <= 600_000
    assert os.lseek(fd, 700_000, os.SEEK_HOLE) == 1_000_000
    fails(errno.ENXIO, lambda: os.lseek(fd, 1_000_000, os.SEEK_DATA))
    fallocate(1, 1_000_000, 50_000)  # KEEP_SIZE
    assert os.fstat(fd).st_size == 1_000_000
    fallocate(0, 1_000_000, 50_000)
    assert os.fstat(fd).st_size == 1_050_000
    os.posix_fallocate(fd, 0, 1_060_000)
    fallocate(0x10, 0, 5)  # ZERO_RANGE
    assert os.pread(fd, 6, 0) == bytes(5) + b'x'
    os.ftruncate(fd, 10**12)
    assert os.pread(fd, 10, 10**12 - 5) == bytes(5) and os.stat(path).st_size == 10**12
    os.close(fd)


def space_taken(folder, imported, home):
    MIB = 1 << 20
    disk = lambda: int(subprocess.check_output(['du', '-sxk', home]).split()[0]) << 10
    before = disk()
    path = f'{folder}/sparse'
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, 40 * MIB)
    os.pwrite(fd, os.urandom(8 * MIB), 16 * MIB)
    os.pwrite(fd, b'x' * 1000, 0)
    os.fsync(fd)
    assert 8 * MIB <= disk() - before <= 12 * MIB, disk() - before
    call('fallocate', fd, 3, ctypes.c_long(16 * MIB), ctypes.c_long(8 * MIB))  # PUNCH_HOLE | KEEP_SIZE
    assert disk() - before <= 4 * MIB, disk() - before
    # What may be mapped shows no holes: nobody asks for those of a file that has none.
    assert os.stat(path).st_blocks * 512 == 40 * MIB
    os.close(fd)
    os.truncate(imported, 20 * MIB)
    fd = os.open(imported, os.O_RDWR)
    os.ftruncate(fd, 10**15)
    assert os.lseek(fd, 20 * MIB, os.SEEK_HOLE) == 20 * MIB
    fails(errno.ENXIO, lambda: os.lseek(fd, 20 * MIB, os.SEEK_DATA))
    os.ftruncate(fd, 20 * MIB)
    os.close(fd)


def unlinked_across_snapshots(folder, path):
    """Waits for a line on standard input before each step."""
    held = os.open(path, os.O_RDWR)
    before = os.pread(held, 2_000_000, 0)
    os.unlink(path)
    new = os.open(f'{folder}/new', os.O_RDWR | os.O_CREAT)
    os.write(new, b'new ' * 1000)
    os.unlink(f'{folder}/new')
    for step in range(3):
        print(step, flush=True)
        sys.stdin.readline()
        assert os.pread(held, 2_000_000, 0) == before
        before = before[:1000 * step] + b'%d' % step + before[1000 * step + 1:] + b'more'
        os.pwrite(held, b'%d' % step, 1000 * step)
        os.pwrite(held, b'more', len(before) - 4)
        os.fsync(held)
        assert os.pread(held, 2_000_000, 0) == before
        assert os.pread(new, 10_000, 0) == b'new ' * 1000 + b'+' * step
        os.pwrite(new, b'+', 4000 + step)
        assert os.fstat(new).st_nlink == 0 == os.fstat(held).st_nlink


def hard_links(folder):
    write(f'{folder}/one', b'one')
    os.link(f'{folder}/one', f'{folder}/two')
    held = os.open(f'{folder}/two', os.O_RDONLY)
    with open(f'{folder}/one', 'ab') as file:
        file.write(b' and more')
    assert read(f'{folder}/two') == os.pread(held, 100, 0) == b'one and more'
    os.chmod(f'{folder}/two', 0o600)
    assert os.stat(f'{folder}/one').st_mode & 0o777 == 0o600
    os.unlink(f'{folder}/one')
    assert os.fstat(held).st_nlink == 1
    os.truncate(f'{folder}/two', 3)
    assert os.pread(held, 100, 0) == b'one'
    os.unlink(f'{folder}/two')
    assert os.pread(held, 100, 0) == b'one' and os.fstat(held).st_nlink == 0


def remove_while_listing(folder):
    tree = f'{folder}/tree'
    for part in range(10):
        os.makedirs(f'{tree}/{part}')
        for number in range(500):
            os.close(os.open(f'{tree}/{part}/{number}', os.O_CREAT | os.O_WRONLY))
    done = threading.Event()

    def listing():
        while not done.wait(0.01):
            for _ in os.walk(folder, onerror=None):
                pass

    lister = threading.Thread(target=listing)
    lister.start()
    subprocess.run(['rm', '-rf', tree], check=True)
    done.set()
    lister.join()
    assert os.listdir(folder) == []
    # an entry removed while its directory is read: every other one is listed once
    for number in range(1000):
        os.mkdir(f'{folder}/{number}')
    seen = set()
    with os.scandir(folder) as entries:
        for entry in entries:
            assert entry.name not in seen
            seen.add(entry.name)
            os.rmdir(entry.path)
    assert len(seen) == 1000 and os.listdir(folder) == []


def watch(folder):
    inotify = libc.inotify_init()
    call('inotify_add_watch', inotify, folder.encode(), 0x100 | 0x2 | 0x8 | 0x40 | 0x80 | 0x200)
    subprocess.run(['sh', '-c', 'cd "$1" && echo x > made && mv made moved && rm moved', 'sh', folder], check=True)
    expected = [(0x100, b'made'), (0x2, b'made'), (0x8, b'made'), (0x40, b'made'), (0x80, b'moved'), (0x200, b'moved')]
    names = []
    while len(names) < len(expected) and select.select([inotify], [], [], 20)[0]:
        data = os.read(inotify, 65536)
        while data:
            _, mask, _, length = struct.unpack_from('iIII', data)
            names.append((mask, data[16:16 + length].rstrip(b'\0')))
            data = data[16 + length:]
    assert names == expected, names


def many_entries(folder):
    for number in range(20_000):
        os.symlink('x', f'{folder}/entry-{number}')
    names = os.listdir(folder)
    assert len(names) == 20_000 and set(names) == {f'entry-{number}' for number in range(20_000)}
    with os.scandir(folder) as entries:
        assert sum(entry.is_symlink() for entry in entries) == 20_000
    fd = os.open(folder, os.O_RDONLY)
    half = [next(iterator).name for iterator in [os.scandir(fd)] for _ in range(10)]
    assert len(set(half)) == 10
    os.close(fd)


def file_system_status(folder):
    status = os.statvfs(folder)
    assert status.f_namemax == 255 and status.f_blocks > 0 and 0 < status.f_bavail <= status.f_blocks
    fails(errno.ENAMETOOLONG, lambda: write(f'{folder}/' + 'x' * 256, b''))
    fails(errno.EXDEV, lambda: os.rename(folder, '/dev/shm/elsewhere'))


def locks(folder):
    write(f'{folder}/lock', b'1234567890')
    first, second = open(f'{folder}/lock', 'r+'), open(f'{folder}/lock', 'r+')
    fcntl.flock(first, fcntl.LOCK_EX)
    fails(errno.EAGAIN, lambda: fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB))
    fcntl.flock(first, fcntl.LOCK_UN)
    fcntl.flock(second, fcntl.LOCK_SH)
    fcntl.flock(second, fcntl.LOCK_UN)
    fcntl.lockf(first, fcntl.LOCK_EX, 5, 0)
    child = os.fork()
    if child == 0:
        try:
            fcntl.lockf(second, fcntl.LOCK_EX, 5, 5)
            fcntl.lockf(second, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 0)
        except OSError as error:
            os._exit(0 if error.errno in (errno.EAGAIN, errno.EACCES) else 1)
        os._exit(2)
    assert os.waitpid(child, 0)[1] == 0


def copy_file_range(folder):
    data = os.urandom(1_500_000)
    write(f'{folder}/from', data)
    source, target = os.open(f'{folder}/from', os.O_RDONLY), os.open(f'{folder}/to', os.O_RDWR | os.O_CREAT)
    copied = 0
    while copied < len(data):
        copied += os.copy_file_range(source, target, len(data) - copied)
    assert read(f'{folder}/to') == data
    assert os.copy_file_range(source, target, 1000, 7, 100) == 1000
    assert read(f'{folder}/to') == data[:100] + data[7:1007] + data[1100:]


def direct_io(folder):
    fd = os.open(f'{folder}/direct', os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    buffer = mmap.mmap(-1, 8192)
    buffer[:] = b'd' * 8192
    assert os.write(fd, buffer) == 8192
    assert read(f'{folder}/direct') == b'd' * 8192
    os.lseek(fd, 4096, os.SEEK_SET)
    assert os.readv(fd, [buffer]) == 4096


def set_id_bits(folder):
    path = f'{folder}/program'
    write(path, b'x')
    for change in (lambda fd: os.write(fd, b'y'), lambda fd: os.posix_fallocate(fd, 0, 10)):
        os.chmod(path, 0o6755)
        if os.geteuid() == 0:
            child = os.fork()
            if child == 0:
                fd = os.open(path, os.O_WRONLY)
                os.setgroups([])
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
                change(fd)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            assert os.stat(path).st_mode & 0o7777 == 0o755, oct(os.stat(path).st_mode)
    os.truncate(path, 0)


def access_times(folder, imported):
    times = lambda path: (os.stat(path).st_atime_ns, os.stat(path).st_mtime_ns)
    path, second = f'{folder}/file', 10**9
    # Of what the version has, the access time is the modification time, and reading does not change it.
    accessed, modified = times(imported)
    assert accessed == modified
    read(imported)
    assert times(imported) == (modified, modified)
    os.utime(imported, ns=(5, modified))
    assert times(imported) == (5, modified)
    write(path, b'x')
    created = os.stat(path).st_atime_ns
    assert abs(created - time.time_ns()) < 3600 * second
    os.utime(path, ns=(1900000000 * second + 1, -1950000000 * second + 2))
    assert times(path) == (1900000000 * second + 1, -1950000000 * second + 2)
    write(path, b'written')
    assert os.stat(path).st_atime_ns == 1900000000 * second + 1
    NOW, OMIT = (1 << 30) - 1, (1 << 30) - 2
    set_times = lambda *spec: call('utimensat', AT_FDCWD, path.encode(), (ctypes.c_long * 4)(*spec), 0)
    before = times(path)
    set_times(7, 8, 0, OMIT)
    assert times(path) == (7 * second + 8, before[1])
    set_times(0, OMIT, 9, 10)
    assert times(path) == (7 * second + 8, 9 * second + 10)
    set_times(0, NOW, 0, NOW)
    assert times(path)[0] == times(path)[1] > created
    os.symlink('nowhere', f'{folder}/link')
    os.utime(f'{folder}/link', ns=(3, 4), follow_symlinks=False)
    assert os.lstat(f'{folder}/link').st_atime_ns == 3


def large_write(folder):
    """Says when it begins."""
    fd = os.open(f'{folder}/large', os.O_RDWR | os.O_CREAT)
    data = os.urandom(1 << 20)
    print(flush=True)
    assert os.pwrite(fd, data, 0) == len(data)
    assert os.pread(fd, len(data), 0) == data


globals()[sys.argv[1]](*sys.argv[2:])
