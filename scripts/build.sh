#!/bin/sh
# Compiles src, test and scripts into dist, if any of it changed since the last time.
set -eu
cd "$(dirname "$0")/.."

# A folder is newer than the stamp as well when a file in it was removed or renamed.
if [ -e dist/.built ] &&
  [ -z "$(find src test scripts tsconfig.json package-lock.json -newer dist/.built -print -quit)" ]; then
  exit 0
fi
begin=$(mktemp)
trap 'rm -f "$begin"' EXIT
node_modules/.bin/tsc --project .

node dist/scripts/bundle.js
# What changed while the compiler ran is compiled the next time.
touch -r "$begin" dist/.built
