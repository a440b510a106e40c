# git at work in the folder $1, the same each time: what it prints depends on nothing else.
set -eu
cd "$1"
export GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
export GIT_AUTHOR_DATE='1600000000 +0000' GIT_COMMITTER_DATE='1600000000 +0000'
git init -q -b main repository
cd repository
for commit in 1 2 3 4 5 6; do
  mkdir -p "part-$commit"
  for file in 1 2 3 4 5 6 7 8; do
    seq "$((commit * file * 20))" >"part-$commit/file-$file"
    echo "$commit" >>"common-$file"
  done
  git add -A
  git commit -q -m "commit $commit"
done
git checkout -q -b other main~3
git mv part-1 moved
git commit -q -m moved
git merge -q -m merged main
git gc -q --aggressive --prune=now
git fsck --full --strict --no-progress
git clone -q . ../clone
cd ../clone
git status --porcelain
git rev-parse HEAD
find . -path ./.git -prune -o -type f -exec sha256sum {} + | LC_ALL=C sort -k 2
