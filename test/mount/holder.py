"""Has files without a name open: `python3 holder.py <folder>`. Reads commands, a line each, and answers each with a line: `open <kibibytes> <name>...`
makes some, `nameless <kibibytes> <name>...` makes some that never had a name, `check <name>...` reads them, changes a page and reads that, `close
<name>...`."""
import os, random, sys

PAGE = 4096
files = {}


def filled(fd, kibibytes):
    content = bytearray(random.randbytes(int(kibibytes) << 10))
    assert os.pwrite(fd, content, 0) == len(content)
    return [fd, content]


def open_removed(folder, kibibytes, *names):
    for name in names:
        path = f'{folder}/{name}'
        files[name] = filled(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL), kibibytes)
        os.unlink(path)


def open_nameless(folder, kibibytes, *names):
    for name in names:
        files[name] = filled(os.open(folder, os.O_TMPFILE | os.O_RDWR), kibibytes)


def check(_, *names):
    for name in names:
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


def close(_, *names):
    for name in names:
        os.close(files.pop(name)[0])


COMMANDS = {'open': open_removed, 'nameless': open_nameless, 'check': check, 'close': close}
for line in sys.stdin:
    command, *arguments = line.split()
    COMMANDS[command](sys.argv[1], *arguments)
    print('done', flush=True)
