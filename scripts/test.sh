#!/bin/sh
# npm test: makes a fresh clone ready, builds, and verifies; see verify.ts.
#
#   npm test                 everything
#   npm test -- blocks       only the build and the test files that have "blocks" in their path
set -eu
cd "$(dirname "$0")/.."

sh scripts/bootstrap.sh tests
begin=$(date +%s%N)
sh scripts/build.sh
printf 'ok  %6d ms  types and build\n' $((($(date +%s%N) - begin) / 1000000))
exec node --enable-source-maps dist/scripts/verify.js "$@"
