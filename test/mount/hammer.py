"""Hammers one file, and compares all it reads with a copy in memory.

    hammer.py make <file> <bytes>            a file to begin with
    hammer.py run <file> <state folder> [--operations N] [--processes N] [--seed N] [--size BYTES] [--begin FILE]
    hammer.py check <file> <copy>            compares a file with the copy a run has left in its state folder, or made when it paused

`run` begins with an empty file, or with one that holds what FILE holds. All processes share the copy; byte-range locks on a file beside it
make each operation exact while the others run. It goes on beyond N operations for as long as its standard input is open; on that it takes
`pause` (nothing changes any more; the copy is saved as `<state folder>/paused`; answered by `paused`) and `go`. With one process a seed
repeats a run. Prints what it did as JSON; when a difference is found, the seed and the operations that led there, and ends with 1.
"""
import argparse, array, collections, contextlib, ctypes, errno, fcntl, json, mmap, os, random, select, shutil, struct, sys

PAGE = 4096
BORDER = 64 * 1024
MIB = 1024 * 1024
# Beside its first bytes a file has some a few GiB on, beginning within a page. Between the two is a hole.
FAR = 3 * 1024 * MIB + 12_345
FAR_BYTES = 256 * 1024
FAR_FROM_SIZE = MIB
END = 2**62
LOCK_MAX = FAR + FAR_BYTES + MIB
# Who waits for all that runs to end holds this one byte; who comes is to wait for it first.
DOOR = LOCK_MAX + PAGE

KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16
SYNC_AND_WAIT = 7
REPORTED_OPERATIONS = 40
DROP_CACHES = '/proc/sys/vm/drop_caches'

libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
libc.sync_file_range.argtypes = [ctypes.c_int, ctypes.c_long, ctypes.c_long, ctypes.c_uint]


def call(name, *args):
    if getattr(libc, name)(*args) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), name)


# What is written says where it belongs and who wrote it: each 8 bytes of a file hold the operation, the process and the position.
RAMP = array.array('Q', range(0, (2 * MIB // 8) << 40, 1 << 40)).tobytes()


def stamped(operation, process, offset, length):
    begin = offset % MIB // 8 * 8
    end = (offset % MIB + length + 7) // 8 * 8
    stamp = struct.pack('<IBxxx', operation, process) * ((end - begin) // 8)
    both = int.from_bytes(RAMP[begin:end], 'little') | int.from_bytes(stamp, 'little')
    skipped = offset % 8
    return both.to_bytes(end - begin, 'little')[skipped:skipped + length]


INITIAL = stamped(0, 0, 0, MIB)


class Difference(Exception):
    pass


class Copy:
    """What the file must hold: its size, its first bytes and the far ones. Beyond the size are zeros."""

    def __init__(self, path, near=None):
        if near is not None:
            with open(path, 'wb') as file:
                file.write(struct.pack('@QQQ', 0, near, 0))
                file.truncate(PAGE + near + FAR_BYTES)
        with open(path, 'r+b') as file:
            self.map = mmap.mmap(file.fileno(), 0)
        # By whole words: others look at the size while it is changed.
        self.head = memoryview(self.map)[:24].cast('Q')
        self.near = self.head[1]
        self.windows = [(0, self.near, PAGE), (FAR, FAR + FAR_BYTES, PAGE + self.near)]

    @property
    def size(self):
        return self.head[0]

    @property
    def generation(self):
        """How many files have had the name before."""
        return self.head[2]

    def next_generation(self):
        self.set_size(0)
        self.head[2] += 1

    def set_size(self, size):
        if size < self.size:
            self.zero(size, END)
        self.head[0] = size

    def stretches(self, start, end):
        """The parts of [start, end) that are in memory: from, to, where."""
        for first, last, at in self.windows:
            begin, stop = max(start, first), min(end, last)
            if begin < stop:
                yield begin, stop, at + begin - first

    def read(self, start, end):
        end = min(end, self.size)
        parts, position = [], start
        for begin, stop, at in self.stretches(start, end):
            parts += [bytes(begin - position), self.map[at:at + stop - begin]]
            position = stop
        return b''.join([*parts, bytes(max(0, end - position))])

    def is_zero(self, start, end):
        return all(self.map[at:at + stop - begin] == bytes(stop - begin) for begin, stop, at in self.stretches(start, end))

    def write(self, start, data):
        for begin, stop, at in self.stretches(start, start + len(data)):
            self.map[at:at + stop - begin] = data[begin - start:stop - start]
        if start + len(data) > self.size:
            self.set_size(start + len(data))

    def zero(self, start, end):
        for begin, stop, at in self.stretches(start, end):
            self.map[at:at + stop - begin] = bytes(stop - begin)


def describe(start, expected, found):
    if len(expected) != len(found):
        return f'{len(found)} bytes from {start}, not {len(expected)}'
    differing = [index for index, (a, b) in enumerate(zip(expected, found)) if a != b]
    at = (start + differing[0]) // 8 * 8
    word = slice(max(0, at - start), at - start + 8)
    lines = [f'{len(differing)} bytes differ, from {start + differing[0]} to {start + differing[-1]}']
    for what, data in ('expected', expected[word]), ('found', found[word]):
        lines.append(f'{what} at {at}: {data.hex()}')
        if len(data) == 8 and any(data):
            operation, process = struct.unpack('<IB', data[:5])
            lines[-1] += f', which operation {operation} of process {process} writes at {int.from_bytes(data[5:], "little") * 8} of a MiB'
    return '\n'.join(lines)


def expect_equal(start, expected, found):
    if expected != found:
        raise Difference(describe(start, expected, found))


class Worker:
    def __init__(self, path, state, number, options):
        self.path, self.number, self.options = path, number, options
        self.rng = random.Random(options.seed * 1000 + number)
        self.copy = Copy(f'{state}/copy')
        self.near = self.copy.near
        self.operation = 0
        self.last = collections.deque(maxlen=REPORTED_OPERATIONS)
        self.counts = collections.Counter()
        self.buffer = mmap.mmap(-1, 2 * MIB)
        self.locks = os.open(f'{state}/locks', os.O_RDWR)
        self.other = os.open(f'{path}.other', os.O_RDONLY)
        self.fds = []
        self.generation = None

    def open(self):
        """With a lock, so that there is a file of that name."""
        for fd in self.fds:
            os.close(fd)
        self.mapping = None
        self.generation = self.copy.generation
        modes = (0, os.O_APPEND, os.O_DIRECT)
        self.fds = self.fd, self.append_fd, self.direct_fd = [os.open(self.path, os.O_RDWR | mode) for mode in modes]

    # Locks. Whoever changes the size locks from the smaller of the old and the new one to the end: so a lock on anything that reaches beyond the
    # size holds the size too, and one on what is below it keeps it there.

    @contextlib.contextmanager
    def locked(self, start, end, how=fcntl.LOCK_SH):
        fcntl.lockf(self.locks, how, min(end, LOCK_MAX) - start, start)
        try:
            if self.generation != self.copy.generation:
                self.open()
            yield
        finally:
            fcntl.lockf(self.locks, fcntl.LOCK_UN)

    @contextlib.contextmanager
    def changing(self, start, end, new_size=None):
        """Locks [start, end) to change it; and the size, if it will be `new_size`, or larger by what is written."""
        while True:
            size = self.copy.size
            resizes = new_size != size if new_size is not None else end > size
            begin, stop = (min(start, size) // PAGE * PAGE, LOCK_MAX) if resizes else (start, end)
            with self.locked(begin, stop, fcntl.LOCK_EX):
                if self.copy.size == size or (not resizes and end <= self.copy.size):
                    if resizes and new_size is None and start // PAGE <= size // PAGE:
                        self.clean(size // PAGE * PAGE, size // PAGE * PAGE + PAGE)
                    yield
                    return

    def clean(self, start, end):
        """
        Writes back pages that nobody else can change now. Whatever the file system does, Linux 6.18 loses bytes of a FUSE file's page that was
        written to through a mapping and is written back while another call changes it:
        - the file's last page is filled with zeros from the file's end on, though a write(2) that puts bytes there is under way;
        - a page with a part that fallocate is making a hole is sent after the fallocate, as it was before.
        """
        call('sync_file_range', self.fd, start, end - start, SYNC_AND_WAIT)

    # Places.

    def offset(self):
        rng, size = self.rng, self.copy.size
        if self.near >= FAR_FROM_SIZE and rng.random() < 0.02:
            return FAR + rng.randrange(FAR_BYTES - 1)
        kind = rng.randrange(8)
        if kind < 2:
            at = rng.randrange(self.near)
        elif kind < 4:
            at = rng.randrange(self.near) // PAGE * PAGE
        elif kind == 4:
            at = rng.randrange(self.near) // BORDER * BORDER + rng.randrange(-20, 20)
        elif kind == 5:
            at = rng.randrange(self.near) // MIB * MIB + rng.randrange(-PAGE, PAGE)
        else:
            at = size + rng.randrange(-2 * PAGE, PAGE)
        return min(max(0, at), self.near - 1) if at < FAR else min(at, FAR + FAR_BYTES - 1)

    def length(self):
        rng = self.rng
        kind = rng.randrange(20)
        if kind < 5:
            return rng.randrange(1, 64)
        if kind < 10:
            return rng.randrange(1, PAGE)
        if kind < 14:
            return rng.randrange(1, 5) * PAGE
        if kind < 18:
            return rng.randrange(1, 20_000)
        return rng.randrange(1, 200_000) if kind < 19 or rng.randrange(5) else rng.randrange(1, MIB)

    def range(self, aligned=False):
        """Within what the copy holds."""
        start, length = self.offset(), self.length()
        last = self.near if start < self.near else FAR + FAR_BYTES
        if aligned:
            start, length, last = start // PAGE * PAGE, (length + PAGE - 1) // PAGE * PAGE, last // PAGE * PAGE
            start = start if start < self.near else max(start, (FAR + PAGE) // PAGE * PAGE)
        return start, max(start, min(start + length, last))

    def below_size(self):
        """A range that was below the size just now: to be looked at again when it is locked."""
        size = self.copy.size
        start, end = self.range()
        if start >= size:
            start = self.rng.randrange(size + 1) if size <= self.near else start % self.near
            end = start + self.length()
        return start, min(end, size, self.near if start < self.near else FAR + FAR_BYTES)

    def data(self, start, end):
        kind = self.rng.randrange(20)
        if kind == 0:
            return bytes(end - start)
        if kind == 1:
            return self.rng.randbytes(end - start)
        return stamped(self.operation, self.number, start, end - start)

    def note(self, *what):
        self.last.append((self.operation, *what))

    # Operations.

    def read(self):
        start, end = self.range()
        if start >= FAR and self.rng.randrange(2):
            start, end = self.near + start - FAR, self.near + end - FAR
        self.note('pread', start, end)
        with self.locked(start, end):
            expect_equal(start, self.copy.read(start, end), os.pread(self.fd, end - start, start))

    def read_direct(self):
        start, end = self.range(aligned=True)
        self.note('pread O_DIRECT', start, end)
        with self.locked(start, end):
            count = os.preadv(self.direct_fd, [memoryview(self.buffer)[:end - start]], start)
            expect_equal(start, self.copy.read(start, end), self.buffer[:count])

    def map(self, start, end, flags):
        """A mapping of these bytes, and where in it they begin."""
        begin = start // PAGE * PAGE
        return mmap.mmap(self.fd, end - begin, flags, mmap.PROT_READ | mmap.PROT_WRITE, offset=begin), start - begin

    def shared(self, start, end):
        """The same; mostly of the mapping that is kept from operation to operation."""
        if end <= self.near and self.rng.randrange(4):
            if self.mapping is None or end > len(self.mapping):
                self.mapping = mmap.mmap(self.fd, 0)
            return self.mapping, start
        return self.map(start, end, mmap.MAP_SHARED)

    def read_mapped(self):
        start, end = self.below_size()
        self.note('read mapped', start, end)
        with self.locked(start, end):
            if start < end <= self.copy.size:
                mapped, at = self.shared(start, end)
                expect_equal(start, self.copy.read(start, end), mapped[at:at + end - start])

    def read_private(self):
        start, end = self.below_size()
        self.note('read mapped MAP_PRIVATE', start, end)
        with self.locked(start, end):
            if start < end <= self.copy.size:
                mapped, at = self.map(start, end, mmap.MAP_PRIVATE)
                expected = self.copy.read(start, end)
                expect_equal(start, expected, mapped[at:at + end - start])
                mapped[at:at + end - start] = b'P' * (end - start)
                expect_equal(start, expected, os.pread(self.fd, end - start, start))

    def write(self):
        start, end = self.range()
        data = self.data(start, end)
        self.note('pwrite', start, end)
        with self.changing(start, end):
            self.all_written(os.pwrite(self.fd, data, start), data)
            self.copy.write(start, data)

    def write_direct(self):
        start, end = self.range(aligned=True)
        if start == end:
            return
        data = self.data(start, end)
        self.note('pwrite O_DIRECT', start, end)
        self.buffer[:len(data)] = data
        with self.changing(start, end):
            self.all_written(os.pwritev(self.direct_fd, [memoryview(self.buffer)[:len(data)]], start), data)
            self.copy.write(start, data)

    def all_written(self, count, data):
        if count != len(data):
            raise Difference(f'{count} bytes written, not {len(data)}')

    def append(self):
        size = self.copy.size
        start, end = size, size + self.length()
        if end > (self.near if size <= self.near else FAR + FAR_BYTES):
            return
        data = self.data(start, end)
        self.note('append', start, end)
        with self.changing(start, end):
            if self.copy.size == size:
                self.all_written(os.write(self.append_fd, data), data)
                self.copy.write(start, data)

    def write_mapped(self):
        start, end = self.below_size()
        data = self.data(start, end) if start < end else b''
        sync = self.rng.randrange(5) == 0
        self.note('write mapped', start, end, 'msync' if sync else '')
        with self.locked(start, end, fcntl.LOCK_EX):
            if start < end <= self.copy.size:
                mapped, at = self.shared(start, end)
                mapped[at:at + len(data)] = data
                self.copy.write(start, data)
                if sync:
                    mapped.flush(at // PAGE * PAGE, at % PAGE + len(data))

    def truncate(self):
        size = self.new_size()
        how = self.rng.randrange(10)
        self.note('truncate', size, ('O_TRUNC', 'by path')[how] if how < 2 else '')
        size = 0 if how == 0 else size
        with self.changing(size, size, size):
            if how == 0:
                os.close(os.open(self.path, os.O_RDWR | os.O_TRUNC))
            elif how == 1:
                os.truncate(self.path, size)
            else:
                os.ftruncate(self.fd, size)
            self.copy.set_size(size)

    def new_size(self):
        rng = self.rng
        if rng.randrange(3):
            return self.offset()
        return rng.randrange(min(self.near, rng.choice((300, 20_000, 200_000))))

    def fallocate(self):
        start, end = self.range()
        mode = self.rng.choice((0, KEEP_SIZE, PUNCH_HOLE | KEEP_SIZE, PUNCH_HOLE | KEEP_SIZE, ZERO_RANGE, ZERO_RANGE | KEEP_SIZE))
        self.note('fallocate', start, end, mode)
        grows = mode & KEEP_SIZE == 0
        pages = start // PAGE * PAGE, (end + PAGE - 1) // PAGE * PAGE
        with self.changing(*pages) if grows else self.locked(*pages, fcntl.LOCK_EX):
            self.clean(*pages)
            call('fallocate', self.fd, mode, start, end - start)
            if mode & (PUNCH_HOLE | ZERO_RANGE):
                self.copy.zero(start, end)
            if grows and end > self.copy.size:
                self.copy.set_size(end)

    def copy_within(self):
        source, _ = self.below_size()
        start, end = self.range()
        length = end - start
        if source < end and start < source + length:
            return
        self.note('copy_file_range', source, source + length, 'to', start)
        with self.locked_in_order(source, start, end):
            data = self.copy.read(source, source + length)
            if data and start + len(data) <= self.copy.size:
                self.all_written(self.copy_range(self.fd, source, start, len(data)), data)
                self.copy.write(start, data)

    @contextlib.contextmanager
    def locked_in_order(self, source, start, end):
        """One range to read and one to write; all lock the first of two first."""
        ranges = sorted([(source, source + end - start, fcntl.LOCK_SH), (start, end, fcntl.LOCK_EX)])
        with self.locked(*ranges[0]), self.locked(*ranges[1]):
            yield

    def copy_other(self):
        start, end = self.range()
        source = self.rng.randrange(MIB - (end - start) + 1)
        self.note('copy_file_range from another', source, 'to', start, end)
        with self.changing(start, end):
            data = INITIAL[source:source + end - start]
            self.all_written(self.copy_range(self.other, source, start, len(data)), data)
            self.copy.write(start, data)

    def copy_range(self, fd, source, start, length):
        done = 0
        while done < length:
            count = os.copy_file_range(fd, self.fd, length - done, source + done, start + done)
            if count == 0:
                break
            done += count
        return done

    def seek(self):
        start, _ = self.range()
        self.note('lseek', start)
        # What others write into the same page would make data of all of it.
        with self.locked(start // PAGE * PAGE, END):
            # What is only in a mapping's pages is no data yet for a file system that cannot look at them.
            os.fdatasync(self.fd)
            size = self.copy.size
            data = self.seek_to(start, os.SEEK_DATA, size)
            if not self.copy.is_zero(start, data):
                raise Difference(f'no data from {start} to {data}')
            hole = self.seek_to(start, os.SEEK_HOLE, size)
            after = self.seek_to(hole, os.SEEK_DATA, size)
            if hole < size and (after <= hole or not self.copy.is_zero(hole, after)):
                raise Difference(f'a hole from {hole} to {after}, looking from {start}')

    def seek_to(self, start, whence, size):
        try:
            return os.lseek(self.fd, start, whence)
        except OSError as error:
            if error.errno != errno.ENXIO or (whence == os.SEEK_HOLE and start < size):
                raise
            return max(start, size)

    def size(self):
        self.note('stat')
        with self.locked(self.copy.size, END):
            sizes = {os.fstat(self.fd).st_size, os.stat(self.path).st_size, os.lseek(self.fd, 0, os.SEEK_END)}
            if sizes != {self.copy.size}:
                raise Difference(f'sizes {sizes}, not {self.copy.size}')

    def sync(self):
        if self.rng.randrange(2) and self.mapping is not None:
            self.note('msync')
            self.mapping.flush()
        else:
            self.note('fsync')
            self.rng.choice((os.fsync, os.fdatasync))(self.fd)

    def forget(self):
        """What is read next comes from the file system, not from the kernel's pages, unless they are dirty."""
        start, end = self.rng.choice((self.range(), (0, 0)))
        self.note('DONTNEED', start, end)
        os.posix_fadvise(self.fd, start, end - start, os.POSIX_FADV_DONTNEED)

    def reopen(self):
        self.note('open')
        with self.locked(0, 1):
            self.open()

    def renew(self):
        """A new file gets the name: what is written first to a file goes other ways than what comes later."""
        if self.options.begin is not None:
            return
        removes = self.rng.randrange(2)
        self.note('unlink, create' if removes else 'rename')
        with self.locked(0, END, fcntl.LOCK_EX):
            if removes:
                os.unlink(self.path)
                make(self.path, 0)
            else:
                make(f'{self.path}.next', 0)
                os.rename(f'{self.path}.next', self.path)
            self.copy.next_generation()
            self.open()

    def drop_caches(self):
        if os.geteuid() == 0:
            self.note('drop_caches')
            self.reopen()
            with open(DROP_CACHES, 'w') as file:
                file.write('3')

    WEIGHTS = {
        read: 200, read_direct: 30, read_mapped: 100, read_private: 30, write: 160, write_direct: 40, append: 60, write_mapped: 140,
        truncate: 60, fallocate: 60, copy_within: 20, copy_other: 20, seek: 10, size: 20, sync: 6, forget: 50, reopen: 10, renew: 5,
    }
    DROPS_IN_OPERATIONS = 20_000

    def work(self, control):
        operations, cumulated = list(self.WEIGHTS), []
        for weight in self.WEIGHTS.values():
            cumulated.append(weight + (cumulated[-1] if cumulated else 0))
        count = self.options.operations // self.options.processes
        self.reopen()
        while not control[Control.FAILED] and (self.operation < count or control[Control.HELD]):
            self.operation += 1
            if control[Control.PAUSED]:
                with self.locked(DOOR, DOOR + 1):
                    pass
            if self.rng.randrange(self.DROPS_IN_OPERATIONS) == 0:
                self.drop_caches()
            operation = self.rng.choices(operations, cum_weights=cumulated)[0]
            self.counts[operation.__name__] += 1
            operation(self)


class Control:
    """What all processes look at before each operation."""

    PAUSED, HELD, FAILED = range(3)

    def __init__(self):
        self.flags = mmap.mmap(-1, 3)

    def __getitem__(self, flag):
        return self.flags[flag] == 1

    def __setitem__(self, flag, value):
        self.flags[flag] = int(value)


def report(worker, what):
    options = worker.options
    print(
        f'process {worker.number} of --processes {options.processes} --operations {options.operations} --seed {options.seed} '
        f'--size {options.size} in operation {worker.operation}: {what}',
        *(f'    {line}' for line in worker.last), sep='\n', file=sys.stderr, flush=True,
    )


def work(path, state, number, options, control, results):
    """One process, to its end."""
    worker = Worker(path, state, number, options)
    try:
        worker.work(control)
    except (Difference, OSError) as error:
        control[Control.FAILED] = True
        report(worker, error)
        return 1
    if control[Control.FAILED]:
        report(worker, 'stopped')
    os.write(results, json.dumps(worker.counts).encode() + b'\n')
    return 0


class Commands:
    """Standard input, while the processes work."""

    def __init__(self, state, control):
        self.state, self.control = state, control
        self.control[Control.HELD] = True
        self.locks = os.open(f'{state}/locks', os.O_RDWR)
        if select.select([0], [], [], 0)[0]:
            self.take()

    def take(self):
        """Waits for the next ones."""
        data = os.read(0, 1000)
        for command in data.splitlines():
            if command == b'pause':
                self.pause()
            elif command == b'go':
                self.control[Control.PAUSED] = False
                fcntl.lockf(self.locks, fcntl.LOCK_UN)
        if data == b'':
            self.control[Control.HELD] = False

    def pause(self):
        fcntl.lockf(self.locks, fcntl.LOCK_EX, 1, DOOR)
        self.control[Control.PAUSED] = True
        fcntl.lockf(self.locks, fcntl.LOCK_EX, LOCK_MAX)
        shutil.copyfile(f'{self.state}/copy', f'{self.state}/paused')
        print('paused', flush=True)


def run(path, state, options):
    begin(path, state, options)
    control = Control()
    commands = Commands(state, control)
    results, results_out = os.pipe()
    children = []
    for number in range(1, options.processes + 1):
        child = os.fork()
        if child == 0:
            os._exit(work(path, state, number, options, control, results_out))
        children.append(child)
    os.close(results_out)
    counts = collections.Counter()
    for line in lines_until_end(results, commands, control):
        counts.update(json.loads(line))
    if any([os.waitpid(child, 0)[1] for child in children]):
        return 1
    print(json.dumps({'operations': counts.total(), 'kinds': counts}))
    return check(path, f'{state}/copy')


def begin(path, state, options):
    os.makedirs(state, exist_ok=True)
    os.close(os.open(f'{state}/locks', os.O_CREAT | os.O_RDWR, 0o600))
    copy = Copy(f'{state}/copy', options.size)
    if options.begin is not None:
        with open(options.begin, 'rb') as file:
            copy.write(0, file.read())
    else:
        make(path, 0)
    if not os.path.exists(f'{path}.other'):
        make(f'{path}.other', MIB)


def lines_until_end(results, commands, control):
    """What the processes write, until the last of them ends."""
    written = b''
    while True:
        readable, _, _ = select.select([results, 0] if control[Control.HELD] else [results], [], [])
        if 0 in readable:
            commands.take()
        if results in readable:
            data = os.read(results, 65536)
            written += data
            if data == b'':
                return written.splitlines()


def check(path, copy):
    copy = Copy(copy)
    with open(path, 'rb', buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        size = os.fstat(file.fileno()).st_size
        try:
            if size != copy.size:
                raise Difference(f'{size} bytes, not {copy.size}')
            for start, end, _ in copy.windows:
                # Some of the hole as well.
                for at in range(start, min(end + MIB, copy.size), MIB):
                    expect_equal(at, copy.read(at, at + MIB), os.pread(file.fileno(), MIB, at))
        except Difference as error:
            print(f'{path}: {error}', file=sys.stderr)
            return 1
    return 0


def make(path, length):
    with open(path, 'wb') as file:
        for at in range(0, length, MIB):
            file.write(INITIAL[:length - at])


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument('command', choices=('make', 'run', 'check'))
    parser.add_argument('file')
    parser.add_argument('other', help='bytes, state folder, or copy')
    parser.add_argument('--operations', type=int, default=10_000, help='of all processes together')
    parser.add_argument('--processes', type=int, default=1)
    parser.add_argument('--seed', type=int, default=random.randrange(1_000_000))
    parser.add_argument('--size', type=int, default=8 * MIB)
    parser.add_argument('--begin')
    return parser.parse_args()


given = arguments()
if given.command == 'make':
    make(given.file, int(given.other))
elif given.command == 'run':
    sys.exit(run(given.file, given.other, given))
else:
    sys.exit(check(given.file, given.other))
