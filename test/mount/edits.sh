#!/bin/sh
# Edits the tree of oddities at $1 as programs do; $2 is the round, 1 or 2. On equal trees it makes equal trees, but for times and for
# what git writes into its index. Every command must succeed.
set -eu
cd "$1"
round=$2
part=many/part-$round
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_AUTHOR_DATE='1700000000 +0000'
export GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b GIT_COMMITTER_DATE='1700000000 +0000'

# an editor's save: backup by link, new file, rename over
ln "$part/file-7" "$part/file-7~"
printf 'edited in round %s\n' "$round" >"$part/.file-7.new"
chmod --reference="$part/file-7" "$part/.file-7.new"
sync "$part/.file-7.new"
mv "$part/.file-7.new" "$part/file-7"

# append, truncate, grow
printf 'appended in round %s\n' "$round" >>"$part/file-8"
printf 'appended in round %s\n' "$round" >>sizes/1048576
truncate -s 100 "$part/file-150"
truncate -s 700000 "$part/file-151"
truncate -s 0 "sizes/$((4094 + round))"
truncate -s $((3000000 + round)) sizes/5242880
: >"$part/new-empty"

# a file with several names, through one of them
printf 'round %s\n' "$round" >>links/two
ln links/one "links/four-$round"
ln -sfn "one-$round" links/relative

# random writes, and a hole, in large files
python3 - "$round" <<'PYTHON'
import os, random, sys
rng = random.Random(int(sys.argv[1]))
for name, writes in (('large/random', 60), ('sparse/huge', 60)):
    fd = os.open(name, os.O_RDWR)
    size = os.fstat(fd).st_size
    for _ in range(writes):
        data = rng.randbytes(rng.choice((1, 100, 4096, 65536)))
        os.pwrite(fd, data, rng.randrange(size - len(data)))
    os.fsync(fd)
    os.ftruncate(fd, size + 12345)
    os.close(fd)
PYTHON
fallocate --punch-hole --offset $((1048576 * round)) --length 700000 large/random

# attributes
chmod 0751 "$part/file-9" modes/755
chmod 0640 "$part"
chmod 0750 "$part"
[ "$(id -u)" != 0 ] || chown "$((1000 + round)):2000" "$part/file-10" links/large
[ "$(id -u)" != 0 ] || chown -h 77:78 links/dangling
touch -d '1969-12-31 23:59:58.25Z' "$part/file-11"
touch -h -d "2030-01-0$round 00:00:00.123456789Z" links/absolute
python3 -c "import os, sys; os.setxattr('xattrs/file', b'user.round', sys.argv[1].encode())" "$round"
[ "$round" = 1 ] || python3 -c "import os; os.removexattr('xattrs/file', b'user.text')"

# names and folders
mkdir -p "made/$round/a/b/c"
printf x >"made/$round/a/b/c/$(printf 'odd\nname-\377')"
mkfifo "made/$round/fifo"
mv "made/$round/a/b" "made/$round/b"
mv deep "deep-$round-moved"
mv "deep-$round-moved" deep
mv "names/with space" "names/without-space-$round"
cp "names/without-space-$round" "names/with space"

# git
mkdir -p repository
cd repository
[ "$round" != 1 ] || git init -q -b main .
cp -r ../many/part-0 "tree-$round"
git add .
git commit -q -m "round $round"
git fsck --strict --no-progress
[ -z "$(git status --porcelain)" ]
cd ..

# SQLite in WAL mode
sqlite3 -bail database.sqlite >/dev/null <<SQL
PRAGMA journal_mode = WAL;
PRAGMA wal_autocheckpoint = 50;
CREATE TABLE IF NOT EXISTS row(id INTEGER PRIMARY KEY, round INTEGER, text TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
  INSERT INTO row(round, text) SELECT $round, hex(zeroblob(100)) FROM n;
UPDATE row SET text = text || id WHERE id % 3 = 0;
DELETE FROM row WHERE id % 7 = 0;
SQL
[ "$(sqlite3 database.sqlite 'PRAGMA integrity_check')" = ok ]

# rsync, tar, removal of a tree
rsync -aH --delete many/ rsynced/
rsync -aH --delete --checksum --itemize-changes many/ rsynced/ | (! grep .)
rm -rf untarred
mkdir untarred
tar -cf - many links sizes 2>/dev/null | tar -xf - -C untarred 2>/dev/null
diff -r --no-dereference many untarred/many
rm -rf "untarred/many/part-$round" "many/part-$((round - 1))/file-1"*
mkdir -p emptied/a/b
rm -rf emptied
