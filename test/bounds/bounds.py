"""What the tests of bounds do to a tree, each in a process that can be killed: bounds.py <task> <arguments>. Prints one JSON document."""

import json
import os
import random
import resource
import stat
import subprocess
import sys

MIB = 1024 * 1024
EMPTY = b''


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def measured(peak_file, *command):
    """Runs a command; the peak of its memory goes into a file, in bytes."""
    code = subprocess.call(command)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    with open(peak_file, 'w') as file:
        file.write(str(peak))
    sys.exit(code)


# One immense file.


def stretches(size, real):
    """Where a file of `size` bytes has bytes: a long stretch of `real` in its middle, and some of odd places and lengths."""
    middle = size // 2 + 4097
    yield 0, 1
    yield 4095, 2
    yield size // 7 - 3, MIB
    at = middle
    while at < middle + real:
        yield at, MIB
        at += MIB
    yield size - 70_000, 70_000


def bytes_at(at, length):
    return random.Random(at).randbytes(length)


def write_large(path, size, real):
    size, real = int(size), int(real)
    with open(path, 'wb', buffering=0) as file:
        os.ftruncate(file.fileno(), size)
        for at, length in stretches(size, real):
            check(os.pwrite(file.fileno(), bytes_at(at, length), at) == length, at)
        os.fsync(file.fileno())
    return {}


def check_large(path, size, real):
    size, real = int(size), int(real)
    with open(path, 'rb', buffering=0) as file:
        fd = file.fileno()
        check(os.fstat(fd).st_size == size, os.fstat(fd).st_size)
        end = 0
        for at, length in stretches(size, real):
            check(os.pread(fd, length, at) == bytes_at(at, length), f'{length} bytes at {at}')
            for zeros_at in (end, (end + at) // 2, at - 5):
                room = min(at - zeros_at, 10_000)
                if zeros_at >= end and room > 0:
                    check(os.pread(fd, room, zeros_at) == bytes(room), f'zeros at {zeros_at}')
            end = at + length
        check(os.pread(fd, 100, size) == EMPTY, 'nothing behind the end')
        return {'stored': os.fstat(fd).st_blocks * 512}


# Many files in one folder.


def make_files(folder, count):
    os.makedirs(folder, exist_ok=True)
    fd = os.open(folder, os.O_RDONLY)
    for number in range(int(count)):
        file = os.open(f'file-{number:07}', os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=fd)
        if number % 100 == 0:
            os.write(file, b'%d' % number)
        os.close(file)
    return {}


def check_files(folder, count, *more):
    """Each is listed once, whether looked up or not, and some are read. `more`: names that are there as well."""
    count = int(count)
    wanted = {f'file-{number:07}' for number in range(count)} | set(more)
    seen = 0
    for entry in os.scandir(folder):
        check(entry.name in wanted, f'{entry.name} twice or unknown')
        wanted.discard(entry.name)
        seen += 1
    check(not wanted, f'{len(wanted)} are missing, {sorted(wanted)[:3]}')
    for number in random.Random(1).sample(range(count), 500):
        status = os.stat(f'{folder}/file-{number:07}')
        check(stat.S_ISREG(status.st_mode), number)
    for number in range(0, count, count // 50):
        number -= number % 100
        check(open(f'{folder}/file-{number:07}', 'rb').read().startswith(b'%d' % number), number)
    check(not os.path.exists(f'{folder}/file-none'), 'an absent name')
    return {'seen': seen}


def change_files(folder, count):
    """One made, one removed, ten changed."""
    count = int(count)
    open(f'{folder}/made', 'w').close()
    open(f'{folder}/made-and-removed', 'w').close()
    os.unlink(f'{folder}/made-and-removed')
    for number in range(0, count, count // 10):
        number -= number % 100
        with open(f'{folder}/file-{number:07}', 'a') as file:
            file.write(' changed')
    return {}


# Folders within folders.


def make_deep(base, depth, name):
    os.makedirs(base, exist_ok=True)
    fd = os.open(base, os.O_RDONLY)
    for _ in range(int(depth)):
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
    file = os.open('leaf', os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=fd)
    os.write(file, b'deep down')
    os.symlink('leaf', 'link', dir_fd=fd)
    return {}


def check_deep(base, depth, name):
    fd = os.open(base, os.O_RDONLY)
    for level in range(int(depth)):
        check(os.listdir(fd) == [name], f'{os.listdir(fd)} at {level}')
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
    check(sorted(os.listdir(fd)) == ['leaf', 'link'], os.listdir(fd))
    check(os.read(os.open('link', os.O_RDONLY, dir_fd=fd), 100) == b'deep down', 'its content')
    for _ in range(int(depth)):
        above = os.open('..', os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = above
    check(os.fstat(fd).st_ino == os.stat(base).st_ino, 'the way up')
    return {}


# Open files.


def open_files(folder, count):
    """`count` open at once, every other without a name; all are written and read back by their descriptors."""
    count = int(count)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    check(hard == resource.RLIM_INFINITY or hard > count + 100, f'{hard} descriptors are allowed')
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.mkdir(folder)
    fds = []
    for number in range(count):
        fd = os.open(f'{folder}/{number}', os.O_CREAT | os.O_RDWR, 0o600)
        if number % 2 == 1:
            os.unlink(f'{folder}/{number}')
        fds.append(fd)
    for number, fd in enumerate(fds):
        os.pwrite(fd, b'content of %d' % number, number)
    for number, fd in enumerate(fds):
        check(os.pread(fd, 100, number) == b'content of %d' % number, number)
        check(os.fstat(fd).st_nlink == 1 - number % 2, f'links of {number}')
    check(len(os.listdir(folder)) == count - count // 2, 'names')
    for fd in fds:
        os.close(fd)
    return {}


# Attributes, names, links.


def attribute(file, number):
    return b'%d of %d' % (number, file) * (1 + number % 5)


def make_xattrs(folder, files, names):
    os.makedirs(folder, exist_ok=True)
    for file in range(int(files)):
        path = f'{folder}/{file}'
        open(path, 'w').close()
        for number in range(int(names)):
            os.setxattr(path, f'user.name-{number}', attribute(file, number))
    return {}


def check_xattrs(folder, files, names):
    for file in range(int(files)):
        path = f'{folder}/{file}'
        check(len(os.listxattr(path)) == int(names), f'names of {file}')
        for number in range(int(names)):
            check(os.getxattr(path, f'user.name-{number}') == attribute(file, number), (file, number))
    return {}


def all_names():
    """255 bytes of each value a name may have, and names of one of each."""
    for value in range(1, 256):
        if value != 0x2F:
            yield bytes([value]) * 255
            if value != 0x2E:
                yield bytes([value])
    yield bytes(value for value in range(1, 256) if value != 0x2F)


def make_names(folder):
    folder = os.fsencode(folder)
    os.makedirs(folder, exist_ok=True)
    for name in all_names():
        with open(folder + b'/' + name, 'wb') as file:
            file.write(name)
    return {}


def check_names(folder):
    folder = os.fsencode(folder)
    check(sorted(os.listdir(folder)) == sorted(all_names()), 'listed')
    for name in all_names():
        with open(folder + b'/' + name, 'rb') as file:
            check(file.read() == name, name)
    return {}


def make_links(folder, count):
    os.makedirs(folder, exist_ok=True)
    with open(f'{folder}/link-0', 'w') as file:
        file.write('one content')
    for number in range(1, int(count)):
        os.link(f'{folder}/link-0', f'{folder}/link-{number}')
    return {}


def check_links(folder, count):
    first = os.stat(f'{folder}/link-0')
    check(first.st_nlink == int(count), first.st_nlink)
    check(len(os.listdir(folder)) == int(count), 'names')
    for number in range(0, int(count), 97):
        check(os.stat(f'{folder}/link-{number}').st_ino == first.st_ino, number)
    check(open(f'{folder}/link-{int(count) - 1}').read() == 'one content', 'content')
    return {}


def remove_links(folder, count):
    """All but the last, through which the content stays."""
    for number in range(int(count) - 1):
        os.unlink(f'{folder}/link-{number}')
    check(os.stat(f'{folder}/link-{int(count) - 1}').st_nlink == 1, 'the last')
    check(open(f'{folder}/link-{int(count) - 1}').read() == 'one content', 'content')
    return {}


def write_when_told(folder):
    """For each line that comes, writes it to a file of its own and one more, and answers with a line."""
    for line in sys.stdin:
        number = int(line)
        with open(f'{folder}/{number % 37}', 'w') as file:
            file.write(f'version {number}\n')
        with open(f'{folder}/history', 'a') as file:
            file.write(f'{number}\n')
        print(number, flush=True)
    return {}


if __name__ == '__main__':
    _, task, *arguments = sys.argv
    print(json.dumps(globals()[task](*arguments)))
