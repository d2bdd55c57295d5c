#!/usr/bin/env bash
# context.sh CONTEXT: fills the folder CONTEXT for quorate.Dockerfile and operator.Dockerfile, from programs that are
# built already. Each of their images gets its programs and the C library that these were linked with, and nothing else:
# the programs in the images are those that the tests have run.
#
# $STORE_BIN and $OPERATOR_BIN are the programs, by default cargo's release builds; $ETCDCTL_BIN is etcdctl, by default
# that of the PATH. Debug information stays out of the images.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# = 1 ] || { echo "usage: context.sh CONTEXT" >&2; exit 2; }
context=$1
release=${CARGO_TARGET_DIR:-$here/../target}/release

# program IMAGE SOURCE NAME: SOURCE as /usr/local/bin/NAME, with its libraries where its loader looks for them.
program() {
  local root=$context/$1 library
  [ -x "$2" ] || { echo "context.sh: there is no program $2" >&2; exit 1; }
  mkdir -p "$root/usr/local/bin"
  strip --strip-debug -o "$root/usr/local/bin/$3" "$2"
  chmod 755 "$root/usr/local/bin/$3"
  # A static program has none, and ldd fails.
  for library in $(ldd "$2" 2>/dev/null | grep -o '/[^ ]*' || true); do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
  done
}

rm -rf "$context"
# The second copy of the Dockerfile makes only the last folder of its path, and gives it to the user.
mkdir -p "$context/quorate/var/lib" "$context/data"
chmod 700 "$context/data"
program quorate "${STORE_BIN:-$release/quorate}" quorate
ln -s quorate "$context/quorate/usr/local/bin/etcd"
program quorate "${ETCDCTL_BIN:-$(command -v etcdctl || echo etcdctl)}" etcdctl
program operator "${OPERATOR_BIN:-$release/quorate-operator}" quorate-operator
