#!/bin/sh
# Makes a fresh clone ready: Node is new enough, the Debian packages and the npm packages are there. Says nothing and
# takes a few milliseconds when all of it is. Plain sh, because nothing else can be taken for granted yet.
#
#   sh scripts/bootstrap.sh          what the product needs to build and run
#   sh scripts/bootstrap.sh tests    and what the tests run beside it
set -eu
cd "$(dirname "$0")/.."

fail() {
  echo "cairnfs: $1" >&2
  exit 1
}

command -v node >/dev/null || fail 'Node.js 20.19 or later is needed: https://nodejs.org'
node -e 'const [major, minor] = process.versions.node.split(".").map(Number);
  process.exit(major > 20 || (major === 20 && minor >= 19) ? 0 : 1)' ||
  fail "Node.js 20.19 or later is needed, this is $(node --version): https://nodejs.org"
[ "$(uname -s)" = Linux ] || fail 'Linux is needed; on macOS: vagrant up && vagrant ssh (see Vagrantfile)'

npm_packages_missing() {
  # npm writes this file last, so an install that was cut short does not have it.
  [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]
}

debian_packages=''
need() { # <command> <the Debian package it comes in>
  command -v "$1" >/dev/null || debian_packages="$debian_packages $2"
}
need fusermount3 fuse3
if npm_packages_missing; then # two of them are compiled
  need g++ g++
  need make make
  need python3 python3
fi
if [ "${1:-}" = tests ]; then
  need git git
  need rsync rsync
  need setfattr attr
  need sqlite3 sqlite3
fi

if [ "${1:-}" = bench-service ]; then
  need git git
  need nginx nginx-light
fi

# Without these some tests are skipped, and say so: nobody has to install a database server for the others.
optional_packages=''
if [ "${1:-}" = tests ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  command -v strace >/dev/null || optional_packages="$optional_packages strace"
  command -v setfacl >/dev/null || optional_packages="$optional_packages acl"
  command -v vim >/dev/null || command -v vim.tiny >/dev/null || optional_packages="$optional_packages vim-tiny"
  if [ -z "$(find /usr/lib/postgresql -name initdb 2>/dev/null)" ]; then
    optional_packages="$optional_packages postgresql"
    # The package makes and starts a server of its own unless it is told not to.
    clusters=/etc/postgresql-common/createcluster.conf
    [ -e "$clusters" ] || { mkdir -p "${clusters%/*}" && echo 'create_main_cluster = false' >"$clusters"; }
  fi
fi

install_packages() { # <packages>, by the names Debian has for them
  echo "installing Debian packages: $*" >&2
  # The list of packages may be missing or too old for the mirror, so a first failure is not the end.
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >/dev/null 2>&1 ||
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >/dev/null; }
}

if [ -n "$debian_packages" ]; then
  command -v apt-get >/dev/null || fail "please install, by the names Debian has for them:$debian_packages"
  [ "$(id -u)" = 0 ] || fail "please run: sudo apt-get install -y$debian_packages"
  # shellcheck disable=SC2086 # one word each
  install_packages $debian_packages || fail "these packages could not be installed:$debian_packages"
fi
if [ -n "$optional_packages" ]; then
  # shellcheck disable=SC2086 # one word each
  install_packages $optional_packages || echo "cairnfs: without these some tests are skipped:$optional_packages" >&2
fi

if npm_packages_missing; then
  echo 'installing npm packages: two of them are compiled, which takes a minute or two' >&2
  npm ci --no-audit --no-fund --loglevel=error >&2 || fail 'the npm packages could not be installed (see above)'
fi
