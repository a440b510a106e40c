"""Has files without a name open: `python3 holder.py <folder>`. Reads commands, a line each, and answers each with a line: `open <name> <mebibytes>`
makes one, `nameless <name> <mebibytes>` makes one that never had a name, `check <name>` reads it, changes a page and reads that, `close <name>`."""
import os, random, sys

PAGE = 4096
files = {}


def filled(fd, mebibytes):
    content = bytearray(random.randbytes(mebibytes << 20))
    assert os.pwrite(fd, content, 0) == len(content)
    return [fd, content]


def open_one(folder, name, mebibytes):
    path = f'{folder}/{name}'
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    files[name] = filled(fd, int(mebibytes))
    os.unlink(path)


def open_nameless(folder, name, mebibytes):
    files[name] = filled(os.open(folder, os.O_TMPFILE | os.O_RDWR), int(mebibytes))


def check(_, name):
    fd, content = files[name]
    assert os.fstat(fd).st_size == len(content), f'{name}: {os.fstat(fd).st_size}'
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    again = os.open(f'/proc/self/fd/{fd}', os.O_RDWR)
    assert os.pread(again, len(content) + 1, 0) == bytes(content), name
    os.close(again)
    at = random.randrange(max(1, len(content) // PAGE)) * PAGE
    page = random.randbytes(PAGE)
    assert os.pwrite(fd, page, at) == PAGE
    content[at : at + PAGE] = page
    assert os.pread(fd, PAGE, at) == page, name


def close(_, name):
    os.close(files.pop(name)[0])


COMMANDS = {'open': open_one, 'nameless': open_nameless, 'check': check, 'close': close}
for line in sys.stdin:
    command, *arguments = line.split()
    COMMANDS[command](sys.argv[1], *arguments)
    print('done', flush=True)
