"""Readers and writers of one tree at once: scanners that list and read directory after directory, writers that change files where a scanner is.

    feeder-stress.py make <tree> <directories> <files in each>
    feeder-stress.py run <mount> <result folder> <seconds> <seed>   prints what was found wrong, as a JSON list
    feeder-stress.py check <mount> <result folder>                  compares with what the writers left behind

Each writer has files of its own, so it knows what must be in them; every fourth file is nobody's.
"""
import hashlib, json, mmap, multiprocessing, os, random, sys, time

WRITERS = 3
SCANNERS = 2
PAGE = 4096


def initial(name):
    """The bytes a file begins with: of its name."""
    seed = hashlib.sha256(name.encode()).digest()
    size = int.from_bytes(seed[:4], 'little') % (5 * PAGE)
    if seed[4] < 20:
        size *= 5
    return (seed * (size // 32 + 1))[:size]


def owner(name):
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[8:10], 'little') % (WRITERS + 1)


def tree(root):
    return sorted(f'{d.name}/{f.name}' for d in os.scandir(root) if d.is_dir() for f in os.scandir(d.path))


def make(root, directories, files):
    for d in range(directories):
        os.makedirs(f'{root}/d{d:03}')
        for f in range(files):
            name = f'd{d:03}/f{f:03}'
            with open(f'{root}/{name}', 'wb') as out:
                out.write(initial(name))


def read(path):
    with open(path, 'rb') as file:
        return file.read()


class Writer:
    def __init__(self, root, names, rng):
        self.root, self.rng = root, rng
        self.model = {name: initial(name) for name in names}
        self.wrong = []
        self.mappings = []

    def bytes(self, count):
        return bytes([self.rng.randrange(1, 256)]) * count

    def change(self, name):
        old = self.model[name]
        path = f'{self.root}/{name}'
        how = self.rng.choice(['page', 'page', 'part', 'map', 'map', 'map', 'truncate', 'rewrite', 'append'])
        size = len(old)
        if how in ('page', 'map') and size == 0:
            how = 'append'
        if how == 'page':
            at = self.rng.randrange(0, size) // PAGE * PAGE
            data = self.bytes(PAGE)
            self.pwrite(path, data, at)
            new = old[:at].ljust(at, b'\0') + data + old[at + PAGE:]
        elif how == 'part':
            at = self.rng.randrange(0, size + 1)
            data = self.bytes(self.rng.randrange(1, 3000))
            self.pwrite(path, data, at)
            new = old[:at] + data + old[at + len(data):]
        elif how == 'map':
            new = self.write_mapped(path, old)
        elif how == 'truncate':
            to = self.rng.choice([0, self.rng.randrange(0, size + 1), self.rng.randrange(0, 3 * PAGE)])
            os.truncate(path, to)
            new = old[:to].ljust(to, b'\0')
        elif how == 'rewrite':
            new = self.bytes(self.rng.randrange(0, 3 * PAGE))
            with open(path, 'wb') as file:
                file.write(new)
        else:
            data = self.bytes(self.rng.randrange(1, PAGE))
            with open(path, 'ab') as file:
                file.write(data)
            new = old + data
        self.model[name] = new
        self.expect(name, how)

    def pwrite(self, path, data, at):
        fd = os.open(path, os.O_WRONLY)
        os.pwrite(fd, data, at)
        os.close(fd)

    def write_mapped(self, path, old):
        fd = os.open(path, os.O_RDWR)
        mapped = mmap.mmap(fd, len(old), mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        os.close(fd)
        new = bytearray(old)
        for at in range(0, len(old), PAGE):
            if self.rng.random() < 0.3:
                continue
            end = min(at + PAGE, len(old))
            mapped[at:end] = new[at:end] = self.bytes(end - at)
        self.mappings.append((path, mapped, bytes(new)))
        return bytes(new)

    def check_mapping(self):
        """Files stay mapped for a while: what is in memory must stay what was written."""
        if len(self.mappings) < 5:
            return
        path, mapped, expected = self.mappings.pop(0)
        if self.model[path[len(self.root) + 1:]] == expected and mapped[:] != expected:
            self.wrong.append(f'{path}: a mapping lost what was written')
        mapped.close()

    def expect(self, name, how):
        got = read(f'{self.root}/{name}')
        if got != self.model[name]:
            at = next((i for i, (a, b) in enumerate(zip(got, self.model[name])) if a != b), min(len(got), len(self.model[name])))
            self.wrong.append(f'{name} after {how}: {len(got)} bytes for {len(self.model[name])}, different at {at}')
            self.model[name] = got


def write(root, names, result, seed, until, scanned):
    rng = random.Random(seed)
    writer = Writer(root, names, rng)
    by_directory = {}
    for name in names:
        by_directory.setdefault(int(name[1:4]), []).append(name)
    while time.monotonic() < until:
        near = by_directory.get(scanned[rng.randrange(SCANNERS)])
        name = rng.choice(near if near and rng.random() < 0.8 else names)
        writer.check_mapping()
        writer.change(name)
        if rng.random() < 0.3:
            writer.expect(rng.choice(names), 'nothing')
    for name in names:
        writer.expect(name, 'everything')
    left = {name: hashlib.sha256(content).hexdigest() for name, content in writer.model.items()}
    with open(f'{result}/{seed}.json', 'w') as out:
        json.dump({'left': left, 'wrong': writer.wrong}, out)


def scan(root, result, seed, until, scanned, which):
    rng = random.Random(seed)
    wrong = []
    directories = sorted(entry.name for entry in os.scandir(root))
    while time.monotonic() < until:
        backwards = rng.random() < 0.5
        for directory in directories:
            if time.monotonic() > until:
                break
            scanned[which] = int(directory[1:])
            names = [f'{directory}/{entry.name}' for entry in os.scandir(f'{root}/{directory}')]
            for name in reversed(names) if backwards else names:
                got = read(f'{root}/{name}')
                if owner(name) == WRITERS and got != initial(name):
                    wrong.append(f'{name}: a scanner read something else')
    with open(f'{result}/scan-{seed}.json', 'w') as out:
        json.dump({'left': {}, 'wrong': wrong}, out)


def drop_caches(until):
    """So that the kernel learns of the inodes anew, and they can be pushed again. Root only."""
    while time.monotonic() < until:
        with open('/proc/sys/vm/drop_caches', 'w') as file:
            file.write('3')
        time.sleep(0.5)


def run(root, result, seconds, seed):
    until = time.monotonic() + seconds
    names = tree(root)
    scanned = multiprocessing.Array('i', SCANNERS)
    workers = [
        multiprocessing.Process(
            target=write, args=(root, [n for n in names if owner(n) == w], result, seed * 100 + w, until, scanned)
        )
        for w in range(WRITERS)
    ]
    workers += [
        multiprocessing.Process(target=scan, args=(root, result, seed * 100 + 50 + s, until, scanned, s))
        for s in range(SCANNERS)
    ]
    if os.geteuid() == 0:
        workers.append(multiprocessing.Process(target=drop_caches, args=(until,)))
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print(json.dumps([f'{worker.name} ended with {worker.exitcode}' for worker in workers if worker.exitcode] + wrong(result)))


def results(result):
    return [json.loads(read(f'{result}/{name}')) for name in sorted(os.listdir(result))]


def wrong(result):
    return [one for each in results(result) for one in each['wrong']]


def check(root, result):
    left = {name: digest for each in results(result) for name, digest in each['left'].items()}
    found = []
    for name in tree(root):
        content = read(f'{root}/{name}')
        expected = left.pop(name, None) or hashlib.sha256(initial(name)).hexdigest()
        if hashlib.sha256(content).hexdigest() != expected:
            found.append(f'{name}: {len(content)} bytes that nobody left there')
    print(json.dumps(found + [f'{name} is missing' for name in left]))


command, *args = sys.argv[1:]
if command == 'make':
    make(args[0], int(args[1]), int(args[2]))
elif command == 'run':
    run(args[0], args[1], float(args[2]), int(args[3]))
else:
    check(*args)
