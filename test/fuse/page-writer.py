"""Writes to every file of a mount through a shared mapping, page by page, and prints how many of those pages do not hold what was written."""
import mmap, os, sys

folder, files, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
lost = 0
for n in range(files):
    fd = os.open(f'{folder}/file-{n}', os.O_RDWR)
    mapped = mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    for at in range(0, size, 4096):
        mapped[at:at + 4096] = b'B' * 4096
    for _ in range(50):
        os.sched_yield()
    lost += sum(mapped[at:at + 4096] != b'B' * 4096 for at in range(0, size, 4096))
    os.close(fd)
print(lost)
