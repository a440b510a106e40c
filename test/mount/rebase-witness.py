"""Knows a whole tree, holds some of it open and mapped, and looks again when it is told that the mount has moved to another version.

rebase-witness.py <mount> <ready file> <go file>
"""

import errno
import mmap
import os
import sys
import time

mount, ready, go = sys.argv[1:]


def path(name):
    return os.path.join(mount, name)


def absent(name):
    try:
        os.stat(path(name))
    except FileNotFoundError:
        return True
    return False


def check(what, holds):
    if not holds:
        sys.exit(f"not so: {what}")


# All names and attributes, all pages, and absences, which are kept for ever.
for folder, _, files in os.walk(mount):
    for name in files:
        with open(os.path.join(folder, name), "rb") as file:
            file.read()
for name in ["new", "second-name", "elsewhere", "elsewhere/large"]:
    check(f"{name} is not there yet", absent(name))
removed = open(path("removed-by-them"), "r+b", buffering=0)
inside = os.open(path("gone"), os.O_RDONLY | os.O_DIRECTORY)
large = open(path("dir/large"), "rb")
size = os.fstat(large.fileno()).st_size
mapped = mmap.mmap(large.fileno(), 0, prot=mmap.PROT_READ)
check("the mapped file is the old one", mapped[:1] == b"x")
kept = os.stat(path("dir"))

open(ready, "w").close()
while not os.path.exists(go):
    time.sleep(0.01)

with open(path("theirs.txt")) as file:
    check("a changed file has the new content", file.read() == "theirs\n")
check("its size is the new one", os.stat(path("theirs.txt")).st_size == 7)
check("a removed file is gone", absent("removed-by-them"))
check("it is gone from the listing", "removed-by-them" not in os.listdir(mount))
check("a new folder is there", os.path.isdir(path("new")) and "new" in os.listdir(mount))
check("a moved folder is at its new place", os.stat(path("elsewhere")).st_ino == kept.st_ino)
check("and not at its old one", absent("dir"))
check("a second name is the same file", os.stat(path("second-name")).st_ino == os.stat(path("ours.txt")).st_ino)
check("and counted", os.stat(path("ours.txt")).st_nlink == 2)

# What was removed is still there for who has it open, as on any file system.
check("an open file without a name is readable", removed.read() == b"base")
removed.write(b" and more")
check("and writable", os.pread(removed.fileno(), 100, 0) == b"base and more")
check("it has no name", os.fstat(removed.fileno()).st_nlink == 0)
check("a removed folder is empty", os.listdir(inside) == [])
try:
    os.close(os.open("new", os.O_CREAT | os.O_WRONLY, dir_fd=inside))
    sys.exit("a file was made in a folder that is not there")
except OSError as error:
    check("nothing can be made in it", error.errno == errno.ENOENT)

# Who had the changed file open reads what it has become.
check("an open file has grown", os.fstat(large.fileno()).st_size == size + 2)
check("its new end can be read", os.pread(large.fileno(), 10, size) == b"+\n")
check("a mapping goes on", mapped[size - 1 : size] == b"x")
