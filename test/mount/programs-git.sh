#!/bin/sh
# A day's work with git in the folder $1, which holds the bare repository origin.git with the branches main and feature. On equal folders it
# makes equal commits. Prints what was come to: every ref, every object, and what is in the working tree.
set -eu
cd "$1"
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_AUTHOR_DATE='1700000000 +0000'
export GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b GIT_COMMITTER_DATE='1700000000 +0000'

clean() {
  [ -z "$(git status --porcelain)" ]
}

git clone -q origin.git clone # by hard links
git clone -q --mirror "file://$PWD/origin.git" mirror.git
cd clone
clean

git checkout -q -b topic
for number in 1 2 3 4 5 6 7 8 9 10; do
  printf 'change %s\n' "$number" >>"main/file-$number"
  git mv "main/file-2$number" "moved-$number"
  printf 'new\n' >"new file $number"
  git add -A
  git commit -q -m "topic $number"
done
git rm -q -r main/part
chmod +x moved-1
ln -s moved-1 link
git add -A
git commit -q -m 'removed, made executable, linked'

git checkout -q feature
git rebase -q main
clean
git checkout -q main
git merge -q --no-edit topic
git merge -q --no-ff --no-edit feature
clean

printf 'not finished\n' >>moved-2
printf 'not added\n' >untracked
git stash -q --include-untracked
clean
git stash pop -q
[ "$(git status --porcelain | wc -l)" = 2 ]
git checkout -q -- moved-2
rm untracked
clean

git worktree add -q ../worktree feature
(
  cd ../worktree
  printf 'in the other tree\n' >other
  git add other
  git commit -q -m 'in the other tree'
  clean
)
git worktree add -q --detach ../worktree-2 HEAD~20
printf 'dirty\n' >../worktree-2/dirty
if git worktree remove ../worktree-2 2>/dev/null; then exit 1; fi
git worktree remove --force ../worktree-2
git worktree remove ../worktree
[ "$(git worktree list | wc -l)" = 1 ]

git push -q --force origin main topic feature
git gc -q --aggressive --prune=now
git fsck --full --strict --no-progress
clean
git -C ../origin.git gc -q --prune=now
git -C ../origin.git fsck --full --strict --no-progress
git -C ../mirror.git fetch -q --prune
git -C ../mirror.git fsck --full --strict --no-progress

git for-each-ref
git cat-file --batch-all-objects --batch-check
git ls-files --stage
git -C ../mirror.git for-each-ref
