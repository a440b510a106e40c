#!/bin/sh
# npm run bench -- <name> [arguments]: makes a fresh clone ready, builds, and runs the benchmark scripts/bench/<name>.ts.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)

sh "$root/scripts/bootstrap.sh"
sh "$root/scripts/build.sh"
name=${1:-}
if [ ! -f "$root/scripts/bench/$name.ts" ]; then
  echo "usage: npm run bench -- <name> [arguments], where <name> is one of" \
    "$(cd "$root/scripts/bench" && ls ./*.ts | sed 's|^\./||; s|\.ts$||' | tr '\n' ' ')" >&2
  exit 2
fi
shift
exec node --enable-source-maps "$root/dist/scripts/bench/$name.js" "$@"
