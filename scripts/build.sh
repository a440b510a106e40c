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

# What `cairn` runs is bundled: loading some hundred module files took most of the time of a mount. The processes and threads
# find each other beside themselves, so all entries are in one folder. Native and lazily loaded packages stay where they are.
# Each is bundled by itself: what several shared would be in many small files, and none of them loads another's.
rm -rf dist/cairn
for entry in \
  cairn=dist/src/cli/main.js \
  supervisor-main=dist/src/daemon/supervisor-main.js \
  daemon-main=dist/src/daemon/daemon-main.js \
  session-thread=dist/src/daemon/session-thread.js \
  feeder-thread=dist/src/daemon/feeder-thread.js \
  hash-worker=dist/src/snapshot/import/hash-worker.js \
  unpack-worker=dist/src/blocks/unpack-worker.js; do
  node_modules/.bin/esbuild "$entry" \
    --bundle --splitting --platform=node --target=node20 --format=esm --outdir=dist/cairn --sourcemap --sources-content=false \
    --external:better-sqlite3 --external:zstd-napi --external:koffi --external:pino --external:cli-progress --external:pg '--external:@aws-sdk/*' \
    '--external:@smithy/*' --external:fastify '--external:@fastify/*' --external:prom-client --external:tar-stream --external:yazl --log-level=warning
done
# What changed while the compiler ran is compiled the next time.
touch -r "$begin" dist/.built
