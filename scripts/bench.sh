#!/bin/sh
# npm run bench -- [arguments]: makes a fresh clone ready, builds, and runs the benchmark (scripts/bench/main.ts says with which arguments).
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)

sh "$root/scripts/bootstrap.sh"
sh "$root/scripts/build.sh"
exec node --enable-source-maps "$root/dist/scripts/bench/main.js" "$@"
